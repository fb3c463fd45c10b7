"""The plugin's entry point in a process of its own, forked from one that has imported
everything: real, and quick to start.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

_LOG = "log.txt"


def context() -> ForkServerContext:
    """Return a context that starts such processes."""
    ready = multiprocessing.get_context("forkserver")
    ready.set_forkserver_preload(
        [
            "tests.torture.child",
            "tests.torture.world",
            "haven_vlm_connector",
            "haven.tasks.stash_run",
            "haven.pages.dispatch",
            "haven.pages.decisions",
            "vlm_engine.cluster",
            "aiohttp",
            "av",
            "numpy",
            "stashapi.stashapp",
        ]
    )
    return ready


def start(
    processes: ForkServerContext,
    request: Mapping[str, Any],
    folder: Path,
    before: Callable[[], None] | None = None,
) -> ForkServerProcess:
    """Starts the plugin as Stash does, with ``request``; what it says and logs goes into
    ``folder``.

    ``before``: what the process does first, a function that can be pickled.
    """
    process = processes.Process(target=_run, args=(json.dumps(request).encode(), folder, before))
    process.start()
    return process


def outcome(folder: Path, pid: int | None) -> dict[str, Any] | None:
    """Return the ``output`` or ``error`` of a process that ended by itself; None for another."""
    path = folder / f"end-{pid}.json"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return json.loads(text) if text else None


def log(folder: Path) -> str:
    """Everything that the tasks of ``folder`` have logged."""
    return (
        (folder / _LOG).read_text(encoding="utf-8", errors="replace")
        if (folder / _LOG).exists()
        else ""
    )


def _run(request: bytes, folder: Path, before: Callable[[], None] | None) -> None:
    import haven_vlm_connector

    for name, descriptor, flags in (
        (f"end-{os.getpid()}.json", 1, os.O_TRUNC),
        (_LOG, 2, os.O_APPEND),
    ):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | flags), descriptor)
    if before is not None:
        before()
    sys.exit(haven_vlm_connector.run_for_stash(request))
