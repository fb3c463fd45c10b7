"""The only door to Stash: reads scenes, and writes what was found in them without losing anything.

The front of the package ``haven_stash``. Everything here blocks (HTTP and SQLite) and serves one caller at
a time: an asynchronous program runs it on one worker thread of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from haven_stash import library, server
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
from haven_stash.settle import recover
from haven_stash.tags import TagBook
from haven_stash.transport import RetryPolicy, StashClient
from haven_stash.values import Applied, Marker, Recovered, Scene, SceneFile, ServerInfo, Tag, tag_key
from haven_vlm_config import TagNames
from vlm_engine.types import VideoTagInfo

__all__ = [
    "Applied",
    "ApplyError",
    "JournalError",
    "Marker",
    "MediaHandler",
    "Recovered",
    "RetryPolicy",
    "Scene",
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
    may use the same one.
    """

    def __init__(self, connection: StashClient | Mapping[str, Any], journal_path: Path, names: TagNames) -> None:
        self._client = connection if isinstance(connection, StashClient) else StashClient(connection)
        self._names = names
        self._tags = TagBook(self._client, names)
        self._journal = Journal(journal_path)
        self._writer = SceneWriter(self._client, self._tags, self._journal)

    def prepare(self) -> None:
        """Creates the control tags that are missing. Call it first."""
        self._tags.ensure(control_names(self._names))

    def queued_scene_ids(self) -> tuple[str, ...]:
        """The scenes that carry the tag ``tag_me``, in the order of their ids."""
        queue_tag = self._tags.ensure([self._names.tag_me])[tag_key(self._names.tag_me)]
        return library.scene_ids_with_tag(self._client, queue_tag.id)

    def scenes(self, ids: Iterable[str]) -> tuple[Scene, ...]:
        """The scenes with these ids, in this order; those that have vanished are left out."""
        return library.read_scenes(self._client, ids)

    def start_run(self, task: str) -> int:
        """Opens a run in the journal; ``apply`` and ``mark_failed`` name its number."""
        return self._journal.start_run(task)

    def finish_run(self, run_id: int) -> None:
        """The run came to its end by itself."""
        self._journal.finish_run(run_id)

    def recover(self) -> tuple[Recovered, ...]:
        """Closes what killed runs left open, so that it is finished or planned anew. Call it before a run."""
        return tuple(recover(self._client, self._journal, opened) for opened in self._journal.unfinished())

    def apply(self, run_id: int, scene_id: str, info: VideoTagInfo, *, create_markers: bool = True) -> Applied:
        """Brings a scene, as it is in Stash now, to what ``info`` says, and only then takes it off the queue.

        Without ``create_markers`` its markers are left as they are. Raises ``SceneGoneError`` when it has
        vanished, ``ApplyError`` when something could not be written (the scene is still queued), and the
        errors of the connection.
        """
        return self._writer.apply(run_id, scene_id, info, PlanOptions(self._names, create_markers))

    def mark_failed(self, run_id: int, scene_id: str, reason: str) -> None:
        """Gives a scene the tag ``errored`` and leaves it queued. One that has vanished is left alone."""
        self._writer.mark_failed(run_id, scene_id, self._names.errored, reason)

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
