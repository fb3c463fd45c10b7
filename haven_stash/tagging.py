"""Putting tags on many items and taking them off, in as few requests as can be. Tags are added and removed, never set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from haven_stash.errors import StashLockedError, StashQueryError
from haven_stash.transport import StashClient
from haven_stash.values import ItemKind

AT_ONCE = 500
"""How many items one request changes at most. Stash changes them in one transaction, and runs its hooks for each of them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One request: these tags, on or off all of these items."""

    ids: tuple[str, ...]
    tag_ids: tuple[str, ...]


def batches(wanted: Mapping[str, Iterable[str]], last: str = "") -> tuple[Batch, ...]:
    """The requests for ``wanted``, {item: its tags}: one for each distinct change, or for each tag where that makes fewer.

    Those with the tag ``last`` come last.
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
    parts = [Batch(part, tag_ids) for tag_ids, ids in fewest.items() for part in _parts(ids)]
    return tuple(sorted(parts, key=lambda batch: last in batch.tag_ids))


def tag_items(
    client: StashClient, kind: ItemKind, mode: str, batch: Batch, *, halving: bool
) -> Iterator[tuple[Batch, StashQueryError | None]]:
    """Adds or removes tags: ``mode`` is ADD or REMOVE. Gives what was sent, each with the reason if Stash refused it.

    Stash changes all items of a request or, when one of them or a tag is gone, none. ``halving``: what it refuses is sent
    again in halves, until the item that it is about stands alone.
    """
    noun = kind.capitalize()
    document = f"mutation Tag{noun}($input: Bulk{noun}UpdateInput!) {{ bulk{noun}Update(input: $input) {{ id }} }}"
    try:
        client.ask(document, {"input": {"ids": list(batch.ids), "tag_ids": {"mode": mode, "ids": list(batch.tag_ids)}}})
    except StashQueryError as error:
        if len(batch.ids) == 1 or not halving or isinstance(error, StashLockedError):
            yield batch, error
            return
        middle = len(batch.ids) // 2
        for half in (batch.ids[:middle], batch.ids[middle:]):
            yield from tag_items(client, kind, mode, Batch(half, batch.tag_ids), halving=True)
    else:
        yield batch, None


def _parts(ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(ids[start : start + AT_ONCE]) for start in range(0, len(ids), AT_ONCE))
