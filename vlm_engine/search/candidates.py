"""The frames that could be asked about next: their worth, their price, and the choice.

Three kinds compete on one scale, the number of labels or segments that an answer sets right on
average. A second look at a doubtful verdict is worth the fall in expected wrong labels. A
discovery, in a stretch where nothing is known to happen, is worth the probability that something
does. A frame that halves the stretch in which an edge lies is worth the more, the larger the error
is beside the length of the segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlm_engine.search.evidence import Flags, scene_starts
from vlm_engine.search.posterior import Posterior
from vlm_engine.search.rates import JUDGE, SCANNER, SHORT_S, SHORTEST_S, Floats
from vlm_engine.search.segments import CUT_MARGIN_S, Gap, Run
from vlm_engine.types import Purpose

_AMID_CHANGE = 0.3
"""Share that a verdict's doubt counts beside a known change: there it decides where an edge is, not
whether there is a segment.
"""
_DISCOVERY = 1.5
"""A label wrong in a long stretch is often a whole segment missed."""
_LEAST_PIECE_S = 0.6
_HARMLESS_SHARE, _HARMFUL_SHARE = 0.05, 0.25
_LEAST_LENGTH_S, _MOST_LENGTH_S = 3.0, 120.0
"""An edge of a segment beyond these lengths is to be as exact as that of one at the limit."""
_SECOND_LOOK, _CHECK = 2.1, 1.25
"""The worth of a second look, and of one where a smaller model scans, is this many times the fall
in p (1 - p). That makes it comparable to edges and discoveries.
"""
_COUNTS = 10.0
"""A second look asks about a tag if this many times its gain is no less than the largest."""
_OFFSETS_S = (1.0, -1.0, 0.6, -0.6)
_NEAR_S = 1.2
"""A frame with another asked about so near to it was looked at again on that side."""
_SHOT_MARGIN_S = 0.1


IsFree = Callable[[float], bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that could be asked about, and what that is worth.

    ``columns``: the tags for which it was thought of. ``seconds``: what the question probably
    takes.
    """

    time_s: float
    value: float
    purpose: Purpose
    columns: tuple[int, ...] = ()
    seconds: float = 1.0


def second_looks(
    posterior: Posterior, end_s: float, least: float, is_free: IsFree
) -> Iterator[Candidate]:
    """Yield a second look at every frame with doubtful verdicts, if worth ``least`` or more.

    It goes to another frame of the same shot.
    """
    gain = _SECOND_LOOK * posterior.gain() * _amid_change(posterior.shows)
    worth, seen_s = gain.sum(1), posterior.evidence.times_s
    for row in np.flatnonzero(worth >= least):
        time_s = _other_frame(float(seen_s[row]), seen_s, posterior.warp.cuts_s, end_s, is_free)
        if time_s is not None:
            yield _second_look(time_s, float(worth[row]), gain[row])


def _second_look(time_s: float, worth: float, gain: Floats) -> Candidate:
    """Return a second look for the tags that gain a tenth of what the best one gains, or more."""
    columns = tuple(map(int, np.flatnonzero(_COUNTS * gain >= gain.max())))
    return Candidate(time_s, worth, Purpose.SECOND_LOOK, columns)


def _amid_change(shows: Flags) -> Floats:
    """Return (n, K): how much a verdict's doubt counts, by what is known to happen around it."""
    factor = np.ones(shows.shape)
    factor[1:-1] = np.where(shows[2:] == shows[:-2], 1.0, _AMID_CHANGE)
    return factor


def _other_frame(
    time_s: float, seen_s: Floats, cuts_s: Floats, end_s: float, is_free: IsFree
) -> float | None:
    """Return a frame of the same shot beside this one, once on each side.

    ``seen_s``: the frames asked about so far.

    A short event may have ended before the frame on one side, so a frame there that contradicts is
    not the last word.
    """
    shot = int(np.searchsorted(cuts_s, time_s, side="right"))
    first_s = cuts_s[shot - 1] + _SHOT_MARGIN_S if shot else 0.0
    last_s = cuts_s[shot] - _SHOT_MARGIN_S if shot < len(cuts_s) else end_s
    away_s = seen_s - time_s
    near_s = away_s[np.abs(away_s) < _NEAR_S]
    for offset in _OFFSETS_S:
        other_s = time_s + offset
        if first_s < other_s < last_s and not np.any(near_s * offset > 0) and is_free(other_s):
            return other_s
    return None


def checks(
    posterior: Posterior,
    end_s: float,
    prices: tuple[float, float],
    is_free: IsFree,
    is_free_for_judge: IsFree,
) -> Iterator[Candidate]:
    """Yield the best second look at every doubtful frame, where a smaller model scans.

    It is by the judge or by the scanner. The judge sees through what fools the scanner for a whole
    shot with one look, so a look of the judge's is worth the doubt about all frames of the scene.
    It goes to the very frame that the scanner saw: no other tells more about that verdict.
    ``prices``: what a look must be worth, by the judge and by the scanner.
    """
    evidence, cuts_s = posterior.evidence, posterior.warp.cuts_s
    times_s, by_judge = evidence.times_s, evidence.observers != SCANNER
    judge_price, scanner_price = prices
    gain = _by_scene(_CHECK * posterior.gain(JUDGE), posterior)
    judge_gain, scanner_gain = gain.sum(1), _CHECK * posterior.gain(SCANNER).sum(1)
    for row in np.flatnonzero((judge_gain >= judge_price) | (scanner_gain >= scanner_price)):
        time_s = float(times_s[row])
        beside_s = _other_frame(time_s, times_s, cuts_s, end_s, is_free)
        beyond_judge = max(0.0, judge_gain[row] - judge_price)
        if beside_s is not None and scanner_gain[row] - scanner_price > beyond_judge:
            yield Candidate(beside_s, float(scanner_gain[row]), Purpose.SCAN)
        elif judge_gain[row] >= judge_price:
            if by_judge[row]:
                judged_s = times_s[by_judge]
                look_s = _other_frame(time_s, judged_s, cuts_s, end_s, is_free_for_judge)
            else:
                look_s = time_s if is_free_for_judge(time_s) else None
            if look_s is not None:
                yield _second_look(look_s, float(judge_gain[row]), gain[row])


