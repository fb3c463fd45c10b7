"""What a user could set for this search."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BeliefSettings:
    """``interval_s``: of the first scan; ``questions_per_hour``: a budget, or None for a price; the rest as ``SearchConfig``."""

    frame_interval_s: float | None = None
    shortest_event_s: float | None = None
    questions_per_hour: float | None = None
    edge_tolerance_s: float = 0.5
    second_looks: bool = True

    @property
    def interval_s(self) -> float:
        """Longest time between two looks of the scan, in seconds."""
        if self.frame_interval_s is not None:
            return self.frame_interval_s
        if self.shortest_event_s is not None:
            return min(16.0, max(4.0, 0.8 * self.shortest_event_s))
        return 24.0
