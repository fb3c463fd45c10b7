"""What a run leaves for a person to read: a page and a JSON file in the report folder, and an index of all runs.

``values`` is what goes in. Rendering is pure; only ``writing`` and ``folder`` touch files.
"""

from __future__ import annotations

from haven.report.values import (
    End,
    ImageGroup,
    ImageReport,
    ItemChange,
    ItemKind,
    MarkerChange,
    Outcome,
    RunReport,
    SceneReport,
)
from haven.report.writing import write_report

__all__ = [
    "End",
    "ImageGroup",
    "ImageReport",
    "ItemChange",
    "ItemKind",
    "MarkerChange",
    "Outcome",
    "RunReport",
    "SceneReport",
    "write_report",
]