def _by_scene(gain: Floats, posterior: Posterior) -> Floats:
    """Return (n, K): all that could be gained in a scene, at its frame where most could."""
    firsts = scene_starts(posterior.evidence.scenes)
    best = np.array([np.argmax(part) for part in np.split(gain.sum(1), firsts[1:])]) + firsts
    gathered = np.zeros_like(gain)
    gathered[best] = np.add.reduceat(gain, firsts, axis=0)
    return gathered


def discoveries(
    posterior: Posterior, least: float, shortest_s: float, is_free: IsFree
) -> Iterator[Candidate]:
    """Yield the best frame of each stretch between frames asked about, if worth ``least``.

    The worth is the probability that something happens there unseen. Nothing that matters is
    shorter than ``shortest_s``.
    """
    seen_s, shows = posterior.evidence.times_s, posterior.shows
    times_s = _middles(posterior)
    after = np.searchsorted(seen_s, times_s)
    _, hidden = posterior.doubt_at(times_s)
    hidden *= shows[after - 1] == shows[after]
    fitting = fitting_share(times_s - seen_s[after - 1], seen_s[after] - times_s, shortest_s)
    worth = _DISCOVERY * hidden.sum(1) * fitting
    best: dict[int, int] = {}
    for number in np.argsort(-worth, kind="stable")[: np.count_nonzero(worth >= least)]:
        if int(after[number]) not in best and is_free(float(times_s[number])):
            best[int(after[number])] = int(number)
    for number in best.values():
        yield Candidate(float(times_s[number]), float(worth[number]), Purpose.SCAN)


def fitting_share(before_s: Floats, after_s: Floats, shortest_s: float) -> Floats:
    """Return the share of events in an unseen stretch that are not too short to matter.

    Counted are events that show in a frame and in none ``before_s`` before and ``after_s`` after
    it; none that matters is shorter than ``shortest_s``. The chain's events have exponential
    lengths. Where little time is unseen, most of what it expects there is too short to matter, so
    the worth of a discovery is multiplied by the share that is not.
    """

    def hidden(least_s: float, further_s: float) -> Floats:
        before, after, both = (
            _fitting(stretch_s, least_s, further_s)
            for stretch_s in (before_s, after_s, before_s + after_s)
        )
        return both - before - after

    return hidden(shortest_s, SHORT_S - SHORTEST_S) / hidden(0.0, SHORT_S)


def _fitting(stretch_s: Floats, least_s: float, further_s: float) -> Floats:
    """Return how many events lie wholly within a stretch, for each that begins per second.

    They last ``least_s`` and, exponentially, ``further_s`` more on average.
    """
    left_s = np.maximum(stretch_s - least_s, 0.0)
    return np.asarray(left_s - further_s * (1 - np.exp(-left_s / further_s)))


def _middles(posterior: Posterior) -> Floats:
    """Return the middles of the stretches between frames, ascending.

    Cuts divide a stretch into pieces, which have middles too.
    """
    seen_s, cuts_s = posterior.evidence.times_s, posterior.warp.cuts_s
    inside_s = cuts_s[(cuts_s > seen_s[0]) & (cuts_s < seen_s[-1])]
    bounds = np.unique(np.concatenate([seen_s, inside_s]))
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


def edge_candidates(
    runs: Sequence[Run], tolerance_s: float, is_free: IsFree, *, scanned: bool
) -> Iterator[Candidate]:
    """Yield, for every edge not known closely enough, the frame that halves what is open.

    ``scanned``: for the scanner.

    The worth is the harm that the edge's error does: from 0, where it is harmless beside the
    segment's length, to 1, where the segment would not be recognised. Edges of several tags in one
    gap add up.
    """
    wanted: dict[float, tuple[float, list[int]]] = {}
    times_s: dict[Gap, float | None] = {}
    for run in runs:
        length_s = min(_MOST_LENGTH_S, max(_LEAST_LENGTH_S, run.end_s - run.start_s))
        for edge in run.edges:
            gap = edge.gap
            value = edge.sure * _harm(gap.expected_error_s / length_s)
            if value <= 0 or gap.expected_error_s <= tolerance_s:
                continue
            if gap not in times_s:
                times_s[gap] = gap.best_frame(is_free)
            time_s = times_s[gap]
            if time_s is not None:
                worth, columns = wanted.get(time_s, (0.0, []))
                wanted[time_s] = worth + value, [*columns, run.column]
    for time_s, (worth, columns) in wanted.items():
        yield (
            Candidate(time_s, worth, Purpose.SCAN)
            if scanned
            else Candidate(time_s, worth, Purpose.EDGE, tuple(columns))
        )


def _harm(relative_error: float) -> float:
    share = (relative_error - _HARMLESS_SHARE) / (_HARMFUL_SHARE - _HARMLESS_SHARE)
    return min(1.0, max(0.0, share))
