"""Frames that are asked about in one question: put together before they are decoded, complete when the last of them is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from vlm_engine.errors import FrameError
from vlm_engine.tagging.cached_client import CachedClient
from vlm_engine.tagging.category_search import CategorySearch
from vlm_engine.types import Frame, FrameQuery, ImageShape

Wanted = tuple[CategorySearch, FrameQuery]
Pictures = Mapping[ImageShape, Frame] | FrameError


class FrameBatch:
    """Looks of one search that are asked about together, in order of time; most often one."""

    def __init__(self, part: CategorySearch, looks: Iterable[FrameQuery]) -> None:
        self.part = part
        self.looks = tuple(looks)
        self.shown: list[tuple[FrameQuery, Frame | FrameError]] = []

    @property
    def judge(self) -> CachedClient:
        """Who is asked."""
        return self.part.panel.asked(self.looks[0])

    @property
    def shape(self) -> ImageShape:
        """How large its pictures are."""
        return self.judge.shape(self.looks[0].purpose)

    @property
    def is_complete(self) -> bool:
        """Whether every frame is there, or is known not to be readable."""
        return len(self.shown) == len(self.looks)

    def take(self, pictures: Pictures) -> None:
        """The frame of its next look."""
        look = self.looks[len(self.shown)]
        self.shown.append(
            (look, pictures if isinstance(pictures, FrameError) else pictures[self.shape])
        )


def sheets(wanted: Iterable[Wanted]) -> list[FrameBatch]:
    """Every look on a sheet: those that a model takes several of, with others of their kind about the same tags."""
    alike: dict[tuple[CategorySearch, CachedClient, tuple[str, ...]], list[FrameQuery]] = (
        defaultdict(list)
    )
    made = []
    for part, look in wanted:
        judge = part.panel.asked(look)
        if judge.together(look.purpose) > 1:
            alike[part, judge, look.tags].append(look)
        else:
            made.append(FrameBatch(part, [look]))
    for (part, judge, _), looks in alike.items():
        in_order, each = (
            sorted(looks, key=lambda look: look.time_s),
            judge.together(looks[0].purpose),
        )
        made += [
            FrameBatch(part, in_order[first : first + each])
            for first in range(0, len(in_order), each)
        ]
    return made
