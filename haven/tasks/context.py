"""What every task is given, and how each of them begins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from haven.settings.settings import Settings
from haven.stash.errors import JournalError, StashAuthError, StashError, StashUnreachableError
from haven.stash.handler import MediaHandler
from haven.stash.values import Recovered
from haven.tasks.run_record import RunRecord
from haven.tasks.same_cause import SameCauseError
from vlm_engine import ConfigError, NoEndpointError, StoreError, VLMEngineError

_log = logging.getLogger(__name__)

EXPECTED = (StashError, VLMEngineError, SameCauseError)
"""What a task raises on purpose; the message is for the user."""
ENDS_THE_BATCH = (
    NoEndpointError,
    StoreError,
    StashUnreachableError,
    StashAuthError,
    JournalError,
    SameCauseError,
)
"""After one of these no other scene or image would fare better."""
CONTINUES, FIRST_LEFT = "continues", "first_left"
"""Arguments that a task gives itself when it queues itself again: its run, and the first item that is left ("scene 12")."""
BRING_BACK = "bring_back"
"""The argument by which a person asks a task for what they took off earlier: yes, true, on or 1."""
OWN_ARGUMENTS = (CONTINUES, FIRST_LEFT, BRING_BACK)
_YES = frozenset(("yes", "true", "on", "1"))
_NO = frozenset(("", "no", "false", "off", "0"))

_P = ParamSpec("_P")
_T = TypeVar("_T")


def brings_back(given: Mapping[str, str]) -> bool:
    """Whether the task's arguments ask for what people took off. Raises ``ConfigError`` where that cannot be told."""
    word = given.get(BRING_BACK, "").strip().casefold()
    if word not in _YES | _NO:
        raise ConfigError(
            f"task arguments: {BRING_BACK}: {given[BRING_BACK]!r} is neither yes nor no; write yes, or leave it out"
        )
    return word in _YES


class StashThread:
    """The one thread on which everything that concerns Stash and the journal runs, one call after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stash")

    async def __call__(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Runs the call there and gives what it returns, or raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: call(*args, **kwargs)
        )

    def close(self) -> None:
        """Waits for the call under way: it may be in the middle of a write."""
        self._thread.shutdown()


@dataclass(frozen=True, slots=True)
class TaskContext:
    """One task's surroundings. ``report`` takes the task's progress as a fraction.

    ``record`` takes down what becomes of each scene and image. ``given``: the task's arguments, also those that it left for
    itself.
    """

    settings: Settings
    handler: MediaHandler
    stash: StashThread
    store_path: Path
    session_age_s: int
    report: Callable[[float], None]
    record: RunRecord
    given: Mapping[str, str]
    plugin_id: str

    async def recover_cut_off_runs(self) -> None:
        """Completes what killed runs left half-written. Every task that writes does this before anything else."""
        for run in await self.stash(self.handler.cut_off_runs):
            _log.info("Run %d (%s) was cut off before its end.", run.id, run.task)
        for recovered in await self.stash(self.handler.recover):
            told = str(recovered.item).capitalize()
            _log.info(
                "%s: an earlier run was cut off while writing here; %s.", told, _fate(recovered)
            )

    async def open_run(self, undoes: int | None = None) -> int:
        """The run's number in the journal: a new one, or that of the run which gave others their turn. Asked again, the same."""
        if self.record.run_id:
            return self.record.run_id
        earlier = self.given.get(CONTINUES, "")
        if earlier.isdigit() and await self.stash(
            self.handler.go_on_with_run, int(earlier), self.record.task
        ):
            self.record.run_id = int(earlier)
        else:
            print_ = self.settings.fingerprint()
            self.record.run_id = await self.stash(
                self.handler.start_run, self.record.task, print_, undoes=undoes
            )
        return self.record.run_id

    async def queue_again(self, first_left: str) -> None:
        """Puts the task behind what waits in Stash's queue; there it goes on with the same run."""
        given = {**self.given, CONTINUES: str(self.record.run_id), FIRST_LEFT: first_left}
        await self.stash(self.handler.queue_task, self.plugin_id, self.record.task, given)


def _fate(recovered: Recovered) -> str:
    if recovered.gone:
        return "it is no longer in Stash"
    return (
        "that is complete now"
        if recovered.finished
        else f"it stays in line, since {recovered.reason}"
    )
