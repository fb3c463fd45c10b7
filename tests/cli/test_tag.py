"""``tag`` of ``vlm-engine`` and of the plugin: videos, pictures and folders in, tables and JSON
out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from sandbox.pictures import write_folder, write_zip
from tests.cli.conftest import TAGS, at
from vlm_engine.cli.arguments import Program, engine_options, parsed, parsers
from vlm_engine.config.by_name import default_of, parse_setting
from vlm_engine.testing import Fault, glyphs


def test_a_table_for_a_video_and_a_line_for_a_picture(tag, vlm, video, photo):
    done = tag(video.path, photo, *at(vlm), "--at-once", 1)
    assert (done.code, done.err) == (0, "")
    head, title, *rows, picture = done.out.splitlines()
    assert head.startswith(f"{video.path} (0:00:20.0; ")
    assert title.split() == ["tag", "start", "end", "confidence"]
    assert {row.split("  ")[1].strip() for row in rows} == {
        name for name, spans in video.truth.items() if spans
    }
    assert picture.startswith(f"{photo}  Foul (0.9")


def test_a_picture_that_is_only_odd_gives_no_message(command, vlm, tmp_path):
    odd = tmp_path / "odd.png"
    glyphs.picture(["Foul"], 320, 180).save(odd, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    done = command("tag", odd, *at(vlm))
    assert (done.code, done.err) == (0, "")


def test_folders_and_zips_are_tagged_and_answers_kept(tag, vlm, tmp_path):
    loose = write_folder(tmp_path / "Fotos", 7, TAGS)
    zipped = write_zip(tmp_path / "Fotos" / "more.zip", 5, TAGS, first=100)
    (tmp_path / "Fotos" / "notes.txt").write_text("no picture")
    target = tmp_path / "found.json"
    done = tag(tmp_path / "Fotos", loose[0].path, *at(vlm), "--json", target)
    assert done.code == 0
    assert "1 file skipped" in done.err
    results = json.loads(target.read_text(encoding="utf-8"))
    assert len(done.out.splitlines()) == len(results) == 12
    for result, picture in zip(results, (*loose, *zipped), strict=True):
        assert result["path"] == str(
            picture.path if picture.entry is None else picture.path / picture.entry
        )
        assert set(result["image_tag_info"]["image_tags"]["tags"]) == picture.tags
    assert vlm.counters.answered == 12
    again = tag(tmp_path / "Fotos", *at(vlm), "--json", "-")
    assert [one["image_tag_info"] for one in json.loads(again.out)] == [
        one["image_tag_info"] for one in results
    ]
    assert vlm.counters.answered == 12
    assert (tmp_path / "data" / "answers.sqlite").exists()


def test_a_folder_without_media_is_a_mistake(tag, tmp_path):
    (tmp_path / "empty").mkdir()
    done = tag(tmp_path / "empty", "--tags", "Foul")
    assert done.code == 2
    assert "empty: there is no video and no picture" in done.err


def test_answers_are_kept_in_the_file_that_is_named(tag, vlm, video, tmp_path):
    arguments = (video.path, *at(vlm), "--store", tmp_path / "mine.sqlite")
    first = tag(*arguments)
    calls = vlm.counters.answered
    again = tag(*arguments)
    assert vlm.counters.answered == calls > 0
    assert again.out.splitlines()[1:] == first.out.splitlines()[1:]
    assert "with 0 calls" in again.out
    assert not (tmp_path / "data" / "answers.sqlite").exists()


def test_options_override_the_configuration_file(command, vlm, photo, tmp_path):
    file = tmp_path / "engine.yaml"
    file.write_text(
        f"models:\n  referee:\n    api_base_url: {vlm.url}\n    model_category: whistles\n    "
        "tag_list: [Turnover, Foul]\n"
        f"category_config:\n  whistles:\n    Foul: {{RenamedTag: Personal foul}}\n"
    )

    def found(*options: str) -> dict[str, list[str]]:
        done = command("tag", photo, "--config", file, "--json", "-", *options)
        tags: dict[str, list[str]] = json.loads(done.out)[0]["image_tag_info"]["image_tags"]
        return tags

    assert found() == {"whistles": ["Personal foul"]}
    assert not found("--tags", "Turnover").get("whistles")
    assert not found("--threshold", "1").get("whistles")


def test_every_option_of_a_setting_takes_its_default():
    options = engine_options()
    for name in ("search.effort", "video.stall_s", "image.parts", "model.request_timeout"):
        assert name in options
    command = parsers()[1]["tag"]
    for name, option in options.items():
        default = default_of(name)
        written = (
            f"{default.value}{default.unit}" if hasattr(default, "unit") else str(default or 0)
        )
        given = vars(command.parse_args(["game.mp4", option, written]))
        assert given[name] == parse_setting(name, written, option), option
        assert option in command.format_help()


@pytest.mark.parametrize(
    ("written", "layout", "paths"),
    [
        (["game.mp4"], None, ["game.mp4"]),
        (["--vr", "game.mp4"], "", ["game.mp4"]),
        (["game.mp4", "--vr"], "", ["game.mp4"]),
        (["--vr", "180_LR", "game.mp4"], "sbs-180", ["game.mp4"]),
        (["game.mp4", "--vr", "off"], "off", ["game.mp4"]),
    ],
)
def test_vr_may_name_a_layout(written, layout, paths):
    given = parsed(Program(), ["tag", *written])
    assert (given.vr, [str(path) for path in given.paths]) == (layout, paths)


@pytest.mark.parametrize(
    ("written", "message"),
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
            "models: {}",
            'engine.yaml: models: there is none of type "vlm_model", so nothing can be asked; '
            "write one",
        ),
        (
            "",
            "engine.yaml: write settings here, each as 'name: value'; there are active_ai_models",
        ),
        ("models: [", "engine.yaml: not YAML: line 1: "),
        (
            "models:\n  vlm:\n    tag_list: [Foul]\n    tag_list: [Goal]",
            "engine.yaml: 'tag_list' is written twice, in lines 3 and 4",
        ),
        ("models: {vlm: {tag_list: [Foul]}}", "no endpoint is set"),
    ],
)
def test_faults_in_a_configuration_file_are_named(command, photo, tmp_path, written, message):
    file = tmp_path / "engine.yaml"
    file.write_text(written)
    done = command("tag", photo, "--config", file)
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "PATH"),
        (["x.mp4", "--tags", "Foul,foul"], "argument --tags: tag 'foul' is listed twice"),
        (["x.mp4", "--tags", " ,"], "argument --tags: name what to look for"),
        (["x.mp4", "--tags", "Foul: a hit, Goal"], "argument --tags: 'Goal' may be a tag"),
        (["x.mp4", "--endpoint", "nonsense"], "argument --endpoint: 'nonsense' is not an address"),
        (["x.mp4", "--at-once", "0"], "argument --at-once: write a number from 1"),
        (["x.mp4", "--vr=360_what"], "argument --vr: '360_what' is no layout"),
        (
            ["x.mp4", "--threshold", "70"],
            "argument --threshold: Input should be less than or equal",
        ),
        (["x.mp4", "--threshold", "high"], "argument --threshold: Input should be a valid number"),
        (["x.mp4", "--api-key-env", "KEY"], "--api-key-env: it is for the servers that"),
        (["x.mp4", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_option_is_named_and_exits_with_2(tag, arguments, message):
    done = tag(*arguments)
    assert done.code == 2
    assert message in done.err
    assert not {"task arguments", "TAG_LIST", "VIDEO_THRESHOLD"} & set(done.err.split(": "))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["tug", "x.mp4"], "tug"),
        (["tag", "x.mp4"], "has no tags"),
        (["tag", "x.mp4", "--tags", "Foul", "--config", "none.yaml"], "none.yaml: No such file"),
        (["tag", "x.mp4", "--tags", "Foul", "--config", "engine.yml"], "ends in .yaml"),
    ],
)
def test_a_wrong_command_exits_with_2(command, arguments, message):
    done = command(*arguments)
    assert done.code == 2
    assert message in done.err


def test_a_key_comes_from_the_environment(tag, vlm, photo, monkeypatch):
    vlm.behaviour.api_key = "sk-of-the-league"
    monkeypatch.setenv("LEAGUE_KEY", "sk-of-the-league")
    assert tag(photo, *at(vlm), "--api-key-env", "LEAGUE_KEY").code == 0
    without = tag(photo, "--endpoint", vlm.url, "--tags", "Goal")
    assert without.code == 3
    assert "api_key" in without.err


@pytest.mark.expects_errors
def test_no_endpoint_exits_with_3_and_keeps_what_was_found(tag, vlm, video, photo, tmp_path):
    options = (*at(vlm), "--at-once", 1, "--endpoint-patience", 0)
    assert tag(photo, *options).code == 0
    vlm.stop()
    done = tag(photo, video.path, *options, "--json", tmp_path / "found.json")
    assert done.code == 3
    assert vlm.url in done.err
    assert [entry["path"] for entry in json.loads((tmp_path / "found.json").read_bytes())] == [
        str(photo)
    ]
    (tmp_path / "kept.json").write_text("of a better day")
    assert tag(video.path, *options, "--json", tmp_path / "kept.json").code == 3
    assert (tmp_path / "kept.json").read_text() == "of a better day"


def test_a_file_that_cannot_be_written_is_named_before_any_work(tag, vlm, photo, tmp_path):
    for target, message in (
        (tmp_path / "none" / "x.json", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        done = tag(photo, *at(vlm), "--json", target)
        assert (done.code, done.err) == (2, f"--json {target}: cannot be written: {message}\n")
    assert not vlm.counters.answered


def test_interrupted_and_started_again_it_continues(vlm, video, photo, tmp_path):
    vlm.behaviour.latency_s, vlm.behaviour.slots = 0.2, 1
    environment = {**os.environ, "VLM_ENGINE_DATA_DIR": str(tmp_path)}
    files = [str(photo), str(video.path), "--json", str(tmp_path / "found.json"), "--at-once", "1"]
    arguments = [sys.executable, "-m", "vlm_engine", "tag", *files, *at(vlm), "--no-check"]
    # A shell that ran these tests in its background would have them, and what they start, ignore
    # interrupts.
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
    again = subprocess.run(arguments, env=environment, capture_output=True, timeout=60, check=False)
    assert again.returncode == 0
    frames = vlm.counters.frame_numbers[1:]  # the first is the photo's
    assert len(frames) - len(set(frames)) <= 1


def test_an_answer_that_cannot_be_read_names_the_file(command, vlm, photo):
    vlm.behaviour.fault = Fault.GARBAGE
    done = command("tag", photo, *at(vlm))
    assert done.code == 1
    assert done.err.startswith(f"{photo}: ")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_no_terminal_can_show_costs_nothing(vlm, photo, tmp_path):
    """The first picture has a name from a Latin-1 disk, which is not UTF-8."""
    library, target = tmp_path / "library", tmp_path / "found.json"
    library.mkdir()
    shutil.copy(photo, library / os.fsdecode(b"caf\xe9.jpg"))
    shutil.copy(photo, library / "later – später.jpg")
    command = [sys.executable, "-m", "vlm_engine", "tag", str(library), *at(vlm)]
    environment = os.environ | {
        "PYTHONIOENCODING": "ascii:strict",
        "VLM_ENGINE_DATA_DIR": str(tmp_path / "data"),
    }
    piped, filed = (
        subprocess.run(
            [*command, *more], capture_output=True, check=False, env=environment, timeout=60
        )
        for more in (["--json", "-"], ["--json", str(target)])
    )
    assert (filed.returncode, filed.stderr, len(filed.stdout.splitlines())) == (0, b"", 2)
    assert b"/caf\\udce9.jpg " in filed.stdout
    assert piped.returncode == 0
    for content in (piped.stdout, target.read_bytes()):
        assert [os.fsencode(one["path"]).rpartition(b"/")[2] for one in json.loads(content)] == [
            b"caf\xe9.jpg",
            "later – später.jpg".encode(),
        ]
