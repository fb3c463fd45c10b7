"""From a belief to spans, as they are told to the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.belief_search.belief import Belief
from benchmarks.belief_search.runs import Run, Runs
from vlm_engine.types import Span


def spans_of(belief: Belief, runs: Runs, tags: Sequence[str]) -> Iterator[Span]:
    """The runs as spans, in the order of tags and time.

    A span's confidence is the mean of what the server told of the tag at the frames within it that showed it; None where
    it told nothing. The belief is not that: a rule such as ``TagThreshold`` is about the model's own word.
    """
    for run in runs:
        if run.end_s > run.start_s:
            yield Span(tags[run.column], run.start_s, run.end_s, _told(belief, run))


def _told(belief: Belief, run: Run) -> float | None:
    evidence = belief.evidence
    told = evidence.told[:, run.column] & evidence.present[:, run.column]
    told &= (evidence.times_s >= run.start_s) & (evidence.times_s <= run.end_s)
    if not told.any():
        return None
    return float(evidence.probabilities[told, run.column].mean())
