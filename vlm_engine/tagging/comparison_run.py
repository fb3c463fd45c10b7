"""Frames of a scan asked about in a second style: the questions, and the pairs that are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from vlm_engine.errors import FrameError
from vlm_engine.store import PairCounts, PairKey
from vlm_engine.tagging.cached_client import CachedAnswers, CachedClient, FrameOutcome
from vlm_engine.tagging.comparisons import (
    ComparedFrame,
    ComparisonPlan,
    compared_frames,
    expected_at,
    pair_counts,
)
from vlm_engine.tagging.styles import Choice, choices
from vlm_engine.types import (
    Frame,
    FrameQuery,
    ImageShape,
    QuestionStyle,
    Verdict,
    VideoInfo,
)

Picture = Mapping[ImageShape, Frame] | FrameError
"""One frame in every shape that is wanted, or the error why it cannot be read."""


@dataclass(eq=False, slots=True)
class Comparison:
    """One frame of the scan, and the styles in which it is asked about besides ``style``.

    ``known``: what is known of it in ``style``; what is not is asked first. ``expected``: the tags
    that the frames beside it show. ``on_outcome`` is called after every question.
    """

    client: CachedClient
    cache_key: str
    query: FrameQuery
    style: QuestionStyle
    choices: Sequence[Choice]
    known: Mapping[str, Verdict]
    expected: frozenset[str]
    on_outcome: Callable[[CachedClient, FrameOutcome], None]
    picture: Picture | None = field(default=None, repr=False)

    @property
    def queries(self) -> tuple[FrameQuery]:
        """The one query."""
        return (self.query,)

    @property
    def is_complete(self) -> bool:
        """True when its frame was decoded."""
        return self.picture is not None

    @property
    def shapes(self) -> set[ImageShape]:
        """The sizes of its pictures."""
        return {self.style.shape, *(self._asked(choice).shape for choice in self.choices)}

    def add(self, picture: Picture) -> None:
        """Take the frame."""
        self.picture = picture

    async def ask(self) -> None:
        """Ask in every style, one question after the other. A frame that cannot be read or judged
        is left out.

        Raises ``NoEndpointError`` when no endpoint is left.
        """
        picture = self.picture
        if picture is None or isinstance(picture, FrameError):
            return
        known = self.known
        if any(tag not in known for tag in self.query.tags):
            frames = [(self.query, picture[self.style.shape])]
            (outcome,) = await self.client.ask_frames(self.cache_key, frames, self.style)
            self.on_outcome(self.client, outcome)
            known = outcome.verdicts
        for choice in self.choices if known else ():
            style = self._asked(choice)
            outcome = await self.client.ask_compared(
                self.cache_key,
                self.query,
                picture[style.shape],
                style,
                partial(self._pairs, choice, known),
            )
            self.on_outcome(self.client, outcome)

    def release_place(self, _: asyncio.Task[None]) -> None:
        """Give back the place among the open questions."""
        self.client.open_questions.release()

    def _asked(self, choice: Choice) -> QuestionStyle:
        return choice.applied(self.style, other=not choice.is_other(self.style))

    def _pairs(
        self, choice: Choice, known: Mapping[str, Verdict], verdicts: Mapping[str, Verdict]
    ) -> dict[PairKey, PairCounts]:
        both = (verdicts, known) if choice.is_other(self.style) else (known, verdicts)
        return pair_counts(choice.name, *both, self.expected)


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """A model that is compared in a video, its style there, and its stored answers."""

    client: CachedClient
    style: QuestionStyle
    plan: ComparisonPlan
    answers: CachedAnswers

    def comparisons(
        self,
        video: VideoInfo,
        cache_key: str,
        scan: Sequence[FrameQuery],
        seen: Sequence[frozenset[str]],
        on_outcome: Callable[[CachedClient, FrameOutcome], None],
    ) -> Iterator[Comparison]:
        """Yield the comparisons that are not stored yet. ``seen`` are the tags that each frame of
        the scan shows.
        """
        open_choices = tuple(choices(self.client.model, video))
        for compared in compared_frames(seen, self.plan):
            query = scan[compared.place]
            wanted = [choice for choice in open_choices if self._is_left(choice, compared, query)]
            if wanted:
                found = self.answers.find(query, self.style)
                yield Comparison(
                    self.client,
                    cache_key,
                    query,
                    self.style,
                    wanted,
                    found.verdicts if found else {},
                    expected_at(seen, compared.place),
                    on_outcome,
                )

    def _is_left(self, choice: Choice, compared: ComparedFrame, query: FrameQuery) -> bool:
        if not (compared.size if choice.is_size else compared.form):
            return False
        style = choice.applied(self.style, other=not choice.is_other(self.style))
        return self.answers.find(query, style) is None
