"""Putting tags on many items and taking them off, in as few requests as can be. Tags are added and removed, never set."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from haven.items import ItemKind
from haven.stash.errors import StashLockedError, StashQueryError
from haven.stash.transport import StashClient

AT_ONCE = 500
"""How many items one request changes at most. Stash changes them in one transaction."""
_ITEM_S = 0.4
_MARGIN = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """These tags, on or off all of these items."""

    ids: tuple[str, ...]
    tag_ids: tuple[str, ...]


def batches(wanted: Mapping[str, Iterable[str]], last: str = "") -> tuple[Batch, ...]:
    """``wanted``, {item: its tags}, as one batch for each distinct change, or for each tag where that makes fewer.

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
    found = [Batch(tuple(ids), tag_ids) for tag_ids, ids in fewest.items()]
    return tuple(sorted(found, key=lambda batch: last in batch.tag_ids))


class Tagging:
    """Sends changes to Stash, each request with as many items as are likely to take ``request_s``, and 500 at most.

    Before it replies, Stash runs the hooks of all its plugins for each item, and each of those may start a program: what is done
    in a second elsewhere takes minutes there. Until that is known, an item is taken to need what starting Python takes. A reply
    is waited for ten times as long as it should take, beyond the client's time-out.
    """

    def __init__(self, client: StashClient, *, request_s: float = 20.0) -> None:
        self._client = client
        self._request_s = request_s
        self._item_s = _ITEM_S

    def change(
        self, kind: ItemKind, mode: str, batch: Batch, *, halving: bool
    ) -> Iterator[tuple[Batch, StashQueryError | None]]:
        """Adds or removes tags: ``mode`` is ADD or REMOVE. Gives what was sent, each with the reason if Stash refused it.

        Stash changes all items of a request or, when one of them or a tag is gone, none. ``halving``: what it refuses is sent
        again in halves, until the item that it is about stands alone.
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
        document = f"mutation Tag{noun}($input: Bulk{noun}UpdateInput!) {{ bulk{noun}Update(input: $input) {{ id }} }}"
        change = {"ids": list(batch.ids), "tag_ids": {"mode": mode, "ids": list(batch.tag_ids)}}
        started = time.monotonic()
        self._client.ask(document, {"input": change}, work_s=_MARGIN * self._item_s * count)
        self._item_s = (time.monotonic() - started) / count
