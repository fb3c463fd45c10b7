"""A stand-in for Stash on real HTTP: GraphQL over a library in memory, sessions, faults, and the
plugin runner.

    with running(SandboxStash()) as stash:
        scene = stash.library.add_scene(video, tags=["VLM_TagMe"])
        stash.load_plugin(plugin_folder)
        job = stash.run_task("Tag scenes").wait()
        assert stash.library.scene_state(scene).markers

It knows the part of the server's interface that the plugin uses and refuses the rest. It has no web
pages, runs no hooks, scans nothing, only notes what it is to generate, and has no subscriptions.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from sandbox.stash_server.database import Database, RefusedError
from sandbox.stash_server.faults import Faults
from sandbox.stash_server.jobs import Job, Status
from sandbox.stash_server.library import ItemState, Library, MarkerState, Snapshot, TagState
from sandbox.stash_server.manifest import ManifestError
from sandbox.stash_server.plugins import Place, Plugins
from sandbox.stash_server.process import LogLine
from sandbox.stash_server.resolvers import VERSION, Context
from sandbox.stash_server.server import Exchange, RequestLog, StashServer
from sandbox.stash_server.sessions import Credentials, Sessions

__all__ = [
    "Credentials",
    "Exchange",
    "Faults",
    "ItemState",
    "Job",
    "Library",
    "LogLine",
    "ManifestError",
    "MarkerState",
    "RefusedError",
    "RequestLog",
    "SandboxStash",
    "Snapshot",
    "Status",
    "TagState",
]

_LOCALHOST = "127.0.0.1"
_LAST_REPLIES_S = 0.2


class SandboxStash:
    """A Stash server on 127.0.0.1 and any free port, for as long as the ``async with`` block
    lasts.

    ``credentials``: demands a session cookie (or ``api_key``) that is good for ``session_idle_s``.
    ``announced_host``: the host that plugins are told, "0.0.0.0" for a server that listens
    everywhere. ``shown_as``: {folder here: folder in the paths the server shows}. ``clock``: what
    cookies age by. ``version``: of Stash; v0.31.0 has custom fields of scenes and images.

    ``library``, ``faults``, ``requests`` and ``sessions`` may be used from any thread; ``ui`` is
    the web interface's configuration (``{"vrTag": …}``), ``config_folder`` stands for the one with
    the server's configuration and goes with the server, ``libraries`` are the folders that it
    scans, as it shows them.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | None = None,
        api_key: str = "",
        session_idle_s: float = 3600.0,
        announced_host: str = _LOCALHOST,
        shown_as: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        version: str = VERSION,
    ) -> None:
        self._version = version
        self._announced_host = announced_host
        self._database = Database()
        self._closing = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.AppRunner | None = None
        self.config_folder = Path()
        self.port = 0
        self.faults = Faults()
        self.ui: dict[str, Any] = {}
        self.libraries = [*(shown_as or {}).values()]
        self.requests = RequestLog()
        self.library = Library(self._database, shown_as)
        self.sessions = Sessions(credentials, api_key, session_idle_s, clock)
        self.plugins = Plugins(self._place, self.sessions.issue, sys.executable)

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return f"http://{_LOCALHOST}:{self.port}"

    def load_plugin(self, folder: Path) -> str:
        """Load the plugin in that folder and return its id.

        ``ManifestError``: Stash would not load it.
        """
        return self.plugins.load(folder).id

    def restart(self, away_s: float) -> None:
        """Drop every connection, with whatever is under way on it, and answers nobody for so long.

        Returns at once.

        The library stays; so do jobs, whose processes live on without the server.
        """
        if self._loop is None:
            raise LookupError("the server does not run")
        asyncio.run_coroutine_threadsafe(self._restart(away_s), self._loop)

    async def _restart(self, away_s: float) -> None:
        runner = self._runner
        if runner is None or runner.server is None:
            raise LookupError("the server does not run")
        for site in list(runner.sites):
            await site.stop()
        await runner.server.shutdown(0.0)
        await asyncio.sleep(away_s)
        await web.TCPSite(runner, _LOCALHOST, self.port, reuse_address=True).start()

    def run_task(
        self,
        task_name: str | None,
        args: Mapping[str, Any] | None = None,
        *,
        plugin_id: str = "",
        python: str = sys.executable,
    ) -> Job:
        """Queue a task of a plugin, the first one loaded unless named; None runs the plugin with
        just ``args``.

        ``python``: the interpreter for a plugin whose command is "python". ``LookupError``: no
        plugin is loaded.
        """
        if not self.plugins.loaded:
            raise LookupError("no plugin is loaded")
        return self.plugins.run_task(
            plugin_id or next(iter(self.plugins.loaded)), task_name, args, python=python
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self._database.close)
            self.config_folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-stash-"))
            )
            (self.config_folder / "cwd").mkdir()
            (self.config_folder / "generated" / "markers").mkdir(parents=True)
            context = Context(
                self._database,
                self.plugins,
                self.sessions,
                self.faults,
                self.ui,
                self.config_folder,
                self.libraries,
                self._version,
            )
            runner = web.AppRunner(
                StashServer(context, self.requests).application(),
                access_log=None,
                shutdown_timeout=_LAST_REPLIES_S,
            )
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, _LOCALHOST, 0).start()
            self.port = runner.addresses[0][1]
            self._loop, self._runner = asyncio.get_running_loop(), runner
            stack.callback(self.plugins.close)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._closing.aclose()

    def _place(self) -> Place:
        return Place(
            self._announced_host, self.port, self.config_folder, self.config_folder / "cwd"
        )
