"""The process that started this one: without it, nobody sees what is done here, and nobody can stop it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK_S = 2.0


@contextmanager
def ending_with_parent() -> Iterator[None]:
    """Ends this process, as SIGKILL would, within seconds of the one that started it: Stash, which has no job of ours then.

    So it is on systems that tell (not on Windows). Nothing is lost by that: a task may be killed at any moment.
    """
    parent, over = os.getppid(), threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            if os.getppid() != parent:
                os._exit(1)

    watching = threading.Thread(target=watch, name="parent", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
