"""The peak memory of this process."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def peak_mb() -> float:
    """Megabytes resident at the peak, of this process alone.

    Linux keeps the figure of ``getrusage`` when a program starts another one, so that a small child
    shows its parent's peak; what the kernel says of the address space itself does not have that
    flaw.
    """
    status = Path("/proc/self/status")
    match = (
        re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"), re.MULTILINE)
        if status.exists()
        else None
    )
    return (
        int(match[1]) / 1024 if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
