"""Ready-made stages that filter, rename, merge and drop what was found, before the user's rules or after them.

Each takes one value, of whatever name: the findings or the results of a video, or the results of a picture; and gives the
same with other tags. What the model said stays in the result's observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vlm_engine.errors import ConfigError
from vlm_engine.models.base import Model, only
from vlm_engine.spans import merge
from vlm_engine.types import Findings, ImageResult, ImageTagInfo, Span, VideoResult, VideoTagInfo


class Transform(Model):
    """A stage that gives tags other names, or none. Subclass it and write ``renamed``.

    Tags that get the same name become one: their spans are joined, and the larger confidence counts.
    """

    def renamed(self, category: str, tag: str) -> str | None:
        """The name that a tag gets; None drops it."""
        raise NotImplementedError

    def keeps(self, category: str) -> bool:
        """Whether a category is told of at all. By default every one is."""
        return True

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult | ImageResult:
        """Raises ``ConfigError`` for what is no result."""
        value: VideoResult | ImageResult = only(
            inputs, type(self).__name__, VideoResult, ImageResult
        )
        if isinstance(value, ImageResult):
            return replace(value, info=self._image(value.info))
        findings = tuple(self._findings(own) for own in value.findings if self.keeps(own.category))
        return replace(value, findings=findings, info=self._video(value.info))

    def _findings(self, found: Findings) -> Findings:
        by_tag: dict[str, tuple[Span, ...]] = {}
        for span in found.spans:
            by_tag[span.tag] = (*by_tag.get(span.tag, ()), span)
        spans = self._spans(found.category, by_tag)
        return replace(found, spans=tuple(span for own in spans.values() for span in own))

    def _video(self, info: VideoTagInfo) -> VideoTagInfo:
        spans = {
            category: self._spans(category, own)
            for category, own in info.spans.items()
            if self.keeps(category)
        }
        return VideoTagInfo(
            info.duration_s,
            tags={category: tuple(own) for category, own in spans.items()},
            totals_s={
                category: {tag: sum(span.duration_s for span in each) for tag, each in own.items()}
                for category, own in spans.items()
            },
            spans=spans,
        )

    def _spans(
        self, category: str, by_tag: Mapping[str, Iterable[Span]]
    ) -> dict[str, tuple[Span, ...]]:
        regrouped: dict[str, list[Span]] = {}
        for tag, spans in by_tag.items():
            name = self.renamed(category, tag)
            if name is not None:
                regrouped.setdefault(name, []).extend(replace(span, tag=name) for span in spans)
        return {name: tuple(merge(spans, 0.0)) for name, spans in regrouped.items()}

    def _image(self, info: ImageTagInfo) -> ImageTagInfo:
        told = {
            category: self._confidences(category, own)
            for category, own in info.confidences.items()
            if self.keeps(category)
        }
        return ImageTagInfo({category: tuple(sorted(own)) for category, own in told.items()}, told)

    def _confidences(
        self, category: str, by_tag: Mapping[str, float | None]
    ) -> dict[str, float | None]:
        regrouped: dict[str, list[float | None]] = {}
        for tag, confidence in by_tag.items():
            name = self.renamed(category, tag)
            if name is not None:
                regrouped.setdefault(name, []).append(confidence)
        return {
            name: max((each for each in own if each is not None), default=None)
            for name, own in regrouped.items()
        }


class FilterCategories(Transform):
    """Tells only of the categories in ``keep``, or of all but those in ``drop``."""

    def __init__(self, keep: Iterable[str] | None = None, drop: Iterable[str] = ()) -> None:
        self._keep = None if keep is None else _names("keep", keep)
        self._drop = _names("drop", drop)

    def keeps(self, category: str) -> bool:
        """See ``Transform``."""
        return category not in self._drop and (self._keep is None or category in self._keep)

    def renamed(self, category: str, tag: str) -> str | None:
        """See ``Transform``."""
        return tag


class RenameTags(Transform):
    """Gives tags other names: ``names`` is {old: new}. ``category``: only there."""

    def __init__(self, names: Mapping[str, str], category: str | None = None) -> None:
        self._new = dict(zip(_names("names", names), _names("names", names.values()), strict=True))
        self._category = category

    def renamed(self, category: str, tag: str) -> str | None:
        """See ``Transform``."""
        return self._new.get(tag, tag) if self._category in {None, category} else tag


class MergeTags(RenameTags):
    """Makes one tag ``into`` of several ``tags``. ``category``: only there."""

    def __init__(self, tags: Iterable[str], into: str, category: str | None = None) -> None:
        super().__init__(dict.fromkeys(_names("tags", tags), into), category)


class DropTags(Transform):
    """Tells nothing of these ``tags``. ``category``: only there."""

    def __init__(self, tags: Iterable[str], category: str | None = None) -> None:
        self._tags = frozenset(_names("tags", tags))
        self._category = category

    def renamed(self, category: str, tag: str) -> str | None:
        """See ``Transform``."""
        return None if tag in self._tags and self._category in {None, category} else tag


def _names(what: str, names: Iterable[object]) -> tuple[str, ...]:
    every = () if isinstance(names, str | bytes) else tuple(names)
    listed = tuple(name for name in every if isinstance(name, str) and name)
    if isinstance(names, str | bytes) or listed != every:
        raise ConfigError(f"{what}: write a list of names")
    return listed
