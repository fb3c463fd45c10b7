"""The endpoints, what goes wrong with them, and the time that nobody can beat."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.pool_clients import Outcome
from benchmarks.pool_server import Counts, Endpoint, Fault

THREE = (Endpoint(8, 0.2), Endpoint(4, 0.5), Endpoint(1, 2.0))
TWELVE = THREE * 4
_FAST, _MIDDLE, _SLOW = range(3)
_QUICK = (Endpoint(16, 0.02),) * 3
LIMIT_S = 57.0


@dataclass(frozen=True, slots=True)
class Client:
    """A client: ``kind`` as in ``pool_clients``, with that many ``callers`` (None: all questions at
    once). ``kind`` as in ``pool_clients``, with so many ``callers`` (None: everything is asked at
    once).
    """

    name: str
    kind: str
    callers: int | None = None
    python: str = sys.executable


@dataclass(frozen=True, slots=True)
class Scene:
    """``usual`` endpoints and what they are in this scene.

    ``most``: the makespan over the ideal that was promised, or None.
    """

    name: str
    usual: tuple[Endpoint, ...]
    endpoints: tuple[Endpoint, ...]
    questions: int
    most: float | None
    unanswerable: int = 0
    limit_s: float = LIMIT_S

    @property
    def ideal_s(self) -> float:
        """The time of the last answer if every working slot were always in use and nothing were
        asked twice.

        Where an endpoint asks to be left alone for a second, the ideal obeys.
        """
        low, high = 0.0, 1e6
        while high - low > 1e-6:
            middle = (low + high) / 2
            if (
                sum(endpoint.rate * _up_s(endpoint, middle) for endpoint in self.endpoints)
                < self.questions
            ):
                low = middle
            else:
                high = middle
        return high


def _up_s(endpoint: Endpoint, until_s: float) -> float:
    """Return the seconds of the first ``until_s`` in which the endpoint can be used."""
    if endpoint.fault in (Fault.DOWN, Fault.HANG):
        return min(until_s, endpoint.at_s) + max(0.0, until_s - endpoint.until_s)
    if endpoint.fault is Fault.BUSY:
        return until_s - min(1.0, max(0.0, until_s - endpoint.at_s))
    return until_s


@dataclass(frozen=True, slots=True)
class Run:
    """Result of one client in one scene, and the counts of each endpoint."""

    client: Client
    scene: Scene
    outcome: Outcome
    counts: tuple[Counts, ...]

    @property
    def over_ideal(self) -> float:
        """Makespan over the ideal."""
        return self.outcome.wall_s / self.scene.ideal_s

    @property
    def extra(self) -> float:
        """Requests that were neither the first of their question nor made after an endpoint failed
        one, per question.
        """
        received = sum(counts.received for counts in self.counts)
        failed = sum(counts.failed for counts in self.counts)
        return max(0, received - failed - self.outcome.answered) / self.scene.questions

    @property
    def cpu_ms(self) -> float:
        """The client's own CPU per question."""
        return 1000 * self.outcome.cpu_s / self.scene.questions


def scenes(usual: tuple[Endpoint, ...], questions: int) -> tuple[Scene, ...]:
    """Everything that may happen, to one of the endpoints each time."""

    def scene(
        name: str, which: int, most: float | None, unanswerable: int = 0, **changes: object
    ) -> Scene:
        endpoints = list(usual)
        endpoints[which] = replace(endpoints[which], **changes)  # type: ignore[arg-type]
        return Scene(name, usual, tuple(endpoints), questions, most, unanswerable)

    poisoned = tuple(replace(endpoint, fault=Fault.POISON) for endpoint in usual)
    return (
        scene("healthy", _FAST, 1.05),
        scene("the middle one dies", _MIDDLE, 1.05, fault=Fault.DOWN),
        scene("the middle one hangs", _MIDDLE, 1.05, fault=Fault.HANG),
        scene("the fast one is down for 3 s", _FAST, 1.10, fault=Fault.DOWN, at_s=4.0, until_s=7.0),
        scene("the fast one says 429 once", _FAST, 1.05, fault=Fault.BUSY, at_s=4.0),
        Scene("three poison pictures", usual, poisoned, questions, None, unanswerable=3),
        scene(
            "the middle one 20 times slower", _MIDDLE, None, service_s=20 * usual[_MIDDLE].service_s
        ),
        scene("the slow one takes 30 s", _SLOW, 1.40, service_s=30.0),
    )


POOL = Client("this pool", "pool")
ENGINE = Client(
    "this pool, 56 callers as in the engine", "pool", sum(one.slots for one in _QUICK) + 8
)
WAITING = Client("this pool, all at once, one picture", "pool-one-picture")


def others(python: str) -> tuple[Client, ...]:
    """Return the clients of other libraries, which run in an environment of their own."""
    return (
        Client("multiplexer-llm 0.4.0, 13 callers", "multiplexer", 13, python),
        Client("multiplexer-llm 0.4.0, 20 callers", "multiplexer", 20, python),
        Client("LiteLLM Router, least busy, 13 callers", "litellm-least-busy", 13, python),
        Client("LiteLLM Router, shuffle by exact rates, 13 callers", "litellm-shuffle", 13, python),
    )


@dataclass(frozen=True, slots=True)
class Extent:
    """Size of a run: scenes of three endpoints and of twelve, ``few`` and ``many`` questions for
    memory, and the other clients.

    ``patience_s``: how long to wait for a quiet machine each time.
    """

    three: tuple[Scene, ...]
    twelve: tuple[Scene, ...]
    few: Scene
    many: Scene
    others: Sequence[Client] = ()
    patience_s: float = 0.0


def _submitted(questions: int) -> Scene:
    return Scene(f"{questions:,} submitted", _QUICK, _QUICK, questions, None, limit_s=110.0)


def full(others: Sequence[Client], patience_s: float) -> Extent:
    """Return the size of the run that the docs show."""
    return Extent(
        scenes(THREE, 600),
        scenes(TWELVE, 2400),
        _submitted(600),
        _submitted(20_000),
        others,
        patience_s,
    )


def quick() -> Extent:
    """Return the same in some seconds: few questions to quick endpoints."""
    three = tuple(replace(endpoint, service_s=endpoint.service_s / 10) for endpoint in THREE)
    some = tuple(
        replace(
            scene,
            endpoints=tuple(replace(one, at_s=0.2, until_s=one.until_s) for one in scene.endpoints),
        )
        for scene in scenes(three, 60)
        if scene.name in ("healthy", "the middle one dies")
    )
    return Extent(some, (), _submitted(50), _submitted(200))
