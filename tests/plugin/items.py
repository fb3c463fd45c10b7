"""Items of any kind in the sandbox Stash, and what a task does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from haven.items import ItemChange, ItemKind
from haven.stash.errors import ApplyError
from haven.stash.handler import MediaHandler
from haven.stash.values import Fate, change_of
from sandbox.stash import ItemState, SandboxStash
from tests.plugin.fragile import KilledError, handler_of, once_replied
from vlm_engine import ImageTagInfo, Span, VideoTagInfo

SCENE, IMAGE, GALLERY = ItemKind


@dataclass(frozen=True)
class Items:
    """The items of one kind in one Stash."""

    stash: SandboxStash
    kind: ItemKind

    @property
    def operation(self) -> str:
        """The request that changes tags of this kind."""
        return f"Tag{self.kind.capitalize()}"

    def add(self, *tags: str) -> str:
        return str(self._call("add")(tags=tags))

    def queue(self, count: int, *tags: str) -> list[str]:
        return [self.add("VLM_TagMe", *tags) for _ in range(count)]

    def tag(self, item: str, *tags: str) -> None:
        self._call("tag")(item, *tags)

    def untag(self, item: str, *tags: str) -> None:
        self._call("untag")(item, *tags)

    def remove(self, item: str) -> None:
        self._call("remove")(item)

    def tags(self, item: str) -> tuple[str, ...]:
        state: ItemState = getattr(self.stash.library, f"{self.kind}_state")(item)
        return state.tags

    def all_tags(self) -> dict[str, tuple[str, ...]]:
        plural = "galleries" if self.kind is GALLERY else f"{self.kind}s"
        return {item.id: item.tags for item in getattr(self.stash.library.snapshot(), plural)}

    def result(self, *tags: str) -> VideoTagInfo | ImageTagInfo:
        return info(*tags) if self.kind is SCENE else ImageTagInfo({"sport": tags}, {})

    def same(self, items: Iterable[str], *tags: str) -> dict[str, VideoTagInfo | ImageTagInfo]:
        return dict.fromkeys(items, self.result(*tags))

    def apply(
        self, handler: MediaHandler, results: Mapping[str, Any], **options: Any
    ) -> dict[str, Fate]:
        run_id = handler.start_run("Tag")
        fates = handler.apply(run_id, self.kind, results, **options)
        handler.finish_run(run_id)
        return fates

    def _call(self, verb: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self.stash.library, f"{verb}_{self.kind}")
        return call


class Scenario:
    """A scene in a sandbox Stash, and what the plugin and a person do with it in turn.

    Each task opens the journal in ``folder`` anew.
    """

    def __init__(self, stash: SandboxStash, folder: Path, *tags: str, scene: str = "") -> None:
        self.stash, self.folder = stash, folder
        with self.handler() as handler:
            handler.prepare()
        self.scene = scene or stash.library.add_scene(tags=tags)

    def handler(self, **options: Any) -> AbstractContextManager[MediaHandler]:
        return handler_of(self.stash, self.folder, **options)

    @property
    def content(self) -> tuple[set[str], list[tuple[str, float]]]:
        """The tags but VLM_Tagged, and the tags and starts of the markers."""
        state = self.stash.library.scene_state(self.scene)
        markers = sorted((marker.primary_tag, marker.seconds) for marker in state.markers)
        return set(state.tags) - {"VLM_Tagged"}, markers

    def apply(self, found: VideoTagInfo, *, updating: bool = False, **options: Any) -> ItemChange:
        with self.handler(**options) as handler:
            return apply(handler, self.scene, found, updating=updating)

    def apply_until_killed(self, found: VideoTagInfo, operation: str, nth: int = 1) -> None:
        """Die once Stash has carried out the ``nth`` ``operation``."""
        with self.handler() as handler:
            once_replied(self.stash, operation, handler, nth)
            with pytest.raises(KilledError):
                apply(handler, self.scene, found)

    def preview(self, found: VideoTagInfo, **options: Any) -> ItemChange:
        with self.handler(**options) as handler:
            return change_of(handler.preview(SCENE, {self.scene: found}))

    def remove_owned(self, **options: Any) -> ItemChange:
        with self.handler(**options) as handler:
            run_id = handler.start_run("Remove VLM Tags and Markers")
            return change_of(handler.remove_owned(run_id, SCENE, [self.scene]))

    def undo(self) -> None:
        with self.handler() as handler:
            undo(handler)

    def tag(self, *tags: str) -> None:
        self.stash.library.tag_scene(self.scene, *tags)

    def untag(self, *tags: str) -> None:
        self.stash.library.untag_scene(self.scene, *tags)

    def marker(self, start_s: float) -> str:
        """Return the id of the marker that starts then."""
        markers = self.stash.library.scene_state(self.scene).markers
        return next(marker.id for marker in markers if marker.seconds == start_s)

    def edit_marker(self, start_s: float, **changes: Any) -> None:
        self.stash.library.edit_marker(self.marker(start_s), **changes)

    def remove_marker(self, start_s: float) -> None:
        self.stash.library.remove_marker(self.marker(start_s))


def info(*tags: str, **spans: Iterable[tuple[float, float]]) -> VideoTagInfo:
    """The result for a scene. Spans by tag, with _ for a blank."""
    by_tag = {
        tag.replace("_", " "): tuple(Span(tag.replace("_", " "), *times) for times in all_times)
        for tag, all_times in spans.items()
    }
    return VideoTagInfo(600.0, {"sport": tags}, {}, {"sport": by_tag})


def apply(handler: MediaHandler, scene: str, found: VideoTagInfo, **options: Any) -> ItemChange:
    """Write the result of one scene, in a run of its own."""
    run_id = handler.start_run("Tag Videos")
    change = change_of(handler.apply(run_id, SCENE, {scene: found}, **options))
    handler.finish_run(run_id)
    return change


def undo(handler: MediaHandler) -> tuple[dict[str, Fate], tuple[str, ...]]:
    """Undo the last run as the task would. Return the fates by item, and why new tags stay."""
    handler.recover()
    run = handler.last_undoable_run()
    assert run is not None
    run_id = handler.start_run("Undo Last Run", undoes=run.id)
    changes = handler.changes_to_undo(run.id)
    fates = handler.undo_changes(run_id, [change.number for change in changes])
    failed = any(isinstance(fate, ApplyError) for fate in fates.values())
    tags_left = () if failed else handler.finish_undo(run.id)
    handler.finish_run(run_id)
    return {change.item.id: fates[change.number] for change in changes}, tags_left


def kept_back(handler: MediaHandler) -> list[str]:
    """Undo the last run and return a sentence for everything that stays, as the log has it."""
    fates, tags_left = undo(handler)
    return [
        *(line for fate in fates.values() for line in change_of({0: fate}).kept_back),
        *tags_left,
    ]
