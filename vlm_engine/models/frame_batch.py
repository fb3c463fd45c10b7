"""Frames that are asked about in one question: put together before they are decoded, complete when the last of them is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from vlm_engine.errors import FrameError
from vlm_engine.models.cached_client import Judge
from vlm_engine.models.category_search import Part
from vlm_engine.types import Frame, ImageShape, Look

Wanted = tuple[Part, Look]
Pictures = Mapping[ImageShape, Frame] | FrameError


class Sheet:
    """Looks of one search that are asked about together, in order of time; most often one."""

    def __init__(self, part: Part, looks: Iterable[Look]) -> None:
        self.part = part
        self.looks = tuple(looks)
        self.shown: list[tuple[Look, Frame | FrameError]] = []

    @property
    def judge(self) -> Judge:
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
        self.shown.append((look, pictures if isinstance(pictures, FrameError) else pictures[self.shape]))


def sheets(wanted: Iterable[Wanted]) -> list[Sheet]:
    """Every look on a sheet: those that a model takes several of, with others of their kind about the same tags."""
    alike: dict[tuple[Part, Judge, tuple[str, ...]], list[Look]] = defaultdict(list)
    made = []
    for part, look in wanted:
        judge = part.panel.asked(look)
        if judge.together(look.purpose) > 1:
            alike[part, judge, look.tags].append(look)
        else:
            made.append(Sheet(part, [look]))
    for (part, judge, _), looks in alike.items():
        in_order, each = sorted(looks, key=lambda look: look.time_s), judge.together(looks[0].purpose)
        made += [Sheet(part, in_order[first : first + each]) for first in range(0, len(in_order), each)]
    return made
