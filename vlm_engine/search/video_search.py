"""The search as a state machine without I/O: queries out, observations in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vlm_engine.config.models import SearchConfig
from vlm_engine.search.candidates import (
    Candidate,
    checks,
    discoveries,
    edge_candidates,
    second_looks,
)
from vlm_engine.search.evidence import Evidence, TimeWarp, gather
from vlm_engine.search.learning import learn_rates
from vlm_engine.search.posterior import Posterior
from vlm_engine.search.pricing import (
    ONE_MODEL,
    Allowance,
    Costs,
    Prices,
    choose,
    is_worth_a_round,
)
from vlm_engine.search.rates import SHORTEST_S, Rates, assumed
from vlm_engine.search.scan import ObservationLog, believable_cuts, milliseconds, plan_scan
from vlm_engine.search.segments import Run, find_runs, spans_of
from vlm_engine.types import FrameQuery, Observation, Purpose, Span, VideoInfo

_MOST_ROUNDS = 16
_SCAN_STEPS = 4
_STEPS, _STEPS_WITH_SCANNER = 2, 3
"""Of learning, from what the scan taught. Only the judge's later answers show what a scanner's are
worth, which takes longer.
"""
_CUT_SHORT = 0.5
"""Of the shortest event that the user wants found, this share is still looked for: pauses may be
shorter than events.
"""


class VideoSearch:
    """Finds when each of ``tags`` applies in one video, by asking about as few frames as it can.

    Call ``next_queries()`` for a round of queries, ``record()`` what came of each, in any order,
    and so on until ``next_queries()`` is empty; then ``spans()`` has the result. The first round
    scans for all tags; later rounds ask what is worth its seconds, each about all tags but those
    that surely show, and on frames that were not asked about before. What is asked depends on the
    recorded observations and the ``costs`` alone, so a search that is given earlier ones goes on
    where they ended.

    Where the ``costs`` name a scanner, scans are for that smaller model, and what it saw is
    recorded as ``scanned``; all other queries are for the judge.
    """

    def __init__(
        self,
        video: VideoInfo,
        tags: Sequence[str],
        config: SearchConfig,
        costs: Costs = ONE_MODEL,
    ) -> None:
        self._video = video
        self._tags = tuple(tags)
        self._config = config
        self._scanned = costs.scanner is not None
        self._judge, self._scanner = costs.of(tags)
        self._warp = TimeWarp(video.duration_s, believable_cuts(video))
        self._frame_s = 0.6 / video.frame_rate if video.frame_rate > 0 else 0.02
        self._budget = Allowance.of(config, video.duration_s)
        self._shortest_s = max(SHORTEST_S, (config.shortest_event_s or 0.0) * _CUT_SHORT)
        self._scan = plan_scan(
            video,
            config.interval_for(video.duration_s),
            self._budget.questions(self._scanner.usual_s),
        )
        self._log = ObservationLog(self._tags, self._frame_s)
        self._inferred: tuple[Posterior, list[Run]] | None = None
        self._taught: tuple[list[Observation], Rates] | None = None
        self._rounds = 0
        self._pending = 0
        self._spent_ms = 0

    def record(self, query: FrameQuery, observation: Observation) -> None:
        """Record what came of a query.

        An observation without verdicts says that the frame could not be judged.
        """
        self._log.record(query, observation)
        if math.isfinite(self._budget.seconds):  # else nobody asks what was spent
            costs = self._scanner if query.purpose is Purpose.SCAN else self._judge
            named = (tag for tag, verdict in observation.verdicts.items() if verdict.present)
            self._spent_ms += milliseconds(costs.answered_s(self._tags, query.tags, named))
        self._inferred = None

    def next_queries(self) -> tuple[FrameQuery, ...]:
        """Return the next round, in order of time; empty when the search is over."""
        if self._rounds >= _MOST_ROUNDS or not self._tags:
            return ()
        queries = self._scan_queries() or self._worthwhile_queries()
        self._rounds += 1
        self._pending = len(queries)
        return queries

    def expected_more(self) -> int:
        """Return how many queries probably follow after this round; never exact, always finite."""
        guess = self._pending if self._rounds <= 1 else self._pending // 2
        return int(min(guess, max(0.0, self._left.questions(self._judge.usual_s))))

    def observations(self) -> Iterator[tuple[float, Observation]]:
        """Return (time asked for, what was seen there), in order of time.

        They are enough to build this search again.
        """
        return self._log.observations()

    def spans(self) -> tuple[Span, ...]:
        """Return where each tag applies, in the order of tags and time.

        Spans of one tag never touch or overlap.
        """
        if self._log.is_empty:
            return ()
        posterior, runs = self._infer()
        return tuple(spans_of(posterior, runs, self._tags))

    def presence(self, tag: str) -> tuple[tuple[float, float], ...]:
        """Return (time of a frame, probability that ``tag`` shows there), in order of time."""
        if self._log.is_empty:
            return ()
        posterior, _ = self._infer()
        present = posterior.present[:, self._tags.index(tag)]
        return tuple(zip(posterior.evidence.times_s.tolist(), present.tolist(), strict=True))

    def _infer(self) -> tuple[Posterior, list[Run]]:
        if self._inferred is None:
            evidence = self._evidence(seen for _, seen in self._log.observations())
            taught, rates = self._learnt_from_scan()
            if len(evidence.times_s) > taught:
                steps = _STEPS_WITH_SCANNER if self._scanned else _STEPS
                rates = learn_rates(evidence, rates, steps)
            posterior = Posterior.of(evidence, self._warp, rates)
            self._inferred = posterior, find_runs(posterior, self._video.duration_s)
        return self._inferred

    def _learnt_from_scan(self) -> tuple[int, Rates]:
        """Return the number of answers to the scan, and what they alone teach.

        That stays while later rounds add to the rest.
        """
        planned = {milliseconds(time_s) for time_s in self._scan}
        scan = [seen for time_s, seen in self.observations() if milliseconds(time_s) in planned]
        if self._taught is None or self._taught[0] != scan:
            rates = assumed(len(self._tags), self._video.duration_s, scanned=self._scanned)
            if scan:
                rates = learn_rates(self._evidence(scan), rates, _SCAN_STEPS, errors=False)
            self._taught = scan, rates
        return len(scan), self._taught[1]

    def _evidence(self, observations: Iterable[Observation]) -> Evidence:
        return gather(observations, self._tags, self._warp, scanned=self._scanned)

    def _scan_queries(self) -> tuple[FrameQuery, ...]:
        open_tags = ((time_s, self._log.open_tags(time_s)) for time_s in self._scan)
        return tuple(FrameQuery(time_s, tags, Purpose.SCAN) for time_s, tags in open_tags if tags)

    def _worthwhile_queries(self) -> tuple[FrameQuery, ...]:
        if self._log.is_empty:
            return ()
        posterior, runs = self._infer()
        prices = Prices(
            self._judge, self._scanner, len(runs), self._video.duration_s, self._config.effort
        )
        candidates = list(self._candidates(posterior, runs, prices))
        shows, _ = posterior.doubt_at(np.array([candidate.time_s for candidate in candidates]))
        allowance = self._left.of_round(self._budget)
        chosen = choose(prices.priced(candidates, shows), allowance, self._frame_s)
        if not is_worth_a_round(chosen, len(runs)):
            return ()
        chosen.sort(key=lambda candidate: candidate.time_s)
        return tuple(
            FrameQuery(
                each.time_s, tuple(self._tags[column] for column in each.columns), each.purpose
            )
            for each in chosen
        )

    @property
    def _left(self) -> Allowance:
        """The rest of the budget."""
        return self._budget.less(self._log.frames, self._spent_ms / 1000)

    def _candidates(
        self, posterior: Posterior, runs: list[Run], prices: Prices
    ) -> Iterator[Candidate]:
        """Yield what could be asked. No discovery is made where an edge is looked for."""
        is_free, seen_s, end_s = self._log.is_free, posterior.evidence.times_s, self._video.end_s
        edges = list(
            edge_candidates(runs, self._config.edge_tolerance_s, is_free, scanned=self._scanned)
        )
        refined = set(np.searchsorted(seen_s, [candidate.time_s for candidate in edges]))
        yield from edges
        for candidate in discoveries(
            posterior, prices.least(Purpose.SCAN), self._shortest_s, is_free
        ):
            if np.searchsorted(seen_s, candidate.time_s) not in refined:
                yield candidate
        if self._config.second_looks and self._scanned:
            usual = prices.usual(Purpose.SECOND_LOOK), prices.usual(Purpose.SCAN)
            yield from checks(posterior, end_s, usual, is_free, self._log.is_free_for_judge)
        elif self._config.second_looks:
            least = prices.least(Purpose.SECOND_LOOK)
            yield from second_looks(posterior, end_s, least, is_free)
