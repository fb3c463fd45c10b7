"""What a run looks for: the tags of the present list. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from haven.stash.records import OwnedTag
from haven.stash.values import tag_key


@dataclass(frozen=True, slots=True)
class TagList:
    """The tags of a list by what they are called in Stash: ``asked`` has what the list calls each, by ``tag_key`` of that name.

    ``concerned``: the ``tag_key`` of every name that the list's tags go by, there and in Stash. None: all there are.
    """

    asked: Mapping[str, str]
    concerned: frozenset[str] | None = None

    @staticmethod
    def of(names_in_stash: Mapping[str, str] | None, found: Iterable[str] = ()) -> TagList:
        """``names_in_stash``: what each tag of the list is called in Stash; None: the list is not known, and concerns everything.

        ``found``: names of what was found, which is concerned in any case.
        """
        if names_in_stash is None:
            return TagList({})
        asked = {tag_key(name): tag for tag, name in reversed(tuple(names_in_stash.items()))}
        names = (*names_in_stash, *names_in_stash.values(), *found)
        return TagList(asked, frozenset(map(tag_key, names)))

    def concerns(self, own: OwnedTag, name: str = "") -> bool:
        """Whether what the plugin made for this tag is for this list to change. ``name``: what the tag is called in Stash by now.

        By what a list called it then, so that a tag which gets another name in Stash keeps nothing under the one before.
        """
        if self.concerned is None:
            return True
        if own.asked:
            return tag_key(own.asked) in self.concerned or tag_key(own.name) in self.asked
        return any(tag_key(known) in self.concerned for known in (own.name, name) if known)
