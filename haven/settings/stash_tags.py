"""Tags that are chosen from Stash's tree: which they are now, and what the model is told of each.

Nothing here asks Stash: ``choose`` takes the tree as ``haven.stash.tag_tree`` reads it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import Field, field_validator, model_validator

from haven.setup.files import write_whole
from vlm_engine import SettingsGroup, tag_key

_LONGEST_NAME, _LONGEST_MEANING = 200, 300
_NAMES_FILE, _NAMES_KEPT = "tag_names.json", 20


class TagChoice(SettingsGroup):
    """One entry of ``STASH_TAGS``. A name alone is enough; the page writes the id, too."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    id: str = Field("", max_length=20)
    """The tag's id in Stash. It stays when the tag is renamed."""

    name: str = Field("", max_length=400)
    """Its name, or when it was chosen by its id, its name at that time."""

    below: bool = False
    """Everything below the tag, without the tag itself."""

    leave_out: bool = False
    """Do not look for it, although another entry has it."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @field_validator("id", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and not re.fullmatch(r"[0-9]*", text):
            raise ValueError("an id of Stash is a number; write the tag as name: … without it")
        return text

    @model_validator(mode="after")
    def _has_something(self) -> TagChoice:
        if not self.id and not self.name.strip():
            raise ValueError("write the name of a tag in Stash, or its id")
        return self

    def as_written(self) -> dict[str, object]:
        """Return the entry as a user writes it."""
        return {name: value for name, value in self.model_dump().items() if value}

    @property
    def words(self) -> str:
        """The entry for messages."""
        name = repr(self.name) if self.name else f"the tag with the id {self.id}"
        return f"everything below {name}" if self.below else name


@dataclass(frozen=True, slots=True)
class StashTag:
    """A tag of Stash with the ids of its parents, of which it may have several."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    parent_ids: tuple[str, ...] = ()
    ignore_auto_tag: bool = False

    @property
    def meaning(self) -> str:
        """The words that the model gets: the first paragraph of the description in one line, of 300
        characters at most, cut after a sentence or else after a word.
        """
        first = re.split(r"\n\s*\n", self.description.strip().replace("\r\n", "\n"), maxsplit=1)[0]
        text = " ".join(first.split())
        if len(text) <= _LONGEST_MEANING:
            return text
        start = text[:_LONGEST_MEANING]
        sentence = re.match(r".*[.!?。！？](?=\s|$)", start)
        return sentence[0] if sentence else f"{start.rpartition(' ')[0] or start} …"

    def goes_by(self, key: str) -> bool:
        """Return True if its name or an alias has this ``tag_key``."""
        return any(tag_key(name) == key for name in (self.name, *self.aliases))


ReadTree: TypeAlias = Callable[[], Sequence[StashTag]]
"""Returns all tags of Stash. Raises what the client raises."""


