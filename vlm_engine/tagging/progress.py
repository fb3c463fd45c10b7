"""Progress as a program wants to hear of it: whole per cent, each value once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Self

from vlm_engine.types import Progress


class Percent:
    """Tells a callback, plain or async, of progress in whole per cent. Waits at the end for an async one to be done."""

    def __init__(self, callback: Callable[[int], Any] | None) -> None:
        self._callback = callback
        self._last = -1
        self._told: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._tell(100)
        await asyncio.gather(*self._told)

    def __call__(self, progress: Progress) -> None:
        """Takes in how far it is."""
        self._tell(int(100 * progress.fraction))

    def _tell(self, percent: int) -> None:
        if self._callback is None or percent <= self._last:
            return
        self._last = percent
        outcome = self._callback(percent)
        if inspect.isawaitable(outcome):
            self._told.add(asyncio.ensure_future(outcome))
