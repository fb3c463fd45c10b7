"""Ready-made stages that filter, rename, merge and drop tags, before the user's rules or after
them.

Each takes one value, of whatever name: the findings or the results of a video, or the results of a
picture; and gives the same with other tags. The observations in the result stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from vlm_engine.errors import ConfigError
from vlm_engine.models.base import Model, only
from vlm_engine.spans import merge
from vlm_engine.types import Findings, ImageResult, ImageTagInfo, Span, VideoResult, VideoTagInfo

_T = TypeVar("_T")


class Transform(Model):
    """A stage that gives tags other names, or none. Subclass it and write ``renamed``.

    Tags that get the same name become one: their spans are joined, and the larger confidence
    counts.
    """

    def renamed(self, category: str, tag: str) -> str | None:
        """Return the name that a tag gets; None drops it."""
        raise NotImplementedError

    def keeps(self, category: str) -> bool:
        """Return whether to keep a category. By default all are kept."""
        return True

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult | ImageResult:
        """Raise ``ConfigError`` when no result is among the inputs."""
        value: VideoResult | ImageResult = only(
            inputs, type(self).__name__, VideoResult, ImageResult
        )
        if isinstance(value, ImageResult):
            confidences = {
                category: {
                    name: max((each for each in group if each is not None), default=None)
                    for name, group in self._regrouped(category, by_tag.items()).items()
                }
                for category, by_tag in value.info.confidences.items()
                if self.keeps(category)
            }
            return replace(value, info=ImageTagInfo.of(confidences))
        spans = {
            category: self._merged(category, (span for group in by_tag.values() for span in group))
            for category, by_tag in value.info.spans.items()
            if self.keeps(category)
        }
        findings = tuple(
            self._findings(group) for group in value.findings if self.keeps(group.category)
        )
        info = VideoTagInfo.of(value.info.duration_s, spans)
        return replace(value, findings=findings, info=info)

    def _findings(self, found: Findings) -> Findings:
        merged = self._merged(found.category, found.spans)
        return replace(found, spans=tuple(span for group in merged.values() for span in group))

    def _merged(self, category: str, spans: Iterable[Span]) -> dict[str, tuple[Span, ...]]:
        by_name = self._regrouped(category, ((span.tag, span) for span in spans))
        return {
            name: tuple(merge((replace(span, tag=name) for span in group), 0.0))
            for name, group in by_name.items()
        }

    def _regrouped(self, category: str, by_tag: Iterable[tuple[str, _T]]) -> dict[str, list[_T]]:
        """Return the values by the new names of their tags."""
        by_name: dict[str, list[_T]] = {}
        for tag, value in by_tag:
            name = self.renamed(category, tag)
            if name is not None:
                by_name.setdefault(name, []).append(value)
        return by_name


class FilterCategories(Transform):
    """Keeps only the categories in ``keep``, or all but those in ``drop``."""

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
    """Drops these ``tags``. ``category``: only there."""

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
