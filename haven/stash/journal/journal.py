"""Rows of the journal about markers and tags, as values."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from haven.items import ItemKind, ItemRef
from haven.stash.changes import ChangePlan, Owned, OwnedMarker, OwnedTag, Records
from haven.stash.errors import JournalError
from haven.stash.journal.database import JournalDatabase, Lock, Row
from haven.stash.journal.runs import RunLog
from haven.stash.values import Marker, PastChange, Tag

_ITEM_MADE = "(SELECT item_made FROM journal_plans WHERE journal_plans.id = plan_id)"
MARKER = f"marker_id, title, start_s, end_s, primary_id, tag_ids, id, asked, made, tags_made, ours, {_ITEM_MADE}"
TAG = f"tag_id, name, asked, made, {_ITEM_MADE}, ours"
"""What is read of a row, in the order in which the functions below take it."""


def tag_of(row: Row) -> OwnedTag:
    """A tag, of the columns ``TAG``."""
    tag_id, name, asked, made_s, item_made_s, owned = row
    return OwnedTag(tag_id, name, asked, made_s, item_made_s or 0.0, bool(owned))


def marker_of(row: Row) -> OwnedMarker:
    """A marker, of the columns ``MARKER``."""
    (
        marker_id,
        title,
        start_s,
        end_s,
        primary_id,
        tag_ids,
        number,
        asked,
        made_s,
        tags_made,
        owned,
        item_made_s,
    ) = row
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
        item_made_s or 0.0,  # damage may have taken its plan
        tuple(map(float, tags_made.split())),
        bool(owned),
    )


def as_written(own: OwnedMarker) -> Row:
    """What was written to Stash, as columns."""
    return own.id, own.title, own.start_s, own.end_s, own.primary_id, " ".join(own.tag_ids)


def joined(times_s: Iterable[float]) -> str:
    """Times as one column holds them."""
    return " ".join(map(repr, times_s))


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What came of one plan. ``item_made_s``: when its item was made, by Stash's clock, 0 where that is not known;
    ``before_marker_ids``: the markers that were there before it.

    ``made`` and ``put`` are its markers and tags that are still ours; ``lost_markers`` and ``lost_tags`` those that a person
    changed or took off since; ``taken_markers`` and ``taken_tags`` what of ours, from earlier, it took off; ``released``
    the tags that were not ours and that it took off. What a later plan took off and did not put back is in none of them.
    """

    plan_id: int
    run_id: int
    item: ItemRef
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

    @property
    def put_back_ids(self) -> frozenset[str]:
        """The ids of the tags that taking the plan back puts on the item or on its markers."""
        tags = {tag.id for tag in (*self.taken_tags, *self.released)}
        return frozenset(
            tags.union(*((one.primary_id, *one.tag_ids) for one in self.taken_markers))
        )


_WRITER_PATIENCE_S = 300.0
_STAYS_OFF = "stays_off = 1 AND recalled IS NULL"
ADDING, TAKING_OFF = "adding", "taking off"
"""The steps that are written down before tags are put on an item, or anything is taken off it, so that who did it is known after
a kill."""


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """A plan that is not known to be carried out. ``item_made_s``: when its item was made, by Stash's clock; 0: not known."""

    id: int
    plan: ChangePlan
    item_made_s: float = 0.0


