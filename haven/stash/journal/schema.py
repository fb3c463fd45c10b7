"""The journal's tables, and their migration from earlier versions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from functools import partial

SCHEMA_VERSION = 8

# Each marker and tag that a plan made has a row, and so has each that a person had made and that
# was found as well (``ours`` 0). ``plan_id`` put it there, or found it there. States of a row:
#   there              ``gone`` is NULL
#   removed by us      ``gone`` says when, ``gone_plan`` by which plan
#   off by a person    ``gone``, and ``stays_off`` 1: they removed or changed it;
#                      ``recalled``: the plan that brings it back
#   void               ``gone`` alone: its id means something else in Stash by now, or the item was
#                      restored from a backup
# ``made`` and ``item_made``: when Stash made the tag or marker, and the item, by its own clock.
# ``tags_made``: the same for a marker's primary tag, then for each of ``tag_ids``. 0 is unknown.
# Id and time together identify one thing.
# ``journal_released``: tags removed from an item that were not the plugin's, as the one that
# queues it. ``journal_new_tags``: tags that Stash did not have before.
# ``asked``: the name in the tag list. ``kind`` and ``item_id``: a scene, an image or a gallery.
# Only scenes have markers.
# ``tag_name``: the name of a marker's primary tag, where the title may be another one.
# ``journal_evidence``: what the latest run saw of an item, packed. ``journal_judgements``: what
# people decided about spans of scenes, and about tags of images and galleries, whose times are 0.
# ``was_ours``: the marker was the plugin's before; ``about``: the judgement that this one takes
# back; ``undone``: it no longer holds. ``confidence``, ``threshold``, ``model``, ``wording``: what
# the run said that was judged, and how it had asked. ``file``: the fingerprint of the item's file,
# by which both follow it to another item of Stash.
# ``journal_least_sure``: of the evidence of a scene, the spans of each tag that reach its threshold
# and have the lowest confidences.
_TABLES = """
CREATE TABLE journal_runs (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, started REAL NOT NULL, finished REAL,
    settings TEXT NOT NULL DEFAULT '', pid INTEGER NOT NULL DEFAULT 0,
    lock TEXT NOT NULL DEFAULT '', outcome TEXT NOT NULL DEFAULT '',
    undoes INTEGER REFERENCES journal_runs, undone REAL
);
CREATE TABLE journal_plans (
    id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES journal_runs,
    kind TEXT NOT NULL DEFAULT 'scene', item_id TEXT NOT NULL, plan TEXT NOT NULL,
    opened REAL NOT NULL, closed REAL, outcome TEXT, undone REAL, item_made REAL NOT NULL DEFAULT 0
);
CREATE INDEX journal_plans_open ON journal_plans (kind, item_id) WHERE closed IS NULL;
CREATE INDEX journal_plans_of_run ON journal_plans (run_id);
CREATE TABLE journal_steps (
    plan_id INTEGER NOT NULL REFERENCES journal_plans, at REAL NOT NULL, step TEXT NOT NULL,
    outcome TEXT NOT NULL
);
CREATE INDEX journal_steps_of_plan ON journal_steps (plan_id);
CREATE TABLE journal_markers (
    id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL REFERENCES journal_plans,
    scene_id TEXT NOT NULL, marker_id TEXT NOT NULL, title TEXT NOT NULL, start_s REAL NOT NULL,
    end_s REAL, primary_id TEXT NOT NULL, tag_ids TEXT NOT NULL, gone REAL,
    gone_plan INTEGER REFERENCES journal_plans, made REAL NOT NULL DEFAULT 0,
    tags_made TEXT NOT NULL DEFAULT '', asked TEXT NOT NULL DEFAULT '',
    ours INTEGER NOT NULL DEFAULT 1, stays_off INTEGER NOT NULL DEFAULT 0,
    recalled INTEGER REFERENCES journal_plans
);
CREATE INDEX journal_markers_ours ON journal_markers (scene_id) WHERE gone IS NULL;
CREATE INDEX journal_markers_made ON journal_markers (plan_id);
CREATE INDEX journal_markers_taken ON journal_markers (gone_plan) WHERE gone_plan IS NOT NULL;
CREATE INDEX journal_markers_off ON journal_markers (scene_id) WHERE stays_off = 1;
CREATE TABLE journal_tags (
    id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL REFERENCES journal_plans,
    kind TEXT NOT NULL DEFAULT 'scene', item_id TEXT NOT NULL, tag_id TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT '', gone REAL, gone_plan INTEGER REFERENCES journal_plans,
    made REAL NOT NULL DEFAULT 0, asked TEXT NOT NULL DEFAULT '', ours INTEGER NOT NULL DEFAULT 1,
    stays_off INTEGER NOT NULL DEFAULT 0, recalled INTEGER REFERENCES journal_plans
);
CREATE INDEX journal_tags_ours ON journal_tags (kind, item_id) WHERE gone IS NULL;
CREATE INDEX journal_tags_put ON journal_tags (plan_id);
CREATE INDEX journal_tags_taken ON journal_tags (gone_plan) WHERE gone_plan IS NOT NULL;
CREATE INDEX journal_tags_off ON journal_tags (kind, item_id) WHERE stays_off = 1;
CREATE TABLE journal_failures (
    run_id INTEGER NOT NULL REFERENCES journal_runs, kind TEXT NOT NULL DEFAULT 'scene',
    item_id TEXT NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE journal_released (
    plan_id INTEGER NOT NULL REFERENCES journal_plans, tag_id TEXT NOT NULL, name TEXT NOT NULL,
    back REAL, made REAL NOT NULL DEFAULT 0
);
CREATE INDEX journal_released_by ON journal_released (plan_id);
CREATE TABLE journal_new_tags (
    plan_id INTEGER NOT NULL REFERENCES journal_plans, tag_id TEXT NOT NULL, name TEXT NOT NULL,
    gone REAL, made REAL NOT NULL DEFAULT 0
);
CREATE INDEX journal_new_tags_of ON journal_new_tags (plan_id);
"""
_SIXTH = """
CREATE TABLE journal_evidence (
    kind TEXT NOT NULL, item_id TEXT NOT NULL, at REAL NOT NULL,
    item_made REAL NOT NULL DEFAULT 0, evidence BLOB NOT NULL, PRIMARY KEY (kind, item_id)
);
CREATE TABLE journal_judgements (
    id INTEGER PRIMARY KEY, scene_id TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL,
    tag_id TEXT NOT NULL, name TEXT NOT NULL, tag_made REAL NOT NULL DEFAULT 0,
    start_s REAL NOT NULL, end_s REAL NOT NULL, new_start_s REAL, new_end_s REAL,
    marker_id TEXT NOT NULL DEFAULT '', marker_made REAL NOT NULL DEFAULT 0,
    was_ours INTEGER NOT NULL DEFAULT 0, model TEXT NOT NULL DEFAULT '', at REAL NOT NULL,
    item_made REAL NOT NULL DEFAULT 0, plan_id INTEGER REFERENCES journal_plans,
    about INTEGER REFERENCES journal_judgements, undone REAL
);
CREATE INDEX journal_judgements_of ON journal_judgements (scene_id);
"""
_SIXTH_TO_SEVENTH = """
ALTER TABLE journal_markers ADD COLUMN tag_name TEXT NOT NULL DEFAULT '';
DROP INDEX IF EXISTS journal_judgements_of;
ALTER TABLE journal_judgements RENAME COLUMN kind TO decision;
ALTER TABLE journal_judgements RENAME COLUMN scene_id TO item_id;
ALTER TABLE journal_judgements ADD COLUMN kind TEXT NOT NULL DEFAULT 'scene';
ALTER TABLE journal_judgements ADD COLUMN confidence REAL;
ALTER TABLE journal_judgements ADD COLUMN threshold REAL;
ALTER TABLE journal_judgements ADD COLUMN wording TEXT NOT NULL DEFAULT '';
ALTER TABLE journal_judgements ADD COLUMN file TEXT NOT NULL DEFAULT '';
CREATE INDEX journal_judgements_about ON journal_judgements (kind, item_id);
CREATE INDEX journal_judgements_file ON journal_judgements (file);
ALTER TABLE journal_evidence RENAME TO journal_evidence_6;
CREATE TABLE journal_evidence (
    kind TEXT NOT NULL, item_id TEXT NOT NULL, item_made REAL NOT NULL DEFAULT 0,
    file TEXT NOT NULL DEFAULT '', at REAL NOT NULL, evidence BLOB NOT NULL,
    PRIMARY KEY (kind, item_id, item_made)
);
CREATE INDEX journal_evidence_file ON journal_evidence (file);
INSERT INTO journal_evidence SELECT kind, item_id, item_made, '', at, evidence
    FROM journal_evidence_6;
DROP TABLE journal_evidence_6
"""
_EIGHTH = """
CREATE TABLE journal_least_sure (
    scene_id TEXT NOT NULL, tag TEXT NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL,
    confidence REAL NOT NULL
);
CREATE INDEX journal_least_sure_of ON journal_least_sure (scene_id);
CREATE INDEX journal_least_sure_first ON journal_least_sure (confidence)
"""
_SECOND = """
CREATE TABLE journal_released (
    plan_id INTEGER NOT NULL REFERENCES journal_plans, tag_id TEXT NOT NULL, name TEXT NOT NULL,
    back REAL
);
CREATE INDEX journal_released_by ON journal_released (plan_id);
CREATE TABLE journal_new_tags (
    plan_id INTEGER NOT NULL REFERENCES journal_plans, tag_id TEXT NOT NULL, name TEXT NOT NULL,
    gone REAL
);
CREATE INDEX journal_new_tags_of ON journal_new_tags (plan_id);
"""
_FIRST_TO_SECOND = """
ALTER TABLE journal_runs ADD COLUMN settings TEXT NOT NULL DEFAULT '';
ALTER TABLE journal_runs ADD COLUMN pid INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal_runs ADD COLUMN lock TEXT NOT NULL DEFAULT '';
ALTER TABLE journal_runs ADD COLUMN outcome TEXT NOT NULL DEFAULT '';
ALTER TABLE journal_runs ADD COLUMN undoes INTEGER REFERENCES journal_runs;
ALTER TABLE journal_runs ADD COLUMN undone REAL;
ALTER TABLE journal_plans ADD COLUMN undone REAL;
CREATE INDEX journal_plans_of_run ON journal_plans (run_id);
CREATE INDEX journal_steps_of_plan ON journal_steps (plan_id);
ALTER TABLE journal_markers ADD COLUMN gone_plan INTEGER REFERENCES journal_plans;
CREATE INDEX journal_markers_made ON journal_markers (plan_id);
CREATE INDEX journal_markers_taken ON journal_markers (gone_plan) WHERE gone_plan IS NOT NULL;
ALTER TABLE journal_tags ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE journal_tags ADD COLUMN gone_plan INTEGER REFERENCES journal_plans;
CREATE INDEX journal_tags_put ON journal_tags (plan_id);
CREATE INDEX journal_tags_taken ON journal_tags (gone_plan) WHERE gone_plan IS NOT NULL;
"""
_SECOND_TO_THIRD = """
DROP INDEX IF EXISTS journal_plans_open;
DROP INDEX IF EXISTS journal_tags_ours;
ALTER TABLE journal_plans RENAME COLUMN scene_id TO item_id;
ALTER TABLE journal_plans ADD COLUMN kind TEXT NOT NULL DEFAULT 'scene';
ALTER TABLE journal_tags RENAME COLUMN scene_id TO item_id;
ALTER TABLE journal_tags ADD COLUMN kind TEXT NOT NULL DEFAULT 'scene';
ALTER TABLE journal_failures RENAME COLUMN scene_id TO item_id;
ALTER TABLE journal_failures ADD COLUMN kind TEXT NOT NULL DEFAULT 'scene';
CREATE INDEX journal_plans_open ON journal_plans (kind, item_id) WHERE closed IS NULL;
CREATE INDEX journal_tags_ours ON journal_tags (kind, item_id) WHERE gone IS NULL;
"""
_THIRD_TO_FOURTH = """
ALTER TABLE journal_tags ADD COLUMN since REAL NOT NULL DEFAULT 0;
UPDATE journal_tags SET since = coalesce(
    (SELECT coalesce(closed, opened) FROM journal_plans WHERE journal_plans.id = plan_id), 0)
"""


# What was disowned before was taken off or changed by a person, as a rule, and is taken for that.
# When anything was made was compared with this machine's clock, so of that nothing is known any
# more.
_FOURTH_TO_FIFTH = """
ALTER TABLE journal_plans ADD COLUMN item_made REAL NOT NULL DEFAULT 0;
ALTER TABLE journal_markers ADD COLUMN made REAL NOT NULL DEFAULT 0;
ALTER TABLE journal_markers ADD COLUMN tags_made TEXT NOT NULL DEFAULT '';
ALTER TABLE journal_markers ADD COLUMN asked TEXT NOT NULL DEFAULT '';
ALTER TABLE journal_markers ADD COLUMN ours INTEGER NOT NULL DEFAULT 1;
ALTER TABLE journal_markers ADD COLUMN stays_off INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal_markers ADD COLUMN recalled INTEGER REFERENCES journal_plans;
UPDATE journal_markers SET stays_off = 1 WHERE gone IS NOT NULL AND gone_plan IS NULL;
CREATE INDEX journal_markers_off ON journal_markers (scene_id) WHERE stays_off = 1;
ALTER TABLE journal_tags RENAME COLUMN since TO made;
UPDATE journal_tags SET made = 0;
ALTER TABLE journal_tags ADD COLUMN asked TEXT NOT NULL DEFAULT '';
ALTER TABLE journal_tags ADD COLUMN ours INTEGER NOT NULL DEFAULT 1;
ALTER TABLE journal_tags ADD COLUMN stays_off INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal_tags ADD COLUMN recalled INTEGER REFERENCES journal_plans;
UPDATE journal_tags SET stays_off = 1 WHERE gone IS NOT NULL AND gone_plan IS NULL;
CREATE INDEX journal_tags_off ON journal_tags (kind, item_id) WHERE stays_off = 1;
ALTER TABLE journal_released ADD COLUMN made REAL NOT NULL DEFAULT 0;
ALTER TABLE journal_new_tags ADD COLUMN made REAL NOT NULL DEFAULT 0
"""


class NewerSchemaError(Exception):
    """The tables have a version that is unknown here."""


def prepare(db: sqlite3.Connection) -> None:
    """Create the tables, or migrate them to this version, inside the caller's transaction: all or
    nothing.

    Raises ``NewerSchemaError`` before anything is changed.
    """
    db.execute("CREATE TABLE IF NOT EXISTS journal_schema (version INTEGER NOT NULL)")
    row = db.execute("SELECT version FROM journal_schema").fetchone()
    version = row[0] if row else _guess_version(db)
    if version > SCHEMA_VERSION:
        raise NewerSchemaError
    if version == 0:
        _run(db, ";".join((_TABLES + _SIXTH + _SIXTH_TO_SEVENTH, _EIGHTH)))
    else:
        for step in _MIGRATIONS[version - 1 :]:
            step(db)
    if row is None:
        db.execute("INSERT INTO journal_schema VALUES (?)", (SCHEMA_VERSION,))
    else:
        db.execute(
            "UPDATE journal_schema SET version = ? WHERE version < ?",
            (SCHEMA_VERSION, SCHEMA_VERSION),
        )


def _guess_version(db: sqlite3.Connection) -> int:
    """Return the version of tables whose version row was lost to damage. 0 if there are no
    tables.
    """
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "journal_least_sure" in tables:
        return 8
    if "journal_judgements" in tables:
        judgements = {column[1] for column in db.execute("PRAGMA table_info(journal_judgements)")}
        return 7 if "decision" in judgements else 6
    of_tags = {column[1] for column in db.execute("PRAGMA table_info(journal_tags)")}
    if "stays_off" in of_tags:
        return 5
    if "since" in of_tags:
        return 4
    if any(column[1] == "kind" for column in db.execute("PRAGMA table_info(journal_plans)")):
        return 3
    return 2 if "journal_released" in tables else int("journal_runs" in tables)


def _run(db: sqlite3.Connection, statements: str) -> None:
    # executescript would commit the transaction that all of this belongs to.
    for statement in statements.split(";"):
        db.execute(statement)


def _to_second(db: sqlite3.Connection) -> None:
    """Migrate to version 2. Which plan removed what, and the names of tags, follow from the plans
    of version 1.
    """
    _run(db, _FIRST_TO_SECOND + _SECOND)
    db.execute("UPDATE journal_runs SET outcome = 'finished' WHERE finished IS NOT NULL")
    for plan_id, text in db.execute(
        "SELECT id, plan FROM journal_plans WHERE outcome IN ('done', 'finished') ORDER BY id"
    ):
        plan = json.loads(text)
        for marker in plan["destroy"]:
            db.execute(
                "UPDATE journal_markers SET gone_plan = ?"
                " WHERE scene_id = ? AND marker_id = ? AND gone IS NOT NULL",
                (plan_id, plan["scene_id"], marker["id"]),
            )
        for tag in plan["add"]:
            db.execute(
                "UPDATE journal_tags SET name = ? WHERE tag_id = ? AND name = ''",
                (tag["name"], tag["id"]),
            )
        for tag in plan["remove"]:
            db.execute(
                "UPDATE journal_tags SET gone_plan = ?, name = ? WHERE id ="
                " (SELECT max(id) FROM journal_tags WHERE scene_id = ? AND tag_id = ?"
                " AND plan_id < ? AND gone IS NOT NULL AND gone_plan IS NULL)",
                (plan_id, tag["name"], plan["scene_id"], tag["id"], plan_id),
            )
        for tag in plan["release"]:
            db.execute(
                "INSERT INTO journal_released VALUES (?, ?, ?, NULL)",
                (plan_id, tag["id"], tag["name"]),
            )


_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _to_second,
    # Version 2 knew only scenes. Its plans stay as they are, and are read as plans for scenes.
    partial(_run, statements=_SECOND_TO_THIRD),
    # Version 3 did not note since when a tag is the plugin's: since its plan was carried out, or
    # begun.
    partial(_run, statements=_THIRD_TO_FOURTH),
    # Version 4 knew neither what people took off nor when Stash made anything.
    partial(_run, statements=_FOURTH_TO_FIFTH),
    # Version 5 knew neither what was seen nor what people decided about it.
    partial(_run, statements=_SIXTH),
    # Version 6 knew decisions about scenes alone, and not the file that they are about.
    partial(_run, statements=_SIXTH_TO_SEVENTH),
    # Version 7 had the confidences of spans in packed evidence only.
    partial(_run, statements=_EIGHTH),
)
"""The migrations, that of the first version to the second first."""
