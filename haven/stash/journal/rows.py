"""Rows of the journal about markers and tags, as values."""

from __future__ import annotations

from collections.abc import Iterable

from haven.stash.journal.database import Row
from haven.stash.records import OwnedMarker, OwnedTag

_ITEM_MADE = "(SELECT item_made FROM journal_plans WHERE journal_plans.id = plan_id)"
MARKER = f"marker_id, title, start_s, end_s, primary_id, tag_ids, id, asked, made, tags_made, ours, {_ITEM_MADE}"
TAG = f"tag_id, name, asked, made, {_ITEM_MADE}, ours"
"""What is read of a row, in the order in which the functions below take it."""


def tag_of(row: Row) -> OwnedTag:
    """A tag, of the columns ``TAG``."""
    tag_id, name, asked, made_s, item_made_s, owned = row
    return OwnedTag(tag_id, name, asked, made_s, item_made_s or 0.0, bool(owned))


def marker_of(row: Row) -> OwnedMarker:
    """A marker, of the columns ``MARKER``."""
    (
        marker_id,
        title,
        start_s,
        end_s,
        primary_id,
        tag_ids,
        number,
        asked,
        made_s,
        tags_made,
        owned,
        item_made_s,
    ) = row
    return OwnedMarker(
        marker_id,
        title,
        start_s,
        end_s,
        primary_id,
        tuple(tag_ids.split()),
        number,
        asked,
        made_s,
        item_made_s or 0.0,  # damage may have taken its plan
        tuple(map(float, tags_made.split())),
        bool(owned),
    )


def as_written(own: OwnedMarker) -> Row:
    """What was written to Stash, as columns."""
    return own.id, own.title, own.start_s, own.end_s, own.primary_id, " ".join(own.tag_ids)


def joined(times_s: Iterable[float]) -> str:
    """Times as one column holds them."""
    return " ".join(map(repr, times_s))
