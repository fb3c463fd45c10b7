"""Forecast of a run: how many questions a queue takes, and how long these endpoints need for them.

Pure: no I/O and no clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, pstdev

from vlm_engine.checkup.playback import EndpointSpeed, Played, play
from vlm_engine.checkup.question_counts import ModelLoad, QuestionCounts
from vlm_engine.config.models import SearchConfig
from vlm_engine.types import VideoInfo

__all__ = ["EndpointSpeed", "Forecast", "ModelLoad", "Workload", "forecast", "time_text"]

_MOST_PLAYED = 25_000
"""Questions that are played through; of a larger queue, a sample of the videos."""
_OF_CONTENT, _OF_VIDEO, _OF_SPEED = 0.25, 0.25, 0.1
"""Relative deviations: of all videos together from the simulated ones, of each video from the
others, and of speeds that a few questions showed.
"""
_WITHIN = 1.5
"""Deviations between the forecast and either limit."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_CLOCK_STEPS = (
    (10 * _MINUTE, timedelta(minutes=1)),
    (_HOUR, timedelta(minutes=5)),
    (10 * _HOUR, timedelta(minutes=10)),
    (math.inf, timedelta(minutes=30)),
)
"""The times below which an end is told to so many minutes."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A queue, and the way it is worked on.

    ``lengths_s``: the lengths of the videos in their order, or of some; then ``scenes`` tells how
    many there are. ``at_once``: videos at a time. ``probed``: a few of the videos, whose cuts show
    how many frames a scan takes. ``frame_s``: seconds that a frame takes to decode.
    """

    models: Sequence[ModelLoad]
    lengths_s: Sequence[float] = ()
    scenes: int | None = None
    pictures: int = 0
    at_once: int = 2
    probed: Sequence[VideoInfo] = ()
    frame_s: float = 0.0

    @property
    def videos(self) -> int:
        """Number of videos whose questions can be estimated."""
        return (self.scenes or len(self.lengths_s)) if self.lengths_s else 0


@dataclass(frozen=True, slots=True)
class Forecast:
    """The likely size of a run, with ``low_s`` and ``high_s`` as limits of its ``seconds``.

    ``model_s``: the time of all endpoints, added. Times are None where no endpoint works.
    """

    scenes: int
    video_s: float
    pictures: int
    questions: int
    seconds: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    model_s: float | None = None


def forecast(load: Workload, endpoints: Sequence[EndpointSpeed], search: SearchConfig) -> Forecast:
    """Return what the workload takes on these endpoints, which work.

    Fallback endpoints count only where there are no others.
    """
    used = [each for each in endpoints if not each.is_fallback] or [*endpoints]
    counts = QuestionCounts(load.models, search, load.probed, _question_s(used))
    each = load.videos / len(load.lengths_s) if load.lengths_s else 0.0
    about_frames = each * sum(map(counts.total, load.lengths_s))
    stills = load.pictures * len(load.models)
    size = load.videos, each * sum(load.lengths_s), load.pictures, round(about_frames) + stills
    if not used:
        return Forecast(*size)
    videos = _videos_time(load, counts, about_frames, used)
    pictures = _pictures_time(stills, used)
    seconds = videos.seconds + pictures.seconds
    margin_s = _WITHIN * (_deviation(load) * videos.seconds + _OF_SPEED * pictures.seconds)
    low_s = seconds**2 / (seconds + margin_s) if seconds else 0.0
    return Forecast(*size, seconds, low_s, seconds + margin_s, videos.model_s + pictures.model_s)


@dataclass(frozen=True, slots=True)
class _Time:
    """Seconds of a run, and those of all endpoints, added."""

    seconds: float = 0.0
    model_s: float = 0.0


def _question_s(used: Sequence[EndpointSpeed]) -> float:
    """Return the model seconds of a usual question."""
    return len(used) / sum(each.per_s for each in used) if used else 1.0


