"""The journal itself: change plans, their outcome, what of an item is the plugin's, and what people
took off.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from haven.items import ItemKind, ItemRef
from haven.stash.changes import (
    ChangePlan,
    DecisionKind,
    Judgement,
    MarkerMove,
    Owned,
    OwnedMarker,
    OwnedTag,
    Records,
)
from haven.stash.errors import JournalBusyError
from haven.stash.evidence import Evidence
from haven.stash.journal.database import JournalDatabase, Lock, Row
from haven.stash.journal.runs import DECISIONS, RunLog
from haven.stash.values import ItemSnapshot, Marker, PastChange, Tag, same_making

_log = logging.getLogger(__name__)
_WRITER_PATIENCE_S = 300.0
_LEAST_SURE_KEPT = 10
_STAYS_OFF = "stays_off = 1 AND recalled IS NULL"
ADDING, TAKING_OFF = "adding", "taking off"
"""The steps noted before tags are added, or anything is removed, so that after a kill it is known
who did it.
"""

# Damage may have taken a plan.
_ITEM_MADE = "coalesce((SELECT item_made FROM journal_plans WHERE journal_plans.id = plan_id), 0.0)"
_MARKER_COLUMNS = (
    "marker_id, title, start_s, end_s, primary_id, tag_ids, id, asked, made,"
    f" {_ITEM_MADE}, tags_made, ours, tag_name"
)
_TAG_COLUMNS = f"tag_id, name, asked, made, {_ITEM_MADE}, ours"
"""The columns in the order of the fields of ``OwnedMarker`` and ``OwnedTag``."""
_JUDGEMENT_COLUMNS = (
    "decision, tag_id, name, asked, tag_made, start_s, end_s, new_start_s, new_end_s, marker_id,"
    " marker_made, was_ours, model, about, at, id, plan_id, wording, confidence, threshold"
)
_TAGS, _MARKERS = "journal_tags", "journal_markers"
_OF_FILE = ("journal_judgements", "journal_evidence")
_LEFT = "undone IS NULL AND closed IS NOT NULL AND run_id"
"""The plans of a run that are not undone; its number follows."""
_CAN_BE_UNDONE = f"run.undoes IS NULL AND run.task <> '{DECISIONS}'"
_TO_UNDO = f"""
SELECT plan.id, plan.kind, plan.item_id, plan.run_id FROM journal_plans AS plan
JOIN journal_runs AS run ON run.id = plan.run_id
JOIN (
    SELECT kind, item_id, min(id) AS first FROM journal_plans WHERE {_LEFT} = ?
    GROUP BY kind, item_id
) AS own ON own.kind = plan.kind AND own.item_id = plan.item_id AND plan.id >= own.first
WHERE plan.id >= (SELECT min(id) FROM journal_plans WHERE {_LEFT} = ?)
    AND plan.undone IS NULL AND plan.closed IS NOT NULL AND {_CAN_BE_UNDONE}
ORDER BY plan.id DESC"""
_LAST_RUNS = f"""
SELECT plan.item_id, plan.run_id, max(plan.id) FROM journal_plans AS plan
JOIN journal_runs AS run ON run.id = plan.run_id
WHERE plan.kind = ? AND plan.item_id IN (SELECT value FROM json_each(?))
    AND plan.undone IS NULL AND plan.closed IS NOT NULL AND {_CAN_BE_UNDONE}
