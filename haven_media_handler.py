"""The only door to Stash: reads scenes, and writes what was found in them without losing anything.

The front of the package ``haven_stash``. Everything here blocks (HTTP and SQLite) and serves one caller at
a time: an asynchronous program runs it on one worker thread of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from haven_stash import jobs, library, server
from haven_stash.apply import SceneWriter
from haven_stash.errors import (
    ApplyError,
    JournalError,
    SceneGoneError,
    StashAuthError,
    StashError,
    StashLockedError,
    StashQueryError,
    StashTimeoutError,
    StashUnreachableError,
    StashVersionError,
    TagClashError,
)
from haven_stash.journal import Journal
from haven_stash.plan import PlanOptions, control_names
from haven_stash.tags import TagBook
from haven_stash.transport import RetryPolicy, StashClient
from haven_stash.values import (
    Marker,
    MarkerChange,
    Recovered,
    Run,
    Scene,
    SceneChange,
    SceneFile,
    ServerInfo,
    Tag,
)
from haven_vlm_config import TagNames
from vlm_engine.types import VideoTagInfo

__all__ = [
    "ApplyError",
    "JournalError",
    "Marker",
    "MarkerChange",
    "MediaHandler",
    "Recovered",
    "RetryPolicy",
    "Run",
    "Scene",
    "SceneChange",
    "SceneFile",
    "SceneGoneError",
    "ServerInfo",
    "StashAuthError",
    "StashClient",
    "StashError",
    "StashLockedError",
    "StashQueryError",
    "StashTimeoutError",
    "StashUnreachableError",
    "StashVersionError",
    "Tag",
    "TagClashError",
    "handshake",
]


def handshake(client: StashClient, plugin_id: str) -> ServerInfo:
    """Who is there, and what the user set for ``plugin_id``: needed before the settings, and so the handler, exist.

    Takes over the user's API key, where there is one, so that a long task outlives its session. Raises
    ``StashVersionError`` for a Stash that is too old or not set up, and the errors of the connection.
    """
    return server.shake_hands(client, plugin_id)


class MediaHandler:
    """Scenes out of Stash, results into it. Also a context manager; leaving it closes everything.

    ``connection``: a client that is connected already, or what Stash hands a plugin as
    ``server_connection``. ``journal_path``: the database file, in a folder that exists; the answer store
    may use the same one. ``vr_tag``: the name of the tag that marks VR scenes, or empty.
    """

    def __init__(
        self, connection: StashClient | Mapping[str, Any], journal_path: Path, names: TagNames, *, vr_tag: str = ""
    ) -> None:
        self._client = connection if isinstance(connection, StashClient) else StashClient(connection)
        self._names = names
        self._vr_tag = vr_tag
        self._tags = TagBook(self._client, names)
        self._journal = Journal(journal_path)
        self._writer = SceneWriter(self._client, self._tags, self._journal)

    def prepare(self) -> None:
        """Creates the control tags that are missing. Call it first, unless nothing is to be written."""
        self._tags.ensure(control_names(self._names))

    def scene_ids_with(self, tag_name: str) -> tuple[str, ...]:
        """The scenes that carry the tag of that name, in the order of their ids; none where there is no such tag."""
        found = self._tags.find([tag_name])
        return tuple(scene_id for tag in found.values() for scene_id in library.scene_ids_with_tag(self._client, tag.id))

    def scene_ids_with_ours(self) -> tuple[str, ...]:
        """The scenes on which the plugin has put something that is still there, as far as the journal knows."""
        return self._journal.scenes_with_ours()

    def scenes(self, ids: Iterable[str]) -> tuple[Scene, ...]:
        """The scenes with these ids, in this order; those that have vanished are left out."""
        vr_tags = {tag.id for tag in self._tags.find([self._vr_tag]).values()} if self._vr_tag else set()
        return tuple(
            replace(scene, is_vr=not vr_tags.isdisjoint(scene.tag_ids)) for scene in library.read_scenes(self._client, ids)
        )

    def start_run(self, task: str, settings: str = "", *, undoes: int | None = None) -> int:
        """Opens a run in the journal; whatever writes names its number. ``settings``: a fingerprint of them."""
        return self._journal.runs.start(task, settings, undoes)

    def go_on_with_run(self, run_id: int, task: str) -> bool:
        """Takes up a run that ended as "sliced". False when that cannot be: then start a new one."""
        return self._journal.runs.go_on(run_id, task)

    def finish_run(self, run_id: int, outcome: str = "finished") -> None:
        """The run came to an end by itself: "finished", "sliced" or "broken off"."""
        self._journal.runs.finish(run_id, outcome)

    def cut_off_runs(self) -> tuple[Run, ...]:
        """The runs that were killed since this was last asked. Those that another process is at work on are not among them."""
        return self._journal.runs.cut_off()

    def recover(self) -> tuple[Recovered, ...]:
        """Completes, scene by scene, what killed runs left half-written. Call it before a run."""
        return self._writer.recover()

    def apply(
        self, run_id: int, scene_id: str, info: VideoTagInfo, *, create_markers: bool = True, updating: bool = False
    ) -> SceneChange:
        """Brings a scene, as it is in Stash now, to what ``info`` says, and only then takes it off the queue.

        Without ``create_markers`` its markers are left as they are. ``updating``: the queue is that of the tag
        ``update_me``. Raises ``SceneGoneError`` when it has vanished, ``ApplyError`` when something could not be written (the
        scene is still queued), and the errors of the connection.
        """
        return self._writer.apply(run_id, scene_id, info, PlanOptions(self._names, create_markers, updating))

    def preview(self, scene_id: str, info: VideoTagInfo, *, create_markers: bool = True) -> SceneChange:
        """What ``apply`` would change. Writes nothing. Raises ``SceneGoneError`` and the errors of the connection."""
        return self._writer.preview(scene_id, info, PlanOptions(self._names, create_markers))

    def mark_failed(self, run_id: int, scene_id: str, reason: str) -> None:
        """Gives a scene the tag ``errored`` and leaves it queued. One that has vanished is left alone."""
        self._writer.mark_failed(run_id, scene_id, self._names.errored, reason)

    def remove_ours(self, run_id: int, scene_id: str) -> SceneChange:
        """Takes off a scene what the plugin has put there, while it is as the plugin left it. Raises as ``apply`` does."""
        return self._writer.remove(run_id, scene_id)

    def last_undoable_run(self) -> Run | None:
        """The latest run that changed something in Stash and is not undone yet."""
        return self._journal.runs.last_undoable()

    def is_at_work(self, run: Run) -> bool:
        """Whether the process that carries the run out still lives."""
        return self._journal.runs.is_at_work(run.id)

    def changes_to_undo(self, run: Run) -> tuple[tuple[int, str], ...]:
        """(number, scene) of every change of a run that is not undone yet, in the order in which to undo them."""
        return self._journal.plans_to_undo(run.id)

    def undo_change(self, run_id: int, change: int) -> SceneChange:
        """Takes back one change of an earlier run, in the name of the run ``run_id``. Raises as ``apply`` does.

        What people have changed since stays, and is named in ``kept_back``.
        """
        return self._writer.undo(run_id, change)

    def finish_undo(self, run: Run) -> tuple[str, ...]:
        """All changes of the run are undone: the tags it made in Stash go, too. Returns why each that stays does."""
        told = self._writer.destroy_new_tags(run.id)
        self._journal.runs.mark_undone(run.id)
        return told

    def others_wait(self) -> bool:
        """Whether a job waits in Stash's queue."""
        return jobs.others_wait(self._client)

    def queue_task(self, plugin_id: str, task: str, args: Mapping[str, str]) -> None:
        """Queues a task of the plugin behind what waits in Stash's queue, with ``args`` beside the task's own."""
        jobs.queue_task(self._client, plugin_id, task, args)

    def ping(self) -> None:
        """Keeps the session alive; call it more often than the session's age (an hour unless set otherwise)."""
        server.ping(self._client)

    def close(self) -> None:
        """Closes the journal and the connections."""
        self._journal.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
