"""Number of questions that videos take, by their lengths. Pure.

They follow from the plan of the scan and from a few constants, which were fitted to simulated
videos. Earlier videos of the user correct them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from vlm_engine.checkup.playback import Round
from vlm_engine.config.models import SearchConfig
from vlm_engine.search.pricing import Allowance
from vlm_engine.search.scan import plan_scan
from vlm_engine.types import Cut, VideoInfo

_SHOT_S, _SHOT_SPREAD, _SHORTEST_SHOT_S = 9.0, 0.9, 0.5
"""Usual seconds between two cuts that are believed: their median, the deviation of its logarithm,
and the least.
"""
_STEPS = 16
"""Lengths for which a scan is planned, in each factor of e; those between are proportional."""
_ROUND_SHARE, _LAST_SHARE, _LAST = 0.6, 0.15, 4
"""Share of the later questions that are left, asked in the next round. All are asked once less than
a share or a number is left.
"""
_COMPARED, _COMPARED_EVERY = 7, 12
"""Frames of a video that are compared in two styles: so many on average, and at most one of twelve
of the scan.
"""
_LEAST_LATER = 2.0
"""Later questions that make a round: fewer are carried over to the next video."""
_LEAST_S = 1.0


@dataclass(frozen=True, slots=True)
class LaterQuestions:
    """Number of questions after the scan of a video, as a product of powers.

    ``usual``: for one tag, a thousand seconds, and a frame of the scan every second.
    ``python -m benchmarks.forecast --fit`` finds these values.
    """

    usual: float = 15.0
    by_tags: float = 0.47
    by_effort: float = 0.47
    by_spacing: float = 0.47
    by_length: float = 0.62

    def of(self, length_s: float, scan: float, tags: int, effort: float) -> float:
        """Return the number for a video of whose frames a ``scan`` asked about so many."""
        return float(
            self.usual
            * tags**self.by_tags
            * effort**self.by_effort
            * (length_s / scan) ** self.by_spacing
            * (length_s / 1000) ** self.by_length
        )


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """A model that is asked about all media.

    ``tags``: how many it has. ``history``: earlier videos, as length in seconds and questions.
    """

    tags: int
    history: Sequence[tuple[float, int]] = ()


@dataclass(frozen=True, slots=True)
class _Parts:
    """Questions about one video: of the scan, for comparisons, and later ones."""

    scan: float = 0.0
    compared: float = 0.0
    later: float = 0.0

    @property
    def total(self) -> float:
        return self.scan + self.compared + self.later

    def times(self, factor: float) -> _Parts:
        return _Parts(factor * self.scan, factor * self.compared, factor * self.later)

    def __add__(self, other: _Parts) -> _Parts:
        return _Parts(
            self.scan + other.scan, self.compared + other.compared, self.later + other.later
        )


class QuestionCounts:
    """Numbers of questions about videos, to all models together.

    ``probed``: videos of the queue whose cuts are known. ``question_s``: model seconds of a
    question, for settings that limit them.
    """

    def __init__(
        self,
        models: Sequence[ModelLoad],
        search: SearchConfig,
        probed: Sequence[VideoInfo],
        question_s: float,
    ) -> None:
        self._search = search
        self._question_s = question_s
        self._planned: dict[int, tuple[float, int]] = {}
        self._cuts = 1.0
        if probed:
            usual = sum(self._scan(video.duration_s) for video in probed)
            self._cuts = sum(map(self._plan, probed)) / usual
        self._models = [(model.tags, self._correction(model)) for model in models]

    def total(self, length_s: float) -> float:
        """Return the questions about a video of this length, not rounded."""
        return self._parts(length_s).total

    def rounds(self, lengths_s: Iterable[float]) -> Iterator[tuple[Round, ...]]:
        """Yield the rounds of each video: the scan, comparisons, and ever smaller ones.

        Questions are whole, and a part of one is carried over to the next video. So short videos
        have none after their scan now and then, as it is in fact.
        """
        scan = later = 0.0
        for length_s in lengths_s:
            parts = self._parts(length_s)
            scan += parts.scan
            later += parts.later
            rounds = [Round(max(1, round(scan)))]
            scan -= rounds[0].questions
            if parts.compared >= 1:
                rounds.append(Round(round(parts.compared), is_large=True))
            if later >= _LEAST_LATER:
                rounds += _later_rounds(round(later))
                later -= round(later)
            yield tuple(rounds)

    def _parts(self, length_s: float) -> _Parts:
        parts = (self._of_model(length_s, tags).times(factor) for tags, factor in self._models)
        return sum(parts, _Parts())

    def _of_model(self, length_s: float, tags: int) -> _Parts:
        length_s = max(_LEAST_S, length_s)
        scan = self._cuts * self._scan(length_s)
        later = LaterQuestions().of(length_s, scan, tags, self._search.effort)
        within = max(0.0, min(later, self._most(length_s) - scan))
        return _Parts(scan, min(_COMPARED, scan // _COMPARED_EVERY), within)

    def _correction(self, model: ModelLoad) -> float:
        """Return the factor that earlier videos teach; the constants count as one more of them."""
        if not model.history:
            return 1.0
        likely = [self._of_model(length_s, model.tags).total for length_s, _ in model.history]
        real = sum(questions for _, questions in model.history)
        return (real + fmean(likely)) / (sum(likely) + fmean(likely))

    def _scan(self, length_s: float) -> float:
        """Return the frames of a scan of a video with the usual cuts."""
        step = round(_STEPS * math.log(length_s))
        if step not in self._planned:
            video = _usual_video(math.exp(step / _STEPS))
            self._planned[step] = video.duration_s, self._plan(video)
        planned_s, frames = self._planned[step]
        return frames * length_s / planned_s

    def _plan(self, video: VideoInfo) -> int:
        interval_s = self._search.interval_for(video.duration_s)
        return len(plan_scan(video, interval_s, self._most(video.duration_s)))

    def _most(self, length_s: float) -> float:
        """Return how many questions the settings allow."""
        return Allowance.of(self._search, length_s).questions(self._question_s)


def _later_rounds(questions: int) -> Iterator[Round]:
    least = max(_LAST, _LAST_SHARE * questions)
    while questions:
        number = round(_ROUND_SHARE * questions) if questions > least else questions
        yield Round(number)
        questions -= number


def _usual_video(length_s: float) -> VideoInfo:
    cuts = tuple(_usual_cuts(length_s))
    return VideoInfo("", "", length_s, length_s, 0, 0, 0.0, "", cuts=cuts)


def _usual_cuts(length_s: float) -> Iterator[Cut]:
    rng, time_s = random.Random(0), 0.0
    while True:
        shot_s = rng.lognormvariate(math.log(_SHOT_S), _SHOT_SPREAD)
        time_s += max(_SHORTEST_SHOT_S, shot_s)
        if time_s >= length_s:
            return
        yield Cut(time_s, 1.0)
