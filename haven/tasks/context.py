"""Surroundings of every task: settings, Stash, the arguments, and the record of the run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from haven.report import End, ItemGroup, ItemKind, ItemReport, Outcome, RunReport
from haven.settings.settings import Settings
from haven.stash.handler import MediaHandler
from haven.stash.values import Recovered, ServerInfo
from haven.tasks.selection import (
    ARGUMENTS,
    EXCEPT_TAGS,
    NEWEST,
    SHORTEST,
    Selection,
    order_of,
)
from vlm_engine import ConfigError, Coverage, EndpointStats, Section, StyleComparison

_log = logging.getLogger(__name__)

CONTINUES, FIRST_LEFT = "continues", "first_left"
"""Arguments that a task gives itself when it queues itself again: its run, and the first item that
is left, such as "scene 12"."""
BRING_BACK = "bring_back"
"""Argument by which a person asks any task for what they took off: yes, true, on or 1."""
FRAMES, WRITE = "frames", "write"
"""Arguments of *Check Set-up*: the number of frames to ask about in every style, and whether the
style that is best is set.
"""
OWN_ARGUMENTS = (CONTINUES, FIRST_LEFT, BRING_BACK, FRAMES, WRITE, *ARGUMENTS)
_YES = frozenset(("yes", "true", "on", "1"))
_NO = frozenset(("", "no", "false", "off", "0"))

_P = ParamSpec("_P")
_T = TypeVar("_T")


def says_yes(arguments: Mapping[str, str], name: str) -> bool:
    """Return whether the argument of this name is yes. Raises ``ConfigError``."""
    word = arguments.get(name, "").strip().casefold()
    if word not in _YES | _NO:
        raise ConfigError(
            f"task arguments: {name}: {arguments[name]!r} is neither yes nor no; write yes, or "
            "leave it out"
        )
    return word in _YES


class StashThread:
    """The one thread for Stash and the journal, in which calls run one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stash")

    async def __call__(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run the call in the thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: call(*args, **kwargs)
        )

    def close(self) -> None:
        """Wait for the call that runs: it may be in the middle of a write."""
        self._thread.shutdown()


class RunRecord:
    """Collects the results of one run.

    ``run_id``: its number in the journal, 0 before it has one. ``waiting``: how many items were
    queued and not reached. Images with the same result are kept as one group.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self.run_id = 0
        self.end = End.FINISHED
        self.waiting: Counter[ItemKind] = Counter()
        self.endpoints: Mapping[str, EndpointStats] = {}
        self.styles: tuple[StyleComparison, ...] = ()
        self.checks: tuple[Section, ...] = ()
        self._started = time.time()
        self._scenes: list[ItemReport] = []
        self._images: dict[ItemGroup, list[tuple[str, str]]] = {}
        self._image_coverage = Coverage()
        self._counts: Counter[tuple[ItemKind, Outcome]] = Counter()

    def add(self, report: ItemReport) -> None:
        """Add the result of an item."""
        self._counts[report.kind, report.outcome] += 1
        if report.kind is ItemKind.SCENE:
            self._scenes.append(report)
            return
        group = ItemGroup(
            report.kind, report.outcome, report.tags, report.change, report.error, report.note
        )
        self._images.setdefault(group, []).append((report.id, report.title))
        self._image_coverage += report.coverage

    def count(self, *outcomes: Outcome, kind: ItemKind | None = None) -> int:
        """Return how many items had one of these outcomes: of one kind, or of all."""
        return sum(
            count
            for (counted_kind, outcome), count in self._counts.items()
            if outcome in outcomes and kind in {None, counted_kind}
        )

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.time() - self._started

    def report(self, end_line: str, error: str = "") -> RunReport:
        """Return the report of the whole run."""
        return RunReport(
            run_id=self.run_id,
            task=self.task,
            started=self._started,
            ended=time.time(),
            end=End.BROKEN_OFF if error else self.end,
            end_line=end_line,
            scenes=tuple(self._scenes),
            endpoints=self.endpoints,
            styles=self.styles,
            waiting=self.waiting[ItemKind.SCENE],
            error=error,
            images=tuple(
                replace(group, items=tuple(items)) for group, items in self._images.items()
            ),
            image_coverage=self._image_coverage,
            images_waiting=self.waiting[ItemKind.IMAGE],
            checks=self.checks,
        )


@dataclass(frozen=True, slots=True)
class TaskContext:
    """Surroundings of one task.

    ``report`` takes the task's progress as a fraction. ``arguments``: those of the task, also the
    ones that it left for itself. ``selection``: the items that they name; None: those that are
    queued.
    """

    settings: Settings
    handler: MediaHandler
    stash: StashThread
    store_path: Path
    server: ServerInfo
    report: Callable[[float], None]
    record: RunRecord
    arguments: Mapping[str, str]
    plugin_id: str
    selection: Selection | None = None

    @property
    def still_queued(self) -> str:
        """``and still queued`` for items that are not done, unless they need not be queued."""
        is_queue = self.selection is None and EXCEPT_TAGS not in self.arguments
        return " and still queued" if is_queue else ""

    async def ids_with(self, kind: ItemKind, tags: Sequence[str]) -> tuple[str, ...]:
        """Return the ids of all items that carry one of these tags, each once."""
        found = [
            item_id
            for tag in tags
            for item_id in await self.stash(self.handler.ids_with, kind, tag)
        ]
        return tuple(dict.fromkeys(found))

    async def in_order(self, kind: ItemKind, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the ids in the order that the arguments name. Images have no length."""
        order = order_of(self.arguments)
        if order == NEWEST:
            return await self.stash(self.handler.newest_first, kind, ids)
        if order == SHORTEST and kind is ItemKind.SCENE:
            return await self.stash(self.handler.shortest_first, ids)
        return tuple(ids)

    async def recover_cut_off_runs(self) -> None:
        """Complete what killed runs left half-written. Every task that writes begins with this."""
        for run in await self.stash(self.handler.cut_off_runs):
            _log.info("Run %d (%s) was cut off before its end.", run.id, run.task)
        for recovered in await self.stash(self.handler.recover):
            _log.info(
                "%s: an earlier run was cut off while writing here; %s.",
                str(recovered.item).capitalize(),
                _describe(recovered),
            )

    async def open_run(self, undoes: int | None = None) -> int:
        """Return the run's number in the journal: a new one, or that of the run it continues."""
        record = self.record
        if record.run_id:
            return record.run_id
        earlier = self.arguments.get(CONTINUES, "")
        if earlier.isdigit() and await self.stash(
            self.handler.go_on_with_run, int(earlier), record.task
        ):
            record.run_id = int(earlier)
        else:
            fingerprint = self.settings.fingerprint()
            record.run_id = await self.stash(
                self.handler.start_run, record.task, fingerprint, undoes=undoes
            )
        return record.run_id

    async def queue_again(self, first_left: str) -> None:
        """Queue the task behind the jobs that wait in Stash, to continue this run."""
        left = {CONTINUES: str(self.record.run_id), FIRST_LEFT: first_left}
        arguments = {**self.arguments, **left}
        await self.stash(self.handler.queue_task, self.plugin_id, self.record.task, arguments)


def _describe(recovered: Recovered) -> str:
    if recovered.gone:
        return "it is no longer in Stash"
    return "that is complete now" if recovered.finished else recovered.reason
