import sqlite3
from contextlib import closing

import pytest

from haven_stash.changes import ChangePlan, OurMarker, PlannedMarker, PlannedTag
from haven_stash.errors import JournalError
from haven_stash.journal import SCHEMA_VERSION, Journal
from haven_stash.settle import adopt
from haven_stash.values import Marker, Scene, Tag

FOUL = OurMarker("11", "Foul", 1.25, 3.5, "5", ("1",))
GOAL = OurMarker("12", "Goal", 8.0, None, "6", ())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "über all" / "journal.sqlite"


@pytest.fixture
def journal(path):
    path.parent.mkdir()
    with closing(Journal(path)) as journal:
        yield journal


def plan(scene_id="7"):
    tag = PlannedTag("Free throw")
    return ChangePlan(
        scene_id,
        Tag("1", "VLM"),
        ("2",),
        ("9",),
        (tag,),
        "4",
        (PlannedMarker(tag, 1.0, 2.5, ("1",)),),
        (FOUL,),
        (),
        (),
        "2",
        ("9",),
    )


def open_plan(journal, scene_id="7"):
    return journal.open_plan(journal.runs.start("Tag Videos"), plan(scene_id))


def test_a_plan_is_on_disk_for_another_process_as_soon_as_it_is_opened(journal, path):
    opened = open_plan(journal)
    with closing(Journal(path)) as other:
        assert other.unfinished() == (opened,)
        assert other.unfinished("7") == (opened,)
        assert other.unfinished("8") == ()


def test_a_closed_plan_is_no_longer_unfinished(journal):
    first, second = open_plan(journal), open_plan(journal, "8")
    journal.close_plan(first, "done")
    assert journal.unfinished() == (second,)


def test_what_we_created_is_ours_until_it_is_disowned(journal):
    opened = open_plan(journal)
    journal.markers_created(opened, [FOUL, GOAL])
    journal.tags_added(opened, [Tag("5", "Foul"), Tag("6", "Goal")])
    assert journal.ours("7").markers == {"11": FOUL, "12": GOAL}
    assert journal.ours("7").tag_ids == {"5", "6"}
    journal.disown("7", marker_ids=["11"], tag_ids=["6"])
    assert journal.ours("7").markers == {"12": GOAL}
    assert journal.ours("7").tag_ids == {"5"}


def test_what_is_ours_on_one_scene_is_not_ours_on_another(journal):
    journal.tags_added(open_plan(journal), [Tag("5", "Foul")])
    journal.tags_added(open_plan(journal, "8"), [Tag("5", "Foul")])
    journal.disown("8", tag_ids=["5"])
    assert journal.ours("7").tag_ids == {"5"}
    assert journal.ours("8").tag_ids == set()


def test_what_was_disowned_and_then_added_again_is_ours_again(journal):
    journal.tags_added(open_plan(journal), [Tag("5", "Foul")])
    journal.disown("7", tag_ids=["5"])
    journal.tags_added(open_plan(journal), [Tag("5", "Foul")])
    assert journal.ours("7").tag_ids == {"5"}


def test_ownership_is_there_after_a_restart(journal, path):
    journal.markers_created(open_plan(journal), [FOUL])
    journal.close()
    with closing(Journal(path)) as reopened:
        assert reopened.ours("7").markers == {"11": FOUL}


def test_only_what_was_not_on_the_scene_before_the_plan_is_adopted(journal):
    opened = open_plan(journal)
    throw = Tag("8", "Free throw")
    both = [Marker(id, "Free throw", 1.0, 2.5, throw, frozenset({"1"})) for id in ("9", "10")]
    adopted = adopt(journal, opened, Scene("7", "", (), (Tag("2", "VLM_TagMe"), throw), tuple(both)), plan().create)
    assert (adopted.markers, adopted.tags) == (plan().create, (throw,))
    assert journal.ours("7").markers.keys() == {"10"}
    assert adopt(journal, opened, Scene("7", "", (), (throw,), tuple(both)), plan().create).markers == ()


def test_every_step_and_failure_and_the_end_of_a_run_are_written_down(journal, path):
    run_id = journal.runs.start("Tag Videos")
    opened = journal.open_plan(run_id, plan())
    journal.tags_added(opened, [Tag("5", "Foul")])
    journal.note(opened, "destroy markers", "refused")
    journal.note_failure(run_id, "8", "no such file")
    journal.runs.finish(run_id)
    with closing(sqlite3.connect(path)) as db:
        steps = db.execute("SELECT step, outcome FROM journal_steps ORDER BY rowid").fetchall()
        assert steps == [("add tags", "1 added"), ("destroy markers", "refused")]
        assert db.execute("SELECT scene_id, reason FROM journal_failures").fetchall() == [("8", "no such file")]
        assert db.execute("SELECT task, finished >= started FROM journal_runs").fetchall() == [("Tag Videos", 1)]


def test_it_shares_its_file_with_tables_of_others(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE answers (id INTEGER)")
        db.execute("PRAGMA user_version = 3")
    with closing(Journal(path)):
        pass
    with closing(sqlite3.connect(path)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert all(name == "answers" or name.startswith("journal_") for name in tables)


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(journal, path):
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE journal_schema SET version = ?", (SCHEMA_VERSION + 1,))
        db.commit()
    with pytest.raises(JournalError, match="newer version"):
        Journal(path)


@pytest.mark.parametrize("content", [None, b"not a database at all, but long enough to be read as one" * 20])
def test_a_file_that_cannot_be_used_is_named(tmp_path, content):
    path = tmp_path / "missing" / "journal.sqlite"
    if content:
        path.parent.mkdir()
        path.write_bytes(content)
    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        Journal(path)
