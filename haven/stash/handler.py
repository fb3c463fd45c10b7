"""``MediaHandler``, the entry to this package: reads scenes, images and galleries, and writes
results to them.

Calls block (HTTP and SQLite) and serve one caller at a time: an asynchronous program runs them on
one worker thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from haven.items import ItemChange, ItemKind, ItemRef
from haven.settings.settings import TagNames
from haven.stash import reading, server
from haven.stash.apply import ItemWriter
from haven.stash.evidence import Evidence
from haven.stash.filters import ItemFilter
from haven.stash.journal import Journal
from haven.stash.plan import PlanOptions, TagInfo
from haven.stash.previews import queue_previews
from haven.stash.stream import SceneStream
from haven.stash.tags import TagCache
from haven.stash.transport import StashClient
from haven.stash.values import (
    Fate,
    ItemT,
    PastChange,
    QueuedVideo,
    Recovered,
    Run,
    Scene,
    Tag,
    tag_key,
)

_Value = TypeVar("_Value")


class MediaHandler:
    """Reader of items in Stash, and writer of results to them. As a context manager it closes
    everything at the end.

    ``connection``: a connected client, or the ``server_connection`` that Stash hands a plugin.
    ``journal_path``: the database file, in a folder that exists; the answer store may use the same
    file.
    ``vr_tag``: the name of the tag that marks VR scenes, or empty.
    ``tag_list``: the name in Stash of each tag that is looked for. What was made for other tags is
    left alone; None leaves nothing alone.
    ``tag_ids``: the ids of those that were chosen from Stash's tree, by their names in Stash. They
    are followed when they are renamed.
    ``bring_back``: add again what people removed and is found.
    ``marks_run``: put the run's number into a custom field, where Stash has those.

    Methods that write return the fate of each item: its change, or the error that prevented it
    (``ItemGoneError`` when the item has vanished, ``ApplyError`` when something could not be
    written; then the item is still queued). ``change_of`` raises the error of a single item. Errors
    of the connection are raised; ``recover`` completes what was left half-written.
    """

    def __init__(
        self,
        connection: StashClient | Mapping[str, Any],
        journal_path: Path,
        names: TagNames,
        *,
        vr_tag: str = "",
        tag_list: Mapping[str, str] | None = None,
        tag_ids: Mapping[str, str] | None = None,
        bring_back: bool = False,
        marks_run: bool = False,
    ) -> None:
        self._client = (
            connection if isinstance(connection, StashClient) else StashClient(connection)
        )
        self._names = names
        self._vr_tag = vr_tag
        ids = tag_ids or {}
        self._options = PlanOptions(
            names,
            tag_list=tag_list,
            tag_ids=frozenset(ids.values()),
            bring_back=bring_back,
            marks_run=marks_run,
        )
        self._tags = TagCache(self._client, names, ids)
        self._journal = Journal(journal_path)
        self._writer = ItemWriter(self._client, self._tags, self._journal)

    def prepare(self) -> None:
        """Create the missing control tags. Call this first, unless nothing will be written."""
        self._tags.ensure(self._names.all())

    def require_images(self) -> None:
        """Raise ``StashVersionError`` if this Stash is too old for images. Call this before reading
        any.
        """
        server.require_images(self._client)

    # Reading. There is no limit to the number of ids.

    def ids_with(self, kind: ItemKind, tag_name: str) -> tuple[str, ...]:
        """Return the ids of all items of one kind that carry a tag, in order, those that failed
        before last.

        Only the item's own tags count. Empty when Stash has no such tag.
        """
        tag, errored = self._tag(tag_name), self._tag(self._names.errored)
        ids = reading.ids_with_tags(self._client, kind, tag.id) if tag else ()
        if not tag or not errored or not ids:
            return ids
        failed = dict.fromkeys(reading.ids_with_tags(self._client, kind, tag.id, errored.id))
        return (*(one for one in ids if one not in failed), *failed)

    def ids_matching(self, kind: ItemKind, items: ItemFilter) -> tuple[str, ...]:
        """Return the ids of all items of one kind that a filter shows, in order.

        Raises ``StashQueryError`` for a filter that Stash does not know.
        """
        return reading.ids_matching(self._client, kind, items)

    def newest_first(self, kind: ItemKind, ids: Iterable[str]) -> tuple[str, ...]:
        """Return the ids, those added to Stash last first, and those that failed before last."""
        return self._failed_last(kind, sorted(ids, key=int, reverse=True))

    def shortest_first(self, scene_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the ids, those of short scenes first, and those that failed before last."""
        lengths_s = reading.lengths_s(self._client, scene_ids)
        by_length = sorted(scene_ids, key=lambda one: lengths_s.get(one, 0.0))
        return self._failed_last(ItemKind.SCENE, by_length)

    def names_without_tag(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of these names that no tag in Stash has."""
        wanted = tuple(names)
        found = self._tags.find(wanted)
        return tuple(name for name in wanted if tag_key(name) not in found)

    def untagged_videos(self, except_tags: Iterable[str]) -> tuple[QueuedVideo, ...]:
        """Return the first file of every scene that is not done and carries none of these tags,
        those that failed before last.
        """
        videos = reading.videos_without_tags(self._client, *self._ids_of(except_tags))
        by_id = {video.scene_id: video for video in videos}
        return tuple(by_id[one] for one in self._failed_last(ItemKind.SCENE, by_id))

    def untagged_images(self, except_tags: Iterable[str]) -> tuple[str, ...]:
        """Return the ids of the images that are not done and carry none of these tags, those that
        failed before last.
        """
        ids = reading.ids_without_tags(self._client, ItemKind.IMAGE, *self._ids_of(except_tags))
        return self._failed_last(ItemKind.IMAGE, ids)

    def _ids_of(self, except_tags: Iterable[str]) -> list[str]:
        found = self._tags.find((self._names.tagged, *except_tags))
        return [tag.id for tag in found.values()]

    def _failed_last(self, kind: ItemKind, ids: Iterable[str]) -> tuple[str, ...]:
        errored = self._tag(self._names.errored)
        failed = set(reading.ids_with_tags(self._client, kind, errored.id) if errored else ())
        return tuple(sorted(ids, key=failed.__contains__))

    def queued_videos(self, tag_name: str) -> tuple[QueuedVideo, ...]:
        """Return the first file of every scene that carries a tag. Empty when Stash has no such
        tag.
        """
        tag = self._tag(tag_name)
        return reading.queued_videos(self._client, tag.id) if tag else ()

    def count_vr(self, tag_name: str) -> int:
        """Return the number of scenes that carry a tag and the one that marks VR scenes."""
        tag, vr_tag = self._tag(tag_name), self._tag(self._vr_tag) if self._vr_tag else None
        return reading.count_scenes(self._client, tag.id, vr_tag.id) if tag and vr_tag else 0

    def image_ids_in_galleries_with(self, tag_name: str) -> tuple[str, ...]:
        """Return the ids of the images in all galleries that carry a tag. Empty when Stash has no
        such tag.
        """
        tag = self._tag(tag_name)
        return reading.image_ids_in_galleries_with_tag(self._client, tag.id) if tag else ()

    def image_ids_in(self, gallery_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the ids of the images in these galleries."""
        return reading.image_ids_in(self._client, gallery_ids)

    def effort_of(self, scene_id: str) -> float:
        """Return how hard the latest run searched a scene, 0 if that is unknown."""
        evidence = self._journal.evidence(ItemRef(ItemKind.SCENE, scene_id))
        return evidence.effort if evidence else 0.0

    def owned_ids(self, kind: ItemKind) -> tuple[str, ...]:
        """Return the ids of the items on which the journal knows tags or markers of the plugin."""
        return self._journal.owned_ids(kind)

    def read(self, item_type: type[ItemT], ids: Iterable[str]) -> tuple[ItemT, ...]:
        """Return the items with these ids, in this order, without those that have vanished.

        ``item_type``: ``Scene``, ``Image`` or ``Gallery``; ``ITEM_TYPES`` has it for each kind.
        """
        items = reading.read_all(self._client, item_type, ids)
        if not self._vr_tag or item_type.kind is not ItemKind.SCENE:
            return items
        vr_tag_ids = {tag.id for tag in self._tags.find([self._vr_tag]).values()}
        return tuple(item.with_vr(vr_tag_ids) for item in items)

    def image_tag_counts(self, gallery_id: str, tag_names: Iterable[str]) -> dict[str, int]:
        """Return the number of images of a gallery that carry each of these tags, by the names as
        given.

        A tag that the plugin gave the gallery counts under the name that it had then.
        """
        names = tuple(tag_names)
        found = {
            **self._tags.find(names),
            **self._writer.renamed_on(ItemRef(ItemKind.GALLERY, gallery_id)),
        }
        counts = reading.tag_counts(self._client, gallery_id, found.values())
        return {
            name: counts[found[tag_key(name)].id] if tag_key(name) in found else 0 for name in names
        }

    def image_bytes(self, image_id: str, max_bytes: int) -> bytes:
        """Return the file of an image as Stash serves it, for one that the plugin cannot read under
        its path.

        Raises ``NotServedError`` if Stash cannot read it either or it is larger than ``max_bytes``,
        and the errors of the connection.
        """
        return self._client.fetch(f"/image/{int(image_id)}/image", max_bytes)

    def image_thumbnail(self, image_id: str, max_bytes: int) -> bytes:
        """Return Stash's thumbnail of an image: a JPEG of 640 pixels at most.

        If Stash cannot make one, this is the file itself, or a placeholder drawing. Raises as
        ``image_bytes`` does.
        """
        return self._client.fetch(f"/image/{int(image_id)}/thumbnail", max_bytes)

    def carriers(self) -> dict[str, int]:
        """Return the number of markers with the plugin's tag, and of scenes, images and galleries
        with a tag right below it.

        By noun. No matter who added the tag; tags that queue items do not count.
        """
        names = self._names
        parent = self._tag(names.parent)
        return (
            reading.carriers(self._client, parent, (names.tag_me, names.update_me))
            if parent
            else {}
        )

    # Runs.

    def stream_of(self, scene: Scene, stall_s: float) -> SceneStream:
        """Return the scene's first file as a stream from Stash. Nothing is requested yet; any
        thread may read it.
        """
        return SceneStream(self._client, scene.id, scene.path, stall_s=stall_s)

    def start_run(self, task: str, settings: str = "", *, undoes: int | None = None) -> int:
        """Start a run in the journal and return its number, which every write needs. ``settings``:
        their fingerprint.
        """
        return self._journal.runs.start(task, settings, undoes)

    def go_on_with_run(self, run_id: int, task: str) -> bool:
        """Resume a run that ended as "sliced". Return False if that is impossible: then start a new
        one.
        """
        return self._journal.runs.resume(run_id, task)

    def finish_run(self, run_id: int, outcome: str = "finished") -> None:
        """End a run as "finished", "sliced" or "broken off"."""
        self._journal.runs.finish(run_id, outcome)

    def cut_off_runs(self) -> tuple[Run, ...]:
        """Return the runs that were killed since the last call, without those that another process
        is carrying out.
        """
        return self._journal.runs.cut_off()

    def recover(self) -> tuple[Recovered, ...]:
        """Finish, item by item, what killed runs left half-written. Call this before a run."""
        return self._writer.recover()

    # Writing. Items with the same change share their requests: better hundreds at once than a few.

    def apply(
        self,
        run_id: int,
        kind: ItemKind,
        results: Mapping[str, TagInfo | None],
        *,
        create_markers: bool = True,
        updating: bool = False,
        evidence: Mapping[str, Evidence] | None = None,
    ) -> dict[str, Fate]:
        """Bring each item, as it is in Stash now, to its result, and only then take it off the
        queue.

        ``results`` is by id. None leaves the item's tags as they are, and only takes it off the
        queue. Without ``create_markers`` the markers of scenes stay as they are. ``updating``: the
        items are queued by the tag ``update_me``. ``evidence``: what was seen, by id; it replaces
        that of earlier runs in one step with the plan.
        """
        options = replace(self._options, create_markers=create_markers, updating=updating)
        seen = _refs(kind, evidence or {})
        return _by_id(self._writer.apply(run_id, _refs(kind, results), options, seen))

    def preview(
        self, kind: ItemKind, results: Mapping[str, TagInfo], *, create_markers: bool = True
    ) -> dict[str, Fate]:
        """Return what ``apply`` would change. Write nothing."""
        options = replace(self._options, create_markers=create_markers)
        return _by_id(self._writer.preview(_refs(kind, results), options))

    def mark_failed(
        self, run_id: int, kind: ItemKind, reasons: Mapping[str, str]
    ) -> dict[str, Fate]:
        """Give each item the tag ``errored`` and leave it queued. Items that have vanished are left
        out of the result.
        """
        return _by_id(self._writer.mark_failed(run_id, self._names.errored, _refs(kind, reasons)))

    def remove_owned(self, run_id: int, kind: ItemKind, ids: Iterable[str]) -> dict[str, Fate]:
        """Remove what the plugin has put on these items, as far as it is still as the plugin left
        it.
        """
        return _by_id(self._writer.remove(run_id, [ItemRef(kind, one) for one in ids]))

    # Undoing.

    def last_undoable_run(self) -> Run | None:
        """Return the latest run that changed something in Stash and is not undone yet."""
        return self._journal.runs.last_undoable()

    def run(self, run_id: int) -> Run | None:
        """Return a run by its number, or None."""
        return self._journal.runs.find(run_id)

    def last_runs_of(self, items: Iterable[ItemRef]) -> dict[ItemRef, int]:
        """Return the latest run that changed each item and is not undone there. Items without one
        are left out.
        """
        return self._journal.last_runs_of(items)

    def is_at_work(self, run_id: int) -> bool:
        """Return True if the process that carries the run out is still alive."""
        return self._journal.runs.is_at_work(run_id)

    def changes_to_undo(
        self, run_id: int, items: Collection[ItemRef] | None = None
    ) -> tuple[PastChange, ...]:
        """Return every change to undo so that the items of a run, or only ``items`` of them, are as
        they were before it, in the order in which to undo them.

        Changes that later runs made on the same items are among them.
        """
        return self._journal.plans_to_undo(run_id, items)

    def undo_changes(self, run_id: int, changes: Iterable[int]) -> dict[int, Fate]:
        """Undo changes of an earlier run, by their numbers and in this order, on behalf of the run
        ``run_id``.

        What people have changed since stays, and is named in ``kept_back``.
        """
        return self._writer.undo(run_id, changes)

    def preview_undo(self, run_id: int, item: ItemRef) -> ItemChange:
        """Return what undoing a run on one item would change, later runs on it included. Write
        nothing. Raises ``ItemGoneError``.
        """
        changes = self._journal.plans_to_undo(run_id, [item])
        numbers = [change.number for change in changes]
        return self._writer.preview_undo(item, numbers) if numbers else ItemChange()

    def finish_undo(self, run_id: int) -> tuple[str, ...]:
        """Mark a run as undone and delete the tags that it made in Stash, if nothing of it is left
        to undo. Return why each tag that stays does.
        """
        if any(self._journal.changed_items(run_id).values()):
            return ()
        reasons = self._writer.destroy_new_tags(run_id)
        self._journal.runs.mark_undone(run_id)
        return reasons

    # Stash itself.

    def queue_previews(self, run_id: int) -> int:
        """Have Stash make previews of the markers of a run, in jobs of its own. Return the number
        of markers.

        Raises ``StashVersionError`` for a Stash that cannot make them for chosen markers.
        """
        return queue_previews(self._client, self._journal.markers_of_run(run_id))

    def others_wait(self) -> bool:
        """Return True if a job is waiting in Stash's queue."""
        return server.others_wait(self._client)

    def queue_task(self, plugin_id: str, task: str, args: Mapping[str, str]) -> None:
        """Queue a task of the plugin at the end of Stash's queue, with ``args`` beside the task's
        own.
        """
        server.queue_task(self._client, plugin_id, task, args)

    def ping(self) -> None:
        """Keep the session alive. Call this more often than the session's maximum age, an hour by
        default.
        """
        server.ping(self._client)

    def _tag(self, name: str) -> Tag | None:
        return self._tags.find([name]).get(tag_key(name))

    def close(self) -> None:
        """Close the journal and the connections."""
        self._journal.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refs(kind: ItemKind, by_id: Mapping[str, _Value]) -> dict[ItemRef, _Value]:
    return {ItemRef(kind, item_id): value for item_id, value in by_id.items()}


def _by_id(fates: Mapping[ItemRef, Fate]) -> dict[str, Fate]:
    return {item.id: fate for item, fate in fates.items()}
