"""How numbers, times and changes are told."""

from __future__ import annotations

from haven_media_handler import Gallery, Image, ItemChange, Scene

_PLURALS = {"gallery": "galleries", "scene or image": "scenes or images"}


def title_of(item: Scene | Image | Gallery) -> str:
    """What a person calls it."""
    return item.title or item.path.replace("\\", "/").rpartition("/")[2] or "no file"


def counted(number: int, noun: str) -> str:
    """``1 scene``, ``2 scenes``, ``2 galleries``."""
    return f"{number:,} {noun if number == 1 else _PLURALS.get(noun, f'{noun}s')}"


def markers_told(change: ItemChange) -> str:
    """``2 new, 1 removed``, or ``none``."""
    counts = {"new": len(change.markers_added), "kept": change.markers_kept, "removed": len(change.markers_removed)}
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "none"


def change_told(change: ItemChange) -> str:
    """What changes on an item, tags by name and markers by number; ``nothing`` where nothing does."""
    parts = [
        f"tags added: {', '.join(change.tags_added)}" if change.tags_added else "",
        f"tags removed: {', '.join(change.tags_removed)}" if change.tags_removed else "",
        f"{counted(len(change.markers_added), 'marker')} added" if change.markers_added else "",
        f"{counted(len(change.markers_removed), 'marker')} removed" if change.markers_removed else "",
    ]
    return "; ".join(part for part in parts if part) or "nothing"


def nothing_in_line(noun: str, queue: str) -> str:
    """What a task says that found nothing to do."""
    them = counted(2, noun).removeprefix("2 ")
    return f"No {noun} carries the tag {queue}. Give it to the {them} that you mean, and start the task again."
