"""The job without Stash, as a person types it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox.pictures import LabelledPicture, write_folder, write_zip
from sandbox.plugin import install
from sandbox.videos import LabelledVideo
from tests.end_to_end.conftest import TAGS
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

ASK_FOR = ",".join(TAGS)


@pytest.fixture
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=4))) as server:
        yield server


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return install(tmp_path / "plug in" / "connector")


def command(plugin: Path, *arguments: str | Path) -> list[str]:
    return [sys.executable, str(plugin / "haven_vlm_connector.py"), *map(str, arguments)]


def run(plugin: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HAVEN_VLM_DATA_DIR": str(plugin.parent / "data")}
    return subprocess.run(
        command(plugin, *arguments),
        capture_output=True,
        text=True,
        timeout=90,
        env=environment,
        check=False,
    )


def tag(plugin: Path, vlm: SandboxVLM, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return run(
        plugin, "tag", *more, "--endpoint", vlm.url, "--model", "sandbox-vlm", "--tags", ASK_FOR
    )


def test_a_table_of_what_was_found(
    plugin: Path, vlm: SandboxVLM, videos: Sequence[LabelledVideo]
) -> None:
    done = tag(plugin, vlm, videos[0].path)
    assert done.returncode == 0, done.stderr
    head, title, *rows = done.stdout.splitlines()
    assert head.startswith(f"{videos[0].path} (0:00:45.0; ")
    assert title.split() == ["tag", "start", "end", "confidence"]
    told = [
        re.fullmatch(r"  (.+?) +(0:00:\d\d\.\d) +(0:00:\d\d\.\d)  (0\.\d\d|1\.00)", row)
        for row in rows
    ]
    assert all(told), rows
    assert {row[1] for row in told if row} == {
        name for name, spans in videos[0].truth.items() if spans
    }
    assert done.stderr == ""


def test_a_device_that_cannot_decode_is_named_and_the_video_tagged_all_the_same(
    vlm: SandboxVLM, videos: Sequence[LabelledVideo], tmp_path: Path
) -> None:
    plugin = install(tmp_path / "connector", {"VIDEO_DECODING_DEVICE": "abacus"})
    done = tag(plugin, vlm, videos[0].path)
    assert done.returncode == 0, done.stderr
    assert (
        "Finale.mp4: decoded by the processor: this FFmpeg knows no device 'abacus'" in done.stderr
    )
    told = {row.split("  ")[1] for row in done.stdout.splitlines()[2:]}
    assert told == {name for name, spans in videos[0].truth.items() if spans}


def test_everything_as_json_for_machines(
    plugin: Path, vlm: SandboxVLM, videos: Sequence[LabelledVideo], tmp_path: Path
) -> None:
    target = tmp_path / "found.json"
    done = tag(plugin, vlm, videos[0].path, videos[1].path, "--json", target)
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(target.read_text(encoding="utf-8"))
    assert [result["path"] for result in results] == [str(video.path) for video in videos[:2]]
    assert set(results[0]) == {"path", "video_tag_info", "json_result", "coverage"}
    piped = tag(plugin, vlm, videos[0].path, "--json", "-")
    assert json.loads(piped.stdout)[0]["video_tag_info"] == results[0]["video_tag_info"]


def test_a_video_that_cannot_be_read_does_not_keep_the_others_from_being_tagged(
    plugin: Path, vlm: SandboxVLM, videos: Sequence[LabelledVideo], tmp_path: Path
) -> None:
    (tmp_path / "notes.mp4").write_text("not a video")
    done = tag(plugin, vlm, tmp_path / "missing.mp4", tmp_path / "notes.mp4", videos[0].path)
    assert done.returncode == 1
    missing, notes = done.stderr.splitlines()
    assert missing == f"{tmp_path / 'missing.mp4'}: there is no such file"
    assert notes.count("notes.mp4") == 1
    assert str(videos[0].path) in done.stdout


def name_of(picture: LabelledPicture) -> str:
    return str(picture.path if picture.entry is None else picture.path / picture.entry)


def test_pictures_of_a_folder_and_a_zip_are_told_line_by_line_and_as_json(
    plugin: Path, vlm: SandboxVLM, tmp_path: Path
) -> None:
    loose, zipped = (
        write_folder(tmp_path / "Fotos", 7, TAGS),
        write_zip(tmp_path / "Fotos.zip", 5, TAGS, first=100),
    )
    target = tmp_path / "found.json"
    done = tag(plugin, vlm, tmp_path / "Fotos", tmp_path / "Fotos.zip", "--json", target)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    results = json.loads(target.read_text(encoding="utf-8"))
    for line, result, picture in zip(lines, results, (*loose, *zipped), strict=True):
        assert line.startswith(f"{name_of(picture)}  ")
        told = line.removeprefix(name_of(picture)).strip().split(", ")
        assert {re.sub(r" \((0\.\d\d|1\.00)\)$", "", one) for one in told} == (
            picture.tags or {"none of the tags"}
        )
        assert result["path"] == name_of(picture)
        assert set(result["image_tag_info"]["image_tags"]["tags"]) == picture.tags
        assert result["coverage"]["calls"] == 1
    assert vlm.counters.answered == 12
    again = tag(plugin, vlm, tmp_path / "Fotos", tmp_path / "Fotos.zip", "--json", "-")
    assert [one["image_tag_info"] for one in json.loads(again.stdout)] == [
        one["image_tag_info"] for one in results
    ]
    assert vlm.counters.answered == 12


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_name_that_no_terminal_can_show_costs_nothing(
    plugin: Path, vlm: SandboxVLM, tmp_path: Path
) -> None:
    (picture,) = write_folder(tmp_path / "Fotos", 1, TAGS)
    picture.path.rename(tmp_path / "Fotos" / os.fsdecode(b"caf\xe9.jpg"))
    done = tag(plugin, vlm, tmp_path / "Fotos", "--json", tmp_path / "found.json")
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)
    (found,) = json.loads((tmp_path / "found.json").read_bytes())
    assert os.fsencode(found["path"]).endswith(b"caf\xe9.jpg")


def test_videos_pictures_and_what_cannot_be_read_together(
    plugin: Path, vlm: SandboxVLM, videos: Sequence[LabelledVideo], tmp_path: Path
) -> None:
    (picture,) = write_folder(tmp_path / "Fotos", 1, TAGS, first=5)
    (tmp_path / "Fotos" / "cut off.jpg").write_bytes(picture.path.read_bytes()[:300])
    (tmp_path / "Fotos" / "empty.zip").touch()
    done = tag(plugin, vlm, tmp_path / "Fotos", videos[0].path, tmp_path / "lost.png")
    assert done.returncode == 1
    for path in (
        tmp_path / "Fotos" / "cut off.jpg",
        tmp_path / "Fotos" / "empty.zip",
        tmp_path / "lost.png",
    ):
        (line,) = [line for line in done.stderr.splitlines() if path.name in line]
        assert line.startswith(f"{path}: ")
        assert not line.startswith(f"{path}: {path}")
    assert done.stdout.startswith(str(videos[0].path))
    assert done.stdout.splitlines()[-1].startswith(name_of(picture))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tag"],
        ["tug", "x.mp4"],
        ["tag", "x.mp4", "--endpoint", "nonsense"],
        ["tag", "x.mp4", "--threshold", "9"],
    ],
)
def test_a_wrong_command_says_what_is_wrong_and_exits_with_2(
    plugin: Path, arguments: list[str]
) -> None:
    done = run(plugin, *(arguments or ["--nonsense"]))
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "written", "told"),
    [
        ("--threshold", "1.5", "--threshold: "),
        ("--tags", "Foul,foul", "--tags: tag 'foul' is listed twice"),
        ("--tags", " ,", "argument --tags: name what to look for"),
        ("--endpoint", "nonsense", "--endpoint"),
    ],
)
def test_an_option_is_called_as_it_is_written(
    plugin: Path, option: str, written: str, told: str
) -> None:
    done = run(plugin, "tag", "x.mp4", option, written)
    assert done.returncode == 2
    assert told in done.stderr
    assert not {"task arguments", "TAG_LIST", "VIDEO_THRESHOLD"} & set(
        re.split(r": |\n", done.stderr)
    )


def test_rules_for_the_paths_of_stash_do_not_concern_what_is_written_here(
    vlm: SandboxVLM, videos: Sequence[LabelledVideo], tmp_path: Path
) -> None:
    folder = str(Path(videos[0].path).parent)
    plugin = install(tmp_path / "connector", {"PATH_MUTATION": {folder: "/mnt/elsewhere"}})
    assert tag(plugin, vlm, videos[0].path).returncode == 0
    assert tag(plugin, vlm, "missing.png").stderr == "missing.png: there is no such file\n"


def test_no_endpoint_exits_with_3(
    plugin: Path, vlm: SandboxVLM, videos: Sequence[LabelledVideo]
) -> None:
    vlm.stop()
    done = tag(plugin, vlm, videos[0].path)
    assert done.returncode == 3
    assert vlm.url in done.stderr


def _interrupted(
    plugin: Path, vlm: SandboxVLM, calls: int, *more: str | Path
) -> subprocess.CompletedProcess[str]:
    """The command, interrupted after three answers more than ``calls``."""
    environment = {**os.environ, "HAVEN_VLM_DATA_DIR": str(plugin.parent / "data")}
    arguments = command(
        plugin, "tag", *more, "--endpoint", vlm.url, "--model", "sandbox-vlm", "--tags", ASK_FOR
    )
    # A shell that ran these tests in its background would have them, and what they start, ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    started = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while vlm.counters.answered < calls + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    out, said = started.communicate(timeout=30)
    return subprocess.CompletedProcess(arguments, started.returncode, out, said)


@pytest.mark.parametrize("ended", ["no endpoint", "interrupted"])
def test_what_was_found_until_then_is_in_the_file(
    plugin: Path, vlm: SandboxVLM, videos: Sequence[LabelledVideo], tmp_path: Path, ended: str
) -> None:
    assert tag(plugin, vlm, videos[0].path).returncode == 0
    calls = vlm.counters.answered
    files, target = [videos[0].path, videos[1].path], tmp_path / "found.json"
    if ended == "no endpoint":
        vlm.stop()
        assert tag(plugin, vlm, *files, "--json", target).returncode == 3
    else:
        vlm.behaviour.latency_s = 0.2
        assert _interrupted(plugin, vlm, calls, *files, "--json", target).returncode == 130
    assert [entry["path"] for entry in json.loads(target.read_bytes())] == [str(videos[0].path)]


def test_a_file_that_cannot_be_written_is_told_before_any_work(
    plugin: Path, vlm: SandboxVLM, videos: Sequence[LabelledVideo], tmp_path: Path
) -> None:
    done = tag(plugin, vlm, videos[0].path, "--json", tmp_path / "none" / "x.json")
    assert (done.returncode, done.stderr) == (
        2,
        f"--json {tmp_path}/none/x.json: cannot be written: No such file or directory\n",
    )
    assert not vlm.counters.answered


def test_interrupted_and_started_again_it_goes_on_from_there(
    plugin: Path, vlm: SandboxVLM, videos: Sequence[LabelledVideo]
) -> None:
    vlm.behaviour.latency_s, vlm.behaviour.slots = 0.2, 1
    stopped = _interrupted(plugin, vlm, 0, videos[0].path)
    said = stopped.stderr
    assert stopped.returncode == 130
    assert "goes on from there" in said
    assert "Traceback" not in said
    vlm.behaviour.latency_s = 0.0
    assert tag(plugin, vlm, videos[0].path).returncode == 0
    frames = vlm.counters.frame_numbers
    assert len(frames) - len(set(frames)) <= 1


def test_help_explains_every_option_and_exit_code(plugin: Path) -> None:
    done = run(plugin, "tag", "--help")
    assert done.returncode == 0
    for word in (
        "FILE",
        "zip of pictures",
        "--endpoint",
        "--model",
        "--tags",
        "--json",
        "130",
        "exit codes",
    ):
        assert word in done.stdout
