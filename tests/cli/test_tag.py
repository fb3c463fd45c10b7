"""``vlm-engine tag``: videos, pictures and folders in, tables and JSON out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.videos import LabelledVideo
from tests.cli.conftest import TAGS, Command
from vlm_engine.testing import Fault, SandboxVLM, glyphs

ASK_FOR = ",".join(TAGS)


def present(video: LabelledVideo) -> set[str]:
    return {tag for tag, spans in video.truth.items() if spans}


def test_a_table_for_a_video_and_a_line_for_a_picture(
    command: Command, vlm: SandboxVLM, video: LabelledVideo, photo: Path
) -> None:
    done = command(
        "tag", video.path, photo, "--endpoint", vlm.url, "--tags", ASK_FOR, "--at-once", 1
    )
    assert (done.code, done.err) == (0, "")
    head, title, *rows, picture = done.out.splitlines()
    assert head.startswith(f"{video.path} (0:00:20.0; ")
    assert title.split() == ["tag", "start", "end", "confidence"]
    assert {row.split("  ")[1].strip() for row in rows} == present(video)
    assert picture.startswith(f"{photo}  Foul (0.9")


def test_nothing_is_said_of_a_picture_that_is_only_odd(
    command: Command, vlm: SandboxVLM, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.png"
    glyphs.picture(["Foul"], 320, 180).save(odd, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    done = command("tag", odd, "--endpoint", vlm.url, "--tags", ASK_FOR)
    assert (done.code, done.err) == (0, "")


def test_a_folder_is_searched_for_videos_and_pictures_and_each_is_looked_at_once(
    command: Command, vlm: SandboxVLM, photo: Path, tmp_path: Path
) -> None:
    season = tmp_path / "season"
    for name in ("b/2.JPG", "a/1.jpeg", ".trash/3.jpg"):
        (season / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, season / name)
    (season / "notes.txt").write_text("no picture")
    done = command(
        "tag",
        season,
        season / "a" / "1.jpeg",
        "--endpoint",
        vlm.url,
        "--tags",
        ASK_FOR,
        "--json",
        "-",
    )
    assert done.code == 0
    found = json.loads(done.out)
    assert [entry["path"] for entry in found] == [
        str(season / "a" / "1.jpeg"),
        str(season / "b" / "2.JPG"),
    ]
    assert found[0]["image_tag_info"]["image_tags"] == {"tags": ["Foul"]}


def test_a_folder_without_media_is_a_mistake(command: Command, tmp_path: Path) -> None:
    done = command("tag", tmp_path, "--tags", ASK_FOR)
    assert done.code == 2
    assert f"{tmp_path}: there is no video and no picture" in done.err


def test_answers_are_kept_where_they_are_wanted(
    command: Command, vlm: SandboxVLM, video: LabelledVideo, tmp_path: Path
) -> None:
    arguments = (
        "tag",
        video.path,
        "--endpoint",
        vlm.url,
        "--tags",
        ASK_FOR,
        "--store",
        tmp_path / "answers.sqlite",
    )
    first = command(*arguments)
    asked = vlm.counters.answered
    again = command(*arguments)
    assert vlm.counters.answered == asked > 0
    assert again.out.splitlines()[1:] == first.out.splitlines()[1:]
    assert "with 0 calls" in again.out
    assert not (tmp_path / "data").exists()


def test_without_a_place_they_are_kept_in_the_users_data_folder(
    command: Command, vlm: SandboxVLM, photo: Path, tmp_path: Path
) -> None:
    assert command("tag", photo, "--endpoint", vlm.url, "--tags", ASK_FOR).code == 0
    assert (tmp_path / "data" / "answers.sqlite").exists()


def test_a_configuration_file_is_taken_and_options_go_before_it(
    command: Command, vlm: SandboxVLM, photo: Path, tmp_path: Path
) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text(
        f"models:\n  referee:\n    api_base_url: {vlm.url}\n    model_category: whistles\n    tag_list: [Turnover, Foul]\n"
        f"category_config:\n  whistles:\n    Foul: {{RenamedTag: Personal foul}}\n"
    )
    done = command("tag", photo, "--config", file, "--json", "-")
    assert json.loads(done.out)[0]["image_tag_info"]["image_tags"] == {
        "whistles": ["Personal foul"]
    }
    other = command("tag", photo, "--config", file, "--tags", "Turnover", "--json", "-")
    assert not json.loads(other.out)[0]["image_tag_info"]["image_tags"].get("whistles")


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_being_tagged(
    command: Command, vlm: SandboxVLM, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.mp4").write_text("not a video")
    files = (tmp_path / "missing.mp4", tmp_path / "notes.mp4", tmp_path / "missing.jpg", photo)
    done = command("tag", *files, "--endpoint", vlm.url, "--tags", ASK_FOR)
    assert done.code == 1
    assert {line.split(":")[0] for line in done.err.splitlines()} == {
        str(path) for path in files[:3]
    }
    assert str(photo) in done.out


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            "models: {vlm: {tag_lst: [Foul]}}",
            "models.vlm: unknown key 'tag_lst'; did you mean 'tag_list'?",
        ),
        (
            "models: {vlm: {api_base_url: 'http://127.0.0.1:9'}}",
            "model 'vlm' has no tags: say what to look for with --tags",
        ),
        (
            "models: {vlm: {type: decoder}}",
            'engine.yaml: models: there is none of type "vlm_model"',
        ),
        (
            "models: {}",
            'engine.yaml: models: there is none of type "vlm_model", so nothing can be asked; write one',
        ),
        (
            "- models",
            "engine.yaml: write settings here, each as 'name: value'; there are active_ai_models, models",
        ),
        (
            "",
            "engine.yaml: write settings here, each as 'name: value'; there are active_ai_models, models",
        ),
        ("models: [", "engine.yaml: not YAML: line 1: "),
        (
            "models:\n  vlm:\n    tag_list: [Foul]\n    tag_list: [Goal]",
            "engine.yaml: 'tag_list' is written twice, in lines 3 and 4",
        ),
        ("models: {vlm: {tag_list: [Foul]}}", "no endpoint is set"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(
    command: Command, photo: Path, tmp_path: Path, written: str, told: str
) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text(written)
    done = command("tag", photo, "--config", file)
    assert done.code == 2
    assert told in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "COMMAND"),
        (["tag"], "PATH"),
        (["tug", "x.mp4"], "tug"),
        (["tag", "x.mp4"], "has no tags"),
        (["tag", "x.mp4", "--tags", "Foul,foul"], "'foul' is listed twice"),
        (["tag", "x.mp4", "--tags", "Foul", "--endpoint", "nonsense"], "--endpoint"),
        (["tag", "x.mp4", "--tags", "Foul", "--at-once", "0"], "--at-once"),
        (
            ["tag", "x.mp4", "--tags", "Foul", "--threshold", "70"],
            "argument --threshold: write a number from 0 to 1",
        ),
        (
            ["tag", "x.mp4", "--tags", "Foul", "--threshold", "high"],
            "argument --threshold: write a number from 0 to 1",
        ),
        (["tag", "x.mp4", "--tags", "Foul", "--config", "none.yaml"], "none.yaml: No such file"),
        (["tag", "x.mp4", "--tags", "Foul", "--config", "engine.yml"], "ends in .yaml"),
    ],
)
def test_a_wrong_command_says_what_is_wrong_and_exits_with_2(
    command: Command, arguments: list[str], told: str
) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert told in done.err


def test_a_key_comes_from_the_environment(
    command: Command, vlm: SandboxVLM, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm.behaviour.api_key = "sk-of-the-league"
    monkeypatch.setenv("LEAGUE_KEY", "sk-of-the-league")
    assert (
        command(
            "tag", photo, "--endpoint", vlm.url, "--tags", ASK_FOR, "--api-key-env", "LEAGUE_KEY"
        ).code
        == 0
    )
    without = command("tag", photo, "--endpoint", vlm.url, "--tags", "Goal")
    assert without.code == 3
    assert "api_key" in without.err


def test_a_key_without_a_server_that_it_is_for_is_a_mistake(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "bare.yaml").write_text("models: {vlm: {api_base_url: 'http://127.0.0.1:9'}}")
    done = command("check", "--config", tmp_path / "bare.yaml", "--api-key-env", "LEAGUE_KEY")
    assert done.code == 2
    assert "--api-key-env: it is for the servers that --endpoint names" in done.err


@pytest.mark.expects_errors
def test_no_endpoint_exits_with_3(
    command: Command, vlm: SandboxVLM, video: LabelledVideo, photo: Path
) -> None:
    vlm.stop()
    done = command("tag", video.path, photo, "--endpoint", vlm.url, "--tags", ASK_FOR)
    assert done.code == 3
    assert vlm.url in done.err


def test_what_was_found_before_the_endpoints_gave_out_is_in_the_file(
    command: Command, vlm: SandboxVLM, video: LabelledVideo, photo: Path, tmp_path: Path
) -> None:
    asked = ("--endpoint", vlm.url, "--model", "sandbox-vlm", "--tags", ASK_FOR, "--at-once", 1)
    assert command("tag", photo, *asked).code == 0
    vlm.stop()
    done = command("tag", photo, video.path, *asked, "--json", tmp_path / "found.json")
    assert done.code == 3
    assert [entry["path"] for entry in json.loads((tmp_path / "found.json").read_bytes())] == [
        str(photo)
    ]
    (tmp_path / "kept.json").write_text("of a better day")
    assert command("tag", video.path, *asked, "--json", tmp_path / "kept.json").code == 3
    assert (tmp_path / "kept.json").read_text() == "of a better day"


def test_a_file_that_cannot_be_written_is_told_before_any_work(
    command: Command, vlm: SandboxVLM, photo: Path, tmp_path: Path
) -> None:
    for target, told in (
        (tmp_path / "none" / "x.json", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        done = command("tag", photo, "--endpoint", vlm.url, "--tags", ASK_FOR, "--json", target)
        assert (done.code, done.err) == (2, f"--json {target}: cannot be written: {told}\n")
    assert not vlm.counters.answered
    assert not list(tmp_path.iterdir())


def test_interrupted_and_started_again_it_goes_on_from_there(
    vlm: SandboxVLM, video: LabelledVideo, photo: Path, tmp_path: Path
) -> None:
    vlm.behaviour.latency_s, vlm.behaviour.slots = 0.2, 1
    environment = {**os.environ, "VLM_ENGINE_DATA_DIR": str(tmp_path)}
    files = [str(photo), str(video.path), "--json", str(tmp_path / "found.json"), "--at-once", "1"]
    arguments = [
        sys.executable,
        "-m",
        "vlm_engine",
        "tag",
        *files,
        "--endpoint",
        vlm.url,
        "--tags",
        ASK_FOR,
    ]
    # A shell that ran these tests in its background would have them, and what they start, ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        signal.signal(signal.SIGINT, before)
        deadline = time.monotonic() + 60
        while vlm.counters.answered < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        started.send_signal(signal.SIGINT)
        _, said = started.communicate(timeout=30)
    assert started.returncode == 130
    assert "goes on from there" in said
    assert "Traceback" not in said
    assert [entry["path"] for entry in json.loads((tmp_path / "found.json").read_bytes())] == [
        str(photo)
    ]
    vlm.behaviour.latency_s = 0.0
    assert (
        subprocess.run(
            arguments, env=environment, capture_output=True, timeout=60, check=False
        ).returncode
        == 0
    )
    frames = vlm.counters.frame_numbers[1:]  # the first is the photo's
    assert len(frames) - len(set(frames)) <= 1


def test_what_a_model_cannot_judge_is_told_of_the_file(
    command: Command, vlm: SandboxVLM, photo: Path
) -> None:
    vlm.behaviour.fault = Fault.GARBAGE
    done = command("tag", photo, "--endpoint", vlm.url, "--tags", ASK_FOR)
    assert done.code == 1
    assert done.err.startswith(f"{photo}: ")


def _odd_library(folder: Path, photo: Path) -> None:
    """Two pictures, of which the first has a name from a Latin-1 disk, which is not UTF-8."""
    folder.mkdir()
    shutil.copy(photo, folder / os.fsdecode(b"caf\xe9.jpg"))
    shutil.copy(photo, folder / "later – später.jpg")


def _run(arguments: list[str], folder: Path, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {
        "PYTHONIOENCODING": encoding,
        "VLM_ENGINE_DATA_DIR": str(folder / "data"),
    }
    return subprocess.run(
        [sys.executable, "-m", "vlm_engine", *arguments],
        capture_output=True,
        check=False,
        env=environment,
        timeout=60,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_a_file_name_that_no_terminal_can_show_costs_nothing(
    vlm: SandboxVLM, photo: Path, tmp_path: Path, encoding: str
) -> None:
    library, target = tmp_path / "library", tmp_path / "found.json"
    _odd_library(library, photo)
    asked = ["tag", str(library), "--endpoint", vlm.url, "--tags", ASK_FOR]
    shown = _run(asked, tmp_path, encoding)
    assert (shown.returncode, shown.stderr, len(shown.stdout.splitlines())) == (0, b"", 2)
    assert b"/caf\\udce9.jpg " in shown.stdout
    piped = _run([*asked, "--json", "-"], tmp_path, encoding)
    filed = _run([*asked, "--json", str(target)], tmp_path, encoding)
    assert (piped.returncode, filed.returncode) == (0, 0), filed.stderr
    for content in (piped.stdout, target.read_bytes()):
        assert [os.fsencode(one["path"]).rpartition(b"/")[2] for one in json.loads(content)] == [
            b"caf\xe9.jpg",
            "later – später.jpg".encode(),
        ]


@pytest.mark.skipif(
    sys.platform == "win32", reason="a pipe that nobody reads any more is told otherwise there"
)
def test_whoever_reads_the_output_may_leave(vlm: SandboxVLM, photo: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "vlm_engine",
        "tag",
        str(photo),
        "--endpoint",
        vlm.url,
        "--tags",
        ASK_FOR,
    ]
    environment = os.environ | {"VLM_ENGINE_DATA_DIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 1)
