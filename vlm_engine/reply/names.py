"""Names of tags, as models write them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlm_engine.names import tag_key
from vlm_engine.reply.texts import unreadable

_NOTHING = frozenset({"[]", "none", "nothing", "no tags", "none of the tags", "none of these tags"})


class Names:
    """Finds the tag that a model means by a name, whatever the case, spacing and ornament; by a synonym, too."""

    def __init__(self, tags: Sequence[str], synonyms: Mapping[str, Iterable[str]]) -> None:
        self.tags = tags
        by_synonym = {key(name): tag for tag in tags for name in synonyms.get(tag, ())}
        self._by_key = by_synonym | {key(tag): tag for tag in tags}

    def find(self, name: str) -> str | None:
        """The tag; None where none is meant."""
        return self._by_key.get(key(name)) or self._by_key.get(key(_bare(name)))

    def place(self, name: str) -> int | None:
        """Where the tag stands that is meant; None where none is."""
        tag = self.find(name)
        return None if tag is None else self.tags.index(tag)

    def present(self, items: Sequence[Any], raw: str) -> dict[str, bool]:
        """Whether each tag is among the names in ``items``. Raises ``ReplyError`` for a list that says nothing of the tags."""
        if not all(isinstance(item, str) for item in items):
            raise unreadable("the reply lists something other than names", raw)
        found = {self.find(item) for item in items} - {None}
        if not found and not all(means_nothing(item) for item in items):
            raise unreadable("the reply names only tags that were not asked for", raw)
        return {tag: tag in found for tag in self.tags}


def _bare(name: str) -> str:
    return re.sub(r"^(?:[-*•]+|\d+[.)])\s+", "", name.strip()).strip(" \t\"'`*.,;")


def key(name: str) -> str:
    """What two spellings of one name have in common: letters in either form of Unicode, capitals, and blanks."""
    return unicodedata.normalize("NFC", tag_key(name))


def means_nothing(text: str) -> bool:
    """Whether it says that no tag applies."""
    return key(text) in _NOTHING
