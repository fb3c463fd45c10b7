"""Faults of the file with answers and journal under whole tasks: each fault is real, and ends in a
message.

Whatever the fault, Stash is as promised: each scene is still queued, or has its results; nothing
that people made differs.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.database_faults import locked_by_another_process
from tests.plugin.fragile import once
from tests.torture.world import SLOTS, Arena, World, arena_of_scenes, content

PAGE = 4096
SCENES = 3
MANY = 12
Scenes = dict[str, tuple[Any, ...]]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with arena_of_scenes(tmp_path_factory.mktemp("faults"), MANY) as arena:
        yield arena


@pytest.fixture(scope="module")
def expected(arena: Arena) -> Scenes:
    """The scenes after a task that nothing disturbs."""
    with arena.world(SCENES) as place:
        assert place.run("tag_videos")
        return place.scenes()


@pytest.fixture
def place(arena: Arena) -> Iterator[World]:
    with arena.world(SCENES) as place:
        yield place


def nothing_or_all(place: World, before: Scenes, expected: Scenes) -> None:
    """Each scene is queued, with all that people made, or done."""
    for scene in place.stash.library.snapshot().scenes:
        found, first = content(scene), before[scene.id]
        if "VLM_TagMe" in scene.tags:
            assert set(first[0]) <= set(found[0])
            assert set(first[1]) <= set(found[1])
        else:
            assert found == expected[scene.id]


# A damaged file.


def overwrite(path: Path, start: int = 0, length: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    stop = len(data) if length is None else start + length
    data[start:stop] = os.urandom(stop - start)
    path.write_bytes(data)


def damaged_files(path: Path) -> list[Path]:
    return [
        found
        for found in path.parent.glob(f"{path.name}.damaged-*")
        if not found.name.endswith("-wal")
    ]


def test_with_an_unreadable_file_everything_counts_as_peoples(place, arena, expected):
    assert place.attempt()["error"] == ""
    overwrite(place.database)
    new = place.stash.library.add_scene(arena.videos[SCENES].path, tags=["VLM_TagMe"])
    before = place.scenes()
    end = place.attempt()
    (aside,) = damaged_files(place.database)
    assert f"{place.database} is damaged" in end["log"]
    assert f"the damaged file is now {aside}" in end["log"]
    assert (
        "It knows nothing in Stash as the plugin's own now; whatever else the plugin had made "
        "counts as made by" in end["log"]
    )
    assert "1 scene tagged" in end["output"]
    assert {scene: found for scene, found in place.scenes().items() if scene != new} == expected
    assert "is undone: 1 scene." in place.attempt("undo_last_run")["output"]
    assert place.scenes() == before
    assert "nothing to undo" in place.attempt("undo_last_run")["output"]
    assert "nothing to remove" in place.attempt("remove_ours")["output"]
    assert place.scenes() == before


def test_lost_answers_are_asked_again_and_undo_still_works(arena):
    with arena.world() as place:
        before = place.scenes()
        assert place.attempt()["error"] == ""
        after, answers = place.scenes(), place.answers()
        overwrite(
            place.database, place.database.read_bytes().index(answers[0]) // PAGE * PAGE, PAGE
        )
        end = place.attempt("undo_last_run")
        assert f"{place.database} is damaged" in end["log"]
        assert f"is undone: {MANY} scenes." in end["output"]
        assert place.scenes() == before
        lost, answered = len(answers) - len(place.answers()), arena.vlm.counters.answered
        assert 0 < lost < len(answers)
        assert place.attempt()["error"] == ""
        assert place.scenes() == after
        assert arena.vlm.counters.answered - answered == lost


# A full disk.


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_task_goes_on_after_a_full_disk_at_any_moment(place, expected):
    """A limit on the size of files stands for a full disk: each time there is a little more
    room, so each time it ends later.
    """
    first, answered = place.scenes(), place.vlm.counters.answered
    queued: list[int] = []
    while len(queued) < 40:
        end = place.attempt(before=partial(limit_files, 20_000 + 30_000 * len(queued)))
        nothing_or_all(place, first, expected)
        if not end["error"]:
            break
        assert f"{place.database}: its disk is full" in end["error"]
        assert "Make room there" in end["error"]
        queued.append(sum("VLM_TagMe" in tags for tags, _ in place.scenes().values()))
    assert place.scenes() == expected
    assert queued.count(SCENES) >= 2
    assert queued[-1] < SCENES
    assert place.vlm.counters.answered - answered <= len(place.answers()) + SLOTS * len(queued)
    place.undo_all()
    assert place.scenes() == first


# A file that may not be written.


def give_up_roots_rights() -> None:
    """Root may write whatever a file's mode says; a process can do without that right
    (CAP_DAC_OVERRIDE).
    """
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)()
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.capget(header, data) == 0
        data[0] &= ~(1 << 1)
        assert libc.capset(header, data) == 0


@contextmanager
def read_only(folder: Path, *, and_the_folder: bool) -> Iterator[None]:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555 if and_the_folder else 0o755)
    yield
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)


@pytest.mark.parametrize("and_the_folder", [True, False])
def test_a_read_only_file_or_folder_is_named_and_left_alone(place, expected, and_the_folder):
    assert place.attempt("update_videos")["error"] == ""
    before, answered = place.scenes(), place.vlm.counters.answered
    with read_only(place.database.parent, and_the_folder=and_the_folder):
        end = place.attempt(before=give_up_roots_rights)
    if and_the_folder:
        assert f"Nothing can be written to {place.database.parent}" in end["error"]
    else:
        assert (
            f"{place.database}: it cannot be written. Let the user that runs this write to the file"
            in end["error"]
        )
    assert (place.scenes(), place.vlm.counters.answered) == (before, answered)
    assert place.attempt()["error"] == ""
    assert place.scenes() == expected


# A file that somebody else keeps locked.


def have_no_patience() -> None:
    """Half a minute is long in a test."""
    from haven.stash.journal import database

    database._BUSY_S = 0.3


@pytest.mark.parametrize("lock", ["whole", "writing"])
def test_a_locked_file_is_named_and_left_alone(place, expected, lock):
    assert place.attempt("update_videos")["error"] == ""
    before, answered = place.scenes(), place.vlm.counters.answered
    with locked_by_another_process(place.database, lock):
        end = place.attempt(before=have_no_patience)
    assert f"{place.database}: another program keeps it locked. End that program" in end["error"]
    assert (place.scenes(), place.vlm.counters.answered) == (before, answered)
    assert place.attempt()["error"] == ""
    assert place.scenes() == expected


def test_a_lock_in_the_middle_of_a_write_is_waited_for(place, expected):
    with ExitStack() as locks:

        def lock_for_a_while() -> None:
            locks.enter_context(locked_by_another_process(place.database, "writing"))
            timer = threading.Timer(0.5, locks.close)
            timer.start()

        once(place.stash, "MarkersCreate", lock_for_a_while)
        assert place.attempt()["error"] == ""
        assert place.stash.requests.on_request is None
    assert place.scenes() == expected


def test_a_lock_in_the_middle_of_a_write_doubles_nothing(place, expected):
    before = place.scenes()
    with ExitStack() as locks:
        once(
            place.stash,
            "MarkersCreate",
            lambda: locks.enter_context(locked_by_another_process(place.database, "writing")),
        )
        end = place.attempt(before=have_no_patience)
    assert f"{place.database}: another program keeps it locked. End that program" in end["error"]
    nothing_or_all(place, before, expected)
    assert place.scenes() != before
    assert place.attempt()["error"] == ""
    assert place.scenes() == expected


# A file of a newer version.


@pytest.mark.parametrize(
    ("part", "message"),
    [("journal", "was written by a newer version"), ("answer", "a newer version of")],
)
def test_a_newer_versions_file_is_refused_and_nothing_is_touched(place, expected, part, message):
    assert place.attempt("preview")["error"] == ""
    before = place.scenes()
    with closing(sqlite3.connect(place.database)) as db:
        (version,) = db.execute(f"SELECT version FROM {part}_schema").fetchone()
        db.execute(f"UPDATE {part}_schema SET version = 99")
        db.commit()
    end = place.attempt()
    assert str(place.database) in end["error"]
    assert message in end["error"]
    assert place.scenes() == before
    with closing(sqlite3.connect(place.database)) as db:
        assert db.execute(f"SELECT version FROM {part}_schema").fetchone() == (99,)
        db.execute(f"UPDATE {part}_schema SET version = ?", (version,))
        db.commit()
    assert place.attempt()["error"] == ""
    assert place.scenes() == expected


# A file that is deleted or replaced in the middle of a task.


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_lost_during_a_task_ends_it_before_a_change(place, expected, is_replaced):
    assert place.attempt("update_videos")["error"] == ""
    first, aside = place.scenes(), place.database.with_name("aside.sqlite3")

    def lose() -> None:
        place.database.rename(aside)
        if is_replaced:
            place.database.write_bytes(b"")

    once(place.stash, "Scenes", lose)
    end = place.attempt()
    assert f"{place.database} was " in end["error"]
    assert "nothing is changed in Stash without it" in end["error"]
    assert place.scenes() == first
    for left in place.database.parent.glob("haven.sqlite3*"):
        left.unlink()
    assert place.attempt()["error"] == ""
    assert place.scenes() == expected
    place.undo_all()
    assert place.scenes() == first
