"""Child processes that end with this one, and this process ending with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_KEPT_LINES = 30


@dataclass(frozen=True)
class Outcome:
    """The end of a child: its exit status, and the last lines that it wrote."""

    status: int
    last_lines: tuple[str, ...]


def run(
    command: Sequence[str],
    on_line: Callable[[str], None] = lambda line: None,
    *,
    limit_s: float,
    env: dict[str, str] | None = None,
    keep_open: tuple[int, ...] = (),
    kept_lines: int = _KEPT_LINES,
) -> Outcome:
    """Run ``command`` and call ``on_line`` with each line that it writes, to stdout or stderr.

    ``limit_s``: seconds after which the child is killed.
    ``env``: its whole environment, by default this process's.
    ``keep_open``: file descriptors that the child inherits (not on Windows).
    ``kept_lines``: the number of last lines to return.

    Raise ``OSError`` when it cannot be started.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,  # what Stash sent is not for it,
        stdout=subprocess.PIPE,  # and Stash waits until everybody has closed our stdout
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=env,
        pass_fds=keep_open if os.name == "posix" else (),
        preexec_fn=_dying_with(os.getpid()),  # noqa: PLW1509  (called before there are threads)
    ) as child:
        timer = threading.Timer(limit_s, child.kill)
        timer.daemon = True
        timer.start()
        try:
            lines = _follow(child, on_line, kept_lines)
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()
        return Outcome(child.wait(), lines)


def _follow(
    child: subprocess.Popen[str], on_line: Callable[[str], None], kept_lines: int
) -> tuple[str, ...]:
    last: deque[str] = deque(maxlen=kept_lines)
    for line in child.stdout or ():
        if line.strip():
            last.append(line.rstrip())
            on_line(line.rstrip())
    return tuple(last)


if sys.platform == "linux":

    def _dying_with(parent: int) -> Callable[[], None] | None:
        """Has the kernel end the child when its parent ends, even by SIGKILL, which is what
        Stash's Stop button sends.
        """
        import ctypes

        libc = ctypes.CDLL(None)
        set_death_signal = 1

        def before_exec() -> None:
            libc.prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        return before_exec

else:

    def _dying_with(parent: int) -> Callable[[], None] | None:
        """Other systems have nothing like it: there a child ends when it is done, and keeps what
        it was lent until then.
        """
        return None


_LOOK_S = 2.0


@contextmanager
def ending_with_parent() -> Iterator[None]:
    """End this process, as SIGKILL would, within seconds of its parent, Stash. (Not on Windows.)

    Without Stash nobody sees what it does, and nobody can stop it. Nothing is lost: a task may be
    killed at any moment.
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
