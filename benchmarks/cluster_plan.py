"""A cluster on paper: discrete events in virtual time, with costs that were measured.

Slots are divided by the ``Division`` of the product; the scheduler and the caller are queues of
one server each. No clock, no sleeping: the same plan gives the same result.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from math import ceil, log
from typing import Any

from vlm_engine.cluster.division import Division

GIVEN_BACK_AFTER_S, LINGERS_S, TURN_S = 0.25, 2.0, 1.0
"""As in ``vlm_engine.cluster``: slots go back after, slots of a lost worker stay, turns come."""
_ALWAYS_WANTED, _CHOICE = 16, 4
_RUN = "run"


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor seconds. ``call``: a store call and its reply. ``report``: one, and an allowance.

    ``engine``: of dividing the slots of an endpoint once, for each engine that asks for them.
    ``hop_s``: the time that a message takes beside that.
    """

    scheduler_task_s: float = 0.0
    scheduler_call_s: float = 0.0
    scheduler_report_s: float = 0.0
    engine_s: float = 0.0
    caller_task_s: float = 0.0
    caller_call_s: float = 0.0
    caller_answer_s: float = 0.0
    hop_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``places``: videos at once on a worker. ``private``: each worker has endpoints of its own.

    The number of questions about a video is log-normal: ``median_questions``, ``sigma``. They come
    in ``rounds`` of the same size; each begins when the answers of the last one are stored.
    ``slow_share`` of the endpoints take ``slow_factor`` times as long. Every ``lost_every_s`` a
    worker is lost, and another one joins after ``joins_after_s``.
    """

    workers: int
    endpoints: int
    videos: int
    places: int = 32
    slots: int = 8
    answer_s: float = 4.0
    private: bool = False
    median_questions: float = 12.0
    sigma: float = 1.0
    rounds: int = 5
    slow_share: float = 0.0
    slow_factor: float = 4.0
    lost_every_s: float = 0.0
    joins_after_s: float = 60.0
    seed: int = 0
    name: str = ""


@dataclass(slots=True)
class Result:
    """``possible_per_s``: answers of all slots. ``needed``: questions of all videos.

    ``sent``: questions to endpoints; ``stored``: answers kept. ``peak``: at most at an endpoint.

    ``scheduler_s``, ``caller_s``: how long each was busy. ``done``: how often each video was done.
    """

    plan: Plan
    makespan_s: float
    ideal_s: float
    possible_per_s: float
    needed: int
    sent: int
    stored: int
    lost: int
    lost_in_flight: int
    peak: int
    scheduler_s: float
    caller_s: float
    reports: int
    calls: int
    done: list[int]

    @property
    def over_ideal(self) -> float:
        """Makespan over the ideal."""
        return self.makespan_s / self.ideal_s

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.stored / self.makespan_s


@dataclass(eq=False, slots=True)
class _Video:
    number: int
    questions: int
    rounds: int
    left: int = 0  # not stored yet
    in_round: int = 0  # of these, in this round

    def __lt__(self, other: _Video) -> bool:
        return (-self.questions, self.number) < (-other.questions, other.number)

    def next_round(self) -> int:
        self.in_round = min(self.left, ceil(self.questions / self.rounds))
        return self.in_round


@dataclass(slots=True)
class _Share:
    """A worker's share of one endpoint: what it last told, and what it may have.

    ``taken`` until the answers are stored; ``asking`` until the endpoint has answered.
    """

    allowed: int = 0
    number: int = 0
    taken: int = 0
    asking: int = 0
    sent_wanted: int = 0
    sent_seen: int = 0
    sent_limit: int = 0
    has_timer: bool = False
    is_free: bool = False


@dataclass(eq=False, slots=True)
class _Worker:
    name: str
    order: list[int]  # its endpoints, as it prefers them
    running: dict[int, _Video] = field(default_factory=dict)
    queue: deque[_Video] = field(default_factory=deque)
    shares: dict[int, _Share] = field(default_factory=dict)
    free: list[tuple[float, int]] = field(default_factory=list)
    place: dict[int, int] = field(default_factory=dict)
    spare: deque[_Video] = field(default_factory=deque)
    answers: list[tuple[_Video, int]] = field(default_factory=list)
    in_flight: int = 0
    kept: int = 0  # of these, stored already
    is_writing: bool = False
    is_lost: bool = False
    wants: tuple[int, int] = (0, 0)  # how many of its endpoints, how many of the slots of each


class Simulation:
    """One run of a plan."""

    def __init__(self, plan: Plan, costs: Costs) -> None:
        self._plan, self._costs = plan, costs
        self._rng = random.Random(plan.seed)
        self._now = 0.0
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        slow = round(plan.endpoints * plan.slow_share)
        self._answer_s = [
            plan.answer_s * (plan.slow_factor if number < slow else 1.0)
            for number in range(plan.endpoints)
        ]
        self._rng.shuffle(self._answer_s)
        self._at_server = [0] * plan.endpoints
        self._divisions = [Division() for _ in range(plan.endpoints)]
        self._workers: dict[str, _Worker] = {}
        self._ready: list[_Video] = []
        self._vacant: deque[_Worker] = deque()
        self._waiting = [
            _Video(number, each, plan.rounds, each) for number, each in enumerate(self._lengths())
        ]
        self._needed = sum(video.questions for video in self._waiting)
        self._rate = sum(plan.slots / each for each in self._answer_s)
        self._ideal_s = self._ideal()
        heapify(self._waiting)
        self._held = 0
        self._left = plan.videos
        self._done = [0] * plan.videos
        self._scheduler_until = self._caller_until = 0.0
        self._scheduler_s = self._caller_s = 0.0
        self._mailbox: list[tuple[_Worker, list[tuple[_Video, int]]]] = []
        self._caller_works = False
        self._has_turn = False
        self._sent = self._stored = self._lost = self._lost_in_flight = 0
        self._peak = self._reports = self._calls = 0

    def run(self) -> Result:
        """Return what comes of the plan."""
        plan = self._plan
        for number in range(plan.workers):
            self._join(number, number)
        self._vacant = deque([*self._workers.values()] * plan.places)
        self._admit()
        if plan.lost_every_s:
            self._after(plan.lost_every_s, self._lose_one)
        events = self._events
        while self._left:
            if self._now > 1000 * self._ideal_s:
                raise RuntimeError(f"{self._left} videos are not done at {self._now:.0f} s")
            self._now, _, call, values = heappop(events)
            call(*values)
        return Result(
            plan,
            self._now,
            self._ideal_s,
            self._rate,
            self._needed,
            self._sent,
            self._stored,
            self._lost,
            self._lost_in_flight,
            self._peak,
            self._scheduler_s,
            self._caller_s,
            self._reports,
            self._calls,
            self._done,
        )

    def _lengths(self) -> list[int]:
        plan = self._plan
        middle = log(plan.median_questions)
        return [
            max(1, round(self._rng.lognormvariate(middle, plan.sigma))) for _ in range(plan.videos)
        ]

    def _ideal(self) -> float:
        """Return the larger of: all answers by all slots, and the longest video by itself."""
        reachable = self._plan.slots * (
            self._plan.endpoints // self._plan.workers
            if self._plan.private
            else self._plan.endpoints
        )
        longest = max(video.questions for video in self._waiting)
        in_a_row = _answers_in_a_row(longest, self._plan.rounds, reachable)
        return max(self._needed / self._rate, in_a_row * min(self._answer_s))

    def _after(self, delay_s: float, call: Callable[..., None], *values: object) -> None:
        heappush(self._events, (self._now + delay_s, next(self._numbers), call, values))

    def _scheduled(self, cost_s: float, call: Callable[..., None], *values: object) -> None:
        """Call something once the scheduler has worked on it, and the message has come."""
        self._scheduler_until = max(self._scheduler_until, self._now) + cost_s
        self._scheduler_s += cost_s
        self._after(self._scheduler_until - self._now + self._costs.hop_s, call, *values)

    # Workers and tasks.

    def _join(self, number: int, owned: int) -> None:
        plan = self._plan
        if plan.private:
            each = plan.endpoints // plan.workers
            order = [*range(owned * each, (owned + 1) * each)]
        else:
            order = [*range(plan.endpoints)]
            self._rng.shuffle(order)
        worker = _Worker(f"worker {number}", order)
        worker.place = {endpoint: place for place, endpoint in enumerate(order)}
        self._workers[worker.name] = worker
        if self._now:
            self._vacant.extend([worker] * plan.places)
            self._admit()

    def _admit(self) -> None:
        """Let in the longest videos that wait, as ``Places`` does."""
        costs = self._costs
        size = len(self._workers) * self._plan.places
        while self._waiting and self._held < size:
            self._held += 1
            self._caller_takes(
                costs.caller_task_s / 2,
                self._scheduled,
                costs.scheduler_task_s / 2,
                self._submitted,
                heappop(self._waiting),
            )

    def _caller_takes(self, cost_s: float, call: Callable[..., None], *values: object) -> None:
        """Call something when the event loop of the caller has come to it."""
        self._caller_until = max(self._caller_until, self._now) + cost_s
        self._caller_s += cost_s
        self._after(self._caller_until - self._now, call, *values)

    def _submitted(self, video: _Video) -> None:
        heappush(self._ready, video)
        self._assign()

    def _assign(self) -> None:
        while self._ready and self._vacant:
            worker = self._vacant.popleft()
            if not worker.is_lost:
                worker.spare.append(heappop(self._ready))
                self._begin(worker)

    def _begin(self, worker: _Worker) -> None:
        while worker.spare and len(worker.running) < self._plan.places:
            video = worker.spare.popleft()
            worker.running[video.number] = video
            if video.left > 0:
                worker.queue.extend([video] * video.next_round())
            else:  # a lost worker had its last answers stored
                self._finish(worker, video)
        self._dispatch(worker)

    def _finish(self, worker: _Worker, video: _Video) -> None:
        del worker.running[video.number]
        self._vacant.append(worker)
        self._begin(worker)
        self._scheduled(self._costs.scheduler_task_s / 2, self._finished, video)

    def _finished(self, video: _Video) -> None:
        self._assign()
        self._caller_takes(self._costs.caller_task_s / 2, self._over, video)

    def _over(self, video: _Video) -> None:
        self._done[video.number] += 1
        self._left -= 1
        self._held -= 1
        self._admit()

    # Questions.

    def _dispatch(self, worker: _Worker, changed: set[int] | None = None) -> None:
        """Ask what waits, as far as slots allow, and report what could be used."""
        changed = changed or set()
        while worker.queue and worker.free:
            _, endpoint = worker.free[0]
            share = worker.shares[endpoint]
            if share.taken >= share.allowed:
                heappop(worker.free)
                share.is_free = False
                continue
            video = worker.queue.popleft()
            share.taken += 1
            share.asking += 1
            worker.in_flight += 1
            changed.add(endpoint)
            self._sent += 1
            self._at_server[endpoint] += 1
            self._peak = max(self._peak, self._at_server[endpoint])
            self._after(self._answer_s[endpoint], self._answer, worker, endpoint, video)
        self._report(worker, changed)

    def _answer(self, worker: _Worker, endpoint: int, video: _Video) -> None:
        if worker.is_lost:
            return
        self._at_server[endpoint] -= 1
        worker.shares[endpoint].asking -= 1
        worker.answers.append((video, endpoint))
        if not worker.is_writing:
            self._write(worker)

    def _write(self, worker: _Worker) -> None:
        """Send the answers that wait: one call at a time, as the batcher of an engine does."""
        worker.is_writing = True
        answers, worker.answers = worker.answers, []
        self._calls += 1
        self._after(
            self._costs.hop_s,
            self._scheduled,
            self._costs.scheduler_call_s / 2,
            self._called,
            worker,
            answers,
        )

    def _called(self, worker: _Worker, answers: list[tuple[_Video, int]]) -> None:
        self._mailbox.append((worker, answers))
        if not self._caller_works:
            self._commit()

    def _commit(self) -> None:
        """Store everything that has come, in one go."""
        calls, self._mailbox = self._mailbox, []
        self._caller_works = True
        rows = sum(len(answers) for _, answers in calls)
        cost_s = len(calls) * self._costs.caller_call_s + rows * self._costs.caller_answer_s
        self._caller_takes(cost_s, self._committed, calls)

    def _committed(self, calls: list[tuple[_Worker, list[tuple[_Video, int]]]]) -> None:
        self._caller_works = False
        for worker, answers in calls:
            self._stored += len(answers)
            for video, _ in answers:
                video.left -= 1
            if worker.is_lost:  # its videos are elsewhere: what was stored is not asked again
                self._lost_in_flight -= len(answers)
                continue
            worker.kept += len(answers)
            self._scheduled(self._costs.scheduler_call_s / 2, self._replied, worker, answers)
        if self._mailbox:
            self._commit()

    def _replied(self, worker: _Worker, answers: list[tuple[_Video, int]]) -> None:
        if worker.is_lost:
            return
        worker.is_writing = False
        worker.kept -= len(answers)
        if worker.answers:
            self._write(worker)
        ended = []
        for video, endpoint in answers:
            worker.shares[endpoint].taken -= 1
            worker.in_flight -= 1
            self._offer(worker, endpoint)
            video.in_round -= 1
            if not video.in_round:
                if video.left > 0:
                    worker.queue.extend([video] * video.next_round())
                else:
                    ended.append(video)
        self._dispatch(worker, {endpoint for _, endpoint in answers})
        for video in ended:
            self._finish(worker, video)

    def _offer(self, worker: _Worker, endpoint: int) -> None:
        share = worker.shares[endpoint]
        if share.taken < share.allowed and not share.is_free:
            share.is_free = True
            heappush(worker.free, (self._answer_s[endpoint], endpoint))

    # Slots: reports as ``EndpointPool`` and ``SlotShare`` send them, divided by the real class.

    def _report(self, worker: _Worker, changed: set[int]) -> None:
        slots = self._plan.slots
        waiting = len(worker.queue)
        choice = ceil(_CHOICE * (worker.in_flight + waiting) / slots)
        wanted = min(len(worker.order), max(_ALWAYS_WANTED, choice))
        before, worker.wants = worker.wants, (wanted, min(waiting, slots))
        if before[1] != worker.wants[1]:
            changed.update(worker.order[: max(before[0], wanted)])
        elif before[0] != wanted:
            changed.update(worker.order[min(before[0], wanted) : max(before[0], wanted)])
        for endpoint in changed:
            share = worker.shares.get(endpoint)
            if share is None:
                share = worker.shares[endpoint] = _Share()
            self._report_one(worker, endpoint, share)

    def _wanted(self, worker: _Worker, endpoint: int, share: _Share) -> int:
        prefix, waiting = worker.wants
        if worker.place[endpoint] >= prefix:
            return share.taken
        return max(share.taken, min(self._plan.slots, share.taken + waiting))

    def _report_one(self, worker: _Worker, endpoint: int, share: _Share) -> None:
        wanted = self._wanted(worker, endpoint, share)
        lacks = wanted > share.allowed and wanted > share.sent_wanted
        obeys = share.taken <= share.allowed and share.sent_seen != share.number
        if lacks or obeys or share.sent_limit != self._plan.slots:
            self._tell(worker, endpoint)
        elif wanted != share.sent_wanted and not share.has_timer:
            share.has_timer = True
            self._after(GIVEN_BACK_AFTER_S, self._tell_late, worker, endpoint)

    def _tell_late(self, worker: _Worker, endpoint: int) -> None:
        if worker.shares[endpoint].has_timer and not worker.is_lost:
            self._tell(worker, endpoint)

    def _tell(self, worker: _Worker, endpoint: int) -> None:
        share = worker.shares[endpoint]
        share.has_timer = False
        share.sent_wanted = self._wanted(worker, endpoint, share)
        share.sent_seen, share.sent_limit = share.number, self._plan.slots
        self._reports += 1
        numbers = share.sent_wanted, share.taken, share.sent_limit, share.sent_seen
        self._after(self._costs.hop_s, self._take_report, worker, endpoint, numbers)

    def _take_report(
        self, worker: _Worker, endpoint: int, numbers: tuple[int, int, int, int]
    ) -> None:
        if worker.is_lost:
            return
        self._divisions[endpoint].report((worker.name, _RUN), *numbers)
        self._divide(endpoint, self._costs.scheduler_report_s / 2)

    def _divide(self, endpoint: int, cost_s: float = 0.0) -> None:
        division = self._divisions[endpoint]
        changes = division.changes()
        cost_s += len(division._parts) * self._costs.engine_s
        self._scheduler_until = max(self._scheduler_until, self._now) + cost_s
        self._scheduler_s += cost_s
        for (name, _), allowance in changes.items():
            if name in self._workers:
                self._scheduled(
                    self._costs.scheduler_report_s / 2,
                    self._allow,
                    self._workers[name],
                    endpoint,
                    allowance.number,
                    allowance.allowed,
                )
        if not self._has_turn and division.is_short:
            self._has_turn = True
            self._after(TURN_S, self._take_turns)

    def _take_turns(self) -> None:
        self._has_turn = False
        for endpoint, division in enumerate(self._divisions):
            if division.is_short:
                division.rotate()
                self._divide(endpoint)

    def _allow(self, worker: _Worker, endpoint: int, number: int, allowed: int) -> None:
        if worker.is_lost:
            return
        share = worker.shares[endpoint]
        share.number, share.allowed = number, allowed
        self._offer(worker, endpoint)
        self._dispatch(worker, {endpoint})

    # Losses.

    def _lose_one(self) -> None:
        """Lose a worker with all that it has in flight; another one joins later."""
        plan = self._plan
        self._after(plan.lost_every_s, self._lose_one)
        if not self._workers:
            return
        worker = self._rng.choice([*self._workers.values()])
        del self._workers[worker.name]
        worker.is_lost = True
        self._lost += 1
        self._lost_in_flight += worker.in_flight - worker.kept
        for endpoint, share in worker.shares.items():
            self._at_server[endpoint] -= share.asking
        for video in (*worker.running.values(), *worker.spare):
            self._scheduled(self._costs.scheduler_task_s / 2, self._submitted, video)
        self._after(LINGERS_S, self._forget, worker)
        owned = worker.order[0] // len(worker.order) if plan.private else 0
        self._after(plan.joins_after_s, self._join, plan.workers + self._lost, owned)

    def _forget(self, worker: _Worker) -> None:
        for endpoint in worker.shares:
            self._divisions[endpoint].remove(worker.name)
            self._divide(endpoint)


def _answers_in_a_row(questions: int, rounds: int, slots: int) -> int:
    """Return how many answers about a video follow one another at least."""
    each = ceil(questions / rounds)
    full, rest = divmod(questions, each)
    return full * ceil(each / slots) + ceil(rest / slots)
