"""How numbers, times and changes are told."""

from __future__ import annotations

from haven.items import ItemChange
from haven.report import counted
from haven.stash.values import Gallery, Image, Scene


def title_of(item: Scene | Image | Gallery) -> str:
    """What a person calls it."""
    return item.title or item.path.replace("\\", "/").rpartition("/")[2] or "no file"


def markers_told(change: ItemChange) -> str:
    """``2 new, 1 removed``, or ``none``."""
    counts = {
        "new": len(change.markers_added),
        "kept": change.markers_kept,
        "removed": len(change.markers_removed),
    }
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "none"


def change_told(change: ItemChange, *, is_planned: bool = False) -> str:
    """What changes on an item, or would, tags by name and markers by number; ``nothing`` where nothing does."""
    would = "would be " if is_planned else ""
    parts = [
        f"tags {would}added: {', '.join(change.tags_added)}" if change.tags_added else "",
        f"tags {would}removed: {', '.join(change.tags_removed)}" if change.tags_removed else "",
        f"{counted(len(change.markers_added), 'marker')} {would}added"
        if change.markers_added
        else "",
        f"{counted(len(change.markers_removed), 'marker')} {would}removed"
        if change.markers_removed
        else "",
    ]
    return "; ".join(part for part in parts if part) or (
        "nothing would change" if is_planned else "nothing"
    )


def left_told(stays_off: str, left_alone: str) -> str:
    """What is not put where it was found, and what is not taken off though it was not: "; …", or "" where there is neither."""
    off = f"; stays off, as a person took it off: {stays_off}" if stays_off else ""
    return off + (
        f"; left alone, as it is not of this tag list: {left_alone}" if left_alone else ""
    )


def nothing_in_line(noun: str, *queues: str) -> str:
    """What a task says that found nothing to do."""
    them, one_of = counted(2, noun).removeprefix("2 "), "it" if len(queues) == 1 else "one of them"
    carries = f"No {noun} carries the tag {' or '.join(queues)}"
    return f"{carries}. Give {one_of} to the {them} that you mean, and start the task again."
