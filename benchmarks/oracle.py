"""A model that is asked about frames of one video without decoding it, and counts what it is asked.

The search and the yardsticks are driven over the same oracle, so their bills compare.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.tokens import Wordiness
from vlm_engine.config.models import TagRule
from vlm_engine.types import FrameQuery, Observation, Purpose, Span, Verdict, VideoInfo

Numbers = NDArray[np.int64]
Times = NDArray[np.float64]
Presence = NDArray[np.bool_]


@dataclass(slots=True)
class Bill:
    """Queries so far, and their cost.

    A round is what can be asked at once; ``own_cpu_s`` is what answering took. ``scan_calls`` are
    those to a smaller model, if any: they and their tokens are not among the others.
    """

    calls: int = 0
    rounds: int = 0
    image_tokens: int = 0
    answer_tokens: int = 0
    own_cpu_s: float = 0.0
    scan_calls: int = 0


class Oracle(ABC):
    """Answers about the frames of ``video``, by number; the same frame is always answered alike."""

    def __init__(self, video: VideoInfo, tags: Sequence[str]) -> None:
        self.video = video
        self.tags = tuple(tags)
        self.bill = Bill()
        self.frames = max(1, int(video.end_s * video.frame_rate + 1e-6) + 1)
        self._wordiness = Wordiness(self.tags, video.width, video.height)
        self._known: dict[int, Presence] = {}

    @abstractmethod
    def judge(self, numbers: Numbers) -> tuple[Presence, NDArray[np.float64] | None]:
        """Verdicts on all tags in these frames (frames x tags), and the probabilities of presence
        if the model tells them.
        """

    def judge_small(self, numbers: Numbers) -> tuple[Presence, NDArray[np.float64] | None]:
        """Return the same of pictures as small as a scan's; as in large ones, unless a model sees
        less in them.
        """
        return self.judge(numbers)

    def number_at(self, time_s: float) -> int:
        """Return the frame that is shown at this time."""
        return min(self.frames - 1, max(0, int(time_s * self.video.frame_rate + 1e-6)))

    def time_of(self, number: int) -> float:
        """Return the presentation time of a frame, in seconds."""
        return number / self.video.frame_rate

    def ask(self, numbers: Iterable[int]) -> None:
        """One round of questions about all tags, full-size picture, answered as a list.

        A frame that was asked before is free.
        """
        fresh = sorted({*numbers} - self._known.keys())
        if not fresh:
            return
        begun_s = time.process_time()
        present, _ = self.judge(np.array(fresh))
        self._known.update(zip(fresh, present, strict=True))
        self._count(
            len(fresh),
            len(fresh) * self._wordiness.picture,
            sum(self._wordiness.listed(row) for row in present),
        )
        self.bill.own_cpu_s += time.process_time() - begun_s

    def charge_again(self, number: int) -> None:
        """Count one more question about a frame whose answer is known: for those who forget
        answers.
        """
        self._count(1, self._wordiness.picture, self._wordiness.listed(self._known[number]))

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
        """One round of a search: what it would have seen, each look a question of its own, about
        its own tags only.
        """
        begun_s = time.process_time()
        numbers = [self.number_at(query.time_s) for query in queries]
        is_scan = np.array([query.purpose is Purpose.SCAN for query in queries])
        present, probability = self._judged(np.array(numbers), is_scan)
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
        words = sum(
            self._wordiness.listed(
                [seen[row].verdicts[tag].present for tag in query.tags], query.tags
            )
            if is_scan[row]
            else self._wordiness.judged(query.tags)
            for row, query in enumerate(queries)
        )
        small, full = self._wordiness.small_picture, self._wordiness.picture
        self._count(len(queries), sum(small if scanned else full for scanned in is_scan), words)
        self.bill.own_cpu_s += time.process_time() - begun_s
        return seen

    def _judged(
        self, numbers: Numbers, is_scan: Presence
    ) -> tuple[Presence, NDArray[np.float64] | None]:
        present, probability = self.judge(numbers)
        if is_scan.any():
            small, small_probability = self.judge_small(numbers[is_scan])
            present[is_scan] = small
            if probability is not None and small_probability is not None:
                probability[is_scan] = small_probability
        return present, probability

    def _count(self, calls: int, image_tokens: int, answer_tokens: int) -> None:
        self.bill.calls += calls
        self.bill.rounds += 1
        self.bill.image_tokens += image_tokens
        self.bill.answer_tokens += answer_tokens


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
