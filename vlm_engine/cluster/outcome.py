"""Outcome of a task: its result or its error, and what its worker knows beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vlm_engine.errors import VLMEngineError
from vlm_engine.files import describe_error
from vlm_engine.types import EndpointStats, ImageResult, StyleComparison, VideoResult

VideoOutput = VideoResult | Mapping[str, Any]
ImageOutput = ImageResult | Mapping[str, Any]
"""Outputs of pipelines."""
Stats = Mapping[str, tuple[str, EndpointStats]]
"""The model and the statistics of each endpoint, by its name."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Knowledge of a worker beside its results, since its engine was opened."""

    stats: Stats
    comparisons: tuple[StyleComparison, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a task, or the error that ended it. ``worker``: its address.

    It goes to the caller as answers do. Dask would need four more messages for a result, and would
    log an error with all that the task was given.
    """

    worker: str
    state: WorkerState
    result: Any

    @property
    def error(self) -> VLMEngineError | None:
        """The error that ended it."""
        return self.result if isinstance(self.result, VLMEngineError) else None


def portable(error: Exception) -> VLMEngineError:
    """Return an error that the caller knows, too."""
    return error if isinstance(error, VLMEngineError) else VLMEngineError(describe_error(error))


def added(states: Iterable[WorkerState]) -> dict[str, tuple[str, EndpointStats]]:
    """Return the statistics of all workers together."""
    sums: dict[str, tuple[str, EndpointStats]] = {}
    for state in states:
        for label, (model, stats) in state.stats.items():
            sums[label] = model, _sum(sums[label][1], stats) if label in sums else stats
    return sums


def _sum(one: EndpointStats, other: EndpointStats) -> EndpointStats:
    kinds = {**one.failed, **other.failed}
    failed = {kind: one.failed.get(kind, 0) + other.failed.get(kind, 0) for kind in kinds}
    in_flight = one.in_flight + other.in_flight
    return replace(
        one if one.served >= other.served else other,
        slots=max(one.slots, other.slots, in_flight),  # with auto, each worker has some of its own
        in_flight=in_flight,
        served=one.served + other.served,
        failed=failed,
        copies=one.copies + other.copies,
        down_s=min(one.down_s, other.down_s),
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        answer_tokens=one.answer_tokens + other.answer_tokens,
        busy_s=one.busy_s + other.busy_s,
    )
