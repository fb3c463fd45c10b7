"""Scenes of the benchmark of a cluster, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.cluster_parts import Cost

CPU_OF_ALL = ("caller", "scheduler", "workers")


@dataclass(frozen=True, slots=True)
class Server:
    """An endpoint: ``slots`` of ``answer_s``. Only ``worker`` asks it, if that is set."""

    slots: int
    answer_s: float
    worker: str = ""

    @property
    def rate(self) -> float:
        """Answers per second at most."""
        return self.slots / self.answer_s


@dataclass(frozen=True, slots=True)
class Action:
    """Event that meets a worker ``at_s`` after the start: ``kill``, ``pause`` or ``join``."""

    kind: str
    worker: str
    at_s: float
    for_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Work with these ``workers`` from the start; none: in the caller's own process."""

    name: str
    workers: Sequence[str]
    servers: Sequence[Server]
    action: Action | None = None

    @property
    def is_undisturbed(self) -> bool:
        """True where no worker is lost, late, or slower than others."""
        return self.action is None and len({server.answer_s for server in self.servers}) == 1

    def ideal_s(self, answers: int, longest_s: float) -> float:
        """Return the larger of the time of all answers and that of the longest video alone.

        Every slot is in use from the start, or from when its worker joins. The longest video has
        all endpoints for itself.
        """
        action = self.action
        joins = action is not None and action.kind == "join"
        late_s = {action.worker: action.at_s} if action and joins else {}
        rate = sum(server.rate for server in self.servers)
        missed = sum(server.rate * late_s.get(server.worker, 0.0) for server in self.servers)
        return max((answers + missed) / rate, longest_s)


@dataclass(frozen=True, slots=True)
class Finished:
    """A scene that was played. ``answers``: those of all endpoints."""

    scene: Scene
    makespan_s: float
    ideal_s: float
    answers: int

    @property
    def over_ideal(self) -> float:
        """Makespan over the ideal."""
        return self.makespan_s / self.ideal_s


@dataclass(frozen=True, slots=True)
class Took:
    """``wall_s`` of a phase, seconds of each piece, and the processor time of each role."""

    wall_s: float
    each_s: Sequence[float]
    cpu_s: Mapping[str, float]
    parts: Mapping[str, Cost] = field(default_factory=dict)

    @property
    def cpu_of_all_s(self) -> float:
        """Processor time of all roles."""
        return sum(self.cpu_s.values())


@dataclass(frozen=True, slots=True)
class Costly:
    """Work with endpoints that answer at once. ``workers``: 0 for one process without a cluster.

    ``first``: videos that nothing is known of; ``known``: videos whose answers are all stored, one
    at a time; ``pictures`` and ``known_pictures``: many at a time.
    """

    workers: int
    videos: int
    answers: int
    pictures_count: int
    first: Took
    known: Took
    pictures: Took
    known_pictures: Took
