"""*Make Marker Previews*, and the same after a run that asks for it."""

from __future__ import annotations

import logging

from haven.report import counted
from haven.stash.errors import StashError
from haven.tasks.context import TaskContext
from haven.tasks.selection import RUN, run_number
from vlm_engine import ConfigError

_log = logging.getLogger(__name__)


async def make_previews(context: TaskContext) -> str:
    """*Make Marker Previews*: have Stash make previews of the markers of the last run.

    The argument ``run`` names another run. Only the run's own markers get any.
    """
    handler = context.handler
    if RUN in context.arguments:
        run = await context.stash(handler.run, run_number(context.arguments))
        if run is None:
            raise ConfigError(
                f"task arguments: {RUN}: the journal has no run {context.arguments[RUN]}"
            )
    else:
        run = await context.stash(handler.last_undoable_run)
        if run is None:
            return "There is no run whose markers could get previews."
    markers = await context.stash(handler.queue_previews, run.id)
    if not markers:
        return f"{run} has no marker in Stash, so there is nothing to make."
    return f"Stash makes previews of {counted(markers, 'marker')} of {run} in its queue of jobs."


async def previews_after_run(context: TaskContext) -> None:
    """Have Stash make previews of the markers of the run that has just ended, if the settings ask
    for them. A failure is logged and stops nothing.
    """
    run_id = context.record.run_id
    if not run_id or not context.settings.marker_previews:
        return
    try:
        markers = await context.stash(context.handler.queue_previews, run_id)
    except StashError as error:
        _log.warning("No previews of the new markers are made: %s.", error)
        return
    if markers:
        _log.info("Stash makes previews of %s in its queue of jobs.", counted(markers, "marker"))
