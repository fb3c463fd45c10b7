"""Tags: finding and creating them by name, and adding them to items or removing them, many items to
a request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from haven.items import ItemKind
from haven.settings.settings import TagNames
from haven.stash.changes import PlannedTag
from haven.stash.errors import StashError, StashLockedError, StashQueryError, TagClashError
from haven.stash.journal import Journal, OpenPlan
from haven.stash.reading import RUN_FIELD, tag_of
from haven.stash.transport import StashClient
from haven.stash.values import Tag, same_making, tag_key

_ALL = """query Tags($filter: FindFilterType) {
  findTags(filter: $filter) { tags { id name aliases created_at } }
}"""
_COUNTS = tuple(
    f"{use}_count"
    for use in ("scene", "scene_marker", "image", "gallery", "performer", "studio", "group")
)
_IN_USE = f"""query TagInUse($id: ID!) {{ findTag(id: $id) {{
  id name aliases ignore_auto_tag created_at updated_at parents {{ id name }} children {{ id }}
  {" ".join(_COUNTS)}
}} }}"""
_DESTROY = "mutation TagDestroy($id: ID!) { tagDestroy(input: {id: $id}) }"
_BY_ID = (
    "query TagsById($ids: [ID!]) { findTags(ids: $ids) { tags { id name aliases created_at } } }"
)
_CREATE = """mutation TagCreate($input: TagCreateInput!) {
  tagCreate(input: $input) { id name created_at }
}"""


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: Tag
    aliases: tuple[str, ...]

    def goes_by(self, key: str) -> bool:
        return any(tag_key(name) == key for name in (self.tag.name, *self.aliases))


class TagCache:
    """Tags of one Stash by name or alias, without regard to case.

    The names are compared here: Stash itself compares them as SQL patterns, in which ``_`` and
    ``%`` match anything.

    ``ids``: ids of tags by the names under which they are wanted, also after a renaming.
    """

    def __init__(
        self, client: StashClient, names: TagNames, ids: Mapping[str, str] | None = None
    ) -> None:
        self._client = client
        self._names = names
        self._ids = {tag_key(name): one for name, one in (ids or {}).items()}
        self._by_key: dict[str, _Entry] = {}
        self._by_name: dict[str, _Entry] = {}
        self._made: set[str] = set()

    def by_id(self, ids: Iterable[str]) -> dict[str, Tag]:
        """Return the tags with these ids that exist, by id. There may be others among them."""
        wanted = set(ids)
        found = self._read(wanted)
        return {entry.tag.id: entry.tag for entry in (self._all() if found is None else found)}

    def find(self, names: Iterable[str]) -> dict[str, Tag]:
        """Return the tags that exist, by the ``tag_key`` of each name. Cached ones are checked
        against Stash first.
        """
        wanted = {tag_key(name): name.strip() for name in names}
        keys = wanted.keys()
        self._prefer_exact(wanted)
        if not keys <= self._by_key.keys() or not self._is_current(keys):
            self._reload()
            self._prefer_exact(wanted)
        return {key: self._by_key[key].tag for key in keys & self._by_key.keys()}

    def create(self, name: str) -> Tag:
        """Create a tag below the parent tag, which automatic tagging leaves alone, and return it.

        If it exists by now, return that one. Raises ``TagClashError`` if Stash takes the name for
        another one, ``StashQueryError`` if it refuses the name otherwise.
        """
        new: dict[str, object] = {
            "name": name.strip(),
            "ignore_auto_tag": True,
            "description": self._description(name),
        }
        if tag_key(name) != tag_key(self._names.parent):
            new["parent_ids"] = [tag.id for tag in self.ensure([self._names.parent]).values()]
        try:
            data = self._client.ask(_CREATE, {"input": new})["tagCreate"]
        except StashLockedError:
            raise
        except StashQueryError as error:
            return self._existing_or_raise(name, error)
        tag = tag_of(data)
        self._by_key[tag_key(name)] = _Entry(tag, ())
        self._made.add(tag.id)
        return tag

    def has_made(self, tag: Tag) -> bool:
        """Return True if ``create`` made this tag, and did not only find it."""
        return tag.id in self._made

    def looks_made(self, tag: Tag, parent: Tag) -> bool:
        """Return True if this tag is as ``create`` leaves one below ``parent``, unchanged since."""
        data = self._client.ask(_IN_USE, {"id": tag.id})["findTag"]
        return (
            data is not None
            and _is_untouched(data)
            and [str(one["id"]) for one in data["parents"]] == [parent.id]
        )

    def destroy_unused(self, tag: Tag) -> str:
        """Delete a tag that the plugin made, unless it is used or changed. Return why it stays, or
        "" if it is gone.
        """
        data = self._client.ask(_IN_USE, {"id": tag.id})["findTag"]
        if data is None or not same_making(tag_of(data).created_s, tag.created_s):
            return ""
        name = str(data["name"])
        if any(data[count] for count in _COUNTS) or data["children"]:
            return f"the tag {name!r} stays in Stash: it is in use"
        below = {str(parent["name"]) for parent in data["parents"]} - {self._names.parent}
        if below or not _is_untouched(data) or tag_key(name) != tag_key(tag.name):
            return f"the tag {name!r} stays in Stash: somebody has changed it since"
        self._client.ask(_DESTROY, {"id": tag.id})
        self._by_key = {key: entry for key, entry in self._by_key.items() if entry.tag.id != tag.id}
        return ""

    def _description(self, name: str) -> str:
        """Return the description that Stash shows of a control tag; empty for other tags."""
        names = self._names
        descriptions = {
            names.parent: "Everything that Haven VLM Connector made: tags below this one, and "
            "markers that "
            "carry it.",
            names.tag_me: "Done by the next run of Tag Videos or Tag Images, which then takes this "
            "tag off.",
            names.update_me: "Gone over by Update Tagged Videos or Update Tagged Images, "
            "which then "
            "takes this "
            "tag off.",
            names.tagged: "Haven VLM Connector has tagged this.",
            names.errored: "Haven VLM Connector could not tag this; Stash's log says why. It "
            "stays in "
            "line by "
            f"{names.tag_me}.",
        }
        return next(
            (text for tag, text in descriptions.items() if tag_key(tag) == tag_key(name)), ""
        )

    def ensure(self, names: Iterable[str]) -> dict[str, Tag]:
        """Return the tags of these names, as ``find`` does, and create those missing. Raises what
        ``create`` raises.
        """
        wanted = tuple(names)
        found = self.find(wanted)
        for name in wanted:
            if tag_key(name) not in found:
                found[tag_key(name)] = self.create(name)
        return found

    def _is_current(self, keys: Iterable[str]) -> bool:
        entries = {key: self._by_key[key] for key in keys}
        found = self._read({entry.tag.id for entry in entries.values()})
        if found is None:
            return False
        now = {entry.tag.id: entry for entry in found}
        return all(
            entry.tag.id in now and self._is_for(key, now[entry.tag.id])
            for key, entry in entries.items()
        )

    def _is_for(self, key: str, entry: _Entry) -> bool:
        return entry.tag.id == self._ids.get(key) or entry.goes_by(key)

    def _read(self, ids: Collection[str]) -> list[_Entry] | None:
        """Return the tags with these ids. None if one is gone: Stash then refuses the whole
        list.
        """
        if not ids:
            return []
        try:
            return self._entries(_BY_ID, {"ids": sorted(ids)})
        except StashLockedError:
            raise
        except StashQueryError:
            return None

    def _all(self) -> list[_Entry]:
        return self._entries(_ALL, {"filter": {"per_page": -1}})

    def _entries(self, query: str, variables: Mapping[str, object]) -> list[_Entry]:
        return [_entry(data) for data in self._client.ask(query, variables)["findTags"]["tags"]]

    def _prefer_exact(self, wanted: Mapping[str, str]) -> None:
        """Prefer, of several tags with one ``tag_key``, the one spelled exactly as in
        ``wanted``.
        """
        self._by_key |= {
            key: self._by_name[name]
            for key, name in wanted.items()
            if name in self._by_name and key not in self._ids
        }

    def _reload(self) -> None:
        entries = self._all()
        by_alias = {tag_key(alias): entry for entry in entries for alias in entry.aliases}
        self._by_name = {entry.tag.name: entry for entry in entries}
        by_name = {tag_key(entry.tag.name): entry for entry in entries}
        by_id = {entry.tag.id: entry for entry in entries}
        followed = {key: by_id[one] for key, one in self._ids.items() if one in by_id}
        self._by_key = by_alias | by_name | followed

    def _existing_or_raise(self, name: str, refusal: StashQueryError) -> Tag:
        """Return the tag if it exists by now; otherwise raise why ``name`` could not be created."""
        self._reload()
        self._prefer_exact({tag_key(name): name.strip()})
        entry = self._by_key.get(tag_key(name))
        if entry:
            return entry.tag
        pattern = _like(name.strip())
        for entry in self._by_key.values():
            for existing in (entry.tag.name, *entry.aliases):
                if pattern.fullmatch(existing):
                    raise TagClashError(name, existing) from refusal
        raise refusal


def _entry(data: Mapping[str, object]) -> _Entry:
    aliases = data.get("aliases")
    return _Entry(
        tag=tag_of(data),
        aliases=tuple(str(alias) for alias in aliases) if isinstance(aliases, list) else (),
    )


def _is_untouched(data: Mapping[str, object]) -> bool:
    """Return True if the tag was never changed. Stash dates every change of a tag; adding it to an
    item is none.
    """
    return (
        bool(data["ignore_auto_tag"])
        and not data["aliases"]
        and data["created_at"] == data["updated_at"]
    )


def _like(name: str) -> re.Pattern[str]:
    """Return ``name`` as SQLite's LIKE reads it: case-insensitive for ASCII only."""
    wild = {"_": ".", "%": ".*"}
    return re.compile(
        "".join(wild.get(char, re.escape(char)) for char in name),
        re.IGNORECASE | re.ASCII | re.DOTALL,
    )