def _videos_time(
    load: Workload, counts: QuestionCounts, questions: float, used: Sequence[EndpointSpeed]
) -> _Time:
    """Play the queue, or a sample of it; the rest follows at its pace."""
    if not load.videos:
        return _Time()
    number = max(1, min(load.videos, round(load.videos * _MOST_PLAYED / questions)))
    places = sorted(random.Random(0).sample(range(load.videos), number))
    lengths_s = (load.lengths_s[place % len(load.lengths_s)] for place in places)
    rounds = [*counts.rounds(lengths_s)]
    played = play(rounds, used, load.at_once, load.frame_s)
    answered = sum(each.questions for video in rounds for each in video)
    left = questions - answered
    return _Time(
        max(0.0, played.seconds + left * _pace_s(played, answered)),
        played.model_s * questions / answered,
    )


def _pace_s(played: Played, answered: int) -> float:
    """Return the seconds by question while there were videos left to begin."""
    if played.answered_by_then:
        return played.last_begun_s / played.answered_by_then
    return played.seconds / answered


def _pictures_time(questions: int, used: Sequence[EndpointSpeed]) -> _Time:
    """Return the time of questions about stills: as many at once as there are slots."""
    if not questions:
        return _Time()
    seconds = questions / sum(each.per_s / each.large for each in used)
    return _Time(seconds, seconds * len(used))


def _deviation(load: Workload) -> float:
    """Return the relative standard deviation of the time for the videos."""
    earlier = min((len(model.history) for model in load.models), default=0)
    mean_s = fmean(load.lengths_s) if load.lengths_s else 0.0
    is_sample = load.videos > len(load.lengths_s) and mean_s > 0
    return math.hypot(
        _OF_CONTENT / math.sqrt(1 + earlier),
        _OF_VIDEO / math.sqrt(max(1, load.videos)),
        _OF_SPEED,
        pstdev(load.lengths_s) / mean_s / math.sqrt(len(load.lengths_s)) if is_sample else 0.0,
    )


def time_text(found: Forecast, start: datetime) -> str:
    """Return the time as people say it.

    "about 40 minutes (30 minutes to 1 hour), so done at 23:40"
    """
    if found.seconds is None or found.low_s is None or found.high_s is None:
        return "no endpoint works, so no time can be told"
    if not found.questions:
        return "nothing to do"
    about, low, high = map(_spoken, (found.seconds, found.low_s, found.high_s))
    limits = "" if low == high else f" ({_without_unit(low, high)} to {high})"
    return f"about {about}{limits}, so done {_end(found.seconds, start)}"


def _without_unit(low: str, high: str) -> str:
    number, *unit = low.split(" ")
    return number if unit == high.split(" ")[1:] else low


def _spoken(seconds: float) -> str:
    """Return a length of time as people round it."""
    minutes, hours = seconds / _MINUTE, seconds / _HOUR
    if seconds < 55:
        return f"{max(1, round(seconds / 10))}0 seconds"
    if minutes < 57.5:
        return _counted(round(minutes) if minutes < 9.5 else 5 * round(minutes / 5), "minute")
    if 65 <= minutes < 115:
        return f"1 hour {10 * round(minutes / 10) - 60} minutes"
    if hours < 36:
        return _counted(round(2 * hours) / 2 if hours < 9.75 else round(hours), "hour")
    return _counted(round(2 * seconds / _DAY) / 2, "day")


def _counted(number: float, unit: str) -> str:
    half = "" if number == int(number) else "½"
    return f"{int(number)}{half} {unit}" if number == 1 else f"{int(number)}{half} {unit}s"


def _end(seconds: float, start: datetime) -> str:
    """Return the time of the end, as exact as the seconds are, with the day if it is another."""
    step = next(step for most, step in _CLOCK_STEPS if seconds < most)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    since = start - midnight + timedelta(seconds=seconds)
    end = midnight + round(since / step) * step
    days = (end - midnight).days
    day = ["", "tomorrow "][days] if days < 2 else f"on {end:%A}, {end.day} {end:%B}, "
    return f"{day}at {end:%H:%M}"
