"""The search as a state machine without I/O: looks out, observations in, until nothing is left that is worth asking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vlm_engine.config.models import SearchConfig
from vlm_engine.search.candidates import Candidate, discoveries, edge_looks, second_looks
from vlm_engine.search.checking import checks
from vlm_engine.search.evidence import gather
from vlm_engine.search.observation_log import ObservationLog, milliseconds
from vlm_engine.search.output import spans_of
from vlm_engine.search.posterior import Posterior, believe, learnt_rates
from vlm_engine.search.rates import SHORTEST_S, Rates, assumed
from vlm_engine.search.scan import believable, scan_of
from vlm_engine.search.segments import Segments
from vlm_engine.search.stopping import Prices, chosen, is_worth_a_round, price, prices, share_of
from vlm_engine.search.time_warp import TimeWarp
from vlm_engine.types import FrameQuery, Observation, Purpose, Span, VideoInfo

_MOST_ROUNDS = 16
_SCAN_STEPS = 4
_LEARNING_STEPS, _LEARNING_STEPS_OF_TWO = 2, 3
"""From what the scan taught. What a scanner's answers are worth, only the judge's later ones show: that takes longer to learn."""
_CUT_SHORT = 0.5
"""Of the shortest event that the user wants found, so much is still looked for: pauses may be shorter than events."""
_IN_DOUBT = 0.002
"""A tag is asked about along with others where it is less sure than this. Each makes the answer longer, and answers take time."""
_IN_DOUBT_AFTER_SCANNER = 0.0003
"""The same where nobody but the scanner may have seen it, and the judge is asked little."""


class VideoSearch:
    """Finds when each of ``tags`` applies in one video, by asking about as few frames as it can.

    Call ``next_queries()`` for a round of looks, ``record()`` what came of each, in any order, and so on until ``next_queries()``
    is empty; then ``spans()`` has the result. The first round scans for all tags; later rounds ask what is worth its
    price, each only about the tags in doubt, and on frames that were not looked at before. What is asked depends on the
    recorded observations alone, so a search fed with earlier ones goes on where they ended.

    ``scanned``: looks to scan are for a smaller model, and what it saw is recorded as ``scanned``; all others are for the judge.
    """

    def __init__(
        self, video: VideoInfo, tags: Sequence[str], config: SearchConfig, *, scanned: bool = False
    ) -> None:
        self._video = video
        self._tags = tuple(tags)
        self._config = config
        self._scanned = scanned
        self._clock = TimeWarp(video.duration_s, believable(video.cuts, video.end_s))
        self._frame_s = 0.6 / video.frame_rate if video.frame_rate > 0 else 0.02
        self._budget = (
            None
            if config.questions_per_hour is None
            else round(config.questions_per_hour * video.duration_s / 3600)
        )
        self._shortest_s = max(SHORTEST_S, (config.shortest_event_s or 0.0) * _CUT_SHORT)
        self._scan = scan_of(video, config.interval_for(video.duration_s), self._budget)
        self._ledger = ObservationLog(self._tags)
        self._known: tuple[Posterior, Segments] | None = None
        self._taught: tuple[list[Observation], Rates] | None = None
        self._rounds = 0
        self._pending = 0

    def record(self, query: FrameQuery, observation: Observation) -> None:
        """Takes what came of a look; an observation without verdicts says that the frame could not be judged."""
        self._ledger.record(query, observation)
        self._known = None

    def next_queries(self) -> tuple[FrameQuery, ...]:
        """The next round, in order of time; empty when the search is over."""
        if self._rounds >= _MOST_ROUNDS or not self._tags:
            return ()
        wanted = self._scan_queries() or self._worthwhile_queries()
        self._rounds += 1
        self._pending = len(wanted)
        return wanted

    def expected_more(self) -> int:
        """How many looks are probably still to come after this round; never exact, always finite."""
        guess = round(self._pending) if self._rounds <= 1 else self._pending // 2
        return (
            guess
            if self._budget is None
            else min(guess, max(0, self._budget - self._ledger.frames))
        )

    def observations(self) -> Iterator[tuple[float, Observation]]:
        """(time of the look, what was seen there), in order of time: enough to build this search again."""
        return self._ledger.observations()

    def spans(self) -> tuple[Span, ...]:
        """Where each tag applies, in the order of tags and time; spans of one tag never touch or overlap."""
        if not self._ledger.judged:
            return ()
        belief, runs = self._believed()
        return tuple(spans_of(belief, runs, self._tags))

    def presence(self, tag: str) -> tuple[tuple[float, float], ...]:
        """(time of a frame that was looked at, how probably ``tag`` shows there), in order of time."""
        if not self._ledger.judged:
            return ()
        belief, _ = self._believed()
        return tuple(
            zip(
                belief.evidence.times_s.tolist(),
                belief.present[:, self._tags.index(tag)].tolist(),
                strict=True,
            )
        )

    def _believed(self) -> tuple[Posterior, Segments]:
        if self._known is None:
            evidence = gather(
                (seen for _, seen in self._ledger.observations()),
                self._tags,
                self._clock,
                scanned=self._scanned,
            )
            taught, rates = self._learnt_from_scan()
            if len(evidence.times_s) > taught:
                rates = learnt_rates(
                    evidence, rates, _LEARNING_STEPS_OF_TWO if self._scanned else _LEARNING_STEPS
                )
            belief = believe(evidence, self._clock, rates)
            self._known = belief, Segments(belief, self._video.duration_s)
        return self._known

    def _learnt_from_scan(self) -> tuple[int, Rates]:
        """How many looks of the scan there are, and what they alone teach: that stays while later rounds add to the rest."""
        planned = {milliseconds(time_s) for time_s in self._scan}
        scan = [
            seen for time_s, seen in self._ledger.observations() if milliseconds(time_s) in planned
        ]
        if self._taught is None or self._taught[0] != scan:
            rates = assumed(len(self._tags), self._video.duration_s, scanned=self._scanned)
            if scan:
                evidence = gather(scan, self._tags, self._clock, scanned=self._scanned)
                rates = learnt_rates(evidence, rates, _SCAN_STEPS, errors=False)
            self._taught = scan, rates
        return len(scan), self._taught[1]

    def _scan_queries(self) -> tuple[FrameQuery, ...]:
        queries = []
        for time_s in self._scan:
            tags = self._ledger.open_tags(time_s)
            if tags:
                queries.append(FrameQuery(time_s, tags, Purpose.SCAN))
        return tuple(queries)

    def _worthwhile_queries(self) -> tuple[FrameQuery, ...]:
        if not self._ledger.judged:
            return ()
        belief, runs = self._believed()
        cost = prices(
            price(len(runs), self._video.duration_s, self._config.effort), scanned=self._scanned
        )
        most = None if self._budget is None else share_of(self._budget, self._ledger.frames)
        questions = chosen(self._questions(belief, runs, cost), cost, most, self._frame_s)
        if not is_worth_a_round(questions, len(runs)):
            return ()
        questions.sort(key=lambda question: question.time_s)
        return tuple(self._as_queries(questions, belief))

    def _questions(self, belief: Posterior, runs: Segments, cost: Prices) -> list[Candidate]:
        is_free = self._is_free
        edges = list(
            edge_looks(runs, self._config.edge_tolerance_s, is_free, scanned=self._scanned)
        )
        refined = set(
            np.searchsorted(belief.evidence.times_s, [question.time_s for question in edges])
        )
        finds = [
            question
            for question in discoveries(belief, cost.scanner, self._shortest_s, is_free)
            if np.searchsorted(belief.evidence.times_s, question.time_s) not in refined
        ]
        return [*edges, *finds, *self._second_looks(belief, cost)]

    def _second_looks(self, belief: Posterior, cost: Prices) -> Iterable[Candidate]:
        if not self._config.second_looks:
            return ()
        if self._scanned:
            return checks(belief, self._video.end_s, cost, self._is_free, self._is_free_for_judge)
        return second_looks(belief, self._video.end_s, cost.judge, self._is_free)

    def _is_free(self, time_s: float) -> bool:
        return not self._ledger.spent(time_s, self._frame_s)

    def _is_free_for_judge(self, time_s: float) -> bool:
        return not self._ledger.spent_by_judge(time_s, self._frame_s)

    def _as_queries(
        self, questions: Sequence[Candidate], belief: Posterior
    ) -> Iterator[FrameQuery]:
        """Discoveries ask about every tag; other questions about those in doubt at that frame."""
        expected, _ = belief.doubt_at(np.array([question.time_s for question in questions]))
        doubtful = np.minimum(expected, 1 - expected) >= (
            _IN_DOUBT_AFTER_SCANNER if self._scanned else _IN_DOUBT
        )
        for question, row in zip(questions, doubtful, strict=True):
            if question.purpose is not Purpose.SCAN:
                row[list(question.columns)] = True
                yield FrameQuery(
                    question.time_s,
                    tuple(tag for tag, asked in zip(self._tags, row, strict=True) if asked),
                    question.purpose,
                )
            else:
                yield FrameQuery(question.time_s, self._tags, question.purpose)
