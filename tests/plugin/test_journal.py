import json
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from haven.items import ItemKind, ItemRef
from haven.stash.changes import (
    ChangePlan,
    Owned,
    OwnedMarker,
    OwnedTag,
    PlannedMarker,
    PlannedTag,
    Records,
)
from haven.stash.errors import JournalError
from haven.stash.journal import SCHEMA_VERSION, Journal
from haven.stash.journal.journal import ADDING
from haven.stash.recover import adopt
from haven.stash.values import ItemSnapshot, Marker, Tag
from tests.old_journals import OLD_VERSIONS, as_second_version

ROOT = Path(__file__).parents[2]
FOUL = OwnedMarker("11", "Foul", 1.25, 3.5, "5", ("1",))
GOAL = OwnedMarker("12", "Goal", 8.0, None, "6", ())
SCENE, OTHER = ItemRef(ItemKind.SCENE, "7"), ItemRef(ItemKind.SCENE, "8")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "über all" / "journal.sqlite"


@pytest.fixture
def journal(path):
    path.parent.mkdir()
    with closing(Journal(path)) as journal:
        yield journal


def plan(item=SCENE):
    tag = PlannedTag("Free throw")
    return ChangePlan(
        item,
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


def records(tags=(), markers=()):
    return Records(
        tuple(OwnedTag(tag, "") for tag in tags),
        tuple(replace(FOUL, id=marker) for marker in markers),
    )


def open_plan(journal, item=SCENE):
    return journal.open_plan(journal.runs.start("Tag Videos"), plan(item))


def test_another_process_sees_a_plan_as_soon_as_it_is_opened(journal, path):
    opened = open_plan(journal)
    with closing(Journal(path)) as other:
        assert other.unfinished() == (opened,)
        assert other.unfinished([SCENE]) == (opened,)
        assert other.unfinished([OTHER]) == ()
        journal.close_plan(opened, "done")
        assert other.unfinished() == ()


def test_what_was_created_is_owned_until_it_is_disowned(journal, path):
    opened = open_plan(journal)
    journal.markers_created(opened, [FOUL, GOAL])
    journal.tags_added(opened, [Tag("5", "Foul"), Tag("6", "Goal")])
    journal.tags_added(open_plan(journal, OTHER), [Tag("6", "Goal")])
    assert journal.owned(SCENE).markers == {"11": FOUL, "12": GOAL}
    assert journal.owned(SCENE).tag_ids == {"5", "6"}
    journal.disown(SCENE, records(tags=["6"], markers=["11"]))
    with closing(Journal(path)) as reopened:
        assert reopened.owned(SCENE).markers == {"12": GOAL}
        assert reopened.owned(SCENE).tag_ids == {"5"}
        assert reopened.owned(OTHER).tag_ids == {"6"}
    journal.tags_added(opened, [Tag("6", "Goal")])
    assert journal.owned(SCENE).tag_ids == {"5", "6"}


def test_only_what_was_not_there_before_the_plan_is_adopted(journal):
    opened = open_plan(journal)
    throw = Tag("8", "Free throw")
    both = [Marker(id, "Free throw", 1.0, 2.5, throw, frozenset({"1"})) for id in ("9", "10")]
    scene = ItemSnapshot(SCENE, (Tag("2", "VLM_TagMe"), throw), tuple(both))
    adopted = adopt(journal, opened, scene, plan().create)
    assert (adopted.markers, adopted.tags) == (plan().create, ()), (
        "no tag had been added yet: this one is a person's"
    )
    journal.note(opened, ADDING, "begun")
    assert adopt(journal, opened, scene, ()).tags == (throw,)
    assert journal.owned(SCENE).markers.keys() == {"10"}
    assert (
        adopt(journal, opened, ItemSnapshot(SCENE, (throw,), tuple(both)), plan().create).markers
        == ()
    )


def test_the_journal_shares_its_file_with_other_tables(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE answers (id INTEGER)")
        db.execute("PRAGMA user_version = 3")
    with closing(Journal(path)):
        pass
    with closing(sqlite3.connect(path)) as db:
        tables = {
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
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


# Runs and processes.

HOLDER = """
import sys
from pathlib import Path
from haven.stash.journal import Journal

journal = Journal(Path(sys.argv[1]))
run_id = journal.runs.start("Tag Videos", "settings")
with journal.only_writer():
    print(run_id, flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(path):
    """A process that has begun a run and is writing. Gives the run's number."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield int(process.stdout.readline()), process
        finally:
            process.kill()


def test_a_run_is_cut_off_only_once_its_process_is_killed(journal, path):
    with other_process(path) as (run_id, process):
        assert journal.runs.is_at_work(run_id)
        assert journal.runs.cut_off() == ()
        process.kill()
        process.wait()
    assert not journal.runs.is_at_work(run_id)
    (run,) = journal.runs.cut_off()
    assert (run.id, run.task, run.pid) == (run_id, "Tag Videos", process.pid)
    assert journal.runs.cut_off() == ()


def test_only_one_process_writes_and_a_killed_one_stops_nobody(journal, path):
    with other_process(path) as (_, process):
        with (
            closing(Journal(path, patience_s=0.05)) as hasty,
            pytest.raises(JournalError, match="another process of the plugin"),
            hasty.only_writer(),
        ):
            pass
        process.kill()
        process.wait()
    with journal.only_writer():
        pass


def test_a_finished_run_leaves_no_lock_behind(journal, path):
    run_id = journal.runs.start("Tag Videos")
    assert journal.runs.is_at_work(run_id)
    journal.runs.finish(run_id)
    assert not journal.runs.is_at_work(run_id)
    assert not [one for one in path.parent.iterdir() if "-run-" in one.name]
    assert journal.runs.cut_off() == ()


def test_a_sliced_run_is_resumed_by_its_own_task_only(journal):
    run_id = journal.runs.start("Tag Videos")
    assert not journal.runs.resume(run_id, "Tag Videos")  # it is still at work
    journal.runs.finish(run_id, "sliced")
    assert not journal.runs.resume(run_id, "Preview")
    assert not journal.runs.resume(run_id + 1, "Tag Videos")
    assert journal.runs.resume(run_id, "Tag Videos")
    assert journal.runs.is_at_work(run_id)
    journal.runs.finish(run_id, "sliced")
    journal.runs.mark_undone(run_id)
    assert not journal.runs.resume(run_id, "Tag Videos")


def test_the_last_undoable_run_is_one_that_changed_something(journal):
    assert journal.runs.last_undoable() is None
    changing = journal.runs.start("Tag Videos")
    opened = journal.open_plan(changing, plan())
    assert journal.runs.last_undoable() is None
    journal.tags_added(opened, [Tag("5", "Foul")])
    journal.open_plan(journal.runs.start("Tag Videos"), plan())
    undoing = journal.open_plan(journal.runs.start("Undo Last Run", undoes=changing), plan())
    journal.tags_removed(undoing, [Tag("5", "Foul")])
    assert journal.runs.last_undoable().id == changing
    journal.runs.mark_undone(changing)
    assert journal.runs.last_undoable() is None


# What came of a plan.


def test_facts_have_what_a_plan_made_and_what_people_changed(journal):
    first = open_plan(journal)
    journal.markers_created(first, [FOUL, GOAL])
    journal.tags_added(first, [Tag("5", "Foul"), Tag("6", "Goal")])
    second = journal.open_plan(
        journal.runs.start("Tag Videos"), replace(plan(), release=(Tag("2", "VLM_TagMe"),))
    )
    journal.markers_removed(second, ["11"])
    journal.tags_removed(second, [Tag("5", "Foul"), Tag("2", "VLM_TagMe")])
    journal.disown(SCENE, records(markers=["12"]))
    facts = journal.facts(first.id)
    assert (facts.made, facts.lost_markers, facts.put, facts.lost_tags) == (
        (),
        (GOAL,),
        (Tag("6", "Goal"),),
        (),
    )
    facts = journal.facts(second.id)
    assert (facts.taken_markers, facts.taken_tags, facts.released) == (
        (FOUL,),
        (Tag("5", "Foul"),),
        (Tag("2", "VLM_TagMe"),),
    )


def test_what_an_undoing_puts_back_is_what_it_was(journal):
    first = open_plan(journal)
    journal.markers_created(first, [FOUL])
    journal.tags_added(first, [Tag("5", "Foul")])
    second = journal.open_plan(
        journal.runs.start("Tag Videos"), replace(plan(), release=(Tag("2", "VLM_TagMe"),))
    )
    journal.markers_removed(second, ["11"])
    journal.tags_removed(second, [Tag("5", "Foul"), Tag("2", "VLM_TagMe")])
    undoing = journal.open_plan(
        journal.runs.start("Undo Last Run"), replace(plan(), undoes=second.id)
    )
    (taken,) = journal.facts(second.id).taken_markers
    journal.markers_created(undoing, [replace(taken, id="21")])
    journal.tags_added(
        undoing, [Tag("50", "Foul"), Tag("2", "VLM_TagMe")]
    )  # the tag was deleted and made anew
    assert journal.owned(SCENE).markers == {"21": replace(FOUL, id="21")}
    assert journal.owned(SCENE).tag_ids == {"50"}
    assert [marker.id for marker in journal.facts(first.id).made] == ["21"]
    facts = journal.facts(second.id)
    assert (facts.taken_markers, facts.taken_tags, facts.released) == ((), (), ())
    journal.close_plan(second, "done")
    assert [change.number for change in journal.plans_to_undo(2)] == [second.id]
    journal.close_plan(undoing, "done")
    assert journal.plans_to_undo(2) == ()


# A journal of the first version.

FIRST_VERSION = """
CREATE TABLE journal_schema (version INTEGER NOT NULL);
INSERT INTO journal_schema VALUES (1);
CREATE TABLE journal_runs (id INTEGER PRIMARY KEY, task TEXT NOT NULL, started REAL NOT NULL,
    finished REAL);
CREATE TABLE journal_plans (
    id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES journal_runs,
    scene_id TEXT NOT NULL, plan TEXT NOT NULL, opened REAL NOT NULL, closed REAL, outcome TEXT
);
CREATE INDEX journal_plans_open ON journal_plans (scene_id) WHERE closed IS NULL;
CREATE TABLE journal_steps (
    plan_id INTEGER NOT NULL REFERENCES journal_plans, at REAL NOT NULL, step TEXT NOT NULL,
    outcome TEXT NOT NULL
);
CREATE TABLE journal_markers (
    id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL REFERENCES journal_plans,
    scene_id TEXT NOT NULL, marker_id TEXT NOT NULL, title TEXT NOT NULL, start_s REAL NOT NULL,
    end_s REAL, primary_id TEXT NOT NULL, tag_ids TEXT NOT NULL, gone REAL
);
CREATE INDEX journal_markers_ours ON journal_markers (scene_id) WHERE gone IS NULL;
CREATE TABLE journal_tags (
    id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL REFERENCES journal_plans,
    scene_id TEXT NOT NULL, tag_id TEXT NOT NULL, gone REAL
);
CREATE INDEX journal_tags_ours ON journal_tags (scene_id) WHERE gone IS NULL;
CREATE TABLE journal_failures (
    run_id INTEGER NOT NULL REFERENCES journal_runs, scene_id TEXT NOT NULL,
    at REAL NOT NULL, reason TEXT NOT NULL
);
INSERT INTO journal_runs VALUES (1, 'Tag Videos', 10, 20), (2, 'Tag Videos', 30, NULL);
INSERT INTO journal_markers VALUES (1, 1, '7', '11', 'Foul', 1.25, 3.5, '5', '1', 40);
INSERT INTO journal_markers VALUES (2, 1, '7', '12', 'Goal', 8, NULL, '6', '', NULL);
INSERT INTO journal_tags VALUES (1, 1, '7', '5', 40), (2, 1, '7', '6', NULL);
"""


def old_plan(**changes):
    """A plan as the first version wrote it."""
    data = json.loads(replace(plan(), **changes).to_json())
    data["scene_id"] = data.pop("item")["id"]
    del data["undoes"]
    for marker in data["create"]:
        del marker["tag_ids"], marker["revives"]
    for marker in data["destroy"]:
        del marker["row"]
    return json.dumps(data)


@pytest.fixture
def old_journal(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FIRST_VERSION)
        add = (PlannedTag("Foul", "5"), PlannedTag("Goal", "6"))
        first = old_plan(add=add, destroy=(), release=(Tag("2", "VLM_TagMe"),))
        second = old_plan(add=(), remove=(Tag("5", "Foul"),))
        sql = "INSERT INTO journal_plans VALUES (?, ?, '7', ?, 0, ?, ?)"
        db.execute(sql, (1, 1, first, 15, "done"))
        db.execute(sql, (2, 2, second, 40, "done"))
        db.execute(sql, (3, 2, old_plan(), None, None))
        db.commit()
    return path


def test_a_journal_of_version_1_can_be_continued_and_undone(old_journal):
    with closing(Journal(old_journal)) as journal:
        assert journal.owned(SCENE).markers == {"12": GOAL}
        (left,) = journal.unfinished()
        assert left.plan.create == plan().create
        facts = journal.facts(1)
        assert (facts.made, facts.put, facts.released) == (
            (GOAL,),
            (Tag("6", "Goal"),),
            (Tag("2", "VLM_TagMe"),),
        )
        assert (facts.lost_markers, facts.lost_tags) == ((), ())
        facts = journal.facts(2)
        assert (facts.taken_markers, facts.taken_tags) == ((FOUL,), (Tag("5", "Foul"),))
        assert [run.id for run in journal.runs.cut_off()] == [2]
        assert journal.runs.last_undoable().id == 2


def test_a_migrated_journal_has_the_tables_of_a_new_one(old_journal, tmp_path):
    def tables(path):
        with closing(Journal(path)):
            pass
        with closing(sqlite3.connect(path)) as db:
            names = [
                name
                for (name,) in db.execute(
                    "SELECT name FROM sqlite_master WHERE name LIKE 'journal_%' ORDER BY name"
                )
            ]
            columns = {
                name: sorted(row[1:5] for row in db.execute(f"PRAGMA table_info({name})"))
                for name in names
            }
            return columns, {
                name: [row[2] for row in db.execute(f"PRAGMA index_info({name})")] for name in names
            }

    expected = tables(tmp_path / "new.sqlite")
    assert tables(old_journal) == expected
    for version, make in enumerate(OLD_VERSIONS, 1):
        path = tmp_path / f"of version {version}.sqlite"
        with closing(Journal(path)), closing(sqlite3.connect(path)) as db:
            make(db)
            db.commit()
        assert tables(path) == expected


@pytest.mark.parametrize("make", OLD_VERSIONS)
def test_what_people_removed_under_older_versions_stays_off(journal, path, make):
    opened = journal.open_plan(journal.runs.start("Tag Videos"), replace(plan(), destroy=()))
    journal.tags_added(opened, [Tag("5", "Foul"), Tag("6", "Goal"), Tag("7", "Timeout")])
    journal.markers_created(opened, [FOUL, GOAL])
    journal.close_plan(opened, "done")
    journal.disown(SCENE, records(tags=["5"], markers=["11"]))
    second = journal.open_plan(
        journal.runs.start("Tag Videos"),
        replace(plan(), destroy=(GOAL,), remove=(Tag("6", "Goal"),)),
    )
    journal.tags_removed(second, [Tag("6", "Goal")])
    journal.markers_removed(second, ["12"])
    journal.close_plan(second, "done")
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        make(db)
        db.commit()
    with closing(Journal(path)) as journal:
        found = journal.owned(SCENE)
        assert (
            [tag.id for tag in found.removed.tags],
            [one.id for one in found.removed.markers],
        ) == (["5"], ["11"])
        assert found.tag_ids == {"7"}
        assert found.tags["7"].made_s == 0, "by Stash's clock that is not known"


def test_a_journal_of_version_2_is_continued_for_any_kind(journal, path):
    first = open_plan(journal)
    journal.markers_created(first, [FOUL])
    journal.tags_added(first, [Tag("5", "Foul")])
    journal.close_plan(first, "done")
    left = open_plan(journal, OTHER)
    journal.note_failure(1, SCENE, "no such file")
    facts = journal.facts(first.id)
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        as_second_version(db)
        plans = db.execute("SELECT plan FROM journal_plans").fetchall()
        db.commit()
    with closing(Journal(path)) as journal:
        assert (journal.facts(first.id), journal.unfinished()) == (facts, (left,))
        assert journal.owned_ids(ItemKind.SCENE) == ("7",)
        image = ItemRef(ItemKind.IMAGE, "7")
        assert journal.owned(image) == Owned()
        opened = journal.open_plan(
            journal.runs.start("Tag Images"), replace(plan(image), create=(), destroy=())
        )
        journal.tags_added(opened, [Tag("6", "Goal")])
        assert (journal.owned(image).tag_ids, journal.owned(SCENE).tag_ids) == ({"6"}, {"5"})
        assert journal.unfinished([image]) == (opened,)
        assert [change.item for change in journal.plans_to_undo(1)] == [SCENE]
    with closing(sqlite3.connect(path)) as db:
        assert (
            db.execute("SELECT plan FROM journal_plans WHERE id < ?", (opened.id,)).fetchall()
            == plans
        )
        assert db.execute("SELECT kind, item_id FROM journal_failures").fetchall() == [
            ("scene", "7")
        ]


def test_a_transaction_is_written_wholly_or_not_at_all(journal, path):
    opened = open_plan(journal)
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.tags_added(opened, [Tag("5", "Foul")])
        with journal.transaction():
            journal.close_plan(opened, "done")
        with closing(sqlite3.connect(path)) as other:
            assert other.execute(
                "SELECT count(*) FROM journal_plans WHERE closed IS NULL"
            ).fetchone() == (1,)
        _ = 1 / 0
    assert (journal.owned(SCENE).tag_ids, journal.unfinished()) == (frozenset(), (opened,))
    journal.tags_added(opened, [Tag("5", "Foul")])
    assert journal.owned(SCENE).tag_ids == {"5"}


def test_a_failed_migration_leaves_the_journal_as_it_was(old_journal):
    with closing(sqlite3.connect(old_journal)) as db:
        (good,) = db.execute("SELECT plan FROM journal_plans WHERE id = 2").fetchone()
        db.execute("UPDATE journal_plans SET plan = substr(plan, 1, 100) WHERE id = 2")
        db.commit()
    before = dump(old_journal)
    with pytest.raises(JournalError, match="a plan in it cannot be read"):
        Journal(old_journal)
    assert dump(old_journal) == before
    with closing(sqlite3.connect(old_journal)) as db:
        db.execute("UPDATE journal_plans SET plan = ? WHERE id = 2", (good,))
        db.commit()
    with closing(Journal(old_journal)) as journal:
        assert journal.facts(2).taken_markers == (FOUL,)


def dump(path):
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_a_stored_plan_keeps_whose_a_found_tag_is():
    item = ItemSnapshot(ItemRef(ItemKind.SCENE, "1"), ())
    theirs = OwnedTag("5", "Foul", is_owned=False)
    plan = ChangePlan.of(item, Tag("9", "VLM"), stood_tags=(theirs,))
    text = plan.to_json()
    assert '"is_ours": false' in text, "the key under which every version stores it"
    assert ChangePlan.from_json(text) == plan
    assert not ChangePlan.from_json(text).stood_tags[0].is_owned
