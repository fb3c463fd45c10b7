"""Decisions of people about spans of a scene, and about tags of an image or a gallery.

Each is a judgement and a plan in the journal, in one step, and then a change in Stash. Every later
run obeys the judgement. Undoing it restores what it changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from haven.items import ItemKind, ItemRef
from haven.settings.settings import TagNames
from haven.stash.apply import ItemWriter, Planner
from haven.stash.changes import (
    ChangePlan,
    DecisionKind,
    Judged,
    Judgement,
    MarkerMove,
    Owned,
    OwnedMarker,
    OwnedTag,
    PlannedMarker,
    PlannedTag,
)
from haven.stash.errors import ChangedMeanwhileError
from haven.stash.evidence import Evidence, revision_of
from haven.stash.journal import Journal
from haven.stash.journal.runs import DECISIONS
from haven.stash.plan import WHOLE, overlap, renamed
from haven.stash.reading import read_item
from haven.stash.recover import follow_files, known_of
from haven.stash.tags import TagCache
from haven.stash.transport import StashClient
from haven.stash.undo import plan_undo, with_current_ids
from haven.stash.values import ItemSnapshot, Marker, Tag, change_of, tag_key
from vlm_engine import Span

_NO_TAG = Tag("", "")


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about the span of a tag, in seconds. ``tag``: its name in the tag list. Images
    and galleries have no spans: the times are 0.

    ``marker_id``: the span's marker, or empty. "adjust" sets ``new_start_s`` and ``new_end_s``.
    """

    kind: DecisionKind
    tag: str
    start_s: float = WHOLE[0]
    end_s: float = WHOLE[1]
    marker_id: str = ""
    new_start_s: float | None = None
    new_end_s: float | None = None


