"""One task for Stash: from what it sent to what it is told at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haven.report import RunReport, write_report
from haven.settings.settings import Settings
from haven.setup.processes import ending_with_parent
from haven.setup.stash_log import StashLogHandler
from haven.stash.errors import JournalError
from haven.stash.handler import MediaHandler, handshake
from haven.stash.transport import StashClient
from haven.tagger import names_in_stash
from haven.tasks.bring_back import bring_back
from haven.tasks.context import EXPECTED, OWN_ARGUMENTS, StashThread, TaskContext, brings_back
from haven.tasks.preview import preview
from haven.tasks.run_record import RunRecord
from haven.tasks.tag_images import tag_images, update_images
from haven.tasks.tag_videos import tag_videos, update_videos
from haven.tasks.undo import remove_owned, undo_last_run
from vlm_engine import ConfigError

_log = logging.getLogger(__name__)
# Threads that read pictures or store answers, which slots wait for, need the interpreter often and briefly; the event loop lets
# go of it after 5 ms by default.
_SWITCH_S = 0.0005
PLUGIN_ID = "ahavenvlmconnector"
DATABASE = "haven.sqlite3"


@dataclass(frozen=True, slots=True)
class Task:
    """A task by its name on Stash's Tasks page. It takes its context and returns its end line.

    ``looks``: it looks at media, so that all settings matter. ``brings_back``: what people took off is put there again.
    """

    name: str
    run: Callable[[TaskContext], Coroutine[Any, Any, str]]
    looks: bool = True
    brings_back: bool = False


TASKS: Mapping[str, Task] = {
    "tag_videos": Task("Tag Videos", tag_videos),
    "tag_images": Task("Tag Images", tag_images),
    "update_videos": Task("Update Tagged Videos", update_videos),
    "update_images": Task("Update Tagged Images", update_images),
    "bring_back": Task("Bring Back What You Removed", bring_back, brings_back=True),
    "preview": Task("Preview", preview),
    "undo_last_run": Task("Undo Last Run", undo_last_run, looks=False),
    "remove_ours": Task("Remove VLM Tags and Markers", remove_owned, looks=False),
}
"""Every task by the ``mode`` that the manifest gives it."""


def run_task(request: Mapping[str, Any], data_dir: Path, log: StashLogHandler) -> str:
    """Runs the task that ``request`` (Stash's one JSON object) names and returns its end line.

    Raises ``ConfigError``, ``StashError`` and what the task raises.
    """
    args = {str(key): str(value) for key, value in (request.get("args") or {}).items()}
    task = TASKS.get(args.get("mode", ""))
    if task is None:
        raise ConfigError(
            f"mode: there is no task {args.get('mode', '')!r}; there are: {', '.join(TASKS)}"
        )
    settings_given = {key: value for key, value in args.items() if key not in OWN_ARGUMENTS}
    client = StashClient(request["server_connection"])
    try:
        server = handshake(client, PLUGIN_ID)
        load = Settings.load if task.looks else Settings.load_for_undo
        settings = load(stash_page=server.settings, task_args=settings_given)
        log.hide(settings.secrets())
        handler = MediaHandler(
            client,
            data_dir / DATABASE,
            settings.tag_names,
            vr_tag=server.vr_tag,
            tag_list=names_in_stash(settings),
            bring_back=task.brings_back or brings_back(args),
        )
        with ending_with_parent(), handler, contextlib.closing(StashThread()) as stash:
            context = TaskContext(
                settings=settings,
                handler=handler,
                stash=stash,
                store_path=data_dir / DATABASE,
                session_age_s=server.max_session_age_s,
                report=log.progress,
                record=RunRecord(task.name),
                given=args,
                plugin_id=PLUGIN_ID,
            )
            sys.setswitchinterval(_SWITCH_S)
            return asyncio.run(_to_its_end(task, context))
    finally:
        client.close()


async def _to_its_end(task: Task, context: TaskContext) -> str:
    """The one place where a run ends, however it does: the journal learns of it, and so does whoever writes reports."""
    try:
        line = await task.run(context)
    except EXPECTED as error:
        report = context.record.report("", str(error))
        with contextlib.suppress(JournalError):  # it may be what has broken the run off
            await _close(context, report)
        raise
    await _close(context, context.record.report(line))
    return line


async def _close(context: TaskContext, report: RunReport) -> None:
    await asyncio.to_thread(_leave_report, report, context)
    if report.run_id:
        await context.stash(context.handler.finish_run, report.run_id, report.end.value)


def _leave_report(report: RunReport, context: TaskContext) -> None:
    settings = context.settings
    folder = context.store_path.parent / settings.report_folder
    page = write_report(report, folder, keep=settings.reports_kept, secrets=settings.secrets())
    if page is not None:
        _log.info("What this run did can be read in %s", page)
