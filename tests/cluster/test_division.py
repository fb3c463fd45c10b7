"""Slots of one endpoint, divided: never more than there are, none idle, everybody in turn."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_engine.cluster.division import Allowance, Division

LIMIT, FEW = 8, 3


@dataclass
class Engine:
    """An engine that obeys its allowances. What it says and hears takes its time."""

    name: tuple[str, str]
    knows: int = LIMIT
    wanted: int = 0
    taken: int = 0
    allowance: Allowance = field(default_factory=lambda: Allowance(0, 0))
    said: deque[tuple[int, int, int, int]] = field(default_factory=deque)
    heard: deque[Allowance] = field(default_factory=deque)

    def report(self) -> None:
        self.said.append((self.wanted, self.taken, self.knows, self.allowance.number))


class Network:
    """A division, and engines that talk to it in order, but late."""

    def __init__(self) -> None:
        self.division = Division()
        self.engines: list[Engine] = []
        self.joined = 0

    def join(self, knows: int = LIMIT) -> Engine:
        engine = Engine((f"w{self.joined}", "run"), knows)
        self.joined += 1
        self.engines.append(engine)
        engine.report()
        return engine

    def leave(self, engine: Engine) -> None:
        """Its questions have ended before its slots go to others."""
        self.engines.remove(engine)
        self.division.remove(engine.name[0])
        self.send_changes()

    def want(self, engine: Engine, wanted: int) -> None:
        engine.wanted = max(engine.taken, wanted)
        engine.report()

    def learn(self, engine: Engine, limit: int) -> None:
        engine.knows = limit
        engine.report()

    def start(self, engine: Engine) -> None:
        while engine.taken < min(engine.allowance.allowed, engine.wanted):
            engine.taken += 1
            engine.report()

    def finish(self, engine: Engine) -> None:
        if engine.taken:
            engine.taken -= 1
            engine.report()

    def hear(self, engine: Engine) -> None:
        if engine.heard:
            engine.allowance = engine.heard.popleft()
            engine.report()

    def deliver(self, engine: Engine) -> None:
        if engine.said:
            self.division.report(engine.name, *engine.said.popleft())
            self.send_changes()

    def send_changes(self) -> None:
        there = {engine.name: engine for engine in self.engines}
        for name, allowance in self.division.changes().items():
            there[name].heard.append(allowance)

    def settle(self) -> None:
        """Let everybody hear everything, and give back what is not allowed any more."""
        while any(engine.said or engine.heard for engine in self.engines):
            for engine in self.engines:
                self.hear(engine)
                while engine.taken > engine.allowance.allowed:
                    self.finish(engine)
                self.deliver(engine)

    @property
    def taken(self) -> int:
        return sum(engine.taken for engine in self.engines)

    def allowed(self) -> dict[str, int]:
        return {engine.name[0]: engine.allowance.allowed for engine in self.engines}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            "want want start start start finish hear hear hear deliver deliver deliver".split()
            + "join leave rotate learn".split()
        ),
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    max_size=200,
)


@given(STEPS)
def test_engines_never_have_more_than_the_endpoint_takes(steps):
    network = Network()
    for kind, which, number in steps:
        if kind == "join" or not network.engines:
            network.join(FEW if number % 2 else 1)
            continue
        engine = network.engines[which % len(network.engines)]
        if kind == "want":
            network.want(engine, number)
        elif kind == "learn":
            network.learn(engine, FEW)
        elif kind == "rotate":
            network.division.rotate()
            network.send_changes()
        else:
            getattr(network, kind)(engine)
        assert network.taken <= FEW
    network.settle()
    for engine in network.engines:
        network.want(engine, engine.wanted)
    network.settle()
    check_division(network)


def check_division(network: Network) -> None:
    """Check that nothing is idle that somebody wants, and that nobody has more than others."""
    engines = network.engines
    limit = max((engine.knows for engine in engines), default=0)
    allowed = [engine.allowance.allowed for engine in engines]
    assert sum(allowed) == min(limit, sum(engine.wanted for engine in engines))
    least = min(
        (one.allowance.allowed for one in engines if one.allowance.allowed < one.wanted),
        default=limit,
    )
    assert all(number <= least + 1 for number in allowed)
    assert all(one.allowance.allowed <= one.wanted for one in engines)


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ([3], [3]),
        ([20], [8]),
        ([20, 20], [4, 4]),
        ([20, 1], [7, 1]),
        ([20, 1, 20], [4, 1, 3]),
        ([2, 2, 2], [2, 2, 2]),
        ([0, 9], [0, 8]),
    ],
)
def test_slots_are_divided_evenly_up_to_what_each_wants(wanted, allowed):
    network = Network()
    for each in wanted:
        network.want(network.join(), each)
    network.settle()
    assert [*network.allowed().values()] == allowed


def test_an_engine_that_does_not_answer_keeps_what_it_had():
    network = Network()
    silent = network.join()
    network.want(silent, 8)
    network.settle()
    network.start(silent)
    others = [network.join(), network.join()]
    for engine in others:
        network.want(engine, 8)
        while engine.said:
            network.deliver(engine)
    assert all(not engine.heard for engine in others)
    network.leave(silent)
    network.settle()
    assert [*network.allowed().values()] == [4, 4]


def test_a_slot_given_back_goes_to_those_that_want_more():
    network = Network()
    one, other = network.join(), network.join()
    network.want(one, 8)
    network.settle()
    network.start(one)
    network.want(other, 8)
    for _ in range(20):
        network.hear(one)
        network.deliver(one)
        network.deliver(other)
        network.hear(other)
    assert (one.allowance.allowed, one.taken, other.allowance.allowed) == (4, 8, 0)
    network.finish(one)
    network.settle()
    assert network.allowed() == {"w0": 4, "w1": 4}


def test_slots_on_their_way_to_one_engine_go_to_no_other():
    network = Network()
    one, other = network.join(), network.join()
    network.want(one, 8)
    network.want(other, 0)
    while one.said or other.said:
        network.deliver(one)
        network.deliver(other)
    network.want(other, 8)
    network.deliver(other)
    assert one.heard[0].allowed == 8
    assert not other.heard


def test_slots_given_back_one_by_one_go_to_one_engine_each():
    network = Network()
    one, others = network.join(), [network.join(), network.join()]
    network.want(one, 8)
    network.settle()
    network.start(one)
    for engine in others:
        network.want(engine, 8)
    for _ in range(20):
        network.hear(one)
        network.deliver(one)
        for engine in others:
            network.deliver(engine)
    for left in range(7, 3, -1):
        network.finish(one)
        while one.said or one.heard:
            network.deliver(one)
            network.hear(one)
        for engine in others:
            while engine.heard:
                network.hear(engine)
        allowed = [engine.allowance.allowed for engine in others]
        assert one.taken == left
        assert sum(allowed) == LIMIT - left


@given(st.integers(1, 4), st.integers(2, 9))
def test_in_turns_everybody_gets_a_slot(slots, count):
    network = Network()
    engines = [network.join(slots) for _ in range(count)]
    for engine in engines:
        network.want(engine, 3)
    network.settle()
    for _ in range(3):
        had = set()
        for _ in range(-(-count // slots)):
            had |= {name for name, allowed in network.allowed().items() if allowed}
            network.division.rotate()
            network.send_changes()
            network.settle()
        assert had == {engine.name[0] for engine in engines}


def test_an_engine_that_knows_less_gets_its_part_of_all_slots():
    network = Network()
    knows, starts = network.join(LIMIT), network.join(1)
    for engine in (knows, starts):
        network.want(engine, 8)
    network.settle()
    assert network.allowed() == {"w0": 4, "w1": 4}
    network.learn(starts, 10)
    network.settle()
    assert network.allowed() == {"w0": 5, "w1": 5}


def test_removing_a_run_removes_its_engines_on_every_worker():
    division = Division()
    for worker in ("w0", "w1"):
        for run in ("a", "b"):
            division.report((worker, run), 8, 0, LIMIT, 0)
    division.changes()
    division.remove("a")
    assert not division.has("a")
    assert division.has("b")
    division.remove("w0")
    division.remove("w1")
    assert division.is_empty
