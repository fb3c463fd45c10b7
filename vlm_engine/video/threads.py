"""How many threads decode: one for each processor, shared by all videos that are open at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_MOST = 4  # for one video: slices are few, and more threads wait for each other


class Threads:
    """So many threads to share; for use from any thread."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._free = total

    @contextmanager
    def share(self) -> Iterator[int]:
        """How many threads one more video may use until the end of the block: what is free, at most 4, at least one."""
        with self._lock:
            count = min(_MOST, max(1, self._free))
            self._free -= count
        try:
            yield count
        finally:
            with self._lock:
                self._free += count


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # there is none on macOS and Windows
        return os.cpu_count() or 1


DECODING = Threads(_processors())