AT_ONCE = 500
"""The number of items that one request changes at most. Stash changes them in one transaction."""
_ITEM_S = 0.4
_MARGIN = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Tags to add to, or remove from, all of these items.

    ``run_mark``: what their custom field for the run gets, "" to remove it, None to leave it.
    """

    ids: tuple[str, ...]
    tag_ids: tuple[str, ...]
    run_mark: str | None = None


def batches(wanted: Mapping[str, Iterable[str]], last: str = "") -> tuple[Batch, ...]:
    """Return one batch for each distinct change, or for each tag if that makes fewer.

    ``wanted``: {item: its tags}. Batches with the tag ``last`` come last.
    """
    by_change: dict[tuple[str, ...], list[str]] = {}
    by_tag: dict[tuple[str, ...], list[str]] = {}
    for item_id, tag_ids in wanted.items():
        change = tuple(sorted(tag_ids, key=lambda tag_id: (tag_id == last, tag_id)))
        if change:
            by_change.setdefault(change, []).append(item_id)
        for tag_id in change:
            by_tag.setdefault((tag_id,), []).append(item_id)
    fewest = by_change if len(by_change) <= len(by_tag) else by_tag
    found = [Batch(tuple(ids), tag_ids) for tag_ids, ids in fewest.items()]
    return tuple(sorted(found, key=lambda batch: last in batch.tag_ids))


class Tagging:
    """Tag changes, each request with as many items as are likely to take ``request_s``, and 500 at
    most.

    Before it replies, Stash runs the hooks of all its plugins for each item, and each hook may
    start a program. Until the pace is measured, an item is assumed to take as long as starting
    Python. The timeout for a reply is ten times the expected duration, beyond the client's own
    timeout.
    """

    def __init__(self, client: StashClient, *, request_s: float = 20.0) -> None:
        self._client = client
        self._request_s = request_s
        self._item_s = _ITEM_S

    def change(
        self, kind: ItemKind, mode: str, batch: Batch, *, halving: bool
    ) -> Iterator[tuple[Batch, StashQueryError | None]]:
        """Add or remove tags: ``mode`` is ADD or REMOVE. Yield what was sent, each with the error
        if Stash refused it.

        Stash changes all items of a request or, if one of them or a tag is gone, none. ``halving``:
        send what it refuses again in halves, until the item that causes it stands alone.
        """
        left = batch.ids
        while left:
            most = max(1, min(AT_ONCE, int(self._request_s / self._item_s)))
            part, left = replace(batch, ids=left[:most]), left[most:]
            try:
                self._send(kind, mode, part)
            except StashQueryError as error:
                if len(part.ids) == 1 or not halving or isinstance(error, StashLockedError):
                    yield part, error
                    continue
                middle = len(part.ids) // 2
                for half in (part.ids[:middle], part.ids[middle:]):
                    yield from self.change(kind, mode, replace(part, ids=half), halving=True)
            else:
                yield part, None

    def _send(self, kind: ItemKind, mode: str, batch: Batch) -> None:
        noun, count = kind.capitalize(), len(batch.ids)
        document = f"""mutation Tag{noun}($input: Bulk{noun}UpdateInput!) {{
  bulk{noun}Update(input: $input) {{ id }}
}}"""
        change: dict[str, object] = {"ids": list(batch.ids)}
        if batch.tag_ids:
            change["tag_ids"] = {"mode": mode, "ids": list(batch.tag_ids)}
        if batch.run_mark:
            change["custom_fields"] = {"partial": {RUN_FIELD: batch.run_mark}}
        elif batch.run_mark is not None:
            change["custom_fields"] = {"remove": [RUN_FIELD]}
        started = time.monotonic()
        self._client.ask(document, {"input": change}, work_s=_MARGIN * self._item_s * count)
        self._item_s = (time.monotonic() - started) / count


Wanted: TypeAlias = Iterable[tuple[OpenPlan, PlannedTag]]
"""Tags, each with a plan that wants it. If several want a new one, the first makes it."""
Failures: TypeAlias = dict[str, StashError]
"""Errors by ``tag_key`` of the tag that could not be made."""


class PlanTags:
    """The planned tags as they are in Stash by now, shared by all plans that are carried out
    together.
    """

    def __init__(self, tags: TagCache, journal: Journal) -> None:
        self._tags = tags
        self._journal = journal
        self._found_since: dict[str, Tag] = {}

    def id(self, tag: PlannedTag) -> str:
        """Return the tag's id by the latest look-up; empty if it could not be made."""
        return self.tag(tag).id

    def tag(self, tag: PlannedTag) -> Tag:
        """Return the tag by the latest look-up, under its planned name; without an id if it could
        not be made.
        """
        since = self._found_since.get(tag_key(tag.name))
        return replace(since, name=tag.name) if since else Tag(tag.id, tag.name, tag.created_s)

    def find_made(self, left_behind: Sequence[OpenPlan]) -> None:
        """Find the tags that were made before the plans were left behind."""
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
        """Create the tags. Return why some could not be."""
        failures: Failures = {}
        for key, (opened, planned) in _makers(wanted).items():
            try:
                tag = self._found_since[key] = self._tags.create(planned.name)
            except (StashQueryError, TagClashError) as error:
                failures[key] = error
                continue
            # If the reply to its creation was lost, it is found to exist, and is new all the same.
            if self._tags.has_made(tag) or self._tags.looks_made(tag, opened.plan.parent):
                self._journal.new_tags(opened, [tag])
        return failures

    def look_up_again(self, wanted: Wanted) -> Failures:
        """Find, or create again, tags that somebody may have deleted or merged meanwhile. Return as
        ``create``.
        """
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
