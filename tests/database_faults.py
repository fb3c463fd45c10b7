"""Faults of a database: a full disk, and another process that keeps it locked."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode = EXCLUSIVE") if sys.argv[2] == "whole" else None
db.execute("BEGIN IMMEDIATE")
db.execute("CREATE TABLE IF NOT EXISTS somebody_elses (value)")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Return the system refuses this process every write beyond ``size`` bytes of a file, as a full
    disk does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked_by_another_process(path: Path, what: str) -> Iterator[None]:
    command = [sys.executable, "-c", LOCKER, str(path), what]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin and other.stdout
        assert other.stdout.readline() == "locked\n"
        yield
        other.stdin.close()
        assert other.wait(30) == 0
