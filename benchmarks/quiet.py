"""Waiting until nobody else uses the machine."""

from __future__ import annotations

import time
from pathlib import Path

_LOOK_S = 2.0


def wait_until_quiet(idle_share: float, patience_s: float) -> bool:
    """Wait until the processors were idle for ``idle_share`` of two seconds; False when that did
    not come to pass in time.

    Where the kernel does not tell, it is quiet.
    """
    give_up_at = time.monotonic() + patience_s
    while _idle_share() < idle_share:
        if time.monotonic() > give_up_at:
            return False
    return True


def _idle_share() -> float:
    before = _ticks()
    if before is None:
        return 1.0
    time.sleep(_LOOK_S)
    after = _ticks() or before
    total = after[1] - before[1]
    return (after[0] - before[0]) / total if total else 1.0


def _ticks() -> tuple[int, int] | None:
    """(idle, all) since the machine was started."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    numbers = [
        int(number) for number in path.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    ]
    return numbers[3] + numbers[4], sum(numbers)
