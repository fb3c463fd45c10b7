"""The terms on which a video is searched: agreed on when its search begins, and stored before the
first question, so that a search that is broken off goes on exactly as it began.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from vlm_engine.store import TagPairs
from vlm_engine.tagging.cached_client import CachedClient, Cascade, Tags
from vlm_engine.tagging.comparisons import SCAN_FRAMES, ComparisonPlan, Evidence, planned
from vlm_engine.tagging.results import read_terms, terms_dict
from vlm_engine.tagging.style_evidence import ALIKE, ENOUGH, weigh
from vlm_engine.tagging.styles import Choice, choices, is_allowed, usual_style
from vlm_engine.tasks import gather_or_cancel
from vlm_engine.types import (
    ComparedTag,
    Findings,
    ImageShape,
    QuestionCost,
    QuestionStyle,
    QuestionTerms,
    StyleComparison,
    VideoInfo,
)

_log = logging.getLogger(__name__)
_STEP = 2**0.25
"""Costs are rounded to powers of this: less than they change from run to run."""
_MOST_NAMED = 3
_OF_JUDGE = 4
"""A judge that does not scan is compared on one frame where it would be on four: it is asked little
else, and twice about each.
"""


@dataclass(frozen=True, slots=True)
class SearchTerms:
    """Terms of the judge and of the scanner, if there is one, and on how many frames the styles of
    each are compared. ``names``: those of the tags that the search was begun for, as stored.
    """

    terms: tuple[QuestionTerms, ...]
    plans: tuple[ComparisonPlan, ...] = ()
    names: Tags = ()

    @property
    def styles(self) -> tuple[QuestionStyle, ...]:
        """The styles of all."""
        return tuple(one.style for one in self.terms)

    def fingerprint(self, settings: str) -> str:
        """Return the name of a search in these styles with these settings."""
        names = (
            f"{style.form} {style.shape.max_side}/{style.shape.quality}" for style in self.styles
        )
        return f"{settings} asked for {' and '.join(names)}"

    def stored(self) -> str:
        """Return them as text for the store."""
        plans = [astuple(plan) for plan in self.plans]
        terms = [*map(terms_dict, self.terms)]
        return json.dumps({"terms": terms, "plans": plans, "tags": self.names})

    @classmethod
    def from_stored(cls, text: str) -> SearchTerms | None:
        """Return what ``stored`` wrote; None where the text is not that, because bytes rot."""
        try:
            data = json.loads(text)
            plans = tuple(map(_plan, data["plans"]))
            return cls(tuple(map(read_terms, data["terms"])), plans, tuple(data["tags"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None


def _plan(values: Sequence[Any]) -> ComparisonPlan:
    *numbers, tags = values
    spread, near, forms, every = map(int, numbers)
    if min(spread, near, forms) < 0 or every < 1 or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("not a plan")
    return ComparisonPlan(spread, near, forms, every, tuple(tags))


@dataclass(frozen=True, slots=True)
class SearchesBefore:
    """Earlier searches of a video. ``finished``: the tags of those that ended, by fingerprint.
    ``terms``: those on which searches with the same settings began, oldest first.
    """

    finished: Mapping[str, Collection[str]]
    terms: Sequence[str]


async def agreed_terms(
    cascade: Cascade,
    video: VideoInfo,
    tags: Tags,
    cache_key: str,
    settings: str,
    *,
    before: SearchesBefore,
    earlier: Findings | None,
    learns: bool,
) -> SearchTerms:
    """Return the terms of this search, stored.

    A search for these tags that was begun with these settings goes on on its own terms. One in the
    styles that are in use now, also for other tags, is repeated on its terms. Any other begins on
    new ones. What an ``earlier`` result covers is repeated on its terms. ``learns``: new costs are
    those learnt so far, and not the usual ones. Raises ``NoEndpointError`` and ``StoreError``.
    """
    if earlier is not None and earlier.terms:
        given = SearchTerms(earlier.terms)
        if given.fingerprint(settings) in {by for _, by in earlier.searches} and _are_allowed(
            given, cascade, video
        ):
            return given
    judge, names = cascade.judge, cascade.judge.kept_names(tags)
    new = await _new_terms(cascade, video, compares=earlier is None, learns=learns)
    stored = [
        terms
        for terms in map(SearchTerms.from_stored, before.terms)
        if terms is not None and _are_allowed(terms, cascade, video)
    ]
    if stored and stored[-1].names == names:
        begun = stored[-1]
        if not set(tags) <= set(before.finished.get(begun.fingerprint(settings), ())):
            return begun
    alike = [terms for terms in stored if terms.styles == new.styles]
    same_tags = [terms for terms in alike if terms.names == names]
    if same_tags:
        return SearchTerms(same_tags[-1].terms)
    agreed = SearchTerms(alike[-1].terms, names=names) if alike else replace(new, names=names)
    await judge.store_terms(cache_key, settings, agreed.stored())
    return agreed


def _are_allowed(terms: SearchTerms, cascade: Cascade, video: VideoInfo) -> bool:
    return len(terms.terms) == len(cascade.members) and all(
        is_allowed(style, client.model, video)
        for client, style in zip(cascade.members, terms.styles, strict=True)
    )


async def _new_terms(
    cascade: Cascade, video: VideoInfo, *, compares: bool, learns: bool
) -> SearchTerms:
    terms, plans = list[QuestionTerms](), list[ComparisonPlan]()
    for client in cascade.members:
        style, known = usual_style(client.model, video), dict[bool, Evidence]()
        open_choices = [*choices(client.model, video)]
        found = await gather_or_cancel([_evidence(client, choice) for choice in open_choices])
        for choice, evidence in zip(open_choices, found, strict=True):
            style = choice.applied(style, other=evidence.is_other)
            known[choice.is_size] = evidence
        cost = QuestionCost()
        if learns:
            cost = _rounded(client.question_cost(sent_pixels(video, style.shape)))
        terms.append(QuestionTerms(style, cost))
        share = _OF_JUDGE if client is cascade.judge and cascade.scanner else 1
        budget = client.model.frames_compared // share if compares else 0
        plans.append(planned(budget, known.get(True), known.get(False), share * SCAN_FRAMES))
        _log.debug("%s: %s", video.path, terms[-1])
    return SearchTerms(tuple(terms), tuple(plans))


async def _evidence(client: CachedClient, choice: Choice) -> Evidence:
    """Return what is known, with the decision that follows from it, which is stored.

    The other style is used from where it clearly sees more until it clearly does not: in between
    nothing changes.
    """
    pairs, was_other = await _stored_evidence(client, choice)
    weight = weigh(pairs, everywhere=choice.is_size)
    is_other = weight.overall > (ALIKE if was_other else ENOUGH)
    if is_other != was_other and await client.use_other_style(choice.name, other=is_other):
        _log.info("%s", _told(client, choice, Evidence(pairs, weight, is_other)))
    return Evidence(pairs, weight, is_other)


async def _stored_evidence(
    client: CachedClient, choice: Choice
) -> tuple[dict[str, TagPairs], bool]:
    """Return the pairs of each tag, and whether the other style is in use. Reads both at once."""
    return await asyncio.gather(client.tag_pairs(choice.name), client.uses_other_style(choice.name))


def _told(client: CachedClient, choice: Choice, evidence: Evidence) -> str:
    """Return what changes, and why."""
    name = client.name or client.model.model_id or "the model"
    usual, other = _words(choice)
    if not evidence.is_other:
        return (
            f"Model {name}: it sees as much in {usual} as in {other} after all"
            f" ({evidence.frames} frames were compared), so frames are asked about in {usual} again"
        )
    by_tag = evidence.weight.by_tag
    missed = [tag for tag in sorted(by_tag, key=lambda tag: -by_tag[tag]) if by_tag[tag] > 1]
    figures = [f"{tag} ({_missed(evidence.pairs[tag], other)})" for tag in missed[:_MOST_NAMED]]
    if len(missed) > _MOST_NAMED:
        figures.append(f"{len(missed) - _MOST_NAMED} more")
    named = ", ".join(figures) or f"tags here and there ({_missed_of_all(evidence, other)})"
    return (
        f"Model {name}: in {usual} it misses {named}. Frames are asked about in {other} from now"
        f" on; set {choice.setting} to keep {usual}"
    )


def _missed(pairs: TagPairs, other: str) -> str:
    return f"{pairs.missed} of {pairs.seen_other} seen in {other}"


def _missed_of_all(evidence: Evidence, other: str) -> str:
    every = evidence.pairs.values()
    missed, seen = sum(one.missed for one in every), sum(one.seen_other for one in every)
    return f"{missed} of {seen} seen in {other}"


async def style_comparisons(client: CachedClient) -> tuple[StyleComparison, ...]:
    """Return what is known of the styles of one model, and which are in use; nothing where there
    are no frames to tell of.
    """
    found, every = [], [*choices(client.model)]
    stored = await gather_or_cancel([_stored_evidence(client, choice) for choice in every])
    for choice, (pairs, is_other) in zip(every, stored, strict=True):
        usual, other = _words(choice)
        rows = tuple(
            ComparedTag(tag, one.frames, one.seen_usual, one.seen_other)
            for tag, one in pairs.items()
            if one.frames
        )
        in_use = other if is_other else usual
        if rows:
            found.append(StyleComparison(client.name, usual, other, in_use, rows))
    return tuple(found)


def _words(choice: Choice) -> tuple[str, str]:
    return ("small pictures", "full size") if choice.is_size else ("lists", "verdicts")


def sent_pixels(video: VideoInfo, shape: ImageShape) -> int:
    """Return the pixels of a frame as it is sent."""
    scale = min(1.0, shape.max_side / max(video.width, video.height, 1))
    return round(video.width * scale) * round(video.height * scale)


def _rounded(cost: QuestionCost) -> QuestionCost:
    return QuestionCost(*map(_to_step, astuple(cost)))


def _to_step(seconds: float) -> float:
    return _STEP ** round(math.log(seconds, _STEP)) if seconds > 0 else 0.0