class Journal:
    """Opens (and creates) the journal at ``path``. Raises ``JournalError`` when the file cannot be used.

    Blocking; one caller at a time, from whichever thread. Other processes may have the same file open. ``runs`` is the
    part that knows them; ``patience_s``: how long one that is writing is waited for.
    """

    def __init__(self, path: Path, *, patience_s: float = _WRITER_PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._database = JournalDatabase(path)
        self._writer = Lock(path.with_name(f"{path.name}-writer"))
        self._together = False
        self.runs = RunLog(self._database)

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

    @contextmanager
    def together(self) -> Iterator[None]:
        """Whatever is written down inside the block reaches the disk at once, at its end: all of it, or nothing when it raises.

        Blocks within blocks belong to the outermost. Other processes cannot write to the file meanwhile: nothing that takes
        long belongs in there.
        """
        if self._together:
            yield
            return
        with self._database.writing():
            self._together = True
            try:
                yield
            finally:
                self._together = False

    def open_plan(self, run_id: int, plan: ChangePlan, item_made_s: float = 0.0) -> OpenPlan:
        """Puts the plan on disk. Call before the first write of it."""
        sql = "INSERT INTO journal_plans (run_id, kind, item_id, plan, opened, item_made) VALUES (?, ?, ?, ?, ?, ?)"
        with self.together():
            self._database.execute(
                sql, run_id, *_columns(plan.item), plan.to_json(), time.time(), item_made_s
            )
            ((number,),) = self._database.rows("SELECT last_insert_rowid()")
            opened = OpenPlan(number, plan, item_made_s)
            known = self.there(plan.item) if plan.stood_tags or plan.stood_markers else Records()
            self._insert_tags(opened, [own for own in plan.stood_tags if own not in known.tags])
            self._insert_markers(
                opened, [own for own in plan.stood_markers if own not in known.markers]
            )
            if plan.brings_back:
                self._recall(opened)
        return opened

    def _recall(self, opened: OpenPlan) -> None:
        """What people took off the item stays off no longer, unless this plan is undone."""
        for table, item in (
            ("journal_tags", "kind = ? AND item_id = ?"),
            ("journal_markers", "'scene' = ? AND scene_id = ?"),
        ):
            sql = f"UPDATE {table} SET recalled = ? WHERE {item} AND {_STAYS_OFF}"
            self._database.execute(sql, opened.id, *_columns(opened.plan.item))

    def close_plan(self, opened: OpenPlan, outcome: str) -> None:
        """Nothing more is going to come of this plan; ``outcome`` in a word or two. "done" settles what it undoes, too."""
        now = time.time()
        with self.together():
            self._database.execute(
                "UPDATE journal_plans SET closed = ?, outcome = ? WHERE id = ?",
                now,
                outcome,
                opened.id,
            )
            if opened.plan.undoes and outcome == "done":
                self._undone(opened.plan.undoes)

    def note(self, opened: OpenPlan, step: str, outcome: str) -> None:
        """What became of one step of a plan."""
        with self.together():
            self._note(opened, step, outcome)

    def has_begun(self, opened: OpenPlan, step: str) -> bool:
        """Whether ``note`` was told of that step."""
        return bool(
            self._database.rows(
                "SELECT 1 FROM journal_steps WHERE plan_id = ? AND step = ? LIMIT 1",
                opened.id,
                step,
            )
        )

    def note_failure(self, run_id: int, item: ItemRef, reason: str) -> None:
        """An item could not be done."""
        sql = "INSERT INTO journal_failures (run_id, kind, item_id, at, reason) VALUES (?, ?, ?, ?, ?)"
        with self.together():
            self._database.execute(sql, run_id, *_columns(item), time.time(), reason)

    def markers_created(self, opened: OpenPlan, markers: Iterable[OwnedMarker]) -> None:
        """These are ours from now on; those that have a ``row`` are again, in the name of the plan that made them first."""
        told = tuple(markers)
        with self.together():
            self._database.execute_each(
                "UPDATE journal_markers SET marker_id = ?, primary_id = ?, tag_ids = ?, made = ?, tags_made = ?,"
                " gone = NULL, gone_plan = NULL WHERE id = ?",
                [
                    (
                        own.id,
                        own.primary_id,
                        " ".join(own.tag_ids),
                        own.made_s,
                        joined(own.tags_made_s),
                        own.row,
                    )
                    for own in told
                    if own.row
                ],
            )
            self._insert_markers(opened, [own for own in told if not own.row])
            self._note(opened, "create markers", f"{len(told)} created")

    def _insert_markers(self, opened: OpenPlan, markers: Iterable[OwnedMarker]) -> None:
        self._database.execute_each(
            "INSERT INTO journal_markers (plan_id, scene_id, marker_id, title, start_s, end_s, primary_id, tag_ids,"
            " asked, made, tags_made, ours) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    opened.id,
                    opened.plan.item.id,
                    *as_written(own),
                    own.asked,
                    own.made_s,
                    joined(own.tags_made_s),
                    own.is_owned,
                )
                for own in markers
            ],
        )

    def _insert_tags(self, opened: OpenPlan, tags: Iterable[OwnedTag]) -> None:
        self._database.execute_each(
            "INSERT INTO journal_tags (plan_id, kind, item_id, tag_id, name, asked, made, ours) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    opened.id,
                    *_columns(opened.plan.item),
                    own.id,
                    own.name,
                    own.asked,
                    own.made_s,
                    own.is_owned,
                )
                for own in tags
            ],
        )

    def tags_added(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """These are ours on this item from now on. Put back by an undoing, they are again what they were before."""
        told = tuple(tags)
        with self.together():
            if opened.plan.undoes:
                for tag in told:
                    self._put_back(opened.plan, tag)
            else:
                self._insert_tags(opened, [_as_asked(tag, opened.plan) for tag in told])
            self._note(opened, "add tags", f"{len(told)} added")

    def _put_back(self, plan: ChangePlan, tag: Tag) -> None:
        # By its name where there is none of its id: a tag that was deleted meanwhile has been made anew, with another id.
        revive = "UPDATE journal_tags SET tag_id = ?, made = ?, gone = NULL, gone_plan = NULL WHERE gone_plan = ?"
        back = "UPDATE journal_released SET back = ? WHERE plan_id = ?"
        now = time.time()
        for which, value in (("tag_id", tag.id), ("name", tag.name)):
            revived = self._database.execute(
                f"{revive} AND {which} = ?", tag.id, tag.created_s, plan.undoes, value
            )
            if revived or self._database.execute(
                f"{back} AND {which} = ?", now, plan.undoes, value
            ):
                return

    def new_tags(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """Stash did not have these tags before this plan made them."""
        told = tuple(tags)
        if told:
            with self.together():
                sql = (
                    "INSERT INTO journal_new_tags (plan_id, tag_id, name, made) VALUES (?, ?, ?, ?)"
                )
                self._database.execute_each(
                    sql, [(opened.id, tag.id, tag.name, tag.created_s) for tag in told]
                )

    def markers_taken_off(self, opened: OpenPlan, marker_ids: Iterable[str]) -> None:
        """The plan took these markers, which were ours, off the scene."""
        self._markers_gone(opened.plan.item, marker_ids, opened.id)

    def tags_taken_off(self, opened: OpenPlan, tags: Iterable[Tag]) -> None:
        """The plan took these tags off the item: ours, or those that queue and report."""
        item, told = opened.plan.item, tuple(tags)
        own = self.owned(item).tag_ids
        known = {
            row[0]
            for row in self._database.rows(
                "SELECT tag_id FROM journal_released WHERE plan_id = ?", opened.id
            )
        }
        others = [
            tag
            for tag in told
            if tag.id not in own and tag in opened.plan.release and tag.id not in known
        ]
        with self.together():
            self._tags_gone(item, [tag.id for tag in told if tag.id in own], opened.id)
            sql = "INSERT INTO journal_released (plan_id, tag_id, name, made) VALUES (?, ?, ?, ?)"
            self._database.execute_each(
                sql, [(opened.id, tag.id, tag.name, tag.created_s) for tag in others]
            )

    def disown(
        self,
        item: ItemRef,
        *,
        marker_ids: Iterable[str] = (),
        tag_ids: Iterable[str] = (),
        stays_off: bool = True,
    ) -> None:
        """These are no longer ours, and no longer there as they were. ``stays_off``: a person took them off, or changed them."""
        self._markers_gone(item, marker_ids, None, stays_off=stays_off)
        self._tags_gone(item, tag_ids, None, stays_off=stays_off)

    def owned(self, item: ItemRef) -> Owned:
        """What of an item is ours, by all runs together, and what people took off it."""
        there = self.there(item)
        return Owned(
            {own.id: own for own in there.markers if own.is_owned},
            {own.id: own for own in there.tags if own.is_owned},
            self._records(item, _STAYS_OFF),
        )

    def there(self, item: ItemRef) -> Records:
        """What is on an item as far as the journal knows, of the plugin's and of people's."""
        return self._records(item, "gone IS NULL")

    def on_other_scenes(self, item: ItemRef, markers: Iterable[Marker]) -> tuple[OwnedMarker, ...]:
        """Those of ``markers`` that the plugin made on another scene: Stash moves them where people merge scenes."""
        made_s = {marker.id: marker.created_s for marker in markers if marker.created_s}
        if not made_s:
            return ()
        wanted = ", ".join("?" * len(made_s))
        found = self._markers(
            f"gone IS NULL AND ours AND scene_id <> ? AND marker_id IN ({wanted})", item.id, *made_s
        )
        return tuple(own for own in found if own.made_s == made_s[own.id])

    def moved_to(self, item: ItemRef, markers: Iterable[OwnedMarker]) -> None:
        """These are on that scene now."""
        self._write_each(
            "UPDATE journal_markers SET scene_id = ? WHERE id = ?",
            [(item.id, own.row) for own in markers],
        )

    def _records(self, item: ItemRef, state: str) -> Records:
        sql = (
            f"SELECT {TAG} FROM journal_tags WHERE kind = ? AND item_id = ? AND {state} ORDER BY id"
        )
        tags = tuple(map(tag_of, self._database.rows(sql, *_columns(item))))
        is_scene = item.kind is ItemKind.SCENE
        return Records(
            tags, self._markers(f"scene_id = ? AND {state}", item.id) if is_scene else ()
        )

    def written(self, opened: OpenPlan) -> tuple[OwnedMarker, ...]:
        """The markers that this plan is known to have made, whatever became of them."""
        rows = [marker.revives for marker in opened.plan.create if marker.revives]
        revived = (
            self._markers(f"gone IS NULL AND id IN ({', '.join('?' * len(rows))})", *rows)
            if rows
            else ()
        )
        return (*self._markers("plan_id = ? AND ours", opened.id), *revived)

    def owned_ids(self, kind: ItemKind) -> tuple[str, ...]:
        """The ids of the items of that kind on which something is ours, in their order."""
        sql = "SELECT item_id AS id FROM journal_tags WHERE kind = ? AND gone IS NULL AND ours"
        if kind is ItemKind.SCENE:
            sql += " UNION SELECT scene_id FROM journal_markers WHERE gone IS NULL AND ours"
        rows = self._database.rows(
            f"SELECT DISTINCT id FROM ({sql}) ORDER BY CAST(id AS INTEGER), id", kind.value
        )
        return tuple(row[0] for row in rows)

    def unfinished(self, items: Collection[ItemRef] | None = None) -> tuple[OpenPlan, ...]:
        """The plans that are still open, oldest first, of these items or of all."""
        rows = self._database.rows(
            "SELECT id, kind, item_id, plan, item_made FROM journal_plans WHERE closed IS NULL ORDER BY id"
        )
        wanted = None if items is None else frozenset(items)
        return tuple(
            OpenPlan(number, self._read(text), item_made_s)
            for number, kind, item_id, text, item_made_s in rows
            if wanted is None or ItemRef(ItemKind(kind), item_id) in wanted
        )

    def _read(self, plan: str) -> ChangePlan:
        try:
            return ChangePlan.from_json(plan)
        except (ValueError, KeyError, TypeError) as error:
            raise self._database.unreadable_plan() from error

    def plans_to_undo(self, run_id: int) -> tuple[PastChange, ...]:
        """Every plan of a run that is not undone yet, latest first."""
        sql = (
            "SELECT id, kind, item_id FROM journal_plans"
            " WHERE run_id = ? AND undone IS NULL AND closed IS NOT NULL ORDER BY id DESC"
        )
        return tuple(
            PastChange(number, ItemRef(ItemKind(kind), item_id))
            for number, kind, item_id in self._database.rows(sql, run_id)
        )

    def set_undone(self, plan_id: int) -> None:
        """Nothing of this plan is left to undo."""
        with self.together():
            self._undone(plan_id)

    def _undone(self, plan_id: int) -> None:
        self._database.execute(
            "UPDATE journal_plans SET undone = ? WHERE id = ?", time.time(), plan_id
        )
        for table in ("journal_tags", "journal_markers"):
            self._database.execute(
                f"UPDATE {table} SET recalled = NULL WHERE recalled = ?", plan_id
            )

    def item_of(self, plan_id: int) -> ItemRef:
        """What a plan is for."""
        ((kind, item_id),) = self._database.rows(
            "SELECT kind, item_id FROM journal_plans WHERE id = ?", plan_id
        )
        return ItemRef(ItemKind(kind), item_id)

    def facts(self, plan_id: int) -> PlanFacts:
        """What came of a plan."""
        sql = "SELECT run_id, plan, item_made FROM journal_plans WHERE id = ?"
        ((run_id, text, item_made_s),) = self._database.rows(sql, plan_id)
        plan = self._read(text)
        released = self._database.rows(
            "SELECT tag_id, name, made FROM journal_released WHERE plan_id = ? AND back IS NULL ORDER BY rowid",
            plan_id,
        )
        return PlanFacts(
            plan_id,
            run_id,
            plan.item,
            item_made_s,
            plan.parent,
            frozenset(plan.before_marker_ids),
            made=self._markers("plan_id = ? AND ours AND gone IS NULL", plan_id),
            lost_markers=self._markers(
                "plan_id = ? AND ours AND gone IS NOT NULL AND gone_plan IS NULL", plan_id
            ),
            taken_markers=self._markers("gone_plan = ?", plan_id),
            put=self._tags("plan_id = ? AND ours AND gone IS NULL", plan_id),
            lost_tags=self._tags(
                "plan_id = ? AND ours AND gone IS NOT NULL AND gone_plan IS NULL", plan_id
            ),
            taken_tags=self._tags("gone_plan = ?", plan_id),
            released=tuple(Tag(*row) for row in released),
        )

    def new_tags_of_plan(self, opened: OpenPlan) -> tuple[Tag, ...]:
        """The tags that a plan is known to have made in Stash."""
        sql = "SELECT tag_id, name, made FROM journal_new_tags WHERE plan_id = ?"
        return tuple(Tag(*row) for row in self._database.rows(sql, opened.id))

    def new_tags_of(self, run_id: int) -> tuple[Tag, ...]:
        """The tags that a run made in Stash and that are not known to be gone again."""
        sql = (
            "SELECT DISTINCT tag_id, name, made FROM journal_new_tags WHERE gone IS NULL"
            " AND plan_id IN (SELECT id FROM journal_plans WHERE run_id = ?) ORDER BY CAST(tag_id AS INTEGER), tag_id"
        )
        return tuple(Tag(*row) for row in self._database.rows(sql, run_id))

    def tag_destroyed(self, tag_id: str) -> None:
        """A tag that the plugin had made is no longer in Stash."""
        self._database.write(
            "UPDATE journal_new_tags SET gone = ? WHERE tag_id = ? AND gone IS NULL",
            time.time(),
            tag_id,
        )

    def _markers(self, where: str, *values: object) -> tuple[OwnedMarker, ...]:
        return tuple(
            map(
                marker_of,
                self._database.rows(
                    f"SELECT {MARKER} FROM journal_markers WHERE {where} ORDER BY id", *values
                ),
            )
        )

    def _tags(self, where: str, *values: object) -> tuple[Tag, ...]:
        rows = self._database.rows(
            f"SELECT tag_id, name, made FROM journal_tags WHERE {where} ORDER BY id", *values
        )
        return tuple(Tag(*row) for row in rows)

    def _markers_gone(
        self, item: ItemRef, ids: Iterable[str], by_plan: int | None, *, stays_off: bool = False
    ) -> None:
        gone = "UPDATE journal_markers SET gone = ?, gone_plan = ?, stays_off = ?"
        sql = f"{gone} WHERE scene_id = ? AND marker_id = ? AND gone IS NULL"
        self._write_each(sql, [(time.time(), by_plan, stays_off, item.id, id_) for id_ in ids])

    def _tags_gone(
        self, item: ItemRef, ids: Iterable[str], by_plan: int | None, *, stays_off: bool = False
    ) -> None:
        gone = "UPDATE journal_tags SET gone = ?, gone_plan = ?, stays_off = ?"
        sql = f"{gone} WHERE kind = ? AND item_id = ? AND tag_id = ? AND gone IS NULL"
        self._write_each(
            sql, [(time.time(), by_plan, stays_off, *_columns(item), id_) for id_ in ids]
        )

    def _write_each(self, sql: str, rows: list[Row]) -> None:
        if rows:
            with self.together():
                self._database.execute_each(sql, rows)

    def _note(self, opened: OpenPlan, step: str, outcome: str) -> None:
        sql = "INSERT INTO journal_steps (plan_id, at, step, outcome) VALUES (?, ?, ?, ?)"
        self._database.execute(sql, opened.id, time.time(), step, outcome)


def _columns(item: ItemRef) -> tuple[str, str]:
    """``kind`` and ``item_id`` of a row about the item."""
    return item.kind.value, item.id


def _as_asked(tag: Tag, plan: ChangePlan) -> OwnedTag:
    """A tag that the plan has put on its item, with what the tag list calls it."""
    asked = next(
        (wanted.asked for wanted in plan.add if wanted.is_tag(tag) or wanted.name == tag.name), ""
    )
    return OwnedTag(tag.id, tag.name, asked, tag.created_s)
