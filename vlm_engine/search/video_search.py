"""The search as a state machine without I/O: looks out, observations in, until nothing is left to ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from vlm_engine.config_models import SearchConfig
from vlm_engine.search.belief import Belief, believe
from vlm_engine.search.edges import Gap
from vlm_engine.search.ledger import Ledger, Sample, milliseconds
from vlm_engine.search.scan import believable, scan_times
from vlm_engine.types import Look, Observation, Purpose, Span, VideoInfo

_MOST_ROUNDS = 16
_MOST_TOLERANCE_S = 3.0
_TOLERATED_SHARE = 0.03


class VideoSearch:
    """Finds when each of ``tags`` applies in one video, by asking about as few frames as it can.

    Call ``looks()`` for a round of looks, ``record()`` what came of each, in any order, and so on until ``looks()``
    is empty; then ``spans()`` has the result. The first round scans for all tags; later rounds ask again about verdicts
    that stand alone and refine the edges between looks that disagree, each only about the tags in doubt, and on frames
    that were not looked at before. What is asked depends on the recorded observations alone, so a search fed with
    earlier ones goes on where they ended.
    """

    def __init__(self, video: VideoInfo, tags: Sequence[str], config: SearchConfig) -> None:
        self._video = video
        self._tags = tuple(tags)
        self._config = config
        self._cuts = believable(video.cuts, video.end_s)
        self._frame_s = 0.6 / video.frame_rate if video.frame_rate > 0 else 0.02
        self._scan = scan_times(video, config.interval_s)
        self._ledger = Ledger(self._tags)
        self._rounds = 0
        self._pending = 0

    def record(self, look: Look, observation: Observation) -> None:
        """Takes what came of a look; an observation without verdicts says that the frame could not be judged."""
        self._ledger.record(look, observation)

    def looks(self) -> tuple[Look, ...]:
        """The next round, in order of time; empty when the search is over."""
        if self._rounds >= _MOST_ROUNDS:
            return ()
        wanted = self._scan_looks() or self._doubtful_looks()
        self._rounds += 1
        self._pending = len(wanted)
        return wanted

    def expected_more(self) -> int:
        """How many looks are probably still to come after this round; never exact, always finite.

        Refining an edge halves what is left each time, so what is under way now is a fair guess.
        """
        return round(0.4 * self._pending) if self._rounds <= 1 else self._pending // 2

    def observations(self) -> Iterator[tuple[float, Observation]]:
        """(time of the look, what was seen there), in order of time: enough to build this search again."""
        return self._ledger.observations()

    def spans(self) -> tuple[Span, ...]:
        """Where each tag applies, in the order of tags and time; spans of one tag never touch or overlap."""
        return tuple(span for tag in self._tags for span in self._spans_of(tag))

    def _scan_looks(self) -> tuple[Look, ...]:
        looks = []
        for time_s in self._scan:
            tags = tuple(tag for tag in self._tags if not self._ledger.looked(tag, time_s))
            if tags:
                looks.append(Look(time_s, tags, Purpose.SCAN))
        return tuple(looks)

    def _doubtful_looks(self) -> tuple[Look, ...]:
        wanted: dict[int, tuple[float, Purpose, list[str]]] = {}
        for tag in self._tags:
            for time_s, purpose in self._questions_about(tag):
                wanted.setdefault(milliseconds(time_s), (time_s, purpose, []))[2].append(tag)
        return tuple(Look(time_s, tuple(tags), purpose) for _, (time_s, purpose, tags) in sorted(wanted.items()))

    def _questions_about(self, tag: str) -> Iterator[tuple[float, Purpose]]:
        belief = self._belief(tag)
        for time_s in belief.doubts_s:
            yield time_s, Purpose.SECOND_LOOK
        for before, after in _flips(belief.samples):
            if belief.is_doubted(before.time_s, after.time_s):
                continue
            gap = Gap(before.time_s, after.time_s, self._cuts)
            if gap.change().expected_error_s > self._tolerance_s(belief.samples, before, after):
                edge_s = gap.best_look(self._is_free)
                if edge_s is not None:
                    yield edge_s, Purpose.EDGE

    def _belief(self, tag: str) -> Belief:
        if not self._config.second_looks:
            return Belief(tuple(self._ledger.samples(tag)), ())
        return believe(tag, self._ledger, self._cuts, self._video.end_s, self._frame_s)

    def _is_free(self, time_s: float) -> bool:
        return not self._ledger.spent(time_s, self._frame_s)

    def _tolerance_s(self, samples: Sequence[Sample], before: Sample, after: Sample) -> float:
        """What an edge may be off by: half a second of five is much, of two hundred nothing."""
        length_s = _length_at(samples, after if after.present else before)
        least_s = self._config.edge_tolerance_s
        return max(least_s, min(_MOST_TOLERANCE_S, _TOLERATED_SHARE * length_s))

    def _spans_of(self, tag: str) -> Iterator[Span]:
        samples = self._belief(tag).samples
        start_s = 0.0 if samples and samples[0].present else None
        for before, after in _flips(samples):
            change_s = Gap(before.time_s, after.time_s, self._cuts).change().time_s
            if after.present:
                start_s = change_s
            elif start_s is not None:
                yield _span(tag, start_s, change_s, samples)
                start_s = None
        if start_s is not None:
            yield _span(tag, start_s, self._video.duration_s, samples)


def _flips(samples: Sequence[Sample]) -> Iterator[tuple[Sample, Sample]]:
    return ((before, after) for before, after in pairwise(samples) if before.present != after.present)


def _length_at(samples: Sequence[Sample], inside: Sample) -> float:
    """Seconds between the first and the last look of the run of present verdicts that holds ``inside``."""
    index = samples.index(inside)
    first = last = index
    while first > 0 and samples[first - 1].present:
        first -= 1
    while last + 1 < len(samples) and samples[last + 1].present:
        last += 1
    return samples[last].time_s - samples[first].time_s


def _span(tag: str, start_s: float, end_s: float, samples: Sequence[Sample]) -> Span:
    told = [
        sample.probability
        for sample in samples
        if sample.present and sample.probability is not None and start_s <= sample.time_s <= end_s
    ]
    return Span(tag, start_s, end_s, sum(told) / len(told) if told else None)
