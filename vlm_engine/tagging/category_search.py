"""What one search of one category is about: whom it asks, what it knows, and what came of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vlm_engine.config.models import SearchConfig
from vlm_engine.errors import CoverageError, FrameError
from vlm_engine.search import GroupedSearch, regrouped
from vlm_engine.tagging.cascade import Cascade, CascadeAnswers, Tags
from vlm_engine.tagging.tally import Tally
from vlm_engine.types import Findings, Frame, FrameQuery, Observation, Purpose, VideoInfo

LEAST_COVERAGE = 0.9
"""A video is not called done when a model could judge a smaller share of the frames that could be read."""
LEAST_READABLE = 1 / 3
"""Nor when fewer of all frames that were wanted were judged: what was found would pass for the whole. A search looks several
times at a stretch of which it learns nothing: of a video of which half cannot be read, about a third of them can."""
_HOPELESS_AFTER = 16


class CategorySearch:
    """The search of one video for the tags of one category, as one of several that go on side by side.

    ``media`` is the name under which answers are kept. A frame that cannot be decoded or judged is counted as failed and left
    unjudged; the search goes on around it. Make it with ``begin``.
    """

    def __init__(
        self,
        panel: Cascade,
        video: VideoInfo,
        tags: Tags,
        groups: Sequence[Tags],
        how: SearchConfig,
        *,
        media: str,
        settings: str,
    ) -> None:
        self.panel = panel
        self.tally = Tally()
        self._video, self._media = video, media
        self._groups, self._settings = groups, settings
        self._search = GroupedSearch(video, tags, groups, how, scanned=panel.scanner is not None)
        self._memories: CascadeAnswers | None = None

    @classmethod
    async def begin(
        cls,
        panel: Cascade,
        video: VideoInfo,
        tags: Tags,
        how: SearchConfig,
        *,
        media: str,
        earlier: Findings | None,
    ) -> CategorySearch:
        """``earlier``: what a result of this video had seen. Raises ``NoEndpointError`` and ``StoreError``."""
        if not tags:
            return cls(panel, video, (), (), how, media=media, settings="")
        settings = await panel.settings(how)
        known = [(own, by == settings) for own, by in earlier.searches] if earlier else []
        groups = regrouped(tags, [*known, *await panel.judge.searches(media, settings)])
        part = cls(panel, video, tags, groups, how, media=media, settings=settings)
        for time_s, seen in earlier.observations if earlier else ():
            if panel.scanner is not None or not seen.scanned:
                part._search.record(FrameQuery(time_s, tuple(seen.verdicts), Purpose.SCAN), seen)
        part._memories = await panel.memories(media)
        return part

    def next_queries(self) -> tuple[FrameQuery, ...]:
        """The next round; empty when the search is over."""
        return self._search.next_queries()

    def recall(self, look: FrameQuery) -> FrameQuery | None:
        """Records what is known already of a look; what is left of it to ask, if anything."""
        assert self._memories is not None
        left = look.tags
        for seen in self.panel.recall(self._memories, look):
            self._search.record(FrameQuery(look.time_s, tuple(seen.verdicts), look.purpose), seen)
            left = tuple(tag for tag in left if tag not in seen.verdicts)
        if left:
            return FrameQuery(look.time_s, left, look.purpose)
        self.tally.read(look.time_s, True)
        self.tally.answered()
        return None

    async def ask(self, shown: Sequence[tuple[FrameQuery, Frame | FrameError]]) -> None:
        """Asks about frames, in one question, and records what is said; for those that cannot be judged, that.

        Raises ``NoEndpointError`` when nobody is left to ask, ``CoverageError`` when nothing can be judged at all.
        """
        readable = []
        for look, frame in shown:
            self.tally.read(look.time_s, isinstance(frame, Frame))
            if isinstance(frame, FrameError):
                self._fail(look, frame)
            else:
                readable.append((look, frame))
        if not readable:
            return
        asked = self.panel.asked(readable[0][0])
        for (look, frame), told in zip(
            readable, await asked.ask_about(self._media, readable), strict=True
        ):
            self.tally.called(asked.name, told.calls)
            if told.error is not None:
                self._fail(look, told.error)
            else:
                self._search.record(
                    look, Observation(frame.time_s, told.verdicts, scanned=self.panel.scans(look))
                )
                self.tally.answered()

    def expected_more(self) -> int:
        """How many looks are probably still to come after this round."""
        return self._search.expected_more()

    async def end(self) -> None:
        """Notes that the search came to its end. Raises ``CoverageError`` when too few of the frames could be judged."""
        coverage = self.tally.coverage()
        least = max(
            LEAST_COVERAGE * (coverage.asked - coverage.unreadable), LEAST_READABLE * coverage.asked
        )
        if coverage.answered < least:
            raise self._too_little()
        if self._groups:
            await self.panel.judge.note_searches(self._media, self._groups, self._settings)

    def findings(self) -> Findings:
        """What was found. Takes a while: not for the event loop."""
        searches = tuple((tags, self._settings) for tags in self._groups)
        first_s = (
            self._video.first_s
        )  # what is there from the first frame on need not have been before
        spans = tuple(
            replace(span, start_s=max(span.start_s, first_s)) for span in self._search.spans()
        )
        return Findings(self.panel.category, spans, tuple(self._search.observations()), searches)

    def _fail(self, look: FrameQuery, error: Exception) -> None:
        self._search.record(look, Observation(look.time_s, {}, scanned=self.panel.scans(look)))
        self.tally.failed(str(error))
        coverage = self.tally.coverage()
        if not coverage.answered and coverage.failed - coverage.unreadable >= _HOPELESS_AFTER:
            raise self._too_little()

    def _too_little(self) -> CoverageError:
        coverage = self.tally.coverage()
        judged = f"only {coverage.answered} of {coverage.asked} frames could be judged"
        return CoverageError(
            f"{self._video.path}: {judged}, so its results would mislead: {self.tally.reasons()}"
        )
