"""What is known of one video: for each tag, which times were looked at and what was seen there."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import replace

from vlm_engine.types import FrameQuery, Observation, Verdict


class ObservationLog:
    """Every look and what came of it. The whole state of a search follows from it.

    Times of looks are compared to the millisecond, so that the same look is recognised after a round trip
    through JSON.
    """

    def __init__(self, tags: Iterable[str]) -> None:
        self._tags = dict.fromkeys(tags)
        self._looked: dict[int, set[str]] = {}
        self._frames: list[int] = []
        self._judged_frames: list[int] = []
        self._observations: dict[tuple[int, bool], Observation] = {}

    def record(self, query: FrameQuery, observation: Observation) -> None:
        """Takes what came of a look. Tags without a verdict count as looked at and not judged."""
        key = milliseconds(query.time_s)
        for frames in (
            (self._frames,) if observation.scanned else (self._frames, self._judged_frames)
        ):
            if not _near(frames, key, 0):
                insort(frames, key)
        self._looked.setdefault(key, set()).update(query.tags)
        self._keep(key, observation)

    def _keep(self, key: int, observation: Observation) -> None:
        known = self._observations.get((key, observation.scanned))
        verdicts: dict[str, Verdict] = {**known.verdicts} if known else {}
        verdicts |= {
            tag: verdict for tag, verdict in observation.verdicts.items() if tag in self._tags
        }
        if verdicts:
            self._observations[key, observation.scanned] = replace(observation, verdicts=verdicts)

    @property
    def frames(self) -> int:
        """How many frames were looked at, or given up."""
        return len(self._frames)

    @property
    def judged(self) -> bool:
        """Whether there is any verdict at all."""
        return bool(self._observations)

    def open_tags(self, time_s: float) -> tuple[str, ...]:
        """The tags for which no look at exactly this time was made, or given up."""
        looked = self._looked.get(milliseconds(time_s), set())
        return tuple(tag for tag in self._tags if tag not in looked)

    def spent(self, time_s: float, within_s: float) -> bool:
        """Whether the frame shown at this time was already looked at, for whatever tag."""
        return _near(self._frames, milliseconds(time_s), milliseconds(within_s))

    def spent_by_judge(self, time_s: float, within_s: float) -> bool:
        """The same, by the judge: the frame may have been scanned."""
        return _near(self._judged_frames, milliseconds(time_s), milliseconds(within_s))

    def observations(self) -> Iterator[tuple[float, Observation]]:
        """(time of the look, what was seen), judged ones only, in order of time; at one time, what the judge saw first."""
        for key, scanned in sorted(self._observations):
            yield key / 1000, self._observations[key, scanned]


def milliseconds(time_s: float) -> int:
    """Seconds as whole milliseconds."""
    return round(time_s * 1000)


def _near(times_ms: list[int], time_ms: int, reach_ms: int) -> bool:
    """Whether one of the ascending ``times_ms`` is no further from ``time_ms`` than ``reach_ms``."""
    index = bisect_left(times_ms, time_ms - reach_ms)
    return index < len(times_ms) and times_ms[index] <= time_ms + reach_ms
