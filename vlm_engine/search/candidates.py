"""What could be asked next, and what each question is worth: how many labels or segments it sets right, on average.

Three kinds compete on one scale. A second look at a doubtful verdict is worth the fall in expected wrong labels. A look into a
stretch where nothing is known to happen is worth the chance that something does. A look that halves the stretch in
which an edge lies is worth the more, the larger the error is beside the length of the segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vlm_engine.search.edges import CUT_MARGIN_S
from vlm_engine.search.evidence import Flags
from vlm_engine.search.posterior import Posterior
from vlm_engine.search.rates import SHORT_S, SHORTEST_S, Floats
from vlm_engine.search.segments import Segments
from vlm_engine.types import Purpose

_AMID_CHANGE = 0.3
"""A verdict beside a known change decides where an edge is, not whether there is a segment: its doubt counts so much."""
_DISCOVERY = 1.5
"""A label wrong in a long stretch is often a whole segment missed."""
_LEAST_PIECE_S = 0.6
_HARMLESS_SHARE = 0.05
_HARMFUL_SHARE = 0.25
_LEAST_LENGTH_S, _MOST_LENGTH_S = 3.0, 120.0
"""An edge of a segment beyond these lengths is to be as exact as that of one at the limit."""
_COUNTS = 10.0
"""A tag is asked about in a second look if this many times its gain is no less than the largest."""
_OFFSETS_S = (1.0, -1.0, 0.6, -0.6)
_NEAR_S = 1.2
"""A frame that has a look so near to it was looked at again on that side."""
_CUT_MARGIN_S = 0.1

IsFree = Callable[[float], bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that could be looked at, and what that is worth; ``columns``: the tags for which it was thought of."""

    time_s: float
    value: float
    purpose: Purpose
    columns: tuple[int, ...]


def second_looks(
    belief: Posterior, end_s: float, least: float, is_free: IsFree
) -> Iterator[Candidate]:
    """Another frame of the same shot for every frame with doubtful verdicts; those worth ``least`` or more."""
    gain = belief.gain() * _amid_change(belief.shown)
    worth, seen_s = gain.sum(1), belief.evidence.times_s
    for row in np.flatnonzero(worth >= least):
        time_s = other_frame(float(seen_s[row]), seen_s, belief.clock.cuts_s, end_s, is_free)
        if time_s is not None:
            yield Candidate(
                time_s, float(worth[row]), Purpose.SECOND_LOOK, most_doubtful(gain[row])
            )


def most_doubtful(gain: Floats) -> tuple[int, ...]:
    """Return the columns for which a second look is made: those that gain a tenth of what the best one gains, or more."""
    return tuple(map(int, np.flatnonzero(_COUNTS * gain >= gain.max())))


def _amid_change(shown: Flags) -> Floats:
    """(n, K): how much a verdict's doubt counts, by what is known to happen around it."""
    factor = np.ones(shown.shape)
    factor[1:-1] = np.where(shown[2:] == shown[:-2], 1.0, _AMID_CHANGE)
    return factor


def other_frame(
    time_s: float, seen_s: Floats, cuts_s: Floats, end_s: float, is_free: IsFree
) -> float | None:
    """A frame of the same shot beside this one, once on each side: ``seen_s`` are the frames looked at so far.

    A short event may have ended before the frame on one side, so that one which contradicts is not the last word.
    """
    shot = int(np.searchsorted(cuts_s, time_s, side="right"))
    first_s = cuts_s[shot - 1] + _CUT_MARGIN_S if shot else 0.0
    last_s = cuts_s[shot] - _CUT_MARGIN_S if shot < len(cuts_s) else end_s
    away_s = seen_s - time_s
    near_s = away_s[np.abs(away_s) < _NEAR_S]
    for offset in _OFFSETS_S:
        if (
            first_s < time_s + offset < last_s
            and not np.any(near_s * offset > 0)
            and is_free(time_s + offset)
        ):
            return time_s + offset
    return None