@dataclass(frozen=True, slots=True)
class ChosenTag:
    """A tag of Stash under its name in the tag list. ``synonyms``: its aliases that are free."""

    name: str
    tag: StashTag
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChosenTags:
    """The tags that ``STASH_TAGS`` stands for.

    ``former``: the name in the tag list by the ``tag_key`` of each name that a tag had before.
    ``warnings`` and ``notes``: what a user should know of single entries and tags.
    """

    tags: tuple[ChosenTag, ...] = ()
    former: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the tag list."""
        return tuple(one.name for one in self.tags)

    @property
    def meanings(self) -> dict[str, str]:
        """The words that the model gets for each tag that has a description."""
        return {one.name: one.tag.meaning for one in self.tags if one.tag.meaning}

    @property
    def synonyms(self) -> dict[str, tuple[str, ...]]:
        """The names that the model may use instead, for each tag that has some."""
        return {one.name: one.synonyms for one in self.tags if one.synonyms}


def last_known(choices: Iterable[TagChoice]) -> ChosenTags:
    """Return single tags under their last known names, where Stash is not asked."""
    names = {
        tag_key(one.name): StashTag(one.id, " ".join(one.name.split()))
        for one in choices
        if one.name.strip() and not one.below and not one.leave_out
    }
    return ChosenTags(tuple(ChosenTag(tag.name, tag) for tag in names.values()))


def choose(
    choices: Sequence[TagChoice],
    tree: Sequence[StashTag],
    listed: Mapping[str, str],
    *,
    taken: Collection[str] = (),
    never: Collection[str] = (),
    respects_ignore: bool = False,
    names_seen: Mapping[str, Sequence[str]] | None = None,
) -> ChosenTags:
    """Return the tags that the entries stand for, in the order of their names.

    ``listed``: the names of the rest of the tag list, by the ``tag_key`` of each name that they
    have in the list or in Stash. ``taken``: ``tag_key`` of other synonyms. ``never``: names of tags
    that steer the plugin. ``respects_ignore``: leave out tags with *Ignore auto tag*.
    ``names_seen``: the names that tags had before, by id.
    """
    warnings, notes = list[str](), list[str]()
    found = _Tree(tree)
    wanted = {tag.id: tag for tag in found.of(choices, warnings)}
    usable = list(_usable(wanted.values(), never, notes, warnings, respects=respects_ignore))
    named = _named(usable, listed, warnings)
    names = {tag_key(name) for name in (*listed.values(), *named)} | listed.keys()
    synonyms = _synonyms(named, {*names, *taken}, notes)
    tags = tuple(ChosenTag(name, tag, synonyms.get(name, ())) for name, tag in named.items())
    before = {one.id: one.name for one in choices if one.id and one.name}
    former = {
        key: one.name
        for one in tags
        for name in (*(names_seen or {}).get(one.tag.id, ()), before.get(one.tag.id, ""))
        if (key := tag_key(name)) and key not in names
    }
    return ChosenTags(tags, former, tuple(warnings), tuple(notes))


class _Tree:
    def __init__(self, tags: Sequence[StashTag]) -> None:
        self.by_id = {tag.id: tag for tag in tags}
        aliases = {tag_key(alias): tag for tag in tags for alias in tag.aliases}
        self._by_key = aliases | {tag_key(tag.name): tag for tag in tags}
        self._children: dict[str, list[str]] = {}
        for tag in tags:
            for parent in tag.parent_ids:
                self._children.setdefault(parent, []).append(tag.id)

    def of(self, choices: Sequence[TagChoice], warnings: list[str]) -> list[StashTag]:
        """Return the tags of the entries, without those that an entry leaves out, by name."""
        chosen, left_out = set[str](), set[str]()
        for choice in choices:
            if tag := self._find(choice, warnings):
                ids = self._below(tag.id) if choice.below else {tag.id}
                (left_out if choice.leave_out else chosen).update(ids)
        tags = [self.by_id[one] for one in chosen - left_out]
        return sorted(tags, key=lambda tag: (tag.name.casefold(), tag.name, tag.id))

    def _find(self, choice: TagChoice, warnings: list[str]) -> StashTag | None:
        if choice.id in self.by_id:
            return self.by_id[choice.id]
        tag = self._by_key.get(tag_key(choice.name)) if choice.name.strip() else None
        if tag is None:
            warnings.append(
                f"{choice.words}: Stash has no such tag; it may have been deleted. Choose another, "
                "or remove it from what to look for"
            )
        elif choice.id:
            if tag_key(tag.name) == tag_key(choice.name):
                fate = "was deleted in Stash and made again"
            else:
                fate = f"was merged in Stash into {tag.name!r}, which takes its place"
            warnings.append(f"{choice.words}: the tag {fate}")
        return tag

    def _below(self, tag_id: str) -> set[str]:
        """Return the ids of all tags below one, each once, without itself."""
        found, left = set[str](), [tag_id]
        while left:
            for child in self._children.get(left.pop(), ()):
                if child not in found and child != tag_id:
                    found.add(child)
                    left.append(child)
        return found


def _usable(
    tags: Iterable[StashTag],
    never: Collection[str],
    notes: list[str],
    warnings: list[str],
    *,
    respects: bool,
) -> Iterator[StashTag]:
    steering = set(map(str.casefold, never))
    ignored = []
    for tag in tags:
        name = " ".join(tag.name.split())
        if name.casefold() in steering:
            continue
        if respects and tag.ignore_auto_tag:
            ignored.append(tag.name)
        elif not name or len(name) > _LONGEST_NAME:
            warnings.append(
                f"{tag.name[:40]!r} …: is left out, because no question can hold a name of more "
                f"than {_LONGEST_NAME} characters; shorten it in Stash"
            )
        else:
            yield tag
    if ignored:
        notes.append(f"left out, because of Ignore auto tag in Stash: {', '.join(ignored)}")


def _named(
    tags: Iterable[StashTag], listed: Mapping[str, str], warnings: list[str]
) -> dict[str, StashTag]:
    """Return the tags by their names in the tag list: those of tags that it has already, and else
    those of Stash.
    """
    named: dict[str, StashTag] = {}
    first: dict[str, StashTag] = {}
    for tag in tags:
        keys = [tag_key(name) for name in (tag.name, *tag.aliases)]
        name = next((listed[key] for key in keys if key in listed), " ".join(tag.name.split()))
        other = first.setdefault(tag_key(name), tag)
        if other is tag:
            named[name] = tag
        else:
            warnings.append(
                f"{tag.name!r}: is left out, because a question cannot tell it from {other.name!r}"
            )
    return named


def _synonyms(
    named: Mapping[str, StashTag], taken: Collection[str], notes: list[str]
) -> dict[str, tuple[str, ...]]:
    """Return the aliases that mean one tag only, by the tag's name in the tag list."""
    owners = Counter(
        key for tag in named.values() for key in {tag_key(alias) for alias in tag.aliases}
    )
    found: dict[str, tuple[str, ...]] = {}
    for name, tag in named.items():
        free: dict[str, str] = {}
        # Under another name in the list, the tag's name in Stash is one of its other names.
        for alias in (tag.name, *tag.aliases):
            key = tag_key(alias)
            if key == tag_key(name) or not 0 < len(key) <= _LONGEST_NAME:
                continue
            if key in taken or owners[key] > 1:
                notes.append(
                    f"{tag.name!r}: its alias {alias!r} does not count, because another tag has "
                    "that name, too"
                )
            else:
                free[key] = " ".join(alias.split())
        if free:
            found[name] = tuple(free.values())
    return found


def names_seen(data_dir: Path | None) -> dict[str, list[str]]:
    """Return the names that chosen tags had, by id, as far as they are known."""
    if data_dir is None:
        return {}
    try:
        content = json.loads((data_dir / _NAMES_FILE).read_bytes())
        return {str(one): [str(name) for name in names] for one, names in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # it only remembers: without it, settings under former names are not found


def remember_names(data_dir: Path | None, chosen: ChosenTags) -> None:
    """Keep the names of chosen tags, so that settings under them are found after a renaming: Stash
    forgets a former name. A file that cannot be written is no fault.
    """
    if data_dir is None or not chosen.tags:
        return
    before = names_seen(data_dir)
    after = dict(before)
    for one in chosen.tags:
        earlier = [name for name in before.get(one.tag.id, ()) if name != one.tag.name]
        after[one.tag.id] = [*earlier, one.tag.name][-_NAMES_KEPT:]
    if after != before:
        with suppress(OSError):
            write_whole(data_dir / _NAMES_FILE, json.dumps(after, ensure_ascii=False))
