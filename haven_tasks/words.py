"""How numbers, times and changes are told."""

from __future__ import annotations

from pathlib import PurePosixPath

from haven_media_handler import ItemChange, Scene


def title_of(scene: Scene) -> str:
    """What a person calls the scene."""
    return scene.title or PurePosixPath(scene.path.replace("\\", "/")).name or "no file"


def counted(number: int, noun: str) -> str:
    """``1 scene``, ``2 scenes``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def markers_told(change: ItemChange) -> str:
    """``2 new, 1 removed``, or ``none``."""
    counts = {"new": len(change.markers_added), "kept": change.markers_kept, "removed": len(change.markers_removed)}
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "none"


def change_told(change: ItemChange) -> str:
    """What changes on a scene, tags by name and markers by number; ``nothing`` where nothing does."""
    parts = [
        f"tags added: {', '.join(change.tags_added)}" if change.tags_added else "",
        f"tags removed: {', '.join(change.tags_removed)}" if change.tags_removed else "",
        f"{counted(len(change.markers_added), 'marker')} added" if change.markers_added else "",
        f"{counted(len(change.markers_removed), 'marker')} removed" if change.markers_removed else "",
    ]
    return "; ".join(part for part in parts if part) or "nothing"


def nothing_in_line(noun: str, queue: str) -> str:
    """What a task says that found nothing to do."""
    return f"No {noun} carries the tag {queue}. Give it to the {noun}s that you mean, and start the task again."
