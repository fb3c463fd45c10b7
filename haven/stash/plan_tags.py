"""The tags that plans speak of: made where Stash lacks them, found again where somebody changed them meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from haven.stash.changes import PlannedTag
from haven.stash.errors import StashError, StashQueryError, TagClashError
from haven.stash.journal import Journal, OpenPlan
from haven.stash.tags import TagCache
from haven.stash.values import Tag, tag_key

Wanted: TypeAlias = Iterable[tuple[OpenPlan, PlannedTag]]
"""Tags, each with a plan that speaks of it. Where several speak of a new one, it is the first that makes it."""
Failures: TypeAlias = dict[str, StashError]
"""Why a tag could not be made, by its ``tag_key``."""


class PlanTags:
    """What the planned tags are in Stash by now. One for all plans that are carried out together."""

    def __init__(self, tags: TagCache, journal: Journal) -> None:
        self._tags = tags
        self._journal = journal
        self._found_since: dict[str, Tag] = {}

    def id(self, tag: PlannedTag) -> str:
        """The tag's id by the latest look-up; empty where it could not be made."""
        return self.tag(tag).id

    def tag(self, tag: PlannedTag) -> Tag:
        """The tag by the latest look-up, under the name that was planned; without an id where it could not be made."""
        since = self._found_since.get(tag_key(tag.name))
        return replace(since, name=tag.name) if since else Tag(tag.id, tag.name, tag.created_s)

    def find_made(self, left_behind: Sequence[OpenPlan]) -> None:
        """Finds the tags that were to be made, and were, before the plans were left behind."""
        makers = _makers((one, tag) for one in left_behind for tag in one.plan.tags if not tag.id)
        if not makers:
            return
        found = self._tags.find(tag.name for _, tag in makers.values())
        self._found_since |= found
        known = {tag.id for one in left_behind for tag in self._journal.new_tags_of_plan(one)}
        for key, tag in found.items():
            opened, _ = makers[key]
            if tag.id not in known and self._tags.looks_made(tag, opened.plan.parent):
                self._journal.new_tags(opened, [tag])

    def create(self, wanted: Wanted) -> Failures:
        """Makes the tags. Returns why some could not be."""
        failures: Failures = {}
        for key, (opened, planned) in _makers(wanted).items():
            try:
                tag = self._found_since[key] = self._tags.create(planned.name)
            except (StashQueryError, TagClashError) as error:
                failures[key] = error
                continue
            # Where the reply to the making was lost, it is found to exist: as new as the other.
            if self._tags.has_made(tag) or self._tags.looks_made(tag, opened.plan.parent):
                self._journal.new_tags(opened, [tag])
        return failures

    def look_up_again(self, wanted: Wanted) -> Failures:
        """Somebody deleted or merged a tag meanwhile: each is found again, or made again, once. Returns as ``create``."""
        makers = _makers(wanted)
        found = self._tags.find(tag.name for _, tag in makers.values())
        self._found_since |= found
        missing = [
            (opened, tag)
            for key, (opened, tag) in makers.items()
            if key not in found and self.id(tag)
        ]
        self._found_since |= {tag_key(tag.name): Tag("", tag.name) for _, tag in missing}
        return self.create(missing)


def _makers(wanted: Wanted) -> dict[str, tuple[OpenPlan, PlannedTag]]:
    makers: dict[str, tuple[OpenPlan, PlannedTag]] = {}
    for opened, tag in wanted:
        makers.setdefault(tag_key(tag.name), (opened, tag))
    return makers
