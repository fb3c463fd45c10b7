"""The journal: what was going to be changed, what was, and so what in Stash is ours. SQLite, in the store's file.

Every change plan is on disk before its first write reaches Stash. Blocking; one caller at a time, from
whichever thread. Other programs may have the same file open.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from haven_stash.changes import ChangePlan, OurMarker, Ours
from haven_stash.errors import JournalError

SCHEMA_VERSION = 1
_BUSY_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal_schema (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS journal_runs (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, started REAL NOT NULL, finished REAL
);
CREATE TABLE IF NOT EXISTS journal_plans (
    id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES journal_runs, scene_id TEXT NOT NULL,
    plan TEXT NOT NULL, opened REAL NOT NULL, closed REAL, outcome TEXT
);
CREATE INDEX IF NOT EXISTS journal_plans_open ON journal_plans (scene_id) WHERE closed IS NULL;
CREATE TABLE IF NOT EXISTS journal_steps (
    plan_id INTEGER NOT NULL REFERENCES journal_plans, at REAL NOT NULL, step TEXT NOT NULL, outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS journal_markers (
    id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL REFERENCES journal_plans, scene_id TEXT NOT NULL,
    marker_id TEXT NOT NULL, title TEXT NOT NULL, start_s REAL NOT NULL, end_s REAL, primary_id TEXT NOT NULL,
    tag_ids TEXT NOT NULL, gone REAL
);
CREATE INDEX IF NOT EXISTS journal_markers_ours ON journal_markers (scene_id) WHERE gone IS NULL;
CREATE TABLE IF NOT EXISTS journal_tags (
    id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL REFERENCES journal_plans, scene_id TEXT NOT NULL,
    tag_id TEXT NOT NULL, gone REAL
);
CREATE INDEX IF NOT EXISTS journal_tags_ours ON journal_tags (scene_id) WHERE gone IS NULL;
CREATE TABLE IF NOT EXISTS journal_failures (
    run_id INTEGER NOT NULL REFERENCES journal_runs, scene_id TEXT NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """A plan whose scene is not known to be done."""

    id: int
    plan: ChangePlan


class Journal:
    """Opens (and creates) the journal at ``path``. Raises ``JournalError`` when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            # One caller at a time is this class's contract, so the thread may change.
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def start_run(self, task: str) -> int:
        """A new run of ``task``; returns its number."""
        return self._insert("INSERT INTO journal_runs (task, started) VALUES (?, ?)", task, time.time())

    def finish_run(self, run_id: int) -> None:
        """The run came to its end."""
        with self._writing():
            self._db.execute("UPDATE journal_runs SET finished = ? WHERE id = ?", (time.time(), run_id))

    def open_plan(self, run_id: int, plan: ChangePlan) -> OpenPlan:
        """Puts the plan on disk. Call before the first write of it."""
        sql = "INSERT INTO journal_plans (run_id, scene_id, plan, opened) VALUES (?, ?, ?, ?)"
        return OpenPlan(self._insert(sql, run_id, plan.scene_id, plan.to_json(), time.time()), plan)

    def close_plan(self, opened: OpenPlan, outcome: str) -> None:
        """Nothing more is going to come of this plan; ``outcome`` in a word or two."""
        with self._writing():
            self._db.execute("UPDATE journal_plans SET closed = ?, outcome = ? WHERE id = ?", (time.time(), outcome, opened.id))

    def note(self, opened: OpenPlan, step: str, outcome: str) -> None:
        """What became of one step of a plan."""
        with self._writing():
            self._note(opened, step, outcome)

    def note_failure(self, run_id: int, scene_id: str, reason: str) -> None:
        """A scene could not be done."""
        self._insert("INSERT INTO journal_failures VALUES (?, ?, ?, ?)", run_id, scene_id, time.time(), reason)

    def markers_created(self, opened: OpenPlan, markers: Iterable[OurMarker]) -> None:
        """These are ours from now on."""
        rows = [
            (opened.id, opened.plan.scene_id, m.id, m.title, m.start_s, m.end_s, m.primary_id, " ".join(m.tag_ids))
            for m in markers
        ]
        with self._writing():
            self._db.executemany(
                "INSERT INTO journal_markers (plan_id, scene_id, marker_id, title, start_s, end_s, primary_id, tag_ids)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._note(opened, "create markers", f"{len(rows)} created")

    def tags_added(self, opened: OpenPlan, tag_ids: Iterable[str]) -> None:
        """These are ours on this scene from now on."""
        rows = [(opened.id, opened.plan.scene_id, tag_id) for tag_id in tag_ids]
        with self._writing():
            self._db.executemany("INSERT INTO journal_tags (plan_id, scene_id, tag_id) VALUES (?, ?, ?)", rows)
            self._note(opened, "add tags", f"{len(rows)} added")

    def disown(self, scene_id: str, *, marker_ids: Iterable[str] = (), tag_ids: Iterable[str] = ()) -> None:
        """These are no longer ours: taken off by us, or taken off or changed by a person."""
        now = time.time()
        with self._writing():
            for table, column, ids in (("journal_markers", "marker_id", marker_ids), ("journal_tags", "tag_id", tag_ids)):
                self._db.executemany(
                    f"UPDATE {table} SET gone = ? WHERE scene_id = ? AND {column} = ? AND gone IS NULL",
                    [(now, scene_id, id_) for id_ in ids],
                )

    def ours(self, scene_id: str) -> Ours:
        """What of a scene is ours, by all runs together."""
        with self._explained():
            markers = self._db.execute(
                "SELECT marker_id, title, start_s, end_s, primary_id, tag_ids FROM journal_markers"
                " WHERE scene_id = ? AND gone IS NULL ORDER BY id",
                (scene_id,),
            ).fetchall()
            tags = self._db.execute("SELECT tag_id FROM journal_tags WHERE scene_id = ? AND gone IS NULL", (scene_id,))
            return Ours(
                markers={row[0]: OurMarker(row[0], row[1], row[2], row[3], row[4], tuple(row[5].split())) for row in markers},
                tag_ids=frozenset(row[0] for row in tags),
            )

    def unfinished(self, scene_id: str | None = None) -> tuple[OpenPlan, ...]:
        """The plans that are still open, oldest first, of one scene or of all."""
        where, values = ("", ()) if scene_id is None else (" AND scene_id = ?", (scene_id,))
        with self._explained():
            rows = self._db.execute(f"SELECT id, plan FROM journal_plans WHERE closed IS NULL{where} ORDER BY id", values)
            return tuple(OpenPlan(row[0], ChangePlan.from_json(row[1])) for row in rows)

    def _prepare(self) -> None:
        if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._db.execute("PRAGMA journal_mode = WAL")
        # A plan must survive a power cut that follows it, not only a kill.
        self._db.execute("PRAGMA synchronous = FULL")
        with self._writing():
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            row = self._db.execute("SELECT version FROM journal_schema").fetchone()
            if row is None:
                self._db.execute("INSERT INTO journal_schema VALUES (?)", (SCHEMA_VERSION,))
            elif row[0] > SCHEMA_VERSION:
                raise JournalError(f"{self._path} was written by a newer version of this plugin: update the plugin")

    def _insert(self, sql: str, *values: object) -> int:
        with self._writing():
            return self._db.execute(sql, values).lastrowid or 0

    def _note(self, opened: OpenPlan, step: str, outcome: str) -> None:
        self._db.execute("INSERT INTO journal_steps VALUES (?, ?, ?, ?)", (opened.id, time.time(), step, outcome))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            remedy = "see that its folder exists and can be written, and that the disk is not full"
            raise JournalError(f"the journal {self._path} cannot be used ({error}): {remedy}") from error
