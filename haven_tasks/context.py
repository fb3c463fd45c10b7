"""What every task is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from haven_media_handler import MediaHandler, StashError
from haven_vlm_config import Settings
from vlm_engine.errors import VLMEngineError

EXPECTED = (StashError, VLMEngineError)
"""What a task raises on purpose; the message is for the user."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class StashThread:
    """The one thread on which everything that concerns Stash and the journal runs, one call after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stash")

    async def __call__(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Runs the call there and gives what it returns, or raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: call(*args, **kwargs))

    def close(self) -> None:
        """Waits for the call under way: it may be in the middle of a write."""
        self._thread.shutdown()


@dataclass(frozen=True, slots=True)
class TaskContext:
    """One task's surroundings. ``report`` takes the task's progress as a fraction."""

    settings: Settings
    handler: MediaHandler
    stash: StashThread
    store_path: Path
    session_age_s: int
    report: Callable[[float], None]
