"""The journal's runs: which are at work in some process, which were cut off, and which can be
undone.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from pathlib import Path

from haven.stash.errors import JournalError
from haven.stash.journal.database import JournalDatabase, Lock
from haven.stash.values import Run

DECISIONS = "Decisions"
"""The task of a run that carries out decisions about spans. *Undo Last Run* leaves it alone."""
# A run that put something somewhere, or took something off, and is not itself an undoing.
_UNDOABLE = f"""
SELECT id, task, started, pid, outcome FROM journal_runs AS run
WHERE undone IS NULL AND undoes IS NULL AND task <> '{DECISIONS}' AND EXISTS (
    SELECT 1 FROM journal_plans AS plan WHERE plan.run_id = run.id AND (
        EXISTS (
            SELECT 1 FROM journal_markers WHERE plan_id = plan.id AND ours OR gone_plan = plan.id)
        OR EXISTS (
            SELECT 1 FROM journal_tags WHERE plan_id = plan.id AND ours OR gone_plan = plan.id)
        OR EXISTS (SELECT 1 FROM journal_released WHERE plan_id = plan.id)))
ORDER BY id DESC LIMIT 1"""


class RunLog:
    """Runs of one journal. A run holds a lock for as long as its process lives, so that others
    know.
    """

    def __init__(self, database: JournalDatabase) -> None:
        self._database = database
        self._held: dict[int, Lock] = {}

    def start(self, task: str, settings: str = "", undoes: int | None = None) -> int:
        """Start a run of ``task`` and return its number. ``settings``: their fingerprint;
        ``undoes``: the run that it undoes.
        """
        lock = self._new_lock()
        run_id = self._database.write(
            "INSERT INTO journal_runs (task, started, settings, pid, lock, undoes)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            task, time.time(), settings, os.getpid(), lock.name, undoes,
        )  # fmt: skip
        self._held[run_id] = lock
        return run_id

    def resume(self, run_id: int, task: str) -> bool:
        """Resume a run that ended as "sliced". Return False if there is no such run, or it was
        undone meanwhile.
        """
        lock = self._new_lock()
        with self._database.writing():
            changed = self._database.execute(
                "UPDATE journal_runs SET finished = NULL, outcome = '', pid = ?, lock = ?"
                " WHERE id = ? AND task = ? AND outcome = 'sliced' AND undone IS NULL",
                os.getpid(), lock.name, run_id, task,
            )  # fmt: skip
        if changed:
            self._held[run_id] = lock
        else:
            lock.remove()
        return bool(changed)

    def finish(self, run_id: int, outcome: str = "finished") -> None:
        """End a run as "finished", "sliced" or "broken off"."""
        self._database.write(
            "UPDATE journal_runs SET finished = ?, outcome = ? WHERE id = ?",
            time.time(),
            outcome,
            run_id,
        )
        self._release(run_id)

    def cut_off(self) -> tuple[Run, ...]:
        """Mark the runs whose process is gone before they ended as cut off, and return them."""
        rows = self._database.rows(
            "SELECT id, task, started, pid, outcome, lock FROM journal_runs"
            " WHERE finished IS NULL ORDER BY id"
        )
        dead = [row for row in rows if not self._is_held(row[0], row[5])]
        for row in dead:
            self._database.write(
                "UPDATE journal_runs SET finished = ?, outcome = 'cut off'"
                " WHERE id = ? AND lock = ?",
                time.time(),
                row[0],
                row[5],
            )
            if row[5]:
                self._lock(row[5]).remove()
        return tuple(Run(*row[:5]) for row in dead)

    def last_undoable(self) -> Run | None:
        """Return the latest run that changed something and is not undone yet."""
        return next((Run(*row) for row in self._database.rows(_UNDOABLE)), None)

    def find(self, run_id: int) -> Run | None:
        """Return a run by its number, or None."""
        rows = self._database.rows(
            "SELECT id, task, started, pid, outcome, undone IS NOT NULL,"
            f" undoes IS NULL AND task <> '{DECISIONS}' FROM journal_runs WHERE id = ?",
            run_id,
        )
        for number, task, started, pid, outcome, undone, undoable in rows:
            return Run(number, task, started, pid, outcome, bool(undone), bool(undoable))
        return None

    def has_number(self, text: str | None) -> bool:
        """Return True if the text is the number of a run."""
        return text is not None and text.isdigit() and self.find(int(text)) is not None

    def is_at_work(self, run_id: int) -> bool:
        """Return True if some process, this one included, is carrying the run out."""
        rows = self._database.rows(
            "SELECT lock FROM journal_runs WHERE id = ? AND finished IS NULL", run_id
        )
        return any(self._is_held(run_id, name) for (name,) in rows)

    def mark_undone(self, run_id: int) -> None:
        """Mark the whole run as undone."""
        self._database.write("UPDATE journal_runs SET undone = ? WHERE id = ?", time.time(), run_id)

    def close(self) -> None:
        """Release the locks of this process: its runs that have not ended are cut off."""
        for run_id in tuple(self._held):
            self._release(run_id)

    def _new_lock(self) -> Lock:
        lock = self._lock(f"{self._database.path.name}-run-{secrets.token_hex(8)}")
        with self._database.explained():
            if not lock.acquire():
                raise JournalError(f"{lock.name}: somebody else has locked it")
        return lock

    def _lock(self, name: str) -> Lock:
        return Lock(Path(self._database.path.with_name(name)))

    def _is_held(self, run_id: int, name: str) -> bool:
        if run_id in self._held:
            return True
        try:
            return bool(name) and self._lock(name).is_held()
        except sqlite3.Error:
            return True  # it cannot be looked at, so it is not taken for dead

    def _release(self, run_id: int) -> None:
        lock = self._held.pop(run_id, None)
        if lock is not None:
            lock.remove()
