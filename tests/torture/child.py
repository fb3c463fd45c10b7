"""One task in a process of its own, forked from one that has imported everything: real to the kernel, and quick to start."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

_LOG, _END = "log.txt", "end.json"


def context() -> ForkServerContext:
    """What starts such processes."""
    ready = multiprocessing.get_context("forkserver")
    ready.set_forkserver_preload(
        ["tests.torture.child", "tests.torture.world", "haven_tasks.stash_run", "aiohttp", "av", "numpy", "stashapi.stashapp"]
    )
    return ready


def start(processes: ForkServerContext, request: Mapping[str, Any], data: Path) -> ForkServerProcess:
    """Starts the task that ``request`` names, with its data in ``data``."""
    (data / _END).unlink(missing_ok=True)
    process = processes.Process(target=_run, args=(json.dumps(request), data))
    process.start()
    return process


def outcome(data: Path) -> dict[str, str] | None:
    """What the last task of ``data`` said at its end: its ``output`` or its ``error``; None if it came to none."""
    path = data / _END
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def log(data: Path) -> str:
    """Everything that the tasks of ``data`` have logged."""
    return (data / _LOG).read_text(encoding="utf-8", errors="replace") if (data / _LOG).exists() else ""


def _run(request: str, data: Path) -> None:
    from haven_tasks.context import EXPECTED
    from haven_tasks.stash_run import run_task
    from haven_vlm_utility import StashLogHandler

    descriptor = os.open(data / _LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    handler = StashLogHandler(descriptor)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    try:
        end = {"output": run_task(json.loads(request), data, handler)}
    except EXPECTED as error:
        end = {"error": str(error)}
    (data / _END).write_text(json.dumps(end), encoding="utf-8")
