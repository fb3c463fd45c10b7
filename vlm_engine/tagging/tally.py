"""What came of the frames of one search, counted."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from itertools import groupby

from vlm_engine.types import Coverage


class Tally:
    """Frames judged and failed so far, and which of them could not even be read. ``calls``: requests answered, by model."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._answered = 0
        self._failures: Counter[str] = Counter()
        self._read: list[tuple[float, bool]] = []
        self._unreadable = 0

    def read(self, time_s: float, readable: bool) -> None:
        """The frame at this time decodes, or does not."""
        insort(self._read, (time_s, readable))
        self._unreadable += not readable

    def answered(self) -> None:
        """A frame was judged, or had been before."""
        self._answered += 1

    def called(self, model: str, requests: int) -> None:
        """This model answered so many requests."""
        if requests:
            self.calls[model] += requests

    def failed(self, reason: str) -> None:
        """A frame was given up."""
        self._failures[reason] += 1

    def coverage(self) -> Coverage:
        """The counts."""
        failed = self._failures.total()
        return Coverage(
            self._answered + failed, self._answered, failed, self.calls.total(), self._unreadable
        )

    def reasons(self) -> str:
        """The most frequent reasons for failures, with their numbers."""
        return "; ".join(f"{reason} ({count} x)" for reason, count in self._failures.most_common(3))

    def gaps_s(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """The stretches, as (start, end), in which no frame could be read; one that nothing follows lasts to the end."""
        gaps = []
        for readable, stretch in groupby(self._read, key=lambda entry: entry[1]):
            if not readable:
                own = list(stretch)
                gaps.append((own[0][0], duration_s if own[-1] is self._read[-1] else own[-1][0]))
        return tuple(gaps)
