"""``vlm-engine tag`` over a folder in which everything lies that people have, whatever its names
are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from sandbox.heif import heic
from sandbox.odd_files import audio_only, truncated
from sandbox.stills import Pixels
from tests.cli.conftest import at
from tests.pictures.raws import nef, preview
from vlm_engine.cli.media import skipped_line
from vlm_engine.cli.output import printable
from vlm_engine.engine import VLMEngine
from vlm_engine.testing import glyphs

ESCAPES = "\x1b[2J\x1b]0;Goal\x07\u202egpj.\r"
unix_names = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")


def with_a_title_from_an_old_machine(video: Path, path: Path) -> None:
    """The same video; its title is no UTF-8."""
    with (
        closing(av.open(video, "r")) as source,
        closing(av.open(path, "w", metadata_encoding="latin-1")) as target,
    ):
        target.metadata["title"] = "Café"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def fill_with_bad_files(folder: Path, video: Path, photo: Path) -> set[str]:
    """Files that cannot be used; their names."""
    contents = {
        "cut off.jpg": photo.read_bytes()[:300],
        "empty.png": b"",
        "page.jpg": b"<!DOCTYPE html><title>404</title>",
        "goal.jxl": b"\xff\x0a" + bytes(100),
        "raw.nef": nef(preview((160, 120))),
        "cut off.heic": heic(glyphs_of("Foul"))[:900],
        "notes.mp4": b"Free throw, second half",
        "empty.mkv": b"",
        "empty.zip": b"",
        "broken.zip": b"PK\x03\x04",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    audio_only(folder / "anthem.mp4")
    truncated(video, folder / "cut off.mp4")
    (folder / "endless.jpg").write_bytes(photo.read_bytes())
    os.truncate(folder / "endless.jpg", 200 * 2**30)
    return {*contents, "anthem.mp4", "cut off.mp4", "endless.jpg"}


def glyphs_of(*tags: str) -> Pixels:
    return np.asarray(glyphs.picture(tags, 320, 180, 3))


def test_bad_files_are_named_and_the_others_are_tagged(tag, vlm, video, photo, tmp_path):
    season = tmp_path / "season"
    (season / "away").mkdir(parents=True)
    bad = fill_with_bad_files(season, video.path, photo)
    shutil.copy(photo, season / "away" / "foul.jpg")
    shutil.copy(video.path, season / "game.mp4")
    (season / "foul.heic").write_bytes(heic(glyphs_of("Foul")))
    with_a_title_from_an_old_machine(video.path, season / "old title.mp4")
    (season / "notes.txt").write_text("no media")
    (season / "game.srt").write_text("no media")
    (season / ".hidden.txt").write_text("no media")
    missing = [season / "missing.mp4", season / "missing.jpg"]
    done = tag(season, *missing, *at(vlm))
    assert done.code == 1
    assert "Traceback" not in done.err
    output = done.out + done.err
    for good in ("away/foul.jpg", "game.mp4", "foul.heic"):
        assert str(season / good) in done.out
    assert f"{season / 'old title.mp4'}" in output
    for name in [*bad, "missing.mp4", "missing.jpg"]:
        assert [line for line in done.err.splitlines() if line.startswith(f"{season / name}: ")], (
            name
        )
    assert done.err.count(str(season)) <= len(bad) + len(missing) + 1
    assert "2 files skipped, no videos or pictures by their names (" in done.err


def test_an_error_that_nobody_foresaw_concerns_one_file(command, vlm, photo, tmp_path, monkeypatch):
    process = VLMEngine.process_image

    async def sometimes(self: VLMEngine, image: object, **options: object) -> object:
        if "other" in str(image):
            raise LookupError("half-time")
        return await process(self, image, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(VLMEngine, "process_image", sometimes)
    shutil.copy(photo, tmp_path / "other.jpg")
    done = command("tag", tmp_path / "other.jpg", photo, *at(vlm))
    assert done.code == 1
    assert str(photo) in done.out
    assert (
        done.err
        == f"{tmp_path / 'other.jpg'}: this should not have happened: LookupError: half-time\n"
    )


@unix_names
def test_names_of_files_command_no_terminal(command, vlm, photo, tmp_path):
    folder = tmp_path / "season"
    folder.mkdir()
    names = (f"foul{ESCAPES}.jpg", "foul\nERROR: all is lost.jpg", f"lost{ESCAPES}.png")
    shutil.copy(photo, folder / names[0])
    shutil.copy(photo, folder / names[1])
    (folder / names[2]).write_bytes(b"\x89PNG\r\n\x1a\n")
    done = command("tag", folder, *at(vlm))
    assert done.code == 1
    assert not set(done.out + done.err) & set("\x1b\x07\r\u202e")
    assert len(done.out.splitlines()) == 2
    assert "foul\\nERROR: all is lost.jpg  Foul" in done.out
    (line,) = done.err.splitlines()
    assert "lost\\x1b[2J" in line


def test_letters_of_any_language_stay_as_they_are():
    for name in ("Überzahl – Café.jpg", "決勝戦.png", "مباراة.mp4", "👨‍👩‍👧.jpg", "half\\time.png"):
        assert printable(name) == name


def test_the_kinds_of_skipped_files_are_counted():
    assert (
        skipped_line(["a/README"])
        == "1 file skipped, no video or picture by its name (no suffix 1)"
    )
    many = [
        f"a/{number}.{kind}"
        for kind in ("txt", "nfo", "srt", "vtt", "md", "log")
        for number in range(2)
    ]
    assert skipped_line([*many, "b.TXT"]).startswith(
        "13 files skipped, no videos or pictures by their names (.txt 3, "
    )


def piped(data: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VLM_ENGINE_DATA_DIR": str(data), "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        timeout=90,
        env=environment,
        check=False,
    )


@unix_names
@pytest.mark.parametrize("ending", ["| head -1", "--json - | head -c 1"])
def test_output_that_nobody_reads_is_no_traceback(vlm, photo, tmp_path, ending):
    folder = tmp_path / "season"
    folder.mkdir()
    for number in range(6):
        shutil.copy(photo, folder / f"{number}.jpg")
    (folder / "notes.mp4").write_text("no video")
    done = piped(
        tmp_path / "data",
        f'"$PYTHON" -m vlm_engine tag "{folder}" {" ".join(at(vlm))} {ending}',
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no device that is always full"
)
def test_a_full_disk_behind_standard_output_is_named(vlm, photo, tmp_path):
    done = piped(
        tmp_path / "data",
        f'"$PYTHON" -m vlm_engine tag "{photo}" {" ".join(at(vlm))} >/dev/full',
    )
    assert (done.returncode, done.stderr) == (
        1,
        "standard output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_stream_that_was_closed_before_costs_nothing(
    command,
    vlm,
    photo,
    tmp_path,
    monkeypatch,
    closed,
):
    monkeypatch.setattr(sys, closed, None)  # as Python has it after >&- and 2>&-
    done = command("tag", photo, tmp_path / "lost.png", *at(vlm))
    getattr(sys, closed).close()
    assert done.code == 1
    assert str(photo) in done.out or closed == "stdout"
    assert "lost.png" in done.err or closed == "stderr"
