"""The choice of the size of pictures by evidence: how soon the engine notices that a model misses
tags in small pictures, and what that gains.

One list of tags, video after video: in each, some frames of the scan are asked about in both sizes,
as the engine does it; after each, it decides. Then one more video is searched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import product
from operator import add

import numpy as np

from benchmarks.deployments import RATES, Deployment, Usage
from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.oracle import Presence
from benchmarks.processes import spread
from benchmarks.scores import Cost, Score, Summary, score
from benchmarks.strategies import engine_search, searching
from benchmarks.tokens import FULL, FULL_LISTS, SMALL_LIST, SMALL_LISTS, RequestStyle
from benchmarks.world import World, draw_video
from vlm_engine.config.models import ModelConfig
from vlm_engine.store import PairCounts, TagPairs
from vlm_engine.tagging.comparisons import (
    ComparisonPlan,
    Evidence,
    compared_frames,
    expected_at,
    pair_counts,
    planned,
)
from vlm_engine.tagging.style_evidence import ALIKE, ENOUGH, Weight, weigh
from vlm_engine.types import Verdict

SHARES = (0.0, 0.05, 0.2)
VIDEOS = 3
_TAGS = 20
_NOISES = (Noise(0.05, 0.005), Noise(0.1, 0.02))
_FULL_LIST = RequestStyle(side=FULL)


@dataclass(frozen=True, slots=True)
class ListResult:
    """Result of one list: whether full pictures were chosen after each video, the seconds of the
    comparisons per hour of video, and the scores of one more video, asked about in small pictures,
    in those that were chosen, and in full ones.
    """

    chosen: tuple[bool, ...]
    compared_s: float
    small: Score
    then: Score
    full: Score


@dataclass(frozen=True, slots=True)
class Choices:
    """Results of all lists of which the same share of tags is blind."""

    lists: Sequence[ListResult]

    def chosen_after(self, videos: int) -> float:
        """Return the share of the lists of which full pictures are in use after so many videos."""
        return float(np.mean([one.chosen[videos - 1] for one in self.lists]))

    @property
    def compared_s(self) -> float:
        """Seconds of the comparisons per hour of video, on a gaming PC."""
        return float(np.mean([one.compared_s for one in self.lists]))

    @property
    def small(self) -> Summary:
        """All in small pictures."""
        return Summary([one.small for one in self.lists])

    @property
    def then(self) -> Summary:
        """All in the pictures that were chosen."""
        return Summary([one.then for one in self.lists])

    @property
    def full(self) -> Summary:
        """All in full pictures."""
        return Summary([one.full for one in self.lists])


def measure(lists: int, first_seed: int, processes: int) -> dict[float, Choices]:
    """So many lists under each noise, by the share of their tags that are blind."""
    jobs = [*product(SHARES, _NOISES, range(first_seed, first_seed + lists))]
    grouped: dict[float, list[ListResult]] = defaultdict(list)
    for (share, *_), result in zip(jobs, spread(_run, jobs, processes), strict=True):
        grouped[share].append(result)
    return {share: Choices(results) for share, results in grouped.items()}


def _run(job: tuple[float, Noise, int]) -> ListResult:
    share, noise, seed = job
    blind = replace(noise, blind_share=share, blind_list=seed)
    pairs: dict[str, TagPairs] = {}
    is_full, chosen, usage = False, [], Usage()
    for number in range(VIDEOS):
        model = _model(blind, seed, number)
        pairs = pairs or {tag: TagPairs() for tag in model.tags}
        usage += _compare(model, pairs, is_full=is_full)
        is_full = _weight(pairs).overall > (ALIKE if is_full else ENOUGH)
        chosen.append(is_full)
    small, full = (_searched(_model(blind, seed, VIDEOS), size) for size in (False, True))
    seconds = RATES[Deployment.GAMING_PC].seconds(usage) / VIDEOS
    return ListResult(tuple(chosen), seconds, small, full if is_full else small, full)


def _model(noise: Noise, seed: int, number: int) -> NoisyModel:
    world = World(duration_s=3600.0, tags=_TAGS)
    return NoisyModel(draw_video(world, (seed, number)), noise, (seed, number, 7))


def _weight(pairs: Mapping[str, TagPairs]) -> Weight:
    return weigh(pairs, everywhere=True)


def _compare(model: NoisyModel, pairs: dict[str, TagPairs], *, is_full: bool) -> Usage:
    """Add what the comparisons of one video tell to the ``pairs``; return what they cost."""
    queries = engine_search(model).next_queries()
    scan = np.array([model.number_at(query.time_s) for query in queries])
    by_size = {style: model.judge(scan, style)[0] for style in (SMALL_LIST, _FULL_LIST)}
    used, other = (SMALL_LIST, _FULL_LIST)[:: -1 if is_full else 1]
    seen = [
        frozenset(tag for tag, shows in zip(model.tags, row, strict=True) if shows)
        for row in by_size[used]
    ]
    frames = compared_frames(seen, _plan(pairs, is_full=is_full))
    for frame in frames:
        small, full = (_verdicts(model, rows[frame.place]) for rows in by_size.values())
        for key, counts in pair_counts("", small, full, expected_at(seen, frame.place)).items():
            pairs[key.tag] = _added(pairs[key.tag], counts, expected=key.expected)
    rows = [by_size[other][frame.place] for frame in frames]
    return model.counts.usage(other, [model.tags] * len(rows), rows)


def _verdicts(model: NoisyModel, row: Presence) -> dict[str, Verdict]:
    return {tag: Verdict(bool(shows)) for tag, shows in zip(model.tags, row, strict=True)}


def _plan(pairs: Mapping[str, TagPairs], *, is_full: bool) -> ComparisonPlan:
    return planned(ModelConfig().frames_compared, Evidence(pairs, _weight(pairs), is_full), None)


def _added(pairs: TagPairs, counts: PairCounts, *, expected: bool) -> TagPairs:
    before = pairs.expected if expected else pairs.unexpected
    together = PairCounts(*map(add, astuple(before), astuple(counts)))
    return replace(pairs, **{"expected" if expected else "unexpected": together})


def _searched(model: NoisyModel, is_full: bool) -> Score:
    spans = searching(model, FULL_LISTS if is_full else SMALL_LISTS, Deployment.GAMING_PC)
    return score(spans, model.truth, Cost.of(model.bill, model.video.duration_s, 0.0))
