"""State of the plugin, and the runs in the report folder. Imports no package beside the client."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import asdict

from haven.pages.context import PageContext
from haven.pages.contract import QueueSize, RunSummary, Status
from haven.report.folder import each_entry
from haven.report.record import Entry
from haven.settings.overlay import read_overlay
from haven.setup.files import is_task_under_way
from haven.stash.errors import StashError
from vlm_engine import ConfigError, __version__

_log = logging.getLogger(__name__)
_QUEUES = ("VLM_TAGME_TAG_NAME", "VLM_UPDATEME_TAG_NAME")


def status(context: PageContext) -> Status:
    """Return the state of the plugin."""
    revision = 0
    with suppress(ConfigError):  # the operation ``settings`` says what is wrong
        revision = read_overlay(context.data_dir).revision
    last = next(each_entry(context.report_folder), None)
    return Status(
        version=__version__,
        revision=revision,
        queued=_queued(context),
        last_run=summary_of(last) if last else None,
        is_running=is_task_under_way(context.data_dir),
    )


def _queued(context: PageContext) -> QueueSize | None:
    from haven.stash.queue_size import queue_size

    names = [context.plain_text(name) for name in _QUEUES]
    try:
        return QueueSize(**asdict(queue_size(context.client, names)))
    except StashError as error:
        _log.debug("Stash did not say what is queued: %s", error)
        return None


def summary_of(entry: Entry) -> RunSummary:
    """Return a run as a list shows it."""
    summary = entry.summary
    return RunSummary(
        stem=entry.stem,
        run_id=summary.run_id,
        task=summary.task,
        started=summary.started,
        ended=summary.ended,
        end=summary.end,
        end_line=summary.end_line,
        error=summary.error,
        has_page=entry.has_page,
        items=Counter(summary.outcomes) + Counter(summary.images),
        calls=summary.calls,
        seconds=summary.seconds,
    )
