"""The overlay of settings: its place among the layers, its damage, its writers."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from haven.settings.overlay import FILE, Overlay, RevisionError, read_overlay, write_overlay
from haven.settings.settings import Settings
from tests.plugin.local_settings import LOCAL, model_of
from vlm_engine.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def load(folder: Path, **more: object) -> Settings:
    return Settings.load(folder=folder, data_dir=folder, **more)  # type: ignore[arg-type]


def faults(folder: Path, content: str) -> list[str]:
    (folder / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(folder)
    return str(caught.value).splitlines()


def left_over(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


# --- its place ---


def test_each_layer_wins_over_the_one_below(tmp_path):
    page, args = {"videosAtOnce": 5}, {"CONCURRENT_TASK_LIMIT": "6"}
    assert load(tmp_path).concurrent_task_limit == 2
    (tmp_path / LOCAL).write_text("CONCURRENT_TASK_LIMIT: 3", encoding="utf-8")
    assert load(tmp_path).concurrent_task_limit == 3
    write_overlay(tmp_path, {"CONCURRENT_TASK_LIMIT": 4}, 0)
    assert load(tmp_path).concurrent_task_limit == 4
    assert load(tmp_path, stash_page=page).concurrent_task_limit == 5
    assert load(tmp_path, stash_page=page, task_args=args).concurrent_task_limit == 6


def test_its_place_is_named(tmp_path):
    write_overlay(tmp_path, {"TAG_LIST": ["Foul", {"Goal": "the ball is in"}]}, 0)
    settings = load(tmp_path)
    assert settings.tag_list == ("Foul", "Goal")
    assert settings.origins["TAG_LIST"] == "settings.json in the data folder: TAG_LIST"
    assert settings.origins["MODEL"] == "haven_vlm_config.py: MODEL"


def test_an_off_switch_and_a_zero_are_values(tmp_path):
    write_overlay(tmp_path, {"CREATE_MARKERS": False, "FRAMES_COMPARED": 0}, 0)
    settings = load(tmp_path)
    assert settings.create_markers is False
    assert model_of(settings).frames_compared == 0


def test_keys_of_its_endpoints_are_used_and_not_logged(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    endpoint = {"base_url": "http://nas:1234", "api_key": "key-of-nas"}
    written = write_overlay(tmp_path, {"ENDPOINTS": [endpoint], "API_KEY": "key-of-all"}, 0)
    assert load(tmp_path).secrets() == ("key-of-nas",)
    with pytest.raises(ConfigError) as caught:
        write_overlay(tmp_path, {"API_KEY": ["key-of-all"], "ENDPOINTS": [endpoint, {"x": 1}]}, 1)
    assert "key-of" not in f"{caught.value}{caplog.text}{written!r}"


# --- damage ---


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        '{"revision": 1}',
        '{"settings": {}}',
        '{"revision": "1", "settings": {}}',
        '{"revision": 1, "settings": []}',
        '{"revision": 1, "settings": {}, "MODEL": "vision-8b"}',
    ],
)
def test_a_damaged_file_is_named_with_a_remedy(tmp_path, content):
    (fault,) = faults(tmp_path, content)
    assert fault.startswith("settings.json: ")
    assert f"correct {tmp_path / FILE}, or delete it" in fault
    with pytest.raises(ConfigError, match="or delete it"):
        write_overlay(tmp_path, {"MODEL": "vision-8b"}, 0)
    assert (tmp_path / FILE).read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"MODLE": "x"}, "settings.json: MODLE: there is no such setting; did you mean MODEL?"),
        ({"FRAME_SIZE": "large"}, "settings.json: FRAME_SIZE: "),
        ({"CONCURRENT_TASK_LIMIT": [2]}, "settings.json: CONCURRENT_TASK_LIMIT: "),
        ({"TAG_LIST": ["Foul; Goal"]}, "settings.json: TAG_LIST: "),
    ],
)
def test_an_unknown_key_or_wrong_value_is_named(tmp_path, settings, fault):
    (found,) = faults(tmp_path, json.dumps({"revision": 3, "settings": settings}))
    assert found.startswith(fault)


@pytest.mark.parametrize("content", ["{", '{"revision": 1, "settings": {"MODLE": "x"}}'])
def test_damage_does_not_stop_an_undo(tmp_path, caplog, content):
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    settings = Settings.load_for_undo(folder=tmp_path, data_dir=tmp_path)
    assert settings.tag_names.parent == "VLM"
    warned = [record.getMessage() for record in caplog.records]
    assert all("goes on without" in text and "settings.json: " in text for text in warned)
    assert len(warned) == (content == "{")


def test_an_undo_uses_the_tag_names_of_the_overlay(tmp_path):
    write_overlay(tmp_path, {"VLM_BASE_TAG_NAME": "AI"}, 0)
    settings = Settings.load_for_undo(folder=tmp_path, data_dir=tmp_path)
    assert settings.tag_names.parent == "AI"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(ConfigError, match=rf"settings\.json: cannot be read .*{FILE}"):
        load(tmp_path)


# --- writing ---


def test_a_write_changes_adds_and_removes(tmp_path):
    assert read_overlay(tmp_path) == Overlay(0, {})
    write_overlay(tmp_path, {"MODEL": "vision-8b", "FRAME_SIZE": "full"}, 0)
    changes = {"MODEL": None, "FRAME_SIZE": "small", "ANSWER_FORM": "names", "API_KEY": None}
    written = write_overlay(tmp_path, changes, 1)
    assert written == Overlay(2, {"FRAME_SIZE": "small", "ANSWER_FORM": "names"})
    assert read_overlay(tmp_path) == written


def test_an_unknown_key_of_another_version_can_be_removed(tmp_path):
    (tmp_path / FILE).write_text('{"revision": 7, "settings": {"GONE": 1, "MODEL": "x"}}')
    assert write_overlay(tmp_path, {"GONE": None}, 7) == Overlay(8, {"MODEL": "x"})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"MODLE": "x"}, "settings.json: MODLE: there is no such setting"),
        ({"FRAME_SIZE": "large"}, "settings.json: FRAME_SIZE: "),
        ({"FALLBACK_WAIT": float("inf")}, "settings.json: "),
        ({"REPORT_FOLDER": Path("reports")}, "settings.json: cannot hold these values"),
    ],
)
def test_a_wrong_value_is_refused_and_nothing_written(tmp_path, changes, fault):
    before = write_overlay(tmp_path, {"MODEL": "vision-8b"}, 0)
    with pytest.raises(ConfigError) as caught:
        write_overlay(tmp_path, {"MODEL": "other", **changes}, 1)
    assert str(caught.value).startswith(fault)
    assert read_overlay(tmp_path) == before


def test_a_write_against_an_old_revision_is_refused(tmp_path):
    write_overlay(tmp_path, {"MODEL": "first"}, 0)
    with pytest.raises(RevisionError, match=r"settings\.json: was written since \(revision 1, exp"):
        write_overlay(tmp_path, {"MODEL": "second"}, 0)
    assert read_overlay(tmp_path) == Overlay(1, {"MODEL": "first"})


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")
def test_only_the_owner_may_read_it(tmp_path):
    (tmp_path / FILE).write_text('{"revision": 0, "settings": {}}')
    (tmp_path / FILE).chmod(0o644)
    write_overlay(tmp_path, {"API_KEY": "key-of-all"}, 0)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"settings\.json: cannot be written .* write to .*gone"):
        write_overlay(tmp_path / "gone", {"MODEL": "vision-8b"}, 0)


def test_of_two_writers_at_once_neither_loses_a_change(tmp_path):
    refused = []

    def count(name: str) -> None:
        for number in range(1, 16):
            while True:
                try:
                    write_overlay(tmp_path, {name: number}, read_overlay(tmp_path).revision)
                    break
                except RevisionError as error:
                    refused.append(error)

    names = ("REPORTS_KEPT", "FRAMES_COMPARED")
    writers = [threading.Thread(target=count, args=(name,)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert read_overlay(tmp_path) == Overlay(30, dict.fromkeys(names, 15))
    assert left_over(tmp_path) == []


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from haven.settings.overlay import read_overlay, write_overlay
import haven.settings.layers  # here, once, and not in each writer

folder = Path(sys.argv[1])

def killed_at(step):
    left, begun = iter(range(step)), []

    def count(frame, *_):
        if frame.f_code.co_name == "write_whole":
            begun.append(True)
        if begun and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    return count

left_over = 0
for step in itertools.count(0, int(sys.argv[2])):
    before = read_overlay(folder)
    if (child := os.fork()) == 0:
        sys.setprofile(killed_at(step))
        write_overlay(folder, {"MODEL": f"vision-{before.revision + 1}"}, before.revision)
        sys.setprofile(None)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    after = read_overlay(folder)
    assert after.revision in (before.revision, before.revision + 1), (before, after)
    assert after.settings == ({"MODEL": f"vision-{after.revision}"} if after.revision else {})
    parts = [part.unlink() for part in folder.glob(".*.part")]
    left_over += len(parts)
    if status == 0:
        print(step, after.revision, left_over)
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_kill_at_any_step_leaves_the_old_or_new_file(tmp_path, stride):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(stride)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    steps, revision, parts = map(int, done.stdout.split())
    assert steps > 10
    assert revision > 1, "no writer was killed after its file was in place"
    assert parts > 1, "no writer was killed before that"


def test_what_a_killed_writer_left_is_removed(tmp_path):
    old, fresh = (tmp_path / f".haven-{digit * 32}.part" for digit in "ab")
    old.write_text("key-of-all")
    fresh.write_text("of another process")
    os.utime(old, (0, 0))
    write_overlay(tmp_path, {"MODEL": "vision-8b"}, 0)
    assert left_over(tmp_path) == [fresh]
