"""The workers of a cluster, as a caller sees them: those that are used, and why others are not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from distributed import Client

from vlm_engine import __version__
from vlm_engine.cluster.worker import open_engine, unreadable
from vlm_engine.config.cluster import ClusterConfig
from vlm_engine.config.models import EngineConfig
from vlm_engine.tasks import cancel

_VERSION = "__import__('vlm_engine').__version__"
_log = logging.getLogger(__name__)
INSTALL = f'pip install "vlm-engine[cluster]=={__version__}"'
"""The remedy for a machine without the package, or with another version."""


@dataclass(frozen=True, slots=True)
class KnownWorker:
    """A worker of the cluster. ``places``: tasks that it works on at once."""

    address: str
    name: str
    host: str
    places: int

    def __str__(self) -> str:
        known_as = f"{self.name} at " if self.name != self.address else ""
        return f"worker {known_as}{self.address}"


class Roster:
    """The workers of a cluster. On each that joins, an engine is opened for this run.

    ``known``: those that there are, by address. ``ready``: those of them that take tasks.
    ``refused``: why others do not. ``on_change`` is called after every change of these.
    """

    def __init__(
        self,
        client: Client,
        run: str,
        config: EngineConfig,
        cluster: ClusterConfig,
        on_change: Callable[[], None],
    ) -> None:
        self.known: dict[str, KnownWorker] = {}
        self.ready: dict[str, KnownWorker] = {}
        self.refused: dict[str, str] = {}
        self._client = client
        self._run = run
        self._config = config
        self._cluster = cluster
        self._on_change = on_change
        self._next_change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._preparing: dict[str, asyncio.Task[None]] = {}

    @property
    def is_settled(self) -> bool:
        """True when every worker that is known is used or refused."""
        return not self._preparing

    @property
    def places(self) -> int:
        """Number of tasks that the workers work on at once."""
        return sum(worker.places for worker in self.ready.values())

    def update(self, workers: Mapping[str, tuple[str, str, int]]) -> None:
        """Take the name, host and places of each worker that there is now, by address."""
        for address in self.known.keys() - workers.keys():
            lost = self.known.pop(address)
            self.refused.pop(address, None)
            if self.ready.pop(address, None):
                _log.warning("%s has left; another one takes what it worked on.", lost)
        for address in workers.keys() - self.known.keys():
            worker = self.known[address] = KnownWorker(address, *workers[address])
            self._preparing[address] = asyncio.create_task(self._prepare(worker))
        self._changed()

    async def change(self) -> None:
        """Wait until the workers change."""
        await asyncio.shield(self._next_change)

    async def loss_of(self, addresses: Collection[str]) -> None:
        """Wait until none of these workers is ready any more."""
        while not self.ready.keys().isdisjoint(addresses):
            await self.change()

    def name_of(self, address: str) -> str:
        """Return what messages call the worker at this address."""
        return str(self.known.get(address, f"worker {address}"))

    async def unreadable(self, files: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return what is wrong with each of the files that a worker cannot read, by its address."""
        at = [*self.ready]
        found = await self._client.run(unreadable, self._run, files, workers=at, on_error="return")
        return {
            address: faults if isinstance(faults, list) else [f"it does not answer ({faults})"]
            for address, faults in found.items()
        }

    async def aclose(self) -> None:
        """Cancel the preparations."""
        await cancel(self._preparing.values())

    def _changed(self) -> None:
        over, self._next_change = self._next_change, self._next_change.get_loop().create_future()
        over.set_result(None)
        self._on_change()

    async def _prepare(self, worker: KnownWorker) -> None:
        """Open an engine on a worker. One that cannot be used is named; the others go on."""
        try:
            fault = await self._fault_of(worker)
            if self.known.get(worker.address) is not worker:  # it is lost, or another came there
                return
            if fault:
                self.refused[worker.address] = f"{worker} is not used: {fault}"
                _log.warning("%s", self.refused[worker.address])
            else:
                self.ready[worker.address] = worker
                _log.info("%s takes %d at once.", worker, worker.places)
        finally:
            if self._preparing.get(worker.address) is asyncio.current_task():
                del self._preparing[worker.address]
            self._changed()

    async def _fault_of(self, worker: KnownWorker) -> str:
        """Return why a worker cannot be used; "" if it can."""
        at = [worker.address]
        try:
            versions = await self._client.run(eval, _VERSION, workers=at, on_error="return")
            version = versions[worker.address]
            if isinstance(version, ImportError):
                return f"it has no vlm-engine ({version}): {INSTALL} there, and start it again"
            if version != __version__:
                return (
                    f"it has vlm-engine {version}, and this is {__version__}: {INSTALL} there, "
                    "and start it again"
                )
            level = logging.getLogger("vlm_engine").getEffectiveLevel()
            settings = self._run, self._config, self._cluster, level
            faults = await self._client.run(open_engine, *settings, workers=at, on_error="return")
        except (OSError, TimeoutError, KeyError) as error:
            return f"it does not answer ({error})"
        fault = faults[worker.address]
        return "" if fault is None else str(fault)
