"""One task for Stash: from what it sent to what it is told at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from haven_media_handler import MediaHandler, StashClient, handshake
from haven_tasks.context import StashThread, TaskContext
from haven_tasks.tag_videos import tag_videos
from haven_vlm_config import Settings
from haven_vlm_utility import StashLogHandler
from vlm_engine.errors import ConfigError

PLUGIN_ID = "ahavenvlmconnector"
DATABASE = "haven.sqlite3"

TASKS: Mapping[str, Callable[[TaskContext], Coroutine[Any, Any, str]]] = {
    "tag_videos": tag_videos,
}
"""Every task by the ``mode`` that the manifest gives it. A task takes its context and returns its end line."""


def run_task(request: Mapping[str, Any], data_dir: Path, log: StashLogHandler) -> str:
    """Runs the task that ``request`` (Stash's one JSON object) names and returns its end line.

    Raises ``ConfigError``, ``StashError`` and what the task raises.
    """
    args = {str(key): str(value) for key, value in (request.get("args") or {}).items()}
    task = TASKS.get(args.get("mode", ""))
    if task is None:
        raise ConfigError(f"mode: there is no task {args.get('mode', '')!r}; there are: {', '.join(TASKS)}")
    client = StashClient(request["server_connection"])
    try:
        server = handshake(client, PLUGIN_ID)
        settings = Settings.load(stash_page=server.settings, task_args=args)
        log.hide(settings.secrets())
        with MediaHandler(client, data_dir / DATABASE, settings.tag_names) as handler:
            stash = StashThread()
            context = TaskContext(settings, handler, stash, data_dir / DATABASE, server.max_session_age_s, log.progress)
            try:
                return asyncio.run(task(context))
            finally:
                stash.close()
    finally:
        client.close()
