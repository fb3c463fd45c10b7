"""Yardsticks for the search, each driven over an oracle: dense sampling, and REC.

Both read verdicts through the same smoother; neither uses confidences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.oracle import Oracle, Presence, Times
from benchmarks.smoother import Change, Hints, Smoother, spans_of
from vlm_engine.types import Span


def dense(oracle: Oracle, interval_s: float) -> tuple[Span, ...]:
    """Return a frame every so many seconds, and the last one; then the smoother, edges on cut
    hints.
    """
    oracle.ask(every(oracle, interval_s))
    smoother = Smoother(oracle)
    times_s, _, course = smoother.read()
    return spans_of(oracle, times_s, course, smoother.hints)


def plain(oracle: Oracle, interval_s: float) -> tuple[Span, ...]:
    """Return a frame every so many seconds, and the last one; every answer is believed.

    Edges lie on cut hints, or midway.
    """
    oracle.ask(every(oracle, interval_s))
    numbers, seen = oracle.known()
    return spans_of(oracle, numbers / oracle.video.frame_rate, seen, Hints(oracle.video.cuts))


def every(oracle: Oracle, interval_s: float) -> list[int]:
    """Return the numbers of evenly spaced frames and of the last one."""
    return [
        *(oracle.number_at(time_s) for time_s in np.arange(0, oracle.video.end_s, interval_s)),
        oracle.frames - 1,
    ]


_DOUBT = 0.12
_SECOND_LOOKS = 0.35
_LEAST_ERROR_S, _MOST_ERROR_S, _ERROR_SHARE = 0.6, 3.0, 0.03
_CUT_MARGIN_S = 0.3
_MOST_ROUNDS = 14


def rec(oracle: Oracle, interval_s: float = 8.0) -> tuple[Span, ...]:
    """Return the search this project started from: a scan by shots, second looks at doubtful
    verdicts, edges refined by their prior.
    """
    return _Rec(oracle, interval_s).run()


class _Rec:
    def __init__(self, oracle: Oracle, interval_s: float) -> None:
        self._oracle = oracle
        self._smoother = Smoother(oracle)
        self._hints: Hints = self._smoother.hints
        scan = set(self._scan(interval_s))
        self._second_looks_left = int(_SECOND_LOOKS * len(scan))
        self._looked_twice: set[int] = set()
        oracle.ask(scan)

    def run(self) -> tuple[Span, ...]:
        for _ in range(_MOST_ROUNDS):
            times_s, posterior, course = self._smoother.read()
            wanted = [*self._second_looks(times_s, posterior), *self._probes(times_s, course)]
            if not wanted:
                break
            self._oracle.ask(wanted)
        times_s, _, course = self._smoother.read()
        return spans_of(self._oracle, times_s, course, self._hints)

    def _scan(self, interval_s: float) -> Iterator[int]:
        """Every shot in equal cells no longer than the interval; none closer than a quarter of it
        to the one before.
        """
        yield from (0, self._oracle.frames - 1)
        last_s = 0.0
        for start_s, end_s in pairwise([0.0, *self._hints.times_s, self._oracle.video.duration_s]):
            cells = max(1, math.ceil((end_s - start_s) / interval_s))
            for cell in range(cells):
                time_s = start_s + (cell + 0.5) * (end_s - start_s) / cells
                if time_s - last_s >= interval_s / 4:
                    last_s = time_s
                    yield self._oracle.number_at(time_s)

    def _second_looks(self, times_s: Times, posterior: NDArray[np.float64]) -> Iterator[int]:
        """Return another frame of the shot for each of the most doubtful answers, over all tags."""
        doubt = np.minimum(posterior, 1 - posterior)
        total = np.where(doubt >= _DOUBT, doubt, 0.0).sum(axis=1)
        for i in np.argsort(-total, kind="stable"):
            number = self._oracle.number_at(times_s[i])
            if total[i] <= 0 or self._second_looks_left == 0:
                return
            if number not in self._looked_twice:
                other = self._beside(times_s[i])
                self._looked_twice |= {number, other}
                self._second_looks_left -= 1
                yield other

    def _beside(self, time_s: float) -> int:
        # All hints bound the shot here, the weak ones too: better a nearer frame than another shot.
        cuts_s = [cut.time_s for cut in self._oracle.video.cuts]
        place = int(np.searchsorted(cuts_s, time_s))
        first_s = cuts_s[place - 1] if place else 0.0
        last_s = cuts_s[place] if place < len(cuts_s) else self._oracle.video.duration_s
        others_s = (time_s + offset_s for offset_s in (1.0, -1.0, 0.6, -0.6))
        chosen_s = next(
            (other_s for other_s in others_s if first_s + 0.1 < other_s < last_s - 0.1),
            time_s + 0.6,
        )
        return self._oracle.number_at(chosen_s)

    def _probes(self, times_s: Times, course: Presence) -> Iterator[int]:
        """For every gap with a change that is not located well enough: the frame that best halves
        the belief where it is.
        """
        for i in np.flatnonzero((course[1:] != course[:-1]).any(axis=1)):
            start_s, end_s = float(times_s[i]), float(times_s[i + 1])
            change = Change(start_s, end_s, self._hints)
            if end_s - start_s <= 2 * _CUT_MARGIN_S + 0.2 or change.error_s <= self._tolerance_s(
                times_s, course, int(i)
            ):
                continue
            yield from self._halving(start_s, end_s, change)

    def _tolerance_s(self, times_s: Times, course: Presence, i: int) -> float:
        flipped = np.flatnonzero(course[i] != course[i + 1])
        shortest_s = min(
            _run_s(times_s, course[:, tag], i if course[i, tag] else i + 1) for tag in flipped
        )
        return min(_MOST_ERROR_S, max(_LEAST_ERROR_S, _ERROR_SHARE * shortest_s))

    def _halving(self, start_s: float, end_s: float, change: Change) -> Iterator[int]:
        length_s = end_s - start_s
        cuts_s = change.cuts_s
        times_s: Iterable[float] = [
            *(cuts_s - _CUT_MARGIN_S),
            *(cuts_s + _CUT_MARGIN_S),
            *(start_s + share * length_s for share in (1 / 3, 1 / 2, 2 / 3)),
        ]
        clear = [
            time_s
            for time_s in times_s
            if not len(cuts_s) or np.abs(cuts_s - time_s).min() >= _CUT_MARGIN_S - 1e-6
        ]
        numbers = {self._oracle.number_at(time_s) for time_s in clear or times_s}
        first, last = self._oracle.number_at(start_s), self._oracle.number_at(end_s)
        free = [number for number in sorted(numbers) if first < number < last]
        if free:
            yield min(
                free, key=lambda number: abs(change.before(self._oracle.time_of(number)) - 0.5)
            )


def _run_s(times_s: Times, states: Presence, i: int) -> float:
    """Seconds from the first to the last look of the run of presence around look ``i``."""
    absent = np.flatnonzero(~states)
    first = absent[absent < i].max(initial=-1) + 1
    last = absent[absent > i].min(initial=len(states)) - 1
    return float(times_s[last] - times_s[first])
