"""A run's report for people: a page and a JSON file in the report folder, and an index of all runs.

``values`` holds what goes in. Rendering is pure; only ``folder`` touches files.
"""

from __future__ import annotations

from haven.report.folder import write_report
from haven.report.values import (
    End,
    ItemChange,
    ItemGroup,
    ItemKind,
    ItemReport,
    MarkerChange,
    Outcome,
    RunReport,
    by_severity,
    counted,
    spent,
)

__all__ = [
    "End",
    "ItemChange",
    "ItemGroup",
    "ItemKind",
    "ItemReport",
    "MarkerChange",
    "Outcome",
    "RunReport",
    "by_severity",
    "counted",
    "spent",
    "write_report",
]
