"""Choice of the frames of a video that are asked about in a second style, and the pairs of answers
that come of it. Pure.

Each comparison changes one part of the style, so two questions beside the scan's own tell size and
form apart: one with a full picture and the same form, one with a small picture and verdicts. Half
of the frames are spread evenly over the scan. The others lie beside a frame of the scan that shows
a tag of which little is known. What a frame itself shows plays no part: frames chosen because the
usual style saw a tag there could not tell what it misses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vlm_engine.store import PairCounts, PairKey, TagPairs
from vlm_engine.tagging.style_evidence import Weight, open_tags
from vlm_engine.types import Verdict

SCAN_FRAMES = 12
"""At most one of this number of scan frames is compared: a scan is two thirds of all questions."""
_FIRST_FRAMES = 100
"""Frames of a list that are compared at the full rate, and afterwards only in doubt."""
_ENOUGH_FRAMES = 160
"""Compared frames after which a tag that the usual style never sees would have been found."""
_SERVED = 0.8
"""The weight of a tag in the choice of the next frame, after each frame that was chosen for it."""
_FORMS = 4
"""The form is compared on one of this number of frames: verdicts take longest."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Pairs of answers about each tag in two styles, what they weigh, and whether the other style
    is in use.
    """

    pairs: Mapping[str, TagPairs]
    weight: Weight
    is_other: bool

    @property
    def frames(self) -> int:
        """Number of frames that were compared."""
        return max((one.frames for one in self.pairs.values()), default=0)

    def share_of(self, budget: int) -> int:
        """Return how many frames to compare: half of the budget unless the list is new or in
        doubt.
        """
        in_doubt = self.frames < _FIRST_FRAMES or self.weight.overall > 0
        return budget if in_doubt else budget - budget // 2

    def open_tags(self) -> tuple[str, ...]:
        """Return the tags about which more pairs would tell something; all tags once the other
        style is in use.
        """
        return tuple(self.pairs) if self.is_other else open_tags(self.pairs, self.weight)


@dataclass(frozen=True, slots=True)
class ComparisonPlan:
    """Numbers of frames to compare in a video.

    The size is compared on ``spread`` frames of the whole scan and on ``near`` frames beside those
    that show ``tags``, the form on ``forms`` of the latter, all of them on at most one frame in
    ``every`` of the scan.
    """

    spread: int = 0
    near: int = 0
    forms: int = 0
    every: int = SCAN_FRAMES
    tags: tuple[str, ...] = ()


def planned(
    budget: int, sizes: Evidence | None, forms: Evidence | None, every: int = SCAN_FRAMES
) -> ComparisonPlan:
    """Return the plan for a video, given what is known; None of what the settings leave no choice.

    Once the other style is in use, one frame goes on telling whether that is still right.
    """
    spread = near = compared_forms = 0
    tags: tuple[str, ...] = ()
    if sizes is not None:
        share = sizes.share_of(budget)
        spread = min(1, budget)
        if not sizes.is_other:
            tags = sizes.open_tags()
            near = share // 2 if tags else 0
            spread = share - share // 2 if sizes.frames < _ENOUGH_FRAMES else spread
    if forms is not None and (open_ones := forms.open_tags()):
        compared_forms = min(1, budget) if forms.is_other else forms.share_of(budget) // _FORMS
        tags = tags or open_ones
    return ComparisonPlan(spread, near, compared_forms, every, tags)


@dataclass(frozen=True, slots=True)
class ComparedFrame:
    """A frame of the scan, by its place, that is asked about in another size, form, or both."""

    place: int
    size: bool
    form: bool


def compared_frames(seen: Sequence[Collection[str]], plan: ComparisonPlan) -> list[ComparedFrame]:
    """Return the frames to compare; ``seen`` are the tags that each frame of the scan shows."""
    total = plan.spread + max(plan.near, plan.forms)
    most = min(total, len(seen) // plan.every)
    count = -(-most * plan.spread // total) if total else 0
    spread = [int((number + 0.5) * len(seen) / count) for number in range(count)]
    near = _near(seen, plan, spread, most - count)
    every = max(1, plan.near // max(1, plan.forms))  # so that few frames are shared out, too
    return [
        *(ComparedFrame(place, True, False) for place in spread),
        *(
            ComparedFrame(place, number < plan.near, plan.forms > 0 and number % every == 0)
            for number, place in enumerate(near)
        ),
    ]


def _near(
    seen: Sequence[Collection[str]], plan: ComparisonPlan, spread: Sequence[int], most: int
) -> list[int]:
    """Return places beside frames that show many of the plan's tags, each tag in turn."""
    wanted, near = dict.fromkeys(plan.tags, 1.0), list[int]()
    beside = {place: expected_at(seen, place) for place in range(len(seen))}
    for place in spread:
        del beside[place]
    while beside and len(near) < min(max(plan.near, plan.forms), most):
        best = max(beside, key=lambda place: sum(wanted.get(tag, 0.0) for tag in beside[place]))
        tags = beside.pop(best) & wanted.keys()
        if not tags:
            break
        near.append(best)
        for tag in tags:
            wanted[tag] *= _SERVED
    return near


def expected_at(seen: Sequence[Collection[str]], place: int) -> frozenset[str]:
    """Return the tags that the frames before and after this place of the scan show."""
    around = (*seen[max(0, place - 1) : place], *seen[place + 1 : place + 2])
    return frozenset(tag for tags in around for tag in tags)


def pair_counts(
    compared: str,
    usual: Mapping[str, Verdict],
    other: Mapping[str, Verdict],
    expected: Collection[str],
) -> dict[PairKey, PairCounts]:
    """Return what one frame adds to the counts, by tag."""
    return {
        PairKey(compared, tag, tag in expected): PairCounts(
            1,
            int(usual[tag].present and other[tag].present),
            int(usual[tag].present and not other[tag].present),
            int(other[tag].present and not usual[tag].present),
        )
        for tag in usual
        if tag in other
    }
