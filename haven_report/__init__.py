"""What a run leaves for a person to read: a page and a JSON file in the report folder, and an index of all runs.

``values`` is what goes in. Rendering is pure; only ``writing`` and ``folder`` touch files.
"""

from __future__ import annotations

from haven_report.values import End, MarkerChange, Outcome, RunReport, SceneChange, SceneReport
from haven_report.writing import write_report

__all__ = ["End", "MarkerChange", "Outcome", "RunReport", "SceneChange", "SceneReport", "write_report"]
