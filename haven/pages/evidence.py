"""The operations ``scene``, ``image`` and ``gallery``: what a run saw, beside what is in Stash now
and what people decided.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate, islice, takewhile

from haven.items import ItemKind, ItemRef
from haven.pages.context import PageContext
from haven.pages.contract import (
    FrameEvidence,
    ItemArguments,
    ItemEvidence,
    SpanEvidence,
    SpanState,
    TagEvidence,
)
from haven.settings.merge import CONTROL_TAGS
from haven.stash.changes import DecisionKind, Judged, Owned, OwnedMarker, OwnedTag
from haven.stash.errors import JournalBusyError
from haven.stash.evidence import Evidence, FrameSeen, TagSeen, revision_of
from haven.stash.journal import Journal
from haven.stash.plan import WHOLE, overlap, widened
from haven.stash.reading import read_all, read_item
from haven.stash.recover import follow_files, known_of
from haven.stash.values import ITEM_TYPES, ItemSnapshot, Marker, Scene, Tag, tag_key
from vlm_engine import ConfigError, Span

_PATIENCE_S = 5.0  # a person waits at the page
_NOT_SEEN = "No run has looked at this {} yet."
_SEEN_BEFORE = (
    "This {} was tagged before evidence was kept. Update it to see it: nothing is asked twice."
)
Stretch = tuple[float, float]


@contextmanager
def open_journal(context: PageContext) -> Iterator[Journal]:
    """Open the journal. Raises ``JournalError``."""
    with closing(Journal(context.store_path, patience_s=_PATIENCE_S)) as journal:
        yield journal


def scene(context: PageContext, arguments: ItemArguments) -> ItemEvidence:
    """Return what is known about a scene, after completing what a killed process left of it.

    Raises ``ItemGoneError`` and the errors of Stash and the journal.
    """
    return _read(context, ItemRef(ItemKind.SCENE, arguments.id))


def image(context: PageContext, arguments: ItemArguments) -> ItemEvidence:
    """Return what is known about an image. Does and raises as ``scene``."""
    return _read(context, ItemRef(ItemKind.IMAGE, arguments.id))


def gallery(context: PageContext, arguments: ItemArguments) -> ItemEvidence:
    """Return what is known about a gallery. Does and raises as ``scene``."""
    return _read(context, ItemRef(ItemKind.GALLERY, arguments.id))


def _read(context: PageContext, ref: ItemRef) -> ItemEvidence:
    with open_journal(context) as journal:
        if journal.unfinished([ref]):
            with suppress(JournalBusyError, ConfigError):  # a running task completes it
                _complete(context, journal, ref)
        return item_evidence(context, journal, ref)


def item_evidence(context: PageContext, journal: Journal, ref: ItemRef) -> ItemEvidence:
    """Return what is known about an item, as it is in Stash now."""
    item = read_item(context.client, ref)
    follow_files(context.client, journal, [item])
    evidence = journal.evidence(ref, item.created_s)
    owned = known_of(journal, item)
    judgements = journal.judgements(ref, item.created_s)
    seen = evidence or _unseen(context, ref)
    is_scene = ref.kind is ItemKind.SCENE
    tags = _tags(seen, item, owned, journal.known(ref).markers) if is_scene else ()
    return ItemEvidence(
        ref.kind.value,
        ref.id,
        revision_of(item, evidence, judgements),
        seen.title,
        seen.duration_s,
        evidence.looked_at_s if evidence else None,
        seen.model,
        seen.task,
        seen.effort or None,
        tuple(tags if is_scene else _whole_tags(context, seen, item, owned)),
        tuple(map(_frame, seen.frames)),
        seen.gaps_s,
        _note(ref, evidence, owned),
    )


def _note(ref: ItemRef, evidence: Evidence | None, owned: Owned) -> str:
    if evidence or ref.kind is ItemKind.GALLERY:  # a gallery gets the tags of its images
        return ""
    return (_SEEN_BEFORE if owned.tags or owned.markers else _NOT_SEEN).format(ref.kind)


def _complete(context: PageContext, journal: Journal, ref: ItemRef) -> None:
    from haven.stash.decisions import DecisionWriter

    DecisionWriter(context.client, journal, context.settings().tag_names).complete(ref)


def _unseen(context: PageContext, ref: ItemRef) -> Evidence:
    """Return what Stash alone knows of an item."""
    for one in read_all(context.client, ITEM_TYPES[ref.kind], [ref.id]):
        duration_s = one.duration_s if isinstance(one, Scene) else 0.0
        return Evidence(one.title, "", "", (), (), duration_s)
    return Evidence("", "", "", (), ())


def _frame(frame: FrameSeen) -> FrameEvidence:
    verdicts = ((tag, one.present, one.probability) for tag, one in frame.verdicts.items())
    return FrameEvidence(frame.time_s, tuple(verdicts))


# The tags of an image or a gallery.


def _whole_tags(
    context: PageContext, evidence: Evidence, item: ItemSnapshot, owned: Owned
) -> Iterator[TagEvidence]:
    """Yield the tags that were looked for, and others that the plugin put there or people
    judged.
    """
    listed = {tag_key(context.plain_text(name)) for name in CONTROL_TAGS}
    listed |= {tag_key(name) for seen in evidence.tags for name in (seen.tag, seen.in_stash)}
    others: list[TagSeen] = []
    for tag in (*owned.tags.values(), *(one.latest.tag for one in owned.judged)):
        if listed.isdisjoint(_keys(tag)):
            others.append(TagSeen(tag.asked or tag.name, tag.name, 0.0))
            listed |= _keys(tag)
    verdicts = evidence.frames[0].verdicts if evidence.frames else {}
    for seen in (*evidence.tags, *others):
        verdict = verdicts.get(seen.tag)
        yield _whole_tag(seen, verdict.probability if verdict else None, item, owned)


def _whole_tag(
    seen: TagSeen, confidence: float | None, item: ItemSnapshot, owned: Owned
) -> TagEvidence:
    names = {tag_key(seen.tag), tag_key(seen.in_stash)}
    of_plugin = {id_ for id_, tag in owned.tags.items() if not names.isdisjoint(_keys(tag))}
    carried = [tag.id for tag in item.tags if tag.id in of_plugin or tag_key(tag.name) in names]
    judged = next(
        (one for one in owned.judged if not names.isdisjoint(_keys(one.latest.tag))), None
    )
    state: SpanState = "below"
    if carried:
        state = "kept" if judged and not judged.is_wrong else "marker"
    elif judged and judged.is_wrong:
        state = "wrong"
    elif any(not names.isdisjoint(_keys(tag)) for tag in owned.removed.tags):
        state = "gone"
    by_person = state not in {"marker", "below"} or not of_plugin.issuperset(carried)
    span = SpanEvidence(*WHOLE, confidence, state, None, by_person)
    return TagEvidence(seen.tag, seen.in_stash, seen.threshold, (span,))


def _keys(tag: OwnedTag) -> set[str]:
    return {tag_key(name) for name in (tag.name, tag.asked) if name}


# The tags of a scene.


def _tags(
    evidence: Evidence, item: ItemSnapshot, owned: Owned, known: Sequence[OwnedMarker]
) -> Iterator[TagEvidence]:
    """Yield the tags that were looked for, and others of which the plugin has markers or people
    judged spans.
    """
    in_list_of = {one.primary_id: one.asked for one in known if one.asked}
    listed = {tag_key(name) for seen in evidence.tags for name in (seen.tag, seen.in_stash)}
    tags = [(judged.latest.tag.name, judged.latest.tag.asked) for judged in owned.judged]
    tags += [
        (one.primary.name, in_list_of.get(one.primary.id, ""))
        for one in item.markers
        if one.id in owned.markers
    ]
    others = {
        tag_key(name): TagSeen(name, name, 0.0)
        for name, in_list in tags
        if not {tag_key(name), tag_key(in_list)} & listed
    }
    for seen in (*evidence.tags, *others.values()):
        names = frozenset(map(tag_key, (seen.tag, seen.in_stash)))
        yield _tag(seen, _OfTag.of(names, item, owned, in_list_of), owned)


@dataclass(frozen=True, slots=True)
class _OfTag:
    """One tag of a scene: its markers in Stash, judgements, and what people took off."""

    markers: tuple[Marker, ...]
    judged: tuple[Judged, ...]
    removed: tuple[OwnedMarker, ...]

    @staticmethod
    def of(
        names: frozenset[str], item: ItemSnapshot, owned: Owned, in_list_of: dict[str, str]
    ) -> _OfTag:
        def is_it(tag: Tag | OwnedTag, in_list: str) -> bool:
            return tag_key(tag.name) in names or (bool(in_list) and tag_key(in_list) in names)

        primaries = {one.primary.id: one.primary for one in item.markers}
        ids = {id_ for id_, tag in primaries.items() if is_it(tag, in_list_of.get(id_, ""))}
        return _OfTag(
            tuple(one for one in item.markers if one.primary.id in ids),
            tuple(one for one in owned.judged if is_it(one.latest.tag, one.latest.tag.asked)),
            tuple(one for one in owned.removed.markers if is_it(one.primary, one.asked)),
        )


def _tag(seen: TagSeen, there: _OfTag, owned: Owned) -> TagEvidence:
    """Return a tag's spans: one for each marker, one for each span that was called wrong, and what
    else was seen.
    """
    spans, markers = _Spans(seen.spans), _Spans.of(map(_stretch, there.markers))
    wrong = [one for one in there.judged if one.is_wrong]
    right = [one for one in there.judged if not one.is_wrong]
    stands = [one for one in right if markers.within(one.stretches[-1])]
    listed = _Spans.of(
        [
            *map(_stretch, there.markers),
            *(each for one in (*wrong, *stands) for each in one.stretches),
        ]
    )
    gone = _Spans.of(
        [*map(_stretch, there.removed), *(each for one in right for each in one.stretches)]
    )
    entries = [
        *(_marker_entry(one, spans, right, owned) for one in there.markers),
        *(_wrong_entry(one, spans) for one in wrong),
        *(_seen_entry(one, gone) for one in seen.spans if not listed.within(_times(one))),
    ]
    ordered = sorted(entries, key=lambda entry: (entry.start_s, entry.end_s))
    return TagEvidence(seen.tag, seen.in_stash, seen.threshold, tuple(ordered))


def _marker_entry(
    marker: Marker, spans: _Spans, right: Sequence[Judged], owned: Owned
) -> SpanEvidence:
    by_person = marker.id not in owned.markers
    state: SpanState = "marker"
    for judged in right if by_person else ():
        if any(overlap(one, _stretch(marker)) for one in judged.stretches):
            state = "adjusted" if judged.latest.kind is DecisionKind.ADJUST else "kept"
            break
    end_s = marker.start_s if marker.end_s is None else marker.end_s
    confidence = _confidence(spans.within(_stretch(marker)))
    return SpanEvidence(marker.start_s, end_s, confidence, state, marker.id, by_person)


def _wrong_entry(judged: Judged, spans: _Spans) -> SpanEvidence:
    stretch = (judged.latest.start_s, judged.latest.end_s)
    confidence = _confidence(spans.within(widened(stretch)))
    return SpanEvidence(*stretch, confidence, "wrong", None, by_person=True)


def _seen_entry(span: Span, gone: _Spans) -> SpanEvidence:
    state: SpanState = "gone" if gone.within(_times(span)) else "below"
    return SpanEvidence(*_times(span), span.confidence, state, None, by_person=state == "gone")


def _confidence(spans: Sequence[Span]) -> float | None:
    """Return the mean by duration of the confidences that are known."""
    known = [(one.duration_s, one.confidence) for one in spans if one.confidence is not None]
    total_s = sum(duration_s for duration_s, _ in known)
    if not total_s:
        return max((confidence for _, confidence in known), default=None)
    return sum(duration_s * confidence for duration_s, confidence in known) / total_s


def _times(span: Span) -> Stretch:
    return span.start_s, span.end_s


def _stretch(marker: Marker | OwnedMarker) -> Stretch:
    return widened((marker.start_s, marker.end_s))


class _Spans:
    """Spans in order of time, of which those in a stretch are found quickly."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = sorted(spans, key=lambda span: span.start_s)
        self._ends = list(accumulate((span.end_s for span in self._spans), max))

    @staticmethod
    def of(stretches: Iterable[Stretch]) -> _Spans:
        """Return stretches of time as spans."""
        return _Spans(Span("", *one) for one in stretches)

    def within(self, stretch: Stretch) -> list[Span]:
        """Return the spans that share some time with a stretch."""
        start_s, end_s = stretch
        first = bisect_right(self._ends, start_s)
        later = takewhile(lambda span: span.start_s < end_s, islice(self._spans, first, None))
        return [span for span in later if span.end_s > start_s]