GROUP BY plan.item_id"""
_ON_ITEM = {
    _TAGS: "kind = ? AND item_id = ?",
    _MARKERS: "'scene' = ? AND scene_id = ?",  # only scenes have markers
}
"""The rows about one item, by table. The values are those of ``_columns``."""


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """A plan that is not known to be carried out.

    ``item_made_s``: when its item was made, by Stash's clock; 0 if unknown.
    """

    id: int
    plan: ChangePlan
    item_made_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AboutFile:
    """A file by its fingerprint, and the item that had it when something about it was noted.

    ``made_s``: when that item was made, by Stash's clock.
    """

    item: ItemRef
    made_s: float
    file: str


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """The outcome of one plan that was carried out: enough to undo it exactly.

    ``item_made_s``: when its item was made, by Stash's clock; 0 if unknown.
    ``before_marker_ids``: the markers that were there before it.
    ``made`` and ``put``: its markers and tags that are still the plugin's.
    ``lost_markers`` and ``lost_tags``: those that a person changed or removed since.
    ``taken_markers`` and ``taken_tags``: what it removed of earlier runs of the plugin.
    ``released``: the tags that it removed and that were not the plugin's.
    ``run_mark`` and ``run_mark_before``: as in ``ChangePlan``.

    What a later plan removed and did not put back is in none of them.
    """

    plan_id: int
    item_made_s: float
    parent: Tag
    before_marker_ids: frozenset[str]
    made: tuple[OwnedMarker, ...]
    lost_markers: tuple[OwnedMarker, ...]
    taken_markers: tuple[OwnedMarker, ...]
    put: tuple[Tag, ...]
    lost_tags: tuple[Tag, ...]
    taken_tags: tuple[Tag, ...]
    released: tuple[Tag, ...]
    run_mark: str | None = None
    run_mark_before: str = ""

    @property
    def put_back_ids(self) -> frozenset[str]:
        """The ids of the tags that undoing the plan puts on the item or on its markers."""
        tags = {tag.id for tag in (*self.taken_tags, *self.released)}
        return frozenset(
            tags.union(*((one.primary_id, *one.tag_ids) for one in self.taken_markers))
        )


@dataclass(frozen=True, slots=True)
class SureSpan:
    """A marker with the confidence of the span that it was made from."""

    scene_id: str
    tag: str
    start_s: float
    end_s: float | None
    confidence: float


class Journal:
    """The journal in the file at ``path``, which is created if missing.

    Calls block. One caller at a time, on any thread; other processes may have the same file open.
    ``runs`` knows the runs. ``patience_s``: how long to wait for another process that is writing.
    Raises ``JournalError`` when the file cannot be used.
    """

    def __init__(self, path: Path, *, patience_s: float = _WRITER_PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._db = JournalDatabase(path)
        self._writer = Lock(path.with_name(f"{path.name}-writer"))
        self._in_transaction = False
        self.runs = RunLog(self._db)

    def close(self) -> None:
        """Close the file and release every lock."""
        self.runs.close()
        self._writer.release()
        self._db.close()

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Keep every other process from writing to Stash while the block runs.

        A plan that is open inside the block was therefore left behind by a process that is gone.
        Raises ``JournalBusyError`` when another process does not release the lock in time.
        """
        with self._db.explained():
            is_mine = self._writer.acquire(self._patience_s)
        if not is_mine:
            raise JournalBusyError(
                f"the journal {self._db.path} is in use: another process of the plugin has "
                "been writing"
                f" for {self._patience_s:g} s: stop it, then start again"
            )
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write everything inside the block to disk at its end, or nothing if it raises.

        Nested blocks belong to the outermost. Other processes cannot write to the file meanwhile,
        so the block must be short.
        """
        if self._in_transaction:
            yield
            return
        with self._db.writing():
            self._in_transaction = True
            try:
                yield
            finally:
                self._in_transaction = False

    # Plans.

    def open_plan(self, run_id: int, plan: ChangePlan, item_made_s: float = 0.0) -> OpenPlan:
        """Write the plan to disk. Call this before the first write of it to Stash."""
        with self.transaction():
            number = self._db.execute_insert(
                "INSERT INTO journal_plans (run_id, kind, item_id, plan, opened, item_made)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                run_id, *_columns(plan.item), plan.to_json(), time.time(), item_made_s,
            )  # fmt: skip
            opened = OpenPlan(number, plan, item_made_s)
            known = self.known(plan.item) if plan.stood_tags or plan.stood_markers else Records()
            self._insert_tags(opened, [tag for tag in plan.stood_tags if tag not in known.tags])
            self._insert_markers(
                opened, [marker for marker in plan.stood_markers if marker not in known.markers]
            )
            if plan.brings_back:
                self._recall(opened)
            if plan.judgement:
                sql = "UPDATE journal_judgements SET plan_id = ? WHERE id = ?"
                self._db.execute(sql, number, plan.judgement)
        return opened

    def close_plan(self, opened: OpenPlan, outcome: str) -> None:
        """Note that nothing more will come of a plan. "done" also marks the plan that it undoes as
        undone; otherwise the judgement that it carries out does not hold.
        """
        with self.transaction():
            self._db.execute(
                "UPDATE journal_plans SET closed = ?, outcome = ? WHERE id = ?",
                time.time(), outcome, opened.id,
            )  # fmt: skip
            if opened.plan.undoes and outcome == "done":
                self.set_undone(opened.plan.undoes)
            if opened.plan.judgement and outcome != "done":
                self.take_back(opened.plan.judgement)

    def unfinished(self, items: Collection[ItemRef] | None = None) -> tuple[OpenPlan, ...]:
        """Return the plans that are still open, oldest first, of these items or of all."""
        rows = self._db.rows(
            "SELECT id, kind, item_id, plan, item_made FROM journal_plans"
            " WHERE closed IS NULL ORDER BY id"
        )
        wanted = None if items is None else frozenset(items)
        return tuple(
            OpenPlan(number, self._parse(text), item_made_s)
            for number, kind, item_id, text, item_made_s in rows
            if wanted is None or ItemRef(ItemKind(kind), item_id) in wanted
        )

    def note(self, opened: OpenPlan, step: str, outcome: str) -> None:
        """Note the outcome of one step of a plan."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO journal_steps (plan_id, at, step, outcome) VALUES (?, ?, ?, ?)",
                opened.id, time.time(), step, outcome,
            )  # fmt: skip

    def has_begun(self, opened: OpenPlan, step: str) -> bool:
        """Return True if that step of the plan was noted."""
        sql = "SELECT 1 FROM journal_steps WHERE plan_id = ? AND step = ? LIMIT 1"
        return bool(self._db.rows(sql, opened.id, step))

    def note_failure(self, run_id: int, item: ItemRef, reason: str) -> None:
        """Note why an item failed."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO journal_failures (run_id, kind, item_id, at, reason)"
                " VALUES (?, ?, ?, ?, ?)",
                run_id, *_columns(item), time.time(), reason,
            )  # fmt: skip

    # What a plan wrote.

    def markers_created(self, opened: OpenPlan, markers: Iterable[OwnedMarker]) -> None:
        """Note markers as the plugin's. One with a ``row`` revives that row, which an earlier plan
        made. Those of a judgement are a person's.
        """
        created = tuple(
            replace(one, is_owned=not opened.plan.judgement) if not one.row else one
            for one in markers
        )
        with self.transaction():
            self._db.execute_each(
                "UPDATE journal_markers SET marker_id = ?, primary_id = ?, tag_ids = ?, made = ?,"
                " tags_made = ?, gone = NULL, gone_plan = NULL WHERE id = ?",
                [
                    (one.id, one.primary_id, " ".join(one.tag_ids), one.made_s,
                     _joined(one.tags_made_s), one.row)
                    for one in created if one.row
                ],
            )  # fmt: skip
            self._insert_markers(opened, [one for one in created if not one.row])
            self.note(opened, "create markers", f"{len(created)} created")

    def marker_moved(self, opened: OpenPlan, move: MarkerMove) -> None:
        """Note that the plan gave a marker other times."""
        self._set_marker(
            opened.plan.item,
            move.marker.id,
            "start_s = ?, end_s = ?, ours = ?",
            move.start_s,
            move.end_s,
            move.is_owned,
        )

    def give_marker(self, item: ItemRef, marker_id: str, *, is_owned: bool) -> None:
        """Note that a marker on the scene is the plugin's, or a person's, from now on."""
        self._set_marker(item, marker_id, "ours = ?", is_owned)

    def markers_removed(self, opened: OpenPlan, marker_ids: Iterable[str]) -> None:
        """Note that the plan removed these markers of the plugin."""
        self._gone(_MARKERS, opened.plan.item, marker_ids, opened.id)

    def tags_added(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """Note tags on the plan's item as the plugin's. A tag that an undo puts back is again what
        it was before.
        """
        added = tuple(tags)
        with self.transaction():
            if opened.plan.undoes:
                for tag in added:
                    self._put_back(opened.plan.undoes, tag)
            else:
                self._insert_tags(opened, [_as_asked(tag, opened.plan) for tag in added])
            self.note(opened, "add tags", f"{len(added)} added")

    def tags_removed(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """Note that the plan removed these tags: the plugin's, or tags that queue and report."""
        item, removed = opened.plan.item, tuple(tags)
        known = {tag.id for tag in self.known(item).tags}
        sql = "SELECT tag_id FROM journal_released WHERE plan_id = ?"
        noted = {tag_id for (tag_id,) in self._db.rows(sql, opened.id)}
        released = [
            tag
            for tag in removed
            if tag.id not in known and tag in opened.plan.release and tag.id not in noted
        ]
        with self.transaction():
            self._gone(_TAGS, item, [tag.id for tag in removed if tag.id in known], opened.id)
            self._note_tags("journal_released", opened, released)

    def new_tags(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """Note tags that Stash did not have before the plan made them."""
        self._note_tags("journal_new_tags", opened, tags)

    def new_tags_of_plan(self, opened: OpenPlan) -> tuple[Tag, ...]:
        """Return the tags that a plan is known to have made in Stash."""
        return self._tags("journal_new_tags WHERE plan_id = ?", opened.id)

    def new_tags_of(self, run_id: int) -> tuple[Tag, ...]:
        """Return the tags that a run made in Stash and that are not known to be deleted."""
        sql = (
            "SELECT DISTINCT tag_id, name, made FROM journal_new_tags WHERE gone IS NULL"
            " AND plan_id IN (SELECT id FROM journal_plans WHERE run_id = ?)"
            " ORDER BY CAST(tag_id AS INTEGER), tag_id"
        )
        return tuple(Tag(*row) for row in self._db.rows(sql, run_id))

    def tag_destroyed(self, tag_id: str) -> None:
        """Note that a tag which the plugin had made is no longer in Stash."""
        sql = "UPDATE journal_new_tags SET gone = ? WHERE tag_id = ? AND gone IS NULL"
        self._db.write(sql, time.time(), tag_id)

    def disown(self, item: ItemRef, records: Records, *, stays_off: bool = True) -> None:
        """Note that these markers and tags are no longer on the item as they were.

        ``stays_off``: a person removed or changed them.
        """
        for table, part in ((_MARKERS, records.markers), (_TAGS, records.tags)):
            self._gone(table, item, [one.id for one in part], None, stays_off=stays_off)

    def moved_to(self, item: ItemRef, markers: Iterable[OwnedMarker]) -> None:
        """Note that these markers are on that scene now."""
        self._write_each(
            "UPDATE journal_markers SET scene_id = ? WHERE id = ?",
            [(item.id, marker.row) for marker in markers],
        )

    # What is known of an item.

    def known(self, item: ItemRef) -> Records:
        """Return what is on an item as far as the journal knows, of the plugin's and of
        people's.
        """
        return self._records(item, "gone IS NULL")

    def owned(self, item: ItemRef) -> Owned:
        """Return what of an item is the plugin's, by all runs together, and what people took off
        it.
        """
        return Owned.of(self.known(item), self.removed(item))

    def removed(self, item: ItemRef) -> Records:
        """Return what people took off an item and what stays off."""
        return self._records(item, _STAYS_OFF)

    def owned_ids(self, kind: ItemKind) -> tuple[str, ...]:
        """Return the ids of the items of that kind on which something is the plugin's, in order."""
        sql = "SELECT item_id AS id FROM journal_tags WHERE kind = ? AND gone IS NULL AND ours"
        if kind is ItemKind.SCENE:
            sql += " UNION SELECT scene_id FROM journal_markers WHERE gone IS NULL AND ours"
        rows = self._db.rows(
            f"SELECT DISTINCT id FROM ({sql}) ORDER BY CAST(id AS INTEGER), id", kind.value
        )
        return tuple(item_id for (item_id,) in rows)

    def on_other_scenes(self, item: ItemRef, markers: Iterable[Marker]) -> tuple[OwnedMarker, ...]:
        """Return those of ``markers`` that the journal knows on another scene: merging scenes moves
        them.
        """
        made_s = {marker.id: marker.created_s for marker in markers if marker.created_s}
        if not made_s:
            return ()
        wanted = ", ".join("?" * len(made_s))
        found = self._markers(
            f"gone IS NULL AND scene_id <> ? AND marker_id IN ({wanted})", item.id, *made_s
        )
        return tuple(marker for marker in found if marker.made_s == made_s[marker.id])

    def written(self, opened: OpenPlan) -> tuple[OwnedMarker, ...]:
        """Return the markers that this plan is known to have made, whatever happened to them
        since.
        """
        rows = [marker.revives for marker in opened.plan.create if marker.revives]
        revived = (
            self._markers(f"gone IS NULL AND id IN ({', '.join('?' * len(rows))})", *rows)
            if rows
            else ()
        )
        made = "plan_id = ? AND (ours OR ?)"
        return (*self._markers(made, opened.id, bool(opened.plan.judgement)), *revived)

    # What people decided.

    def judge(self, item: ItemSnapshot, judgement: Judgement) -> int:
        """Note a judgement and return its number. Call this in a transaction with its plan."""
        tag = judgement.tag
        row = {
            "kind": item.ref.kind.value,
            "item_id": item.ref.id,
            "item_made": item.created_s,
            "file": item.file,
            "decision": judgement.kind.value,
            "asked": tag.asked,
            "tag_id": tag.id,
            "name": tag.name,
            "tag_made": tag.made_s,
            "start_s": judgement.start_s,
            "end_s": judgement.end_s,
            "new_start_s": judgement.new_start_s,
            "new_end_s": judgement.new_end_s,
            "marker_id": judgement.marker_id,
            "marker_made": judgement.marker_made_s,
            "was_ours": judgement.was_owned,
            "model": judgement.model,
            "wording": judgement.wording,
            "confidence": judgement.confidence,
            "threshold": judgement.threshold,
            "at": time.time(),
            "about": judgement.about or None,
        }
        places = ", ".join("?" * len(row))
        return self._db.execute_insert(
            f"INSERT INTO journal_judgements ({', '.join(row)}) VALUES ({places})", *row.values()
        )

    def judgements(self, item: ItemRef, item_made_s: float = 0.0) -> tuple[Judgement, ...]:
        """Return the judgements about an item that hold, oldest first. None of another item of
        this id.
        """
        rows = self._db.rows(
            f"SELECT item_made, {_JUDGEMENT_COLUMNS} FROM journal_judgements"
            " WHERE kind = ? AND item_id = ? AND undone IS NULL ORDER BY id",
            *_columns(item),
        )
        return tuple(_judgement_of(row[1:]) for row in rows if same_making(row[0], item_made_s))

    def all_judgements(self) -> Iterator[tuple[ItemRef, Judgement]]:
        """Yield every judgement that holds with its item, item by item, the oldest of each
        first.
        """
        rows = self._db.rows(
            f"SELECT kind, item_id, {_JUDGEMENT_COLUMNS} FROM journal_judgements"
            " WHERE undone IS NULL ORDER BY kind, item_id, id"
        )
        return ((ItemRef(ItemKind(row[0]), row[1]), _judgement_of(row[2:])) for row in rows)

    def counts_in_stash(self) -> dict[str, int]:
        """Return how many markers and tags of images are in Stash that the plugin put there, by
        the tag's name in the tag list.
        """
        rows = self._db.rows(
            "SELECT name, sum(number) FROM ("
            " SELECT CASE asked WHEN '' THEN title ELSE asked END AS name, count(*) AS number"
            " FROM journal_markers WHERE gone IS NULL AND ours GROUP BY 1 UNION ALL"
            " SELECT CASE asked WHEN '' THEN name ELSE asked END, count(*)"
            " FROM journal_tags WHERE gone IS NULL AND ours AND kind = 'image' GROUP BY 1"
            ") GROUP BY name"
        )
        return {str(name): int(number) for name, number in rows}

    def judgement(self, number: int) -> Judgement:
        """Return a judgement, also one that does not hold."""
        sql = f"SELECT {_JUDGEMENT_COLUMNS} FROM journal_judgements WHERE id = ?"
        (row,) = self._db.rows(sql, number)
        return _judgement_of(row)

    def take_back(self, judgement: int, *, holds: bool = False) -> None:
        """Note that a judgement does not hold any more, or that it holds again."""
        with self.transaction():
            self._db.execute(
                "UPDATE journal_judgements SET undone = ? WHERE id = ?",
                None if holds else time.time(), judgement,
            )  # fmt: skip

    def plan_of(self, plan_id: int) -> ChangePlan:
        """Return a plan by its number."""
        ((text,),) = self._db.rows("SELECT plan FROM journal_plans WHERE id = ?", plan_id)
        return self._parse(text)

    def run_of(self, plan_id: int) -> int:
        """Return the number of the run that a plan belongs to."""
        ((run_id,),) = self._db.rows("SELECT run_id FROM journal_plans WHERE id = ?", plan_id)
        return int(run_id)

    # What was seen.

    def store_evidence(self, item: ItemSnapshot, evidence: Evidence) -> None:
        """Replace what is known to have been seen of an item."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO journal_evidence"
                " (kind, item_id, item_made, file, at, evidence) VALUES (?, ?, ?, ?, ?, ?)",
                *_columns(item.ref), item.created_s, item.file, time.time(), evidence.pack(),
            )  # fmt: skip
            if item.ref.kind is ItemKind.SCENE:
                self._db.execute("DELETE FROM journal_least_sure WHERE scene_id = ?", item.ref.id)
                self._db.execute_each(
                    "INSERT INTO journal_least_sure VALUES (?, ?, ?, ?, ?)",
                    [
                        (item.ref.id, span.tag, span.start_s, span.end_s, span.confidence)
                        for span in evidence.least_sure(_LEAST_SURE_KEPT)
                    ],
                )

    def evidence(self, item: ItemRef, item_made_s: float = 0.0) -> Evidence | None:
        """Return what the latest run saw of an item; None if that is unknown, or was another item
        of this id.
        """
        sql = (
            "SELECT evidence, at, item_made FROM journal_evidence WHERE kind = ? AND item_id = ?"
            " ORDER BY at DESC"
        )
        for packed, at, made_s in self._db.rows(sql, *_columns(item)):
            if same_making(made_s, item_made_s):
                return self._unpack(packed, at)
        return None

    def least_sure(self, tag: str | None, most: int) -> tuple[SureSpan, ...]:
        """Return the markers of the plugin that nobody judged with the lowest confidences, the
        least sure first: of one tag by its name in the tag list, or of all.
        """
        rows = self._db.rows(
            "SELECT seen.scene_id, seen.tag, marker.start_s, marker.end_s, seen.confidence"
            " FROM journal_least_sure AS seen JOIN journal_markers AS marker"
            " ON marker.scene_id = seen.scene_id AND marker.gone IS NULL AND marker.ours"
            " AND CASE marker.asked WHEN '' THEN marker.title ELSE marker.asked END = seen.tag"
            " AND marker.start_s <= seen.end_s"
            " AND coalesce(marker.end_s, marker.start_s) >= seen.start_s"
            " WHERE ? IS NULL OR seen.tag = ? ORDER BY seen.confidence LIMIT ?",
            tag, tag, 4 * most,
        )  # fmt: skip
        spans = {row[:3]: SureSpan(*row) for row in reversed(rows)}  # a marker may join spans
        return tuple(sorted(spans.values(), key=lambda span: span.confidence))[:most]

    # What follows a file to another item.

    def others_with_file_of(self, item: ItemSnapshot) -> tuple[AboutFile, ...]:
        """Return what is known of an item's files as those of other items."""
        if not item.files:
            return ()
        places = ", ".join("?" * len(item.files))
        found = " UNION ".join(
            f"SELECT item_id, item_made, file FROM {table} WHERE kind = ? AND file IN ({places})"
            for table in _OF_FILE
        )
        rows = self._db.rows(found, *(item.ref.kind.value, *item.files) * len(_OF_FILE))
        return tuple(
            AboutFile(ItemRef(item.ref.kind, item_id), made_s, file)
            for item_id, made_s, file in rows
            if made_s and (item_id, made_s) != (item.ref.id, item.created_s)
        )

    def give_to(self, item: ItemSnapshot, about: AboutFile) -> None:
        """Note that judgements and evidence about a file are about this item from now on. Evidence
        that the item has stays, and the other is given up.
        """
        those = "WHERE kind = ? AND item_id = ? AND item_made = ? AND file = ?"
        values = (*_columns(about.item), about.made_s, about.file)
        with self.transaction():
            for table in _OF_FILE:
                sql = f"UPDATE OR IGNORE {table} SET item_id = ?, item_made = ? {those}"
                self._db.execute(sql, item.ref.id, item.created_s, *values)
            self._db.execute(f"DELETE FROM journal_evidence {those}", *values)
            if item.ref.kind is ItemKind.SCENE:
                sql = "UPDATE journal_least_sure SET scene_id = ? WHERE scene_id = ?"
                self._db.execute(sql, item.ref.id, about.item.id)

    # Undoing.

    def plans_to_undo(
        self, run_id: int, items: Collection[ItemRef] | None = None
    ) -> tuple[PastChange, ...]:
        """Return the plans to undo so that the items of a run are as they were before it, latest
        first: those of the run, and what later runs did to the same items.

        ``items``: only these. What is undone, is no run's that can be undone, or is a decision, is
        left out.
        """
        wanted = None if items is None else frozenset(items)
        changes = (
            PastChange(number, ItemRef(ItemKind(kind), item_id), of_run)
            for number, kind, item_id, of_run in self._db.rows(_TO_UNDO, run_id, run_id)
        )
        return tuple(one for one in changes if wanted is None or one.item in wanted)

    def last_runs_of(self, items: Iterable[ItemRef]) -> dict[ItemRef, int]:
        """Return the latest run with a change of each item that can be undone. Items without one
        are left out.
        """
        ids: dict[ItemKind, list[str]] = {}
        for item in items:
            ids.setdefault(item.kind, []).append(item.id)
        return {
            ItemRef(kind, item_id): run_id
            for kind, of_kind in ids.items()
            for item_id, run_id, _ in self._db.rows(_LAST_RUNS, kind.value, json.dumps(of_kind))
        }

    def changed_items(self, run_id: int) -> dict[ItemRef, bool]:
        """Return the items that a run changed, each with True if that is not undone yet."""
        rows = self._db.rows(
            "SELECT kind, item_id, max(undone IS NULL) FROM journal_plans"
            " WHERE closed IS NOT NULL AND run_id = ? GROUP BY kind, item_id",
            run_id,
        )
        return {ItemRef(ItemKind(kind), item_id): bool(left) for kind, item_id, left in rows}

    def markers_of_run(self, run_id: int) -> dict[ItemRef, list[OwnedMarker]]:
        """Return the markers that a run made and that are the plugin's, by scene."""
        plans = (
            "plan_id IN (SELECT id FROM journal_plans WHERE run_id = ?) AND gone IS NULL AND ours"
        )
        scenes = self._db.rows(
            f"SELECT scene_id FROM journal_markers WHERE {plans} ORDER BY id", run_id
        )
        found: dict[ItemRef, list[OwnedMarker]] = {}
        for (scene,), marker in zip(scenes, self._markers(plans, run_id), strict=True):
            found.setdefault(ItemRef(ItemKind.SCENE, scene), []).append(marker)
        return found

    def set_undone(self, plan_id: int) -> None:
        """Note that nothing of this plan is left to undo."""
        with self.transaction():
            sql = "UPDATE journal_plans SET undone = ? WHERE id = ?"
            self._db.execute(sql, time.time(), plan_id)
            for table in _ON_ITEM:
                sql = f"UPDATE {table} SET recalled = NULL WHERE recalled = ?"
                self._db.execute(sql, plan_id)

    def item_of(self, plan_id: int) -> ItemRef:
        """Return the item that a plan is for."""
        ((kind, item_id),) = self._db.rows(
            "SELECT kind, item_id FROM journal_plans WHERE id = ?", plan_id
        )
        return ItemRef(ItemKind(kind), item_id)

    def facts_of_all(self, plan_ids: Sequence[int]) -> PlanFacts:
        """Return the outcome of several plans of one item together, without what one of them made
        and another removed. ``plan_ids``: latest first.
        """
        each = [self.facts(plan_id) for plan_id in plan_ids]
        marks = ", ".join("?" * len(plan_ids))
        before = f"gone_plan IN ({marks}) AND plan_id NOT IN ({marks})"
        first = each[-1]
        return PlanFacts(
            first.plan_id,
            first.item_made_s,
            first.parent,
            frozenset().union(*(one.before_marker_ids for one in each)),
            made=tuple(marker for one in each for marker in one.made),
            lost_markers=tuple(marker for one in each for marker in one.lost_markers),
            taken_markers=self._markers(before, *plan_ids, *plan_ids),
            put=tuple(tag for one in each for tag in one.put),
            lost_tags=tuple(tag for one in each for tag in one.lost_tags),
            taken_tags=self._tags(f"journal_tags WHERE {before} ORDER BY id", *plan_ids, *plan_ids),
            released=tuple({tag.id: tag for one in each for tag in one.released}.values()),
            run_mark=each[0].run_mark,
            run_mark_before=first.run_mark_before,
        )

    def facts(self, plan_id: int) -> PlanFacts:
        """Return the outcome of a plan."""
        sql = "SELECT plan, item_made FROM journal_plans WHERE id = ?"
        ((text, item_made_s),) = self._db.rows(sql, plan_id)
        plan = self._parse(text)
        made = "plan_id = ? AND ours AND gone IS NULL"
        lost = "plan_id = ? AND ours AND gone IS NOT NULL AND gone_plan IS NULL"
        tags = "journal_tags WHERE {} ORDER BY id".format
        return PlanFacts(
            plan_id,
            item_made_s,
            plan.parent,
            frozenset(plan.before_marker_ids),
            made=self._made_by(plan_id, plan),
            lost_markers=self._markers(lost, plan_id),
            taken_markers=self._markers("gone_plan = ?", plan_id),
            put=self._tags(tags(made), plan_id),
            lost_tags=self._tags(tags(lost), plan_id),
            taken_tags=self._tags(tags("gone_plan = ?"), plan_id),
            released=self._tags(
                "journal_released WHERE plan_id = ? AND back IS NULL ORDER BY rowid", plan_id
            ),
            run_mark=plan.run_mark,
            run_mark_before=plan.run_mark_before,
        )

    def _made_by(self, plan_id: int, plan: ChangePlan) -> tuple[OwnedMarker, ...]:
        """Return the markers of a plan that are as it made them. Those of a judgement are a
        person's.
        """
        made = self._markers(
            "plan_id = ? AND (ours OR ?) AND gone IS NULL", plan_id, bool(plan.judgement)
        )
        return tuple(one for one in made if one.is_owned or one.id not in plan.before_marker_ids)

    def _put_back(self, undone_plan: int, tag: Tag) -> None:
        # By name if no row has its id: a tag that was deleted meanwhile has been made again, with
        # another id.
        revive = (
            "UPDATE journal_tags SET tag_id = ?, made = ?, gone = NULL, gone_plan = NULL"
            " WHERE gone_plan = ?"
        )
        back = "UPDATE journal_released SET back = ? WHERE plan_id = ?"
        for column, value in (("tag_id", tag.id), ("name", tag.name)):
            match = f" AND {column} = ?"
            if self._db.execute(
                revive + match, tag.id, tag.created_s, undone_plan, value
            ) or self._db.execute(back + match, time.time(), undone_plan, value):
                return

    def _recall(self, opened: OpenPlan) -> None:
        """Let the plan bring back what people took off the item. Undoing the plan revokes that."""
        for table, item in _ON_ITEM.items():
            sql = f"UPDATE {table} SET recalled = ? WHERE {item} AND {_STAYS_OFF}"
            self._db.execute(sql, opened.id, *_columns(opened.plan.item))

    def _insert_markers(self, opened: OpenPlan, markers: Iterable[OwnedMarker]) -> None:
        self._db.execute_each(
            "INSERT INTO journal_markers (plan_id, scene_id, marker_id, title, start_s, end_s,"
            " primary_id, tag_ids, asked, made, tags_made, ours, tag_name)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (opened.id, opened.plan.item.id, one.id, one.title, one.start_s, one.end_s,
                 one.primary_id, " ".join(one.tag_ids), one.asked, one.made_s,
                 _joined(one.tags_made_s), one.is_owned, one.tag_name)
                for one in markers
            ],
        )  # fmt: skip

    def _insert_tags(self, opened: OpenPlan, tags: Iterable[OwnedTag]) -> None:
        item = _columns(opened.plan.item)
        self._db.execute_each(
            "INSERT INTO journal_tags (plan_id, kind, item_id, tag_id, name, asked, made, ours)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (opened.id, *item, tag.id, tag.name, tag.asked, tag.made_s, tag.is_owned)
                for tag in tags
            ],
        )

    def _parse(self, plan: str) -> ChangePlan:
        try:
            return ChangePlan.from_json(plan)
        except (ValueError, KeyError, TypeError) as error:
            raise self._db.unreadable_plan() from error

    def _unpack(self, packed: bytes, at: float) -> Evidence | None:
        try:
            return Evidence.unpack(packed, at)
        except (ValueError, KeyError, TypeError):
            _log.warning(
                "What an earlier run saw is damaged in %s, and not shown. The next run of the item"
                " replaces it.",
                self._db.path,
            )
            return None

    def _records(self, item: ItemRef, state: str) -> Records:
        columns = _columns(item)
        sql = f"SELECT {_TAG_COLUMNS} FROM {_TAGS} WHERE {_ON_ITEM[_TAGS]} AND {state} ORDER BY id"
        return Records(
            tuple(map(_tag_of, self._db.rows(sql, *columns))),
            self._markers(f"{_ON_ITEM[_MARKERS]} AND {state}", *columns),
        )

    def _markers(self, where: str, *values: object) -> tuple[OwnedMarker, ...]:
        sql = f"SELECT {_MARKER_COLUMNS} FROM journal_markers WHERE {where} ORDER BY id"
        return tuple(map(_marker_of, self._db.rows(sql, *values)))

    def _tags(self, source: str, *values: object) -> tuple[Tag, ...]:
        """Return the tags of a table. ``source``: its name, and which rows in which order."""
        rows = self._db.rows(f"SELECT tag_id, name, made FROM {source}", *values)
        return tuple(Tag(*row) for row in rows)

    def _note_tags(self, table: str, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        self._write_each(
            f"INSERT INTO {table} (plan_id, tag_id, name, made) VALUES (?, ?, ?, ?)",
            [(opened.id, tag.id, tag.name, tag.created_s) for tag in tags],
        )

    def _gone(
        self,
        table: str,
        item: ItemRef,
        ids: Iterable[str],
        by_plan: int | None,
        *,
        stays_off: bool = False,
    ) -> None:
        column = "tag_id" if table == _TAGS else "marker_id"
        self._write_each(
            f"UPDATE {table} SET gone = ?, gone_plan = ?, stays_off = ?"
            f" WHERE {_ON_ITEM[table]} AND {column} = ? AND gone IS NULL",
            [(time.time(), by_plan, stays_off, *_columns(item), one) for one in ids],
        )

    def _set_marker(self, item: ItemRef, marker_id: str, change: str, *values: object) -> None:
        with self.transaction():
            self._db.execute(
                f"UPDATE {_MARKERS} SET {change}"
                f" WHERE {_ON_ITEM[_MARKERS]} AND marker_id = ? AND gone IS NULL",
                *values, *_columns(item), marker_id,
            )  # fmt: skip

    def _write_each(self, sql: str, rows: list[Row]) -> None:
        if rows:
            with self.transaction():
                self._db.execute_each(sql, rows)


def _columns(item: ItemRef) -> tuple[str, str]:
    """Return the columns ``kind`` and ``item_id`` of a row about the item."""
    return item.kind.value, item.id


def _as_asked(tag: Tag, plan: ChangePlan) -> OwnedTag:
    """Return a tag that the plan has put on its item, with its name in the tag list."""
    asked = next(
        (wanted.asked for wanted in plan.add if wanted.is_tag(tag) or wanted.name == tag.name), ""
    )
    return OwnedTag(tag.id, tag.name, asked, tag.created_s)


def _tag_of(row: Row) -> OwnedTag:
    tag_id, name, asked, made_s, item_made_s, owned = row
    return OwnedTag(tag_id, name, asked, made_s, item_made_s, bool(owned))


def _marker_of(row: Row) -> OwnedMarker:
    marker_id, title, start_s, end_s, primary_id, tag_ids, number, *rest = row
    asked, made_s, item_made_s, tags_made, owned, tag_name = rest
    return OwnedMarker(
        marker_id,
        title,
        start_s,
        end_s,
        primary_id,
        tuple(tag_ids.split()),
        number,
        asked,
        made_s,
        item_made_s,
        tuple(map(float, tags_made.split())),
        bool(owned),
        tag_name,
    )


def _judgement_of(row: Row) -> Judgement:
    kind, tag_id, name, asked, tag_made_s, start_s, end_s, new_start_s, new_end_s = row[:9]
    marker_id, marker_made_s, owned, model, about, at_s, number, plan_id, *said = row[9:]
    return Judgement(
        DecisionKind(kind),
        OwnedTag(tag_id, name, asked, tag_made_s),
        start_s,
        end_s,
        new_start_s,
        new_end_s,
        marker_id,
        marker_made_s,
        bool(owned),
        model,
        about or 0,
        at_s,
        number,
        plan_id or 0,
        *said,
    )


def _joined(times_s: Iterable[float]) -> str:
    return " ".join(map(repr, times_s))