class DecisionWriter:
    """Carries out decisions about items. Calls block; one caller at a time.

    They raise ``ChangedMeanwhileError`` before anything is written when the item is no longer as
    it was at ``revision``; ``JournalBusyError``, ``ItemGoneError``, ``ApplyError`` and the errors
    of the connection. What those leave half-written the next start of anything completes.
    """

    def __init__(self, client: StashClient, journal: Journal, names: TagNames) -> None:
        self._client = client
        self._journal = journal
        self._names = names
        self._tags = TagCache(client, names)
        self._writer = ItemWriter(client, self._tags, journal)

    def decide(self, ref: ItemRef, revision: int, decisions: Sequence[Decision]) -> None:
        """Carry out decisions in their order, each by itself."""
        with self._changing(ref, revision) as (run_id, item, evidence):
            for decision in decisions:
                self._change(run_id, ref, self._planner(decision, item, evidence))

    def undo_last(self, ref: ItemRef, revision: int) -> None:
        """Undo the latest decision about the item, exactly."""
        with self._changing(ref, revision) as (run_id, item, evidence):
            judgements = self._journal.judgements(ref, item.created_s)
            if not judgements:
                raise ChangedMeanwhileError(f"There is no decision about {ref} to undo.")
            last = judgements[-1]
            tags = self._tags_to_put_back(last)
            self._change(run_id, ref, lambda now: self._plan_undo(last, tags, evidence, now))
        if last.plan_id and last.kind is not DecisionKind.WRONG:
            self._writer.destroy_new_tags(self._journal.run_of(last.plan_id))

    def complete(self, ref: ItemRef) -> None:
        """Finish what killed processes left half-written of an item."""
        with self._journal.only_writer():
            self._writer.complete([ref])

    @contextmanager
    def _changing(
        self, ref: ItemRef, revision: int
    ) -> Iterator[tuple[int, ItemSnapshot, Evidence | None]]:
        with self._journal.only_writer():
            self._writer.complete([ref])
            item = read_item(self._client, ref)
            follow_files(self._client, self._journal, [item])
            evidence = self._journal.evidence(ref, item.created_s)
            judgements = self._journal.judgements(ref, item.created_s)
            if revision_of(item, evidence, judgements) != revision:
                raise ChangedMeanwhileError(
                    f"{str(ref).capitalize()} has changed since this page read it: read it again."
                )
            run_id, outcome = self._journal.runs.start(DECISIONS), "broken off"
            try:
                yield run_id, item, evidence
                outcome = "finished"
            finally:
                self._journal.runs.finish(run_id, outcome)

    def _change(self, run_id: int, ref: ItemRef, plan: Planner) -> None:
        change_of(self._writer.change(run_id, [ref], plan))

    # Plans. They are made in the journal's transaction, which also gets the judgement.

    def _planner(
        self, decision: Decision, item: ItemSnapshot, evidence: Evidence | None
    ) -> Planner:
        if decision.kind is DecisionKind.BRING_BACK:
            if wrong := self._wrong_judgement(decision, item):
                tags = self._tags_to_put_back(wrong)
                return lambda now: self._plan_bring_back(wrong, tags, now)
            decision = replace(decision, kind=DecisionKind.KEEP)  # of what was removed in Stash
        if decision.marker_id:
            return partial(self._plan_for_marker, decision, evidence)
        names = self._names_in_stash(item, evidence)
        if decision.tag not in names:
            raise ChangedMeanwhileError(
                f"{decision.tag!r} was not looked for in {item.ref}: read it again."
            )
        name = names[decision.tag]
        known = self._tags.find([name])
        parent = _NO_TAG
        if item.ref.kind is ItemKind.SCENE and decision.kind is not DecisionKind.WRONG:
            (parent,) = self._tags.ensure([self._names.parent]).values()

        def plan(now: ItemSnapshot) -> ChangePlan:
            here = {**known, **renamed(now, known_of(self._journal, now))}
            tag = here.get(tag_key(name), Tag("", name))
            wanted = PlannedTag(tag.name, tag.id, decision.tag, tag.created_s)
            return self._plan_without_marker(decision, evidence, wanted, parent, now)

        return plan

    def _plan_for_marker(
        self, decision: Decision, evidence: Evidence | None, item: ItemSnapshot
    ) -> ChangePlan:
        marker = next((one for one in item.markers if one.id == decision.marker_id), None)
        if marker is None:
            raise ChangedMeanwhileError(
                f"Marker {decision.marker_id} of {item.ref} is gone: read it again."
            )
        primary = marker.primary
        end_s = marker.start_s if marker.end_s is None else marker.end_s
        judgement = Judgement(
            decision.kind,
            OwnedTag(primary.id, primary.name, decision.tag, primary.created_s),
            marker.start_s,
            end_s,
            decision.new_start_s,
            decision.new_end_s,
            marker.id,
            marker.created_s,
            marker.id in known_of(self._journal, item).markers,
        )
        judgement = _with_evidence(judgement, evidence)
        number = self._journal.judge(item, judgement)
        if decision.kind is DecisionKind.WRONG:
            return self._plan_wrong(item, judgement, number, marker, evidence)
        if decision.kind is DecisionKind.KEEP:
            self._journal.give_marker(item.ref, marker.id, is_owned=False)
            stood = self._unknown(item, marker, judgement.tag.asked)
            return ChangePlan.of(item, _NO_TAG, stood_markers=stood, judgement=number)
        return self._plan_move(item, judgement, number, marker)

    def _plan_without_marker(
        self,
        decision: Decision,
        evidence: Evidence | None,
        tag: PlannedTag,
        parent: Tag,
        item: ItemSnapshot,
    ) -> ChangePlan:
        judgement = Judgement(
            decision.kind,
            OwnedTag(tag.id, tag.name, decision.tag, tag.created_s),
            decision.start_s,
            decision.end_s,
            decision.new_start_s,
            decision.new_end_s,
        )
        judgement = _with_evidence(judgement, evidence)
        number = self._journal.judge(item, judgement)
        if decision.kind is DecisionKind.WRONG:
            return self._plan_wrong(item, judgement, number, None, evidence)
        start_s, end_s = judgement.stretches[-1]
        beside = () if tag.id == parent.id else (parent.id,)
        marker = PlannedMarker(tag, round(start_s, 3), round(end_s, 3), beside)
        is_scene, has_tag = item.ref.kind is ItemKind.SCENE, tag.id in item.tag_ids
        known = {one.id for one in self._journal.known(item.ref).tags}
        is_persons = has_tag and not is_scene and tag.id not in known
        stood = OwnedTag(tag.id, tag.name, decision.tag, tag.created_s, is_owned=False)
        return ChangePlan.of(
            item,
            parent,
            add=() if has_tag else (tag,),
            create=(marker,) if is_scene else (),
            stood_tags=(stood,) if is_persons else (),
            judgement=number,
        )

    def _plan_tag_wrong(self, item: ItemSnapshot, judgement: Judgement, number: int) -> ChangePlan:
        """Plan that an image or a gallery loses a tag, whoever put it there."""
        owned = known_of(self._journal, item).tag_ids
        tags = [tag for tag in item.tags if judgement.tag.is_tag(tag)]
        return ChangePlan.of(
            item,
            _NO_TAG,
            remove=tuple(tag for tag in tags if tag.id in owned),
            release=tuple(tag for tag in tags if tag.id not in owned),
            judgement=number,
        )

    def _plan_wrong(
        self,
        item: ItemSnapshot,
        judgement: Judgement,
        number: int,
        marker: Marker | None,
        evidence: Evidence | None,
    ) -> ChangePlan:
        if item.ref.kind is not ItemKind.SCENE:
            return self._plan_tag_wrong(item, judgement, number)
        owned = known_of(self._journal, item)
        return ChangePlan.of(
            item,
            _NO_TAG,
            destroy=(OwnedMarker.of(marker),) if marker else (),
            remove=tuple(
                tag
                for tag in item.tags
                if tag.id in owned.tag_ids
                and judgement.tag.is_tag(tag)
                and not _is_supported(tag, item, owned, judgement, marker, evidence)
            ),
            stood_markers=self._unknown(item, marker, judgement.tag.asked) if marker else (),
            judgement=number,
        )

    def _plan_move(
        self, item: ItemSnapshot, judgement: Judgement, number: int, marker: Marker
    ) -> ChangePlan:
        start_s, end_s = judgement.stretches[-1]
        record = OwnedMarker.of(marker)
        move = MarkerMove(record, round(start_s, 3), round(end_s, 3), is_owned=False)
        stood = self._unknown(item, marker, judgement.tag.asked)
        return ChangePlan.of(item, _NO_TAG, move=(move,), stood_markers=stood, judgement=number)

    def _plan_bring_back(
        self, wrong: Judgement, tags: dict[str, Tag], item: ItemSnapshot
    ) -> ChangePlan:
        again = replace(wrong, kind=DecisionKind.BRING_BACK, about=wrong.id)
        self._journal.judge(item, again)
        self._journal.take_back(wrong.id)
        return self._plan_restoring(wrong.plan_id, tags, item)

    def _plan_undo(
        self,
        last: Judgement,
        tags: dict[str, Tag],
        evidence: Evidence | None,
        item: ItemSnapshot,
    ) -> ChangePlan:
        self._journal.take_back(last.id)
        if last.about:
            return self._plan_wrong_again(last.about, item, evidence)
        if not last.plan_id:
            if marker := _marker_of(last, item):
                self._journal.give_marker(item.ref, marker.id, is_owned=last.was_owned)
            return ChangePlan.of(item, _NO_TAG)
        if moves := self._journal.plan_of(last.plan_id).move:
            back = tuple(
                MarkerMove(now, one.marker.start_s, one.marker.end_s, last.was_owned)
                for one in moves
                for now in map(OwnedMarker.of, item.markers)
                if now.is_like(one.moved)
            )
            return ChangePlan.of(item, _NO_TAG, move=back[:1], undoes=last.plan_id)
        return self._plan_restoring(last.plan_id, tags, item)

    def _plan_wrong_again(
        self, number: int, item: ItemSnapshot, evidence: Evidence | None
    ) -> ChangePlan:
        self._journal.take_back(number, holds=True)
        wrong = self._journal.judgement(number)
        marker = _marker_of(wrong, item)
        return self._plan_wrong(item, wrong, number, marker, evidence)

    def _plan_restoring(self, plan_id: int, tags: dict[str, Tag], item: ItemSnapshot) -> ChangePlan:
        if not plan_id:
            return ChangePlan.of(item, _NO_TAG)
        facts = with_current_ids(self._journal.facts(plan_id), tags)
        # The judgement is about this item, also if it was about another one when it was made.
        facts = replace(facts, item_made_s=item.created_s)
        owned = replace(known_of(self._journal, item), judged=())
        plan, _ = plan_undo(item, facts, owned)
        return plan

    def _names_in_stash(self, item: ItemSnapshot, evidence: Evidence | None) -> dict[str, str]:
        """Return the names in Stash of the tags that were looked for, and that the plugin put on
        an item without evidence, by their names in the tag list.
        """
        names = {seen.tag: seen.in_stash for seen in evidence.tags} if evidence else {}
        if item.ref.kind is not ItemKind.SCENE:
            known = known_of(self._journal, item)
            current = {tag.id: tag.name for tag in item.tags}
            for tag in known.tags.values():
                names.setdefault(tag.asked or tag.name, current[tag.id])
        return names

    def _wrong_judgement(self, decision: Decision, item: ItemSnapshot) -> Judgement | None:
        """Return the judgement that called a span wrong. None: a person removed its marker in
        Stash. Raises ``ChangedMeanwhileError`` if it is neither.
        """
        stretch = (decision.start_s, decision.end_s)
        key = tag_key(decision.tag)
        for judged in Judged.of(self._journal.judgements(item.ref, item.created_s)):
            names = (judged.latest.tag.asked, judged.latest.tag.name)
            if judged.is_wrong and stretch in judged.stretches and key in map(tag_key, names):
                return judged.latest
        removed = known_of(self._journal, item).removed
        tags = [*removed.tags, *(one.primary for one in removed.markers)]
        if key in {tag_key(name) for tag in tags for name in (tag.name, tag.asked)}:
            return None
        raise ChangedMeanwhileError(
            f"{decision.tag!r} of {item.ref} was neither called wrong nor removed: read it again."
        )

    def _tags_to_put_back(self, judgement: Judgement) -> dict[str, Tag]:
        if not judgement.plan_id:
            return {}
        return dict(self._tags.by_id(self._journal.facts(judgement.plan_id).put_back_ids))

    def _unknown(self, item: ItemSnapshot, marker: Marker, asked: str) -> tuple[OwnedMarker, ...]:
        """Return a person's marker that the journal does not know yet, so that it can be
        restored.
        """
        if any(one.id == marker.id for one in self._journal.known(item.ref).markers):
            return ()
        return (OwnedMarker.of(marker, asked=asked, is_owned=False),)


