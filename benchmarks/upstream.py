"""The behaviour of the search that users of the upstream plugin know, re-created from its
description, for comparison only.

A scan at fixed intervals proposes an event wherever a tag appears. Its start is sought by bisection
in the 2000 frames before, its end by shrinking steps through all the rest of the video; one event
after the other. It remembers few answers, and none of the search for ends, so it asks again.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from benchmarks.oracle import Oracle
from benchmarks.yardsticks import every
from vlm_engine.types import Span

_REACH = 2000
_REMEMBERED = 200
_MAX_GAP_S = 30.0
_LEAST_S = 1.0


def upstream(oracle: Oracle, interval_s: float, *, as_coded: bool = False) -> tuple[Span, ...]:
    """As documented, or ``as_coded``: the scan's answers are read in the order in which they happen
    to arrive, and only the frames of the search for ends count, merged over gaps up to the interval
    and 30 s.
    """
    return _Upstream(oracle, interval_s, as_coded).run()


class _Upstream:
    def __init__(self, oracle: Oracle, interval_s: float, as_coded: bool) -> None:
        self._oracle, self._interval_s, self._as_coded = oracle, interval_s, as_coded
        self._remembered: OrderedDict[int, None] = OrderedDict()
        self._start_steps = self._end_steps = 0
        self._seen_in_ends: dict[int, None] = {}

    def run(self) -> tuple[Span, ...]:
        before = self._oracle.bill.rounds
        spans: dict[int, list[tuple[float, float]]] = {}
        for tag, number in self._candidates():
            start, steps = self._start(tag, number)
            self._start_steps += steps
            # Ends are sought one at a time, and not before their start is known.
            begun = max(self._start_steps, self._end_steps)
            end, steps = self._end(tag, start)
            self._end_steps = begun + steps
            spans.setdefault(tag, []).append(
                (self._oracle.time_of(start), self._oracle.time_of(max(start, end)))
            )
        self._oracle.bill.rounds = before + 1 + max(self._start_steps, self._end_steps)
        found = (
            self._from_frames()
            if self._as_coded
            else {tag: list(_joined(pairs, 0.0)) for tag, pairs in spans.items()}
        )
        least_s = _LEAST_S if self._as_coded else 1e-9
        return tuple(
            Span(self._oracle.tags[tag], start_s, end_s)
            for tag, pairs in found.items()
            for start_s, end_s in pairs
            if end_s - start_s >= least_s
        )

    def _candidates(self) -> list[tuple[int, int]]:
        """(tag, frame) wherever a tag is seen that was not seen in the answer before."""
        scan = sorted({*every(self._oracle, self._interval_s)})
        self._oracle.ask(scan)
        if self._as_coded:
            scan = [scan[i] for i in np.random.default_rng(0).permutation(len(scan))]
        last = np.zeros(len(self._oracle.tags), bool)
        found = []
        for number in scan:
            self._remember(number)
            seen = self._oracle.verdict(number)
            found += [(int(tag), number) for tag in np.flatnonzero(seen & ~last)]
            last = seen
        return found

    def _start(self, tag: int, number: int) -> tuple[int, int]:
        """(first frame of the event, questions asked): plain bisection, which takes presence for
        monotone.
        """
        low, high, start, steps = max(0, number - _REACH), number - 1, max(0, number - _REACH), 0
        while low < high:
            middle = (low + high) // 2
            if middle not in self._remembered:
                self._oracle.ask([middle], again=True)
                self._remember(middle)
                steps += 1
            if self._oracle.verdict(middle)[tag]:
                start, high = middle, middle - 1
            else:
                low = middle + 1
        return start, steps

    def _end(self, tag: int, start: int) -> tuple[int, int]:
        """(last frame of the event, questions asked).

        Gives up halfway, at half as many steps as bisection would need.
        """
        low, high, last_seen = start, self._oracle.frames - 1, None
        most = max(1, int(0.5 * math.log2(max(1, high - low + 1))))
        for step in range(1, most + 1):
            width = high - low
            if width <= 0:
                return high, step - 1
            if width == 1:
                return (max(last_seen, high) if last_seen is not None else start), step - 1
            middle = (
                (low + high) // 2 if width <= 3 else low + (width // 3 if step <= 5 else width // 2)
            )
            self._oracle.ask([middle], again=True)
            self._seen_in_ends[middle] = None
            if step == most:
                return (max(last_seen, high) if last_seen is not None else start), step
            if self._oracle.verdict(middle)[tag]:
                last_seen, low = middle, middle + 1
            else:
                high = middle - 1
            if low > high:
                return (start if last_seen is None else last_seen), step
        return start, most

    def _remember(self, number: int) -> None:
        self._remembered[number] = None
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    def _from_frames(self) -> dict[int, list[tuple[float, float]]]:
        numbers = sorted(self._seen_in_ends)
        by_tag: dict[int, list[tuple[float, float]]] = {}
        for number in numbers:
            second = float(int(self._oracle.time_of(number)))
            for tag in np.flatnonzero(self._oracle.verdict(number)):
                by_tag.setdefault(int(tag), []).append((second, second))
        return {
            tag: list(_joined(pairs, self._interval_s + _MAX_GAP_S))
            for tag, pairs in by_tag.items()
        }


def _joined(spans: list[tuple[float, float]], max_gap_s: float) -> Iterator[tuple[float, float]]:
    """Return the spans in order of time, those no further apart than that made one."""
    open_start_s = open_end_s = None
    for start_s, end_s in sorted(spans):
        if (
            open_start_s is not None
            and open_end_s is not None
            and start_s - open_end_s <= max_gap_s
        ):
            open_end_s = max(open_end_s, end_s)
            continue
        if open_start_s is not None and open_end_s is not None:
            yield open_start_s, open_end_s
        open_start_s, open_end_s = start_s, end_s
    if open_start_s is not None and open_end_s is not None:
        yield open_start_s, open_end_s
