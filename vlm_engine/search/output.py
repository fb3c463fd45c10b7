"""From a belief to spans, as they are told to the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vlm_engine.search.belief import Belief
from vlm_engine.search.evidence import Flags
from vlm_engine.search.runs import Run, Runs
from vlm_engine.types import Span


def spans_of(belief: Belief, runs: Runs, tags: Sequence[str]) -> Iterator[Span]:
    """The runs as spans, in the order of tags and time.

    A span's confidence is the mean of what the server told of the tag at the frames within it that showed it, the judge's where
    it told anything; None where nothing was told. The belief is not that: a rule such as ``TagThreshold`` is about the
    model's own word. A span's belief is the mean probability of the tag at the frames that were looked at within it.
    """
    for run in runs:
        if run.end_s > run.start_s:
            yield Span(tags[run.column], run.start_s, run.end_s, _told(belief, run), _mean_belief(belief, run))


def _told(belief: Belief, run: Run) -> float | None:
    evidence = belief.evidence
    told = evidence.told[:, run.column] & evidence.present[:, run.column] & _within(belief, run)
    by_best = told & (evidence.observers == evidence.observers[told].max(initial=0))
    return float(evidence.probabilities[by_best, run.column].mean()) if by_best.any() else None


def _mean_belief(belief: Belief, run: Run) -> float | None:
    inside = belief.shown[:, run.column] & _within(belief, run)
    return float(belief.present[inside, run.column].mean()) if inside.any() else None


def _within(belief: Belief, run: Run) -> Flags:
    return np.asarray((belief.evidence.times_s >= run.start_s) & (belief.evidence.times_s <= run.end_s))