def _with_evidence(judgement: Judgement, evidence: Evidence | None) -> Judgement:
    """Return a judgement with what the run said that is judged, so that it can be learned from."""
    seen = evidence.seen(judgement.tag.asked) if evidence else None
    if evidence is None or seen is None:
        return judgement
    stretch = (judgement.start_s, judgement.end_s)
    if evidence.duration_s:
        shares = [one.confidence for one in seen.spans if overlap(_times(one), stretch)]
    else:
        shares = [
            frame.verdicts[seen.tag].probability
            for frame in evidence.frames
            if seen.tag in frame.verdicts
        ]
    return replace(
        judgement,
        model=seen.judge.model or evidence.model,
        wording=seen.judge.wording,
        confidence=max((one for one in shares if one is not None), default=None),
        threshold=seen.threshold,
    )


def _times(span: Span) -> tuple[float, float]:
    return span.start_s, span.end_s


def _marker_of(judgement: Judgement, item: ItemSnapshot) -> Marker | None:
    """Return the marker of a judged span. It has another id if it was put back."""
    stretch = (judgement.start_s, judgement.end_s)
    return next(
        (
            one
            for one in item.markers
            if judgement.tag.is_tag(one.primary)
            and (one.start_s, one.start_s if one.end_s is None else one.end_s) == stretch
        ),
        None,
    )


def _is_supported(
    tag: Tag,
    item: ItemSnapshot,
    owned: Owned,
    judgement: Judgement,
    marker: Marker | None,
    evidence: Evidence | None,
) -> bool:
    """Return True if a scene's tag stands for more than the span that was called wrong.

    Another marker of it does, or a span that was judged as right. Where the span has no marker,
    other spans of the tag do that are sure enough, since it may be the user's wish that no markers
    are made.
    """
    others = (one for one in item.markers if marker is None or one.id != marker.id)
    if owned.is_supported(tag) or any(one.primary.id == tag.id for one in others):
        return True
    if marker is not None or evidence is None:
        return False
    wrong = [one for judged in owned.judged if judged.is_wrong for one in judged.stretches]
    return any(
        (span.confidence is None or span.confidence >= seen.threshold)
        and not any(overlap(_times(span), one) for one in wrong)
        for seen in evidence.tags
        if tag_key(seen.tag) == tag_key(judgement.tag.asked)
        for span in seen.spans
    )
