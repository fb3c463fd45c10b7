"""A server on a virtual clock whose rates are known, and questions as the product asks them."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from vlm_engine.clients.pricing import PriceLearner
from vlm_engine.clients.server_time import Request
from vlm_engine.types import Answer, ServerTimings

SMALL, FULL = 512 * 288, 1024 * 576
TEXT_TOKENS = 330
DEPLOYMENTS = ((0.2, 4e-3, 25e-3), (0.06, 6e-4, 12e-3), (0.015, 7e-5, 8e-4))


class Way(Enum):
    """The way in which a server works on several questions."""

    BATCHES = "one prompt after another, which stops the answers; answers together"
    SHARES = "all at once, each as slow as there are many"
    CLOUD = "all at once, each as fast as alone"


@dataclass(frozen=True)
class Kind:
    """A question: pixels of its picture, tokens of its answer."""

    pixels: int
    written: int


ASKED = (Kind(SMALL, 5), Kind(SMALL, 13), Kind(FULL, 9), Kind(FULL, 50))


def mixed(rng: random.Random) -> Kind:
    """Return a scan, a second look, or one of the few questions with a large picture."""
    names = sum(rng.random() < 0.3 for _ in range(3))
    if rng.random() < 0.85:
        return Kind(SMALL, 5 + 4 * names)
    return Kind(FULL, rng.choice([9, 13, 30, 50, 70]))


@dataclass(eq=False)
class _Work:
    kind: Kind
    request: Request | None
    read_s: float
    write_s: float
    reading_from: float | None = None
    writing_from: float = 0.0


@dataclass
class Simulated:
    """A server with hidden rates. ``in_flight`` questions are asked at once, ``slots`` worked on.

    ``noise``: relative deviation of each time. ``cold_s``: what the first answer takes longer.
    From answer ``slow_after`` on, all takes ``slower`` times as long.
    """

    rates: tuple[float, float, float]
    slots: int = 1
    in_flight: int = 1
    way: Way = Way.BATCHES
    noise: float = 0.1
    cold_s: float = 20.0
    slow_after: int = 10**9
    slower: float = 1.0
    tokens_of: Callable[[int], int] = lambda pixels: pixels // 784
    tells_tokens: bool = True
    tells_times: bool = False
    now: float = 0.0
    busy_s: float = 0.0
    spent_s: list[float] = field(default_factory=lambda: [0.0, 0.0])
    due_s: list[float] = field(default_factory=lambda: [0.0, 0.0])

    @classmethod
    def drawn(cls, seed: int, **settings) -> "Simulated":
        """Return one with rates up to twice as high or low as those of a usual deployment."""
        rng = random.Random(seed)
        a, b, c = (rate * 2 ** rng.uniform(-1, 1) for rate in rng.choice(DEPLOYMENTS))
        return cls((a, b, c), **settings)

    def answer(self, number: int, learner: PriceLearner | None, rng: random.Random, kinds=mixed):
        """Ask and answer until ``number`` questions are answered; others are in flight then.

        Return the learner, which may be None.
        """
        waiting: list[_Work] = []
        working: list[_Work] = []
        answered = 0
        while answered < number:
            most = self.in_flight if answered else 1  # as the pool: the first one alone
            while len(waiting) + len(working) < most:
                waiting.append(self._ask(kinds(rng), learner, rng))
            while waiting and len(working) < self.slots:
                working.append(waiting.pop(0))
            pace = self.slower if answered >= self.slow_after else 1.0
            done = self._proceed(working, pace)
            if done is not None:
                working.remove(done)
                answered += 1
                if learner is not None:
                    self._give(done, learner)
        return learner

    def cost(self, kind: Kind, *, after_slowdown: bool = False) -> float:
        """Return what such a question takes of the server, as busy as it was."""
        a, b, c = self.rates
        reading, writing = (
            spent / due if due else 1.0 for spent, due in zip(self.spent_s, self.due_s, strict=True)
        )
        cost = (a + b * self.tokens_of(kind.pixels)) * reading + c * kind.written * writing
        return cost * (self.slower if after_slowdown else 1.0)

    def busy(self, number: int = 400) -> "Simulated":
        """Return the same server after so many answers without noise: it knows its costs."""
        quiet = replace(self, noise=0.0, cold_s=0.0, slower=1.0, spent_s=[0.0] * 2, due_s=[0.0] * 2)
        quiet.answer(number, None, random.Random(99))
        return quiet

    def _ask(self, kind: Kind, learner: PriceLearner | None, rng: random.Random) -> _Work:
        a, b, c = self.rates
        request = learner and learner.start((kind.pixels,), 4 * TEXT_TOKENS, self.now)
        read_s = (a + b * self.tokens_of(kind.pixels)) * math.exp(rng.gauss(0, self.noise))
        write_s = c * kind.written * math.exp(rng.gauss(0, self.noise))
        cold_s, self.cold_s = self.cold_s, 0.0
        return _Work(kind, request, read_s + cold_s, write_s)

    def _proceed(self, working: list[_Work], pace: float) -> _Work | None:
        """Let time pass until a prompt is read or a question answered. Return the answered one."""
        reading = next((work for work in working if work.read_s > 0), None)
        if self.way is Way.BATCHES and reading is not None:
            self._spend([reading], reading.read_s * pace, 1.0, pace)
            return None
        slowdown = {
            Way.BATCHES: 1 + 0.1 * (len(working) - 1),
            Way.SHARES: len(working),
            Way.CLOUD: 1,
        }[self.way] * pace
        first = min(working, key=lambda work: work.read_s or work.write_s)
        self._spend(working, (first.read_s or first.write_s) * slowdown, len(working), slowdown)
        return first if not first.read_s and not first.write_s else None

    def _spend(self, busy: list[_Work], seconds: float, shared_by: float, slowdown: float) -> None:
        self.now += seconds
        self.busy_s += seconds
        for work in busy:
            is_writing = not work.read_s
            self.spent_s[is_writing] += seconds / shared_by
            self.due_s[is_writing] += seconds / slowdown
            left = (work.write_s if is_writing else work.read_s) - seconds / slowdown
            left = left if left > 1e-12 else 0.0
            if is_writing:
                work.write_s = left
                continue
            if work.reading_from is None:
                work.reading_from = self.now - seconds
            work.read_s, work.writing_from = left, self.now

    def _give(self, work: _Work, learner: PriceLearner) -> None:
        learner.end(work.request, self.now)
        tokens = self.tokens_of(work.kind.pixels)
        times = ServerTimings(
            work.writing_from - (work.reading_from or 0.0),
            tokens,
            self.now - work.writing_from,
            work.kind.written,
        )
        answer = Answer(
            {},
            "",
            "model",
            "endpoint",
            TEXT_TOKENS + tokens if self.tells_tokens else 0,
            work.kind.written,
            timings=times if self.tells_times else None,
        )
        learner.learn(work.request, answer)


def learnt(learner: PriceLearner, kind: Kind) -> float:
    """Return the cost of such a question as the learner has it."""
    cost = learner.cost(kind.pixels)
    return cost.call_s + cost.picture_s + cost.answer_token_s * kind.written
