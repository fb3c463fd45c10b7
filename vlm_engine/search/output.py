"""From a belief to spans, as they are told to the user."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vlm_engine.search.posterior import Posterior
from vlm_engine.search.segments import Run, Segments
from vlm_engine.types import Span

_TEMPERATURE = 1.4
_EDGES = 4.0
_LEAST_PLACED = 0.6


def spans_of(belief: Posterior, runs: Segments, tags: Sequence[str]) -> Iterator[Span]:
    """Yield the runs as spans, in the order of tags and time."""
    for run in runs:
        if run.end_s > run.start_s:
            yield Span(tags[run.column], run.start_s, run.end_s, confidence(belief, run))


def confidence(belief: Posterior, run: Run) -> float:
    """Return how probably the run is an event that lasts about so long: shares half of the time that both cover.

    It is as sure as the less sure of its edges. Beliefs are surer than they are right, since looks err together in more
    ways than the model has, so their logits are divided by a temperature (Guo et al., *On calibration of modern neural
    networks*, 2017). An edge that may lie far away, for the length of the run, takes away up to four tenths. The three
    figures are fitted to simulated and to real footage: docs/benchmarks.md has the reliability that comes of it.
    """
    sure = min((edge.sure for edge in run.edges), default=None)
    if sure is None:  # from the first frame to the last
        sure = float(belief.present[belief.evidence.judged[:, run.column], run.column].min())
    off_s = sum(edge.change.expected_error_s for edge in run.edges)
    placed = 1 - math.exp(-(run.end_s - run.start_s) / (_EDGES * off_s)) if off_s else 1.0
    return _tempered(sure) * max(_LEAST_PLACED, placed)


def _tempered(probability: float) -> float:
    odds = max(probability, 1e-9) / max(1 - probability, 1e-9)
    return float(1 / (1 + odds ** (-1 / _TEMPERATURE)))
