"""The search of one video for the tags of one category: its questions, its answers, and its frame
counts.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from vlm_engine.config.models import SearchConfig
from vlm_engine.errors import CoverageError, FrameError
from vlm_engine.search import Costs, GroupedSearch, regrouped
from vlm_engine.tagging.cached_client import (
    CachedClient,
    Cascade,
    CascadeAnswers,
    FrameOutcome,
    Styles,
    Tags,
)
from vlm_engine.tagging.comparison_run import ComparedModel, Comparison
from vlm_engine.tagging.terms import SearchesBefore, SearchTerms, agreed_terms, style_comparisons
from vlm_engine.types import (
    LEAST_COVERAGE,
    Coverage,
    Findings,
    Frame,
    FrameQuery,
    Observation,
    Purpose,
    VideoInfo,
)

LEAST_READABLE = 1 / 3
"""A video fails when a smaller share of all frames was judged: its result would pass for the whole.
A search looks several times at a stretch of which it learns nothing: of a video of which half
cannot be read, about a third of the frames can.
"""
_HOPELESS_AFTER = 16


class CategorySearch:
    """Search of one video for the tags of one category; several go on side by side.

    A frame that cannot be decoded or judged counts as failed, and the search goes on without it.
    ``cache_key`` names the video in the store, ``settings`` the way it is searched. Make it with
    ``begin``.
    """

    def __init__(
        self,
        cascade: Cascade,
        video: VideoInfo,
        search: GroupedSearch,
        answers: CascadeAnswers,
        *,
        terms: SearchTerms,
        groups: Sequence[Tags],
        settings: str,
        cache_key: str,
    ) -> None:
        self.cascade = cascade
        self.styles: Styles = dict(zip(cascade.members, terms.styles, strict=True))
        """The style in which each model is asked."""
        self.tally = FrameTally()
        self.on_outcome: Callable[[], None] = lambda: None
        """Called after every frame that is judged or given up."""
        self._video = video
        self._search = search
        self._answers = answers
        self._terms = terms
        self._groups = groups
        self._recorded: frozenset[Tags] = frozenset()
        self._settings = settings
        self._cache_key = cache_key

    @classmethod
    async def begin(
        cls,
        cascade: Cascade,
        video: VideoInfo,
        tags: Tags,
        config: SearchConfig,
        *,
        cache_key: str,
        earlier: Findings | None,
    ) -> CategorySearch:
        """Return the search with all that is known already: in the store, and ``earlier``, from a
        result.

        Raises ``NoEndpointError`` and ``StoreError``.
        """
        settings = await cascade.search_fingerprint(config)
        stored, terms_before, answers = await asyncio.gather(
            cascade.judge.finished_searches(cache_key),
            cascade.judge.stored_terms(cache_key, settings),
            cascade.load_answers(cache_key),
        )
        finished = defaultdict[str, list[str]](list)
        for group, by, _ in stored:
            finished[by] += group
        terms = await agreed_terms(
            cascade,
            video,
            tags,
            cache_key,
            settings,
            before=SearchesBefore(finished, terms_before),
            earlier=earlier,
            learns=config.learn_costs,
        )
        settings = terms.fingerprint(settings)
        known = [(group, by == settings) for group, by in earlier.searches] if earlier else []
        known += [(group, by == settings and is_same) for group, by, is_same in stored]
        groups = regrouped(tags, known)
        search = GroupedSearch(video, tags, groups, config, Costs(*terms.terms))
        for time_s, seen in earlier.observations if earlier else ():
            if cascade.scanner is not None or not seen.scanned:
                search.record(FrameQuery(time_s, tuple(seen.verdicts), Purpose.SCAN), seen)
        begun = cls(
            cascade,
            video,
            search,
            answers,
            terms=terms,
            groups=groups,
            settings=settings,
            cache_key=cache_key,
        )
        begun._recorded = frozenset(
            group for group, by, is_same in stored if by == settings and is_same
        )
        return begun

    def next_queries(self) -> tuple[FrameQuery, ...]:
        """Return the next round of queries; none when the search is over."""
        return self._search.next_queries()

    def expected_more(self) -> int:
        """Return how many queries probably follow this round."""
        return self._search.expected_more()

    def use_stored_answers(self, query: FrameQuery) -> FrameQuery | None:
        """Record what the store knows, and return what is left of the query; None if nothing is."""
        left = query.tags
        for seen in self.cascade.find_answers(self._answers, query, self.styles):
            self._search.record(replace(query, tags=tuple(seen.verdicts)), seen)
            left = tuple(tag for tag in left if tag not in seen.verdicts)
        if left:
            return replace(query, tags=left)
        self.tally.record_read(query.time_s, True)
        self._record_answer()
        return None

    async def ask_frames(self, frames: Sequence[tuple[FrameQuery, Frame | FrameError]]) -> None:
        """Ask about the frames in one question, and record the outcome of each.

        Raises ``NoEndpointError`` when no endpoint is left, ``CoverageError`` when nothing can be
        judged at all.
        """
        readable: list[tuple[FrameQuery, Frame]] = []
        for query, frame in frames:
            self.tally.record_read(query.time_s, isinstance(frame, Frame))
            if isinstance(frame, FrameError):
                self._record_failure(query, frame)
            else:
                readable.append((query, frame))
        if not readable:
            return
        client = self.cascade.client_for(readable[0][0])
        outcomes = await client.ask_frames(self._cache_key, readable, self.styles[client])
        for (query, frame), outcome in zip(readable, outcomes, strict=True):
            self.tally.record_calls(client.name, outcome.calls, outcome.seconds)
            if outcome.error is not None:
                self._record_failure(query, outcome.error)
            else:
                scanned = client is self.cascade.scanner
                self._search.record(query, Observation(frame.time_s, outcome.verdicts, scanned))
                self._record_answer()

    async def comparisons(self, scan: Sequence[FrameQuery]) -> list[Comparison]:
        """Return the frames of the scan, which was answered, that are asked about in another style.

        The search does not use what they show: the same frame in another size is no other look at
        the scene, and a search that is repeated must see the same answers.
        """
        if not any(plan.tags or plan.spread for plan in self._terms.plans):
            return []
        self._answers = await self.cascade.load_answers(self._cache_key)
        return list(self._comparisons(scan))

    def _comparisons(self, scan: Sequence[FrameQuery]) -> Iterator[Comparison]:
        scan = sorted(scan, key=lambda query: query.time_s)
        seen = [frozenset(self._shown(query)) for query in scan]
        stored = (self._answers.judge, self._answers.scanner)
        for client, plan, answers in zip(
            self.cascade.members, self._terms.plans, stored, strict=False
        ):
            if answers is not None:
                model = ComparedModel(client, self.styles[client], plan, answers)
                yield from model.comparisons(
                    self._video, self._cache_key, scan, seen, self._record_comparison
                )

    def _shown(self, query: FrameQuery) -> Iterator[str]:
        for seen in self.cascade.find_answers(self._answers, query, self.styles):
            yield from (tag for tag, verdict in seen.verdicts.items() if verdict.present)

    def _record_comparison(self, client: CachedClient, outcome: FrameOutcome) -> None:
        self.tally.record_calls(client.name, outcome.calls, outcome.seconds)
        if outcome.error is None:
            self.tally.record_answer()
        self.on_outcome()

    async def finish(self) -> None:
        """Store that the search is finished. Raises ``CoverageError`` when too few frames were
        judged.
        """
        coverage = self.tally.coverage()
        readable = coverage.asked - coverage.unreadable
        if coverage.answered < max(LEAST_COVERAGE * readable, LEAST_READABLE * coverage.asked):
            raise self._coverage_error()
        new = [group for group in self._groups if group not in self._recorded]
        await self.cascade.judge.record_searches(self._cache_key, new, self._settings)
        for client in self.cascade.members:
            client.comparisons = await style_comparisons(client)

    def findings(self) -> Findings:
        """Return what was found. Takes long: do not call it on the event loop."""
        first_s = self._video.first_s  # what the first frame shows need not have been there before
        spans = tuple(
            replace(span, start_s=max(span.start_s, first_s)) for span in self._search.spans()
        )
        searches = tuple((tags, self._settings) for tags in self._groups)
        observations = tuple(self._search.observations())
        return Findings(self.cascade.category, spans, observations, searches, self._terms.terms)

    def _record_answer(self) -> None:
        self.tally.record_answer()
        self.on_outcome()

    def _record_failure(self, query: FrameQuery, error: Exception) -> None:
        scanned = self.cascade.client_for(query) is self.cascade.scanner
        self._search.record(query, Observation(query.time_s, {}, scanned))
        self.tally.record_failure(str(error))
        coverage = self.tally.coverage()
        if not coverage.answered and coverage.failed - coverage.unreadable >= _HOPELESS_AFTER:
            raise self._coverage_error()
        self.on_outcome()

    def _coverage_error(self) -> CoverageError:
        coverage = self.tally.coverage()
        judged = f"only {coverage.answered} of {coverage.asked} frames could be judged"
        return CoverageError(
            f"{self._video.path}: {judged}, so its results would mislead: {self.tally.reasons()}"
        )


class FrameTally:
    """Counts of the frames of one search: judged, failed, unreadable.

    ``calls``: requests, by model; ``seconds``: the time of the endpoints that they took.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._answered = 0
        self._failures: Counter[str] = Counter()
        self._read: list[tuple[float, bool]] = []
        self._unreadable = 0

    def record_read(self, time_s: float, readable: bool) -> None:
        """Count a frame as read, or as unreadable."""
        insort(self._read, (time_s, readable))
        self._unreadable += not readable

    def record_answer(self) -> None:
        """Count a frame as judged."""
        self._answered += 1

    def record_calls(self, model: str, requests: int, seconds: float) -> None:
        """Count requests that a model answered, and the time that they took."""
        if requests:
            self.calls[model] += requests
            self.seconds[model] += seconds

    def record_failure(self, reason: str) -> None:
        """Count a frame as failed."""
        self._failures[reason] += 1

    def coverage(self) -> Coverage:
        """Return the counts."""
        failed = self._failures.total()
        return Coverage(
            self._answered + failed,
            self._answered,
            failed,
            self.calls.total(),
            self._unreadable,
            sum(self.seconds.values()),
        )

    def reasons(self) -> str:
        """Return the most frequent reasons for failures, with their numbers."""
        return "; ".join(f"{reason} ({count} x)" for reason, count in self._failures.most_common(3))

    def gaps_s(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """Return the stretches, as (start, end), in which no frame could be read.

        A stretch that no readable frame follows lasts to the end.
        """
        gaps = []
        for readable, group in groupby(self._read, key=lambda entry: entry[1]):
            if not readable:
                stretch = list(group)
                is_last = stretch[-1] is self._read[-1]
                gaps.append((stretch[0][0], duration_s if is_last else stretch[-1][0]))
        return tuple(gaps)
