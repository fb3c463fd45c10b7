"""A cluster on this machine, for the time of a run."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing import resource_tracker

from distributed import LocalCluster

from vlm_engine.errors import ConfigError

_THREADS = 4
_NO_NEWS = "ignore:resource_tracker"
"""It would warn of what a killed program has left, which it removes."""


@asynccontextmanager
async def local_cluster(workers: int) -> AsyncIterator[str]:
    """Start so many worker processes, and give the address of their scheduler.

    Raises ``ConfigError`` if they do not start.

    Ctrl-C in a terminal reaches every process of a program. The workers do not take it: they end
    with the program, in order.
    """
    starting = asyncio.ensure_future(asyncio.to_thread(_started, workers))
    try:
        cluster = await asyncio.shield(starting)
        yield str(cluster.scheduler_address)
    finally:
        (cluster,) = await asyncio.gather(starting)
        await asyncio.to_thread(cluster.close)


def _started(workers: int) -> LocalCluster:
    """Start the cluster. Threads and processes get the signals that their parent does not take."""
    if not hasattr(signal, "pthread_sigmask"):
        return _cluster(workers)
    sys.warnoptions.append(_NO_NEWS)
    try:
        resource_tracker.ensure_running()  # started later, it would let the signal in again
    finally:
        sys.warnoptions.remove(_NO_NEWS)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return _cluster(workers)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cluster(workers: int) -> LocalCluster:
    try:
        return LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=_THREADS,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    except RuntimeError as error:
        reason = str(error).rstrip(".")
        raise ConfigError(
            f"cluster: the workers of this machine do not start ({reason}). They import the file "
            'of the program: in a script, let what it does begin below `if __name__ == "__main__":`'
        ) from error