def discoveries(
    belief: Posterior, least: float, shortest_s: float, is_free: IsFree
) -> Iterator[Candidate]:
    """For each stretch between two looks its best frame, by what may happen there unseen; those worth ``least`` or more.

    Nothing that matters is shorter than ``shortest_s``.
    """
    seen_s, shown = belief.evidence.times_s, belief.shown
    times_s = _middles(belief)
    after = np.searchsorted(seen_s, times_s)
    _, hidden = belief.doubt_at(times_s)
    hidden *= shown[after - 1] == shown[after]
    worth = (
        _DISCOVERY
        * hidden.sum(1)
        * room(times_s - seen_s[after - 1], seen_s[after] - times_s, shortest_s)
    )
    best: dict[int, int] = {}
    for number in np.argsort(-worth, kind="stable")[: np.count_nonzero(worth >= least)]:
        if int(after[number]) not in best and is_free(float(times_s[number])):
            best[int(after[number])] = int(number)
    for number in best.values():
        yield Candidate(float(times_s[number]), float(worth[number]), Purpose.SCAN, ())


def room(before_s: Floats, after_s: Floats, shortest_s: float) -> Floats:
    """How many fewer events show in a frame, and in no look this far before and after it, if none is shorter than that.

    The chain lets events be as short as one likes. Where little time is unseen, such are most of what it expects there.
    """

    def hidden(least_s: float, further_s: float) -> Floats:
        before, after = (
            _fitting(before_s, least_s, further_s),
            _fitting(after_s, least_s, further_s),
        )
        return _fitting(before_s + after_s, least_s, further_s) - before - after

    return hidden(shortest_s, SHORT_S - SHORTEST_S) / hidden(0.0, SHORT_S)


def _fitting(stretch_s: Floats, least_s: float, further_s: float) -> Floats:
    """How many events lie wholly within a stretch, for each that begins per second: they last ``least_s``, and on average so
    much ``further_s``, exponentially."""
    left_s = np.maximum(stretch_s - least_s, 0.0)
    return np.asarray(left_s - further_s * (1 - np.exp(-left_s / further_s)))


def _middles(belief: Posterior) -> Floats:
    """The middles of the stretches between looks, and of the pieces into which cuts divide them, ascending."""
    seen_s, cuts_s = belief.evidence.times_s, belief.clock.cuts_s
    bounds = np.unique(
        np.concatenate([seen_s, cuts_s[(cuts_s > seen_s[0]) & (cuts_s < seen_s[-1])]])
    )
    pieces = ((bounds[1:] + bounds[:-1]) / 2)[np.diff(bounds) >= _LEAST_PIECE_S]
    stretches = (seen_s[1:] + seen_s[:-1]) / 2
    times_s = np.unique(np.concatenate([pieces, stretches[_clear_of(cuts_s, stretches)]]))
    after = np.searchsorted(seen_s, times_s)
    return times_s[(seen_s[after] - seen_s[after - 1] >= SHORTEST_S) & (times_s < seen_s[after])]


def _clear_of(cuts_s: Floats, times_s: Floats) -> Flags:
    bounded = np.concatenate([[-np.inf], cuts_s, [np.inf]])
    after = np.searchsorted(bounded, times_s)
    return np.asarray(
        np.minimum(times_s - bounded[after - 1], bounded[after] - times_s) > CUT_MARGIN_S
    )


def edge_looks(
    runs: Segments, tolerance_s: float, is_free: IsFree, *, scanned: bool = False
) -> Iterator[Candidate]:
    """For every edge not known closely enough the frame that halves what is open. ``scanned``: it is shown to the scanner."""
    wanted: dict[float, tuple[float, list[int]]] = {}
    queries: dict[int, float | None] = {}
    for run in runs:
        length_s = min(_MOST_LENGTH_S, max(_LEAST_LENGTH_S, run.end_s - run.start_s))
        for edge in run.edges:
            value = edge.sure * _harm(edge.change.expected_error_s / length_s)
            if value <= 0 or edge.change.expected_error_s <= tolerance_s:
                continue
            if id(edge.gap) not in queries:
                queries[id(edge.gap)] = edge.gap.best_look(is_free)
            time_s = queries[id(edge.gap)]
            if time_s is not None:
                worth, columns = wanted.get(time_s, (0.0, []))
                wanted[time_s] = worth + value, [*columns, run.column]
    for time_s, (worth, columns) in wanted.items():
        yield (
            Candidate(time_s, worth, Purpose.SCAN, ())
            if scanned
            else Candidate(time_s, worth, Purpose.EDGE, tuple(columns))
        )


def _harm(relative_error: float) -> float:
    """From 0, where nobody minds, to 1, where the segment would not be recognised."""
    return min(
        1.0, max(0.0, (relative_error - _HARMLESS_SHARE) / (_HARMFUL_SHARE - _HARMLESS_SHARE))
    )
