"""Makes of a journal one of an earlier version, as an earlier version of the plugin would have left
it.
"""

from __future__ import annotations

import sqlite3

_LATER_INDEXES = {
    "journal_plans_of_run",
    "journal_steps_of_plan",
    "journal_markers_made",
    "journal_markers_taken",
    "journal_tags_put",
    "journal_tags_taken",
}
_LATER_COLUMNS = {
    "journal_runs": ("settings", "pid", "lock", "outcome", "undoes", "undone"),
    "journal_plans": ("undone",),
    "journal_markers": ("gone_plan",),
    "journal_tags": ("name", "gone_plan"),
}


_OF_FIFTH = {
    "journal_plans": ("item_made",),
    "journal_markers": ("made", "tags_made", "asked", "ours", "stays_off", "recalled"),
    "journal_tags": ("asked", "ours", "stays_off", "recalled"),
    "journal_released": ("made",),
    "journal_new_tags": ("made",),
}


def as_seventh_version(db: sqlite3.Connection) -> None:
    """Take away what the seventh version did not have: the spans that are least sure."""
    db.execute("DROP TABLE journal_least_sure")
    db.execute("UPDATE journal_schema SET version = 7")


def as_sixth_version(db: sqlite3.Connection) -> None:
    """Take away what the sixth version did not have: judgements about tags of images, what the run
    said that is judged, and the files of both.
    """
    as_seventh_version(db)
    db.execute("ALTER TABLE journal_markers DROP COLUMN tag_name")
    for table in ("judgements", "evidence"):
        db.execute(f"DROP INDEX journal_{table}_file")
    db.execute("DROP INDEX journal_judgements_about")
    for column in ("kind", "confidence", "threshold", "wording", "file"):
        db.execute(f"ALTER TABLE journal_judgements DROP COLUMN {column}")
    db.execute("ALTER TABLE journal_judgements RENAME COLUMN decision TO kind")
    db.execute("ALTER TABLE journal_judgements RENAME COLUMN item_id TO scene_id")
    db.execute("CREATE INDEX journal_judgements_of ON journal_judgements (scene_id)")
    db.execute("ALTER TABLE journal_evidence RENAME TO journal_evidence_7")
    db.execute(
        "CREATE TABLE journal_evidence (kind TEXT NOT NULL, item_id TEXT NOT NULL, at REAL NOT"
        " NULL, item_made REAL NOT NULL DEFAULT 0, evidence BLOB NOT NULL,"
        " PRIMARY KEY (kind, item_id))"
    )
    db.execute(
        "INSERT INTO journal_evidence SELECT kind, item_id, at, item_made, evidence"
        " FROM journal_evidence_7"
    )
    db.execute("DROP TABLE journal_evidence_7")
    db.execute("UPDATE journal_schema SET version = 6")


def as_fifth_version(db: sqlite3.Connection) -> None:
    """Take away what the fifth version did not have: evidence and judgements."""
    as_sixth_version(db)
    db.execute("DROP TABLE journal_evidence")
    db.execute("DROP TABLE journal_judgements")
    db.execute("UPDATE journal_schema SET version = 5")


def as_fourth_version(db: sqlite3.Connection) -> None:
    """Take away what the fourth version did not have: what people took off, and when Stash made
    what is spoken of.
    """
    as_fifth_version(db)
    db.execute("DELETE FROM journal_markers WHERE NOT ours")
    db.execute("DELETE FROM journal_tags WHERE NOT ours")
    db.execute("DROP INDEX journal_markers_off")
    db.execute("DROP INDEX journal_tags_off")
    for table, columns in _OF_FIFTH.items():
        for column in columns:
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    db.execute("ALTER TABLE journal_tags RENAME COLUMN made TO since")
    opened = "(SELECT coalesce(closed, opened) FROM journal_plans WHERE journal_plans.id = plan_id)"
    db.execute(f"UPDATE journal_tags SET since = coalesce({opened}, 0)")
    db.execute("UPDATE journal_schema SET version = 4")


def as_third_version(db: sqlite3.Connection) -> None:
    """Take away what the third version did not have: since when a tag is ours."""
    as_fourth_version(db)
    db.execute("ALTER TABLE journal_tags DROP COLUMN since")
    db.execute("UPDATE journal_schema SET version = 3")


def as_second_version(db: sqlite3.Connection) -> None:
    """Take away what the second version did not have: anything but scenes."""
    as_third_version(db)
    db.execute("DROP INDEX journal_plans_open")
    db.execute("DROP INDEX journal_tags_ours")
    for table in ("journal_plans", "journal_tags", "journal_failures"):
        db.execute(f"ALTER TABLE {table} DROP COLUMN kind")
        db.execute(f"ALTER TABLE {table} RENAME COLUMN item_id TO scene_id")
    db.execute("CREATE INDEX journal_plans_open ON journal_plans (scene_id) WHERE closed IS NULL")
    db.execute("CREATE INDEX journal_tags_ours ON journal_tags (scene_id) WHERE gone IS NULL")
    scene = "json_extract(plan, '$.item.id')"
    db.execute(
        f"UPDATE journal_plans SET plan = json_remove(json_set(plan, '$.scene_id', {scene}), "
        "'$.item')"
    )
    db.execute("UPDATE journal_schema SET version = 2")


def as_first_version(db: sqlite3.Connection) -> None:
    """Take away all that the first version did not have."""
    as_second_version(db)
    for index in sorted(_LATER_INDEXES):
        db.execute(f"DROP INDEX {index}")
    for table, columns in _LATER_COLUMNS.items():
        for column in columns:
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    db.execute("DROP TABLE journal_released")
    db.execute("DROP TABLE journal_new_tags")
    db.execute("UPDATE journal_schema SET version = 1")


OLD_VERSIONS = (
    as_first_version,
    as_second_version,
    as_third_version,
    as_fourth_version,
    as_fifth_version,
    as_sixth_version,
    as_seventh_version,
)
