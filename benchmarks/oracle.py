"""A model that is asked about frames of one video without decoding it, and counts what it is asked.

The search and the yardsticks are driven over the same oracle, so their bills compare.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.deployments import Usage
from benchmarks.tokens import SMALL_LIST, SMALL_LISTS, RequestStyle, TokenCounts
from vlm_engine.config.models import TagRule
from vlm_engine.types import FrameQuery, Observation, Purpose, Span, Verdict, VideoInfo

Numbers = NDArray[np.int64]
Times = NDArray[np.float64]
Presence = NDArray[np.bool_]


def _nothing() -> dict[Purpose, Usage]:
    return defaultdict(Usage)


@dataclass(slots=True)
class Bill:
    """Queries so far by purpose, and their cost.

    A round is what can be asked at once; ``own_cpu_s`` is what answering took. ``scan_calls`` are
    those to a smaller model, if any: they are not in ``usage``.
    """

    usage: dict[Purpose, Usage] = field(default_factory=_nothing)
    rounds: int = 0
    own_cpu_s: float = 0.0
    scan_calls: int = 0

    @property
    def total(self) -> Usage:
        """Queries so far, of every purpose."""
        return sum(self.usage.values(), Usage())


class Oracle(ABC):
    """Answers about the frames of ``video``, by number; the same frame is always answered alike.

    ``styles``: how a search asks, by purpose. The yardsticks ask for lists, with small pictures.
    """

    def __init__(self, video: VideoInfo, tags: Sequence[str]) -> None:
        self.video = video
        self.tags = tuple(tags)
        self.bill = Bill()
        self.styles = SMALL_LISTS
        self.frames = max(1, int(video.end_s * video.frame_rate + 1e-6) + 1)
        self.counts = TokenCounts(self.tags, video.width, video.height)
        self._known: dict[int, Presence] = {}

    @abstractmethod
    def judge(
        self, numbers: Numbers, style: RequestStyle = SMALL_LIST
    ) -> tuple[Presence, NDArray[np.float64] | None]:
        """Verdicts on all tags in these frames (frames x tags), and the probabilities of presence
        if the model tells them.
        """

    def number_at(self, time_s: float) -> int:
        """Return the frame that is shown at this time."""
        return min(self.frames - 1, max(0, int(time_s * self.video.frame_rate + 1e-6)))

    def time_of(self, number: int) -> float:
        """Return the presentation time of a frame, in seconds."""
        return number / self.video.frame_rate

    def ask(self, numbers: Iterable[int], *, again: bool = False) -> None:
        """One round of a yardstick's questions about all tags.

        A frame that was asked before is free, unless it is asked ``again``.
        """
        wanted = sorted({*numbers} if again else {*numbers} - self._known.keys())
        if not wanted:
            return
        begun_s = time.process_time()
        present, _ = self.judge(np.array(wanted))
        self._known.update(zip(wanted, present, strict=True))
        self._charge(Purpose.SCAN, SMALL_LIST, [self.tags] * len(wanted), list(present))
        self.bill.rounds += 1
        self.bill.own_cpu_s += time.process_time() - begun_s

    def verdict(self, number: int) -> Presence:
        """Return the verdicts on all tags in a frame that was asked about."""
        return self._known[number]

    def known(self) -> tuple[Numbers, Presence]:
        """Return the frames asked about, ascending, and the verdicts on them (frames x tags)."""
        numbers = sorted(self._known)
        return np.array(numbers), np.array([self._known[number] for number in numbers]).reshape(
            len(numbers), len(self.tags)
        )

    def observe(self, queries: Sequence[FrameQuery]) -> list[Observation]:
        """One round of a search: what it would have seen, each frame asked about for its own tags
        only.
        """
        begun_s = time.process_time()
        seen: dict[int, Observation] = {}
        for purpose in {query.purpose: None for query in queries}:
            rows = [row for row, query in enumerate(queries) if query.purpose is purpose]
            some = [queries[row] for row in rows]
            seen |= zip(rows, self.answer(some, purpose), strict=True)
        self.bill.rounds += 1
        self.bill.own_cpu_s += time.process_time() - begun_s
        return [seen[row] for row in range(len(queries))]

    def answer(self, queries: Sequence[FrameQuery], purpose: Purpose) -> list[Observation]:
        """Return the answers to queries that share their purpose, and charge them."""
        numbers = [self.number_at(query.time_s) for query in queries]
        present, probability = self.judge(np.array(numbers), self.styles[purpose])
        place = {tag: index for index, tag in enumerate(self.tags)}
        seen = []
        for row, (query, number) in enumerate(zip(queries, numbers, strict=True)):
            verdicts = {
                tag: Verdict(
                    bool(present[row, place[tag]]),
                    None if probability is None else float(probability[row, place[tag]]),
                )
                for tag in query.tags
            }
            seen.append(Observation(self.time_of(number), verdicts))
        there = [[verdict.present for verdict in one.verdicts.values()] for one in seen]
        self._charge(purpose, self.styles[purpose], [query.tags for query in queries], there)
        return seen

    def _charge(
        self,
        purpose: Purpose,
        style: RequestStyle,
        tags: Sequence[Sequence[str]],
        present: Sequence[Iterable[bool]],
    ) -> None:
        self.bill.usage[purpose] += self.counts.usage(style, tags, present)


class Search(Protocol):
    """A search that can be driven: the product's, or one that it is compared with."""

    def next_queries(self) -> Sequence[FrameQuery]:
        """Return the next round; empty when the search is over."""

    def record(self, query: FrameQuery, observation: Observation) -> None:
        """Take what came of a look."""

    def spans(self) -> tuple[Span, ...]:
        """Return the spans of each tag."""


def drive(search: Search, oracle: Oracle) -> tuple[Span, ...]:
    """Run a search to its end without decoding; return the spans that become markers."""
    while queries := search.next_queries():
        for query, seen in zip(queries, oracle.observe(queries), strict=True):
            search.record(query, seen)
    return marked(search.spans())


def marked(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans that become markers by the threshold that holds where a user sets none."""
    least = TagRule().threshold
    return tuple(span for span in spans if span.confidence is None or span.confidence >= least)
