"""Faults of the journal's file: each fault is real, ends in a message that says what to do, and
loses no more.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from haven.items import ItemKind, ItemRef
from haven.stash.changes import ChangePlan, OwnedMarker
from haven.stash.errors import JournalError
from haven.stash.journal import SCHEMA_VERSION, Journal
from haven.stash.values import Tag
from tests.database_faults import files_no_longer_than
from tests.old_journals import OLD_VERSIONS
from vlm_engine.errors import StoreError
from vlm_engine.store import AnswerStore

PAGE = 4096


def marker(number: int) -> OwnedMarker:
    return OwnedMarker(str(number), f"Foul {number}", float(number), number + 2.5, "5", ("1",))


def scene(number: object) -> ItemRef:
    return ItemRef(ItemKind.SCENE, str(number))


def plan(scene_id: str) -> ChangePlan:
    return ChangePlan(scene(scene_id), Tag("1", "VLM"), ("2",), ())


def filled(path: Path, scenes: int = 200) -> None:
    """A journal in which one run has put a marker and a tag on each of so many scenes."""
    with closing(Journal(path)) as journal:
        run_id = journal.runs.start("Tag Videos")
        for number in range(scenes):
            opened = journal.open_plan(run_id, plan(str(number)))
            journal.markers_created(opened, [marker(number)])
            journal.tags_added(opened, [Tag("5", "Foul")])
            journal.close_plan(opened, "done")
        journal.runs.finish(run_id)


def overwrite(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(os.urandom(PAGE))


def root_of(path: Path, table: str) -> int:
    """The page of the table from which all its others are found."""
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
    return int(page) - 1


def damaged_files(path: Path) -> list[Path]:
    return [
        found
        for found in path.parent.glob(f"{path.name}.damaged-*")
        if not found.name.endswith("-wal")
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "haven.sqlite3"


def test_the_readable_part_of_a_damaged_file_is_kept(path, caplog):
    filled(path)
    overwrite(path, path.read_bytes().index(b"Foul 150") // PAGE)
    with closing(Journal(path)) as journal:
        known = [journal.owned(scene(number)) for number in range(200)]
        assert all(owned.tag_ids == {"5"} for owned in known)
        markers = [found for owned in known for found in owned.markers.values()]
        assert 50 < len(markers) < 200
        assert all(found == marker(int(found.id)) for found in markers)
        assert (
            f"It knows {len(markers)} markers and 200 tags as the plugin's own now" in caplog.text
        )
        assert len(journal.plans_to_undo(1)) == 200
    (aside,) = damaged_files(path)
    assert str(aside) in caplog.text
    caplog.clear()
    with closing(Journal(path)):
        assert not caplog.records  # told once


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be read as one" * 200, None]
)
def test_of_a_file_of_which_nothing_can_be_read_nothing_is_known(path, content, caplog):
    filled(path, 3)
    path.write_bytes(content if content is not None else os.urandom(path.stat().st_size))
    with closing(Journal(path)) as journal:
        assert journal.owned_ids(ItemKind.SCENE) == ()
        assert "It knows nothing in Stash as the plugin's own now" in caplog.text
        assert "no task changes it or takes it off" in caplog.text
        journal.tags_added(
            journal.open_plan(journal.runs.start("Tag Videos"), plan("7")), [Tag("5", "Foul")]
        )
    with closing(Journal(path)) as journal:
        assert journal.owned_ids(ItemKind.SCENE) == ("7",)


def test_what_a_lost_plan_or_run_had_done_never_becomes_anothers(path):
    filled(path)
    overwrite(path, root_of(path, "journal_plans"))
    overwrite(path, root_of(path, "journal_runs"))
    with closing(Journal(path)) as journal:
        assert len(journal.owned_ids(ItemKind.SCENE)) == 200
        run_id = journal.runs.start("Tag Videos")
        for number in range(20):
            opened = journal.open_plan(run_id, plan(str(number)))
            journal.close_plan(opened, "done")
            assert journal.facts(opened.id).made == ()
            assert journal.facts(opened.id).put == ()
        assert len(journal.plans_to_undo(run_id)) == 20
        assert (
            journal.runs.last_undoable() is None
        )  # nothing that is known of was done by a run that is known of


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_tables_without_a_version_row_are_recognised(path, version):
    filled(path, 3)
    with closing(sqlite3.connect(path)) as db:
        if version < SCHEMA_VERSION:
            OLD_VERSIONS[version - 1](db)
        db.execute("DELETE FROM journal_schema")
        db.commit()
    for _ in range(2):
        with closing(Journal(path)) as journal:
            assert journal.owned(scene(1)).markers == {"1": marker(1)}
            assert [change.number for change in journal.plans_to_undo(1)] == [3, 2, 1]


def test_rot_in_a_plan_is_named_with_the_remedy(path):
    filled(path, 2)
    with closing(Journal(path)) as journal:
        journal.open_plan(1, plan("7"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "UPDATE journal_plans SET plan = CAST(x'7b22ff' || substr(plan, 3) AS TEXT) "
            "WHERE id > 1"
        )
    with closing(Journal(path)) as journal:
        assert journal.facts(1).made == (marker(0),)
        for read in (journal.unfinished, lambda: journal.facts(2)):
            with pytest.raises(
                JournalError,
                match="a plan in it cannot be read: put a copy of it back, or move it away",
            ):
                read()


@pytest.mark.parametrize(
    ("holder", "other", "error"),
    [(AnswerStore, Journal, JournalError), (Journal, AnswerStore, StoreError)],
)
def test_a_file_open_elsewhere_is_not_set_aside(path, holder, other, error):
    filled(path, 3)
    holder(path).close()
    with closing(holder(path)):
        with path.open("r+b") as file:
            file.write(b"only words " * 18)
        with pytest.raises(error, match=r"haven\.sqlite3: the file is damaged\. Start again"):
            other(path)
        assert not damaged_files(path)
    with closing(other(path)):
        assert len(damaged_files(path)) == 1


def test_damage_found_during_work_is_repaired_at_the_next_start(path):
    filled(path)
    before = path.stat()
    overwrite(path, root_of(path, "journal_markers"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # a disk that rots tells nobody
    with closing(Journal(path)) as journal:
        with pytest.raises(
            JournalError, match=r"haven\.sqlite3: the file is damaged\. Start again"
        ):
            journal.owned(scene(7))
        assert not damaged_files(path)
    with closing(Journal(path)) as journal:
        assert len(damaged_files(path)) == 1
        assert journal.owned(scene(7)).tag_ids == {"5"}


def open_many(journal: Journal, opened: list[str]) -> None:
    for number in range(2000):
        scene_id = str(number)
        journal.open_plan(1, plan(scene_id))
        opened.append(scene_id)


def test_a_full_disk_is_named_and_what_was_written_is_kept(
    path,
):
    opened: list[str] = []
    with closing(Journal(path)) as journal:
        full = pytest.raises(
            JournalError, match=r"haven\.sqlite3: its disk is full.* Make room there"
        )
        with files_no_longer_than(1_000_000), full:
            open_many(journal, opened)
        assert len(opened) > 20
        assert [left.plan.item.id for left in journal.unfinished()] == opened
        journal.open_plan(1, plan("as soon as there is room again"))
    with closing(Journal(path)) as journal:
        assert [left.plan.item.id for left in journal.unfinished()][:-1] == opened


def test_a_file_without_room_for_another_page_is_left_whole(path):
    """SQLite itself takes back a transaction that finds no room; the journal goes on from there."""
    with closing(Journal(path)) as journal:
        journal._db._db.execute("PRAGMA max_page_count = 40")
        opened: list[str] = []
        with pytest.raises(JournalError, match="its disk is full"):
            open_many(journal, opened)
        journal._db._db.execute("PRAGMA max_page_count = 4000")
        assert [left.plan.item.id for left in journal.unfinished()] == opened
        journal.open_plan(1, plan("as soon as there is room again"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        JournalError, match=r"file/haven\.sqlite3: it cannot be written\. Let the user"
    ):
        Journal(tmp_path / "file" / "haven.sqlite3")


@pytest.mark.parametrize("what", ["deleted", "replaced", "folder"])
def test_a_file_that_is_deleted_or_replaced_takes_no_plan(path, what):
    other = path.with_name("other.sqlite3")
    filled(other, 1)
    with closing(Journal(path)) as journal:
        run_id = journal.runs.start("Tag Videos")
        if what == "folder":
            path.parent.rename(path.parent.with_name("moved"))
        elif what == "replaced":
            other.replace(path)
        else:
            path.unlink()
        message = (
            "was replaced by another file" if what == "replaced" else "was deleted or moved away"
        )
        with pytest.raises(JournalError, match=message) as error:
            journal.open_plan(run_id, plan("7"))
        assert str(path) in str(error.value)
        assert "nothing is changed in Stash without it" in str(error.value)
