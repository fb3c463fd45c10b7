"""One task for Stash: connect, load the settings, run it, and write journal and report."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from functools import partial
from pathlib import Path

from haven.report import End, RunReport, write_report
from haven.settings.settings import Settings, ids_in_stash, names_in_stash
from haven.setup.bootstrap import ensure_cluster_packages
from haven.setup.files import task_under_way
from haven.setup.paths import DATABASE, PLUGIN_ID
from haven.setup.processes import ending_with_parent
from haven.setup.stash_log import StashLogHandler
from haven.stash.errors import JournalError
from haven.stash.handler import MediaHandler
from haven.stash.server import handshake
from haven.stash.tag_tree import read_tag_tree
from haven.stash.transport import StashClient
from haven.tasks.context import (
    BRING_BACK,
    OWN_ARGUMENTS,
    RunRecord,
    StashThread,
    TaskContext,
    says_yes,
)
from haven.tasks.entry import PLUGIN_DIR, StashRequest
from haven.tasks.failures import EXPECTED
from haven.tasks.previews import previews_after_run
from haven.tasks.selection import EXCEPT_TAGS, check_arguments, selected
from haven.tasks.task_list import TASKS, Task
from vlm_engine import ConfigError

_log = logging.getLogger(__name__)
# Threads that read pictures or store answers need the interpreter often and briefly, and slots wait
# for them. By default the event loop's thread lets go of it only every 5 ms.
_SWITCH_S = 0.0005


def run_task(request: StashRequest, data_dir: Path, log: StashLogHandler) -> str:
    """Run the task that Stash asks for. Return its end line.

    Raises ``ConfigError``, ``StashError`` and what the task raises, and ``SetupError`` where the
    packages for a cluster cannot be installed.
    """
    arguments = request.texts
    task = TASKS.get(mode := arguments.get("mode", ""))
    if task is None:
        raise ConfigError(f"mode: there is no task {mode!r}; there are: {', '.join(TASKS)}")
    check_arguments(task.name, task.takes, arguments)
    if EXCEPT_TAGS in task.takes:
        arguments = {EXCEPT_TAGS: "", **arguments}
    for_settings = {key: value for key, value in arguments.items() if key not in OWN_ARGUMENTS}
    client = StashClient(request.connection, timeout_s=task.timeout_s)
    try:
        server = handshake(client, PLUGIN_ID)
        if task.looks_at_media:
            settings = Settings.load(
                server.settings,
                for_settings,
                data_dir=data_dir,
                read_tree=partial(read_tag_tree, client),
            )
        else:
            settings = Settings.load_for_undo(server.settings, for_settings, data_dir=data_dir)
        log.hide(settings.secrets())
        if task.looks_at_media and settings.engine.cluster is not None:
            ensure_cluster_packages(PLUGIN_DIR, data_dir)
        if settings.run_in_custom_field and not client.has_custom_fields:
            _log.info(
                "RUN_IN_CUSTOM_FIELD: this Stash (%s) has no custom fields of scenes and images, so"
                " none is filled.",
                server.version,
            )
        handler = MediaHandler(
            client,
            data_dir / DATABASE,
            settings.tag_names,
            vr_tag=server.vr_tag,
            tag_list=names_in_stash(settings),
            tag_ids=ids_in_stash(settings),
            bring_back=task.brings_back or says_yes(arguments, BRING_BACK),
            marks_run=settings.run_in_custom_field,
        )
        with (
            ending_with_parent(),
            task_under_way(data_dir),
            handler,
            contextlib.closing(StashThread()) as stash,
        ):
            chosen = selected(arguments)
            context = TaskContext(
                settings=settings,
                handler=handler,
                stash=stash,
                store_path=data_dir / DATABASE,
                server=server,
                report=log.progress,
                record=RunRecord(task.name),
                arguments=arguments,
                plugin_id=PLUGIN_ID,
                selection=chosen and chosen.with_ids_found(handler.ids_matching),
            )
            sys.setswitchinterval(_SWITCH_S)
            return asyncio.run(_run(task, context))
    finally:
        client.close()


async def _run(task: Task, context: TaskContext) -> str:
    """Run the task. However it ends, its end is written to the journal and the report."""
    try:
        line = await task.run(context)
    except EXPECTED as error:
        report = context.record.report("", str(error))
        with contextlib.suppress(JournalError):  # it may be what broke the run off
            await _close(context, report)
        raise
    if task.looks_at_media and context.record.end is End.FINISHED:
        await previews_after_run(context)
    await _close(context, context.record.report(line))
    return line


async def _close(context: TaskContext, report: RunReport) -> None:
    await asyncio.to_thread(_write_report, report, context)
    if report.run_id:
        await context.stash(context.handler.finish_run, report.run_id, report.end.value)


def _write_report(report: RunReport, context: TaskContext) -> None:
    settings = context.settings
    folder = context.store_path.parent / settings.report_folder
    page = write_report(report, folder, keep=settings.reports_kept, secrets=settings.secrets())
    if page is not None:
        _log.info("Report of this run: %s", page)
