"""The journal itself: change plans, their outcome, and what of a scene is ours."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from haven_stash.changes import ChangePlan, OurMarker, Ours
from haven_stash.errors import JournalError
from haven_stash.journal.database import JournalDatabase, Row
from haven_stash.journal.facts import PlanFacts
from haven_stash.journal.locks import Lock
from haven_stash.journal.runs import RunBook
from haven_stash.values import Tag

_WRITER_PATIENCE_S = 300.0
_MARKER = "marker_id, title, start_s, end_s, primary_id, tag_ids, id"
TAKING_OFF = "taking off"
"""The step that is written down before anything is taken off a scene, so that who took it off is known after a kill."""


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """A plan whose scene is not known to be done."""

    id: int
    plan: ChangePlan


class Journal:
    """Opens (and creates) the journal at ``path``. Raises ``JournalError`` when the file cannot be used.

    Blocking; one caller at a time, from whichever thread. Other processes may have the same file open. ``runs`` is the
    part that knows them; ``patience_s``: how long one that is writing is waited for.
    """

    def __init__(self, path: Path, *, patience_s: float = _WRITER_PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._database = JournalDatabase(path)
        self._writer = Lock(path.with_name(f"{path.name}-writer"))
        self.runs = RunBook(self._database)

    def close(self) -> None:
        """Closes the file and lets go of every lock."""
        self.runs.close()
        self._writer.let_go()
        self._database.close()

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Nobody else writes to Stash meanwhile, in whichever process.

        So whatever plan is found open inside the block was left behind: nobody alive is at work on it. Raises
        ``JournalError`` when somebody else does not let go.
        """
        with self._database.explained():
            taken = self._writer.take(self._patience_s)
        if not taken:
            told = f"another process of the plugin has been writing for {self._patience_s:g} s: stop it, then start again"
            raise JournalError(f"the journal {self._database.path} is in use: {told}")
        try:
            yield
        finally:
            self._writer.let_go()

    def open_plan(self, run_id: int, plan: ChangePlan) -> OpenPlan:
        """Puts the plan on disk. Call before the first write of it."""
        sql = "INSERT INTO journal_plans (run_id, scene_id, plan, opened) VALUES (?, ?, ?, ?)"
        return OpenPlan(self._database.write(sql, run_id, plan.scene_id, plan.to_json(), time.time()), plan)

    def close_plan(self, opened: OpenPlan, outcome: str) -> None:
        """Nothing more is going to come of this plan; ``outcome`` in a word or two. "done" settles what it undoes, too."""
        now = time.time()
        with self._database.writing():
            self._database.execute("UPDATE journal_plans SET closed = ?, outcome = ? WHERE id = ?", now, outcome, opened.id)
            if opened.plan.undoes and outcome == "done":
                self._database.execute("UPDATE journal_plans SET undone = ? WHERE id = ?", now, opened.plan.undoes)

    def note(self, opened: OpenPlan, step: str, outcome: str) -> None:
        """What became of one step of a plan."""
        with self._database.writing():
            self._note(opened, step, outcome)

    def has_begun(self, opened: OpenPlan, step: str) -> bool:
        """Whether ``note`` was told of that step."""
        return bool(self._database.rows("SELECT 1 FROM journal_steps WHERE plan_id = ? AND step = ? LIMIT 1", opened.id, step))

    def note_failure(self, run_id: int, scene_id: str, reason: str) -> None:
        """A scene could not be done."""
        self._database.write("INSERT INTO journal_failures VALUES (?, ?, ?, ?)", run_id, scene_id, time.time(), reason)

    def markers_created(self, opened: OpenPlan, markers: Iterable[OurMarker]) -> None:
        """These are ours from now on; those that have a ``row`` are again, in the name of the plan that made them first."""
        told = tuple(markers)
        with self._database.writing():
            self._database.execute_each(
                "UPDATE journal_markers SET marker_id = ?, primary_id = ?, tag_ids = ?, gone = NULL, gone_plan = NULL"
                " WHERE id = ?",
                [(marker.id, marker.primary_id, " ".join(marker.tag_ids), marker.row) for marker in told if marker.row],
            )
            self._database.execute_each(
                "INSERT INTO journal_markers (plan_id, scene_id, marker_id, title, start_s, end_s, primary_id, tag_ids)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (opened.id, opened.plan.scene_id, m.id, m.title, m.start_s, m.end_s, m.primary_id, " ".join(m.tag_ids))
                    for m in told
                    if not m.row
                ],
            )
            self._note(opened, "create markers", f"{len(told)} created")

    def tags_added(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """These are ours on this scene from now on. Put back by an undoing, they are again what they were before."""
        told = tuple(tags)
        with self._database.writing():
            for tag in told:
                if opened.plan.undoes:
                    self._put_back(opened.plan, tag)
                else:
                    sql = "INSERT INTO journal_tags (plan_id, scene_id, tag_id, name) VALUES (?, ?, ?, ?)"
                    self._database.execute(sql, opened.id, opened.plan.scene_id, tag.id, tag.name)
            self._note(opened, "add tags", f"{len(told)} added")

    def _put_back(self, plan: ChangePlan, tag: Tag) -> None:
        # By its name where there is none of its id: a tag that was deleted meanwhile has been made anew, with another id.
        revive = "UPDATE journal_tags SET tag_id = ?, gone = NULL, gone_plan = NULL WHERE gone_plan = ?"
        back = "UPDATE journal_released SET back = ? WHERE plan_id = ?"
        for which, value in (("tag_id", tag.id), ("name", tag.name)):
            revived = self._database.execute(f"{revive} AND {which} = ?", tag.id, plan.undoes, value)
            if revived or self._database.execute(f"{back} AND {which} = ?", time.time(), plan.undoes, value):
                return

    def new_tags(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """Stash did not have these tags before this plan made them."""
        told = tuple(tags)
        if told:
            with self._database.writing():
                sql = "INSERT INTO journal_new_tags (plan_id, tag_id, name) VALUES (?, ?, ?)"
                self._database.execute_each(sql, [(opened.id, tag.id, tag.name) for tag in told])

    def markers_taken_off(self, opened: OpenPlan, marker_ids: Iterable[str]) -> None:
        """The plan took these markers, which were ours, off the scene."""
        self._gone(opened.plan.scene_id, "journal_markers", "marker_id", marker_ids, opened.id)

    def tags_taken_off(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """The plan took these tags off the scene: ours, or those that queue and report."""
        scene_id, told = opened.plan.scene_id, tuple(tags)
        own = self.ours(scene_id).tag_ids
        self._gone(scene_id, "journal_tags", "tag_id", [tag.id for tag in told if tag.id in own], opened.id)
        known = {row[0] for row in self._database.rows("SELECT tag_id FROM journal_released WHERE plan_id = ?", opened.id)}
        others = [tag for tag in told if tag.id not in own and tag in opened.plan.release and tag.id not in known]
        with self._database.writing():
            sql = "INSERT INTO journal_released (plan_id, tag_id, name) VALUES (?, ?, ?)"
            self._database.execute_each(sql, [(opened.id, tag.id, tag.name) for tag in others])

    def disown(self, scene_id: str, *, marker_ids: Iterable[str] = (), tag_ids: Iterable[str] = ()) -> None:
        """These are no longer ours: a person took them off, or changed them."""
        self._gone(scene_id, "journal_markers", "marker_id", marker_ids, None)
        self._gone(scene_id, "journal_tags", "tag_id", tag_ids, None)

    def ours(self, scene_id: str) -> Ours:
        """What of a scene is ours, by all runs together."""
        markers = self._markers("scene_id = ? AND gone IS NULL", scene_id)
        tags = self._database.rows("SELECT tag_id FROM journal_tags WHERE scene_id = ? AND gone IS NULL", scene_id)
        return Ours({marker.id: marker for marker in markers}, frozenset(row[0] for row in tags))

    def written(self, opened: OpenPlan) -> tuple[OurMarker, ...]:
        """The markers that this plan is known to have made, whatever became of them."""
        rows = [marker.revives for marker in opened.plan.create if marker.revives]
        revived = self._markers(f"gone IS NULL AND id IN ({', '.join('?' * len(rows))})", *rows) if rows else ()
        return (*self._markers("plan_id = ?", opened.id), *revived)

    def scenes_with_ours(self) -> tuple[str, ...]:
        """The scenes on which something is ours, in the order of their ids."""
        sql = (
            "SELECT DISTINCT scene_id FROM (SELECT scene_id FROM journal_markers WHERE gone IS NULL"
            " UNION SELECT scene_id FROM journal_tags WHERE gone IS NULL) ORDER BY CAST(scene_id AS INTEGER), scene_id"
        )
        return tuple(row[0] for row in self._database.rows(sql))

    def unfinished(self, scene_id: str | None = None) -> tuple[OpenPlan, ...]:
        """The plans that are still open, oldest first, of one scene or of all."""
        where, values = ("", ()) if scene_id is None else (" AND scene_id = ?", (scene_id,))
        rows = self._database.rows(f"SELECT id, plan FROM journal_plans WHERE closed IS NULL{where} ORDER BY id", *values)
        return tuple(OpenPlan(row[0], ChangePlan.from_json(row[1])) for row in rows)

    def plans_to_undo(self, run_id: int) -> tuple[tuple[int, str], ...]:
        """(number, scene) of every plan of a run that is not undone yet, latest first."""
        sql = "SELECT id, scene_id FROM journal_plans WHERE run_id = ? AND undone IS NULL AND closed IS NOT NULL ORDER BY id DESC"
        return tuple((row[0], row[1]) for row in self._database.rows(sql, run_id))

    def set_undone(self, plan_id: int) -> None:
        """Nothing of this plan is left to undo."""
        self._database.write("UPDATE journal_plans SET undone = ? WHERE id = ?", time.time(), plan_id)

    def facts(self, plan_id: int) -> PlanFacts:
        """What came of a plan."""
        ((run_id, text),) = self._database.rows("SELECT run_id, plan FROM journal_plans WHERE id = ?", plan_id)
        plan = ChangePlan.from_json(text)
        released = self._database.rows(
            "SELECT tag_id, name FROM journal_released WHERE plan_id = ? AND back IS NULL ORDER BY rowid", plan_id
        )
        return PlanFacts(
            plan_id,
            run_id,
            plan.scene_id,
            plan.parent,
            frozenset(plan.before_marker_ids),
            made=self._markers("plan_id = ? AND gone IS NULL", plan_id),
            lost_markers=self._markers("plan_id = ? AND gone IS NOT NULL AND gone_plan IS NULL", plan_id),
            taken_markers=self._markers("gone_plan = ?", plan_id),
            put=self._tags("plan_id = ? AND gone IS NULL", plan_id),
            lost_tags=self._tags("plan_id = ? AND gone IS NOT NULL AND gone_plan IS NULL", plan_id),
            taken_tags=self._tags("gone_plan = ?", plan_id),
            released=tuple(Tag(*row) for row in released),
        )

    def new_tags_of_plan(self, opened: OpenPlan) -> tuple[Tag, ...]:
        """The tags that a plan is known to have made in Stash."""
        return tuple(
            Tag(*row) for row in self._database.rows("SELECT tag_id, name FROM journal_new_tags WHERE plan_id = ?", opened.id)
        )

    def new_tags_of(self, run_id: int) -> tuple[Tag, ...]:
        """The tags that a run made in Stash and that are not known to be gone again."""
        sql = (
            "SELECT DISTINCT tag_id, name FROM journal_new_tags WHERE gone IS NULL"
            " AND plan_id IN (SELECT id FROM journal_plans WHERE run_id = ?) ORDER BY CAST(tag_id AS INTEGER), tag_id"
        )
        return tuple(Tag(*row) for row in self._database.rows(sql, run_id))

    def tag_destroyed(self, tag_id: str) -> None:
        """A tag that the plugin had made is no longer in Stash."""
        self._database.write("UPDATE journal_new_tags SET gone = ? WHERE tag_id = ? AND gone IS NULL", time.time(), tag_id)

    def _markers(self, where: str, *values: object) -> tuple[OurMarker, ...]:
        return tuple(
            map(_marker, self._database.rows(f"SELECT {_MARKER} FROM journal_markers WHERE {where} ORDER BY id", *values))
        )

    def _tags(self, where: str, *values: object) -> tuple[Tag, ...]:
        rows = self._database.rows(f"SELECT tag_id, name FROM journal_tags WHERE {where} ORDER BY id", *values)
        return tuple(Tag(*row) for row in rows)

    def _gone(self, scene_id: str, table: str, column: str, ids: Iterable[str], by_plan: int | None) -> None:
        rows = [(time.time(), by_plan, scene_id, id_) for id_ in ids]
        if rows:
            with self._database.writing():
                self._database.execute_each(
                    f"UPDATE {table} SET gone = ?, gone_plan = ? WHERE scene_id = ? AND {column} = ? AND gone IS NULL", rows
                )

    def _note(self, opened: OpenPlan, step: str, outcome: str) -> None:
        sql = "INSERT INTO journal_steps (plan_id, at, step, outcome) VALUES (?, ?, ?, ?)"
        self._database.execute(sql, opened.id, time.time(), step, outcome)


def _marker(row: Row) -> OurMarker:
    marker_id, title, start_s, end_s, primary_id, tag_ids, number = row
    return OurMarker(marker_id, title, start_s, end_s, primary_id, tuple(tag_ids.split()), number)
