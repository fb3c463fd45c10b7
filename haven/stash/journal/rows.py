"""Rows of the journal about markers and tags, as values."""

from __future__ import annotations

from collections.abc import Iterable

from haven.stash.journal.database import Row
from haven.stash.records import OurMarker, OurTag

_ITEM_MADE = "(SELECT item_made FROM journal_plans WHERE journal_plans.id = plan_id)"
MARKER = f"marker_id, title, start_s, end_s, primary_id, tag_ids, id, asked, made, tags_made, ours, {_ITEM_MADE}"
TAG = f"tag_id, name, asked, made, {_ITEM_MADE}, ours"
"""What is read of a row, in the order in which the functions below take it."""


def tag_of(row: Row) -> OurTag:
    """A tag, of the columns ``TAG``."""
    tag_id, name, asked, made_s, item_made_s, ours = row
    return OurTag(tag_id, name, asked, made_s, item_made_s or 0.0, bool(ours))


def marker_of(row: Row) -> OurMarker:
    """A marker, of the columns ``MARKER``."""
    marker_id, title, start_s, end_s, primary_id, tag_ids, number, asked, made_s, tags_made, ours, item_made_s = row
    return OurMarker(
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
        bool(ours),
    )


def as_written(own: OurMarker) -> Row:
    """What was written to Stash, as columns."""
    return own.id, own.title, own.start_s, own.end_s, own.primary_id, " ".join(own.tag_ids)


def joined(times_s: Iterable[float]) -> str:
    """Times as one column holds them."""
    return " ".join(map(repr, times_s))
