"""The cost of a question, learnt on a virtual clock from a server whose rates are hidden."""

import math
import random
from dataclasses import astuple
from statistics import median

import pytest

from tests.clients.simulated_server import (
    ASKED,
    FULL,
    SMALL,
    TEXT_TOKENS,
    Kind,
    Simulated,
    Way,
    learnt,
)
from vlm_engine.clients.pricing import PriceLearner, mean_cost
from vlm_engine.clients.server_time import ServerTime
from vlm_engine.types import Answer, QuestionCost, ServerTimings

SEEDS = range(8)
SERVERS = {
    "one by one": {"slots": 1, "in_flight": 1},
    "one by one, 4 queued": {"slots": 1, "in_flight": 4},
    "one by one, 16 queued": {"slots": 1, "in_flight": 16},
    "2 together": {"slots": 2, "in_flight": 2},
    "4 together": {"slots": 4, "in_flight": 4},
    "8 together": {"slots": 8, "in_flight": 8},
    "16 together": {"slots": 16, "in_flight": 16},
    "4 of 8 together": {"slots": 4, "in_flight": 8},
    "4 divide the time": {"slots": 4, "in_flight": 4, "way": Way.SHARES},
    "8 as fast as one": {"slots": 8, "in_flight": 8, "way": Way.CLOUD},
    "told times": {"slots": 1, "in_flight": 1, "tells_times": True},
    "told times, 4 together": {"slots": 4, "in_flight": 4, "tells_times": True},
}


def server(seed, **settings):
    """A simulated server, and the same one as it is when it is busy."""
    drawn = Simulated.drawn(seed, **settings)
    return drawn, drawn.busy(200)


def errors(learner, busy, kinds=ASKED, **state):
    return [abs(learnt(learner, kind) / busy.cost(kind, **state) - 1) for kind in kinds]


def share_within(limit, found):
    return sum(each <= limit for each in found) / len(found)


@pytest.mark.parametrize(
    "seeds", [SEEDS, pytest.param(range(100, 160), marks=pytest.mark.thorough)], ids=["few", "many"]
)
@pytest.mark.parametrize("settings", SERVERS.values(), ids=SERVERS)
def test_costs_are_within_a_fifth_after_30_answers(settings, seeds):
    found = []
    for seed in seeds:
        simulated, busy = server(seed, **settings)
        learner = simulated.answer(30, PriceLearner(), random.Random(seed))
        found += errors(learner, busy)
    assert median(found) < 0.07
    assert share_within(0.2, found) >= 0.85


@pytest.mark.parametrize("together", [1, 4, 16])
def test_costs_follow_a_server_that_becomes_slower(together):
    found = []
    for seed in SEEDS[:6]:
        simulated, busy = server(
            seed, slots=together, in_flight=together, slow_after=100, slower=2.0
        )
        learner = simulated.answer(160, PriceLearner(), random.Random(seed))
        busy.slower = 2.0
        found += errors(learner, busy, after_slowdown=True)
    assert median(found) < 0.1
    assert share_within(0.2, found) >= 0.85


@pytest.mark.parametrize("together", [1, 4, 16])
def test_the_choice_by_value_per_second_is_nearly_the_best(together):
    regrets = []
    for seed in SEEDS:
        rng = random.Random(seed)
        simulated, busy = server(seed, slots=together, in_flight=together)
        learner = simulated.answer(30, PriceLearner(), random.Random(seed))
        for _ in range(20):
            values = {kind: rng.uniform(0.2, 1) for kind in ASKED}
            chosen = max(ASKED, key=lambda kind: values[kind] / learnt(learner, kind))
            best = max(values[kind] / busy.cost(kind) for kind in ASKED)
            regrets.append(1 - values[chosen] / busy.cost(chosen) / best)
    assert sum(regrets) / len(regrets) < 0.01
    assert share_within(0.1, regrets) >= 0.95


def test_a_long_stretch_of_one_kind_forgets_nothing_about_others():
    found = []
    for seed in SEEDS[:6]:
        simulated, busy = server(seed)
        learner = simulated.answer(60, PriceLearner(), random.Random(seed))
        simulated.answer(300, learner, random.Random(seed), lambda rng: Kind(SMALL, 5))
        found += errors(learner, busy)
    assert median(found) < 0.1


def test_told_times_part_pictures_from_answers_that_never_vary():
    for seed in SEEDS[:6]:
        simulated, busy = server(seed, tells_times=True)
        learner = simulated.answer(30, PriceLearner(), random.Random(seed), lambda _: ASKED[1])
        cost, c = learner.cost(SMALL), busy.rates[2]
        assert cost.answer_token_s == pytest.approx(c, rel=0.15)
        assert cost.call_s + cost.picture_s == pytest.approx(busy.cost(Kind(SMALL, 0)), rel=0.15)


@pytest.mark.parametrize("tells_tokens", [True, False])
@pytest.mark.parametrize(
    "tokens_of",
    [lambda pixels: 256, lambda pixels: min(pixels // 784, 300), lambda pixels: pixels // 1024],
    ids=["always as many", "at most so many", "larger patches"],
)
def test_pictures_cost_what_the_server_makes_of_them(tokens_of, tells_tokens):
    found = []
    for seed in SEEDS[:6]:
        simulated, busy = server(seed, tokens_of=tokens_of, tells_tokens=tells_tokens)
        learner = simulated.answer(100, PriceLearner(), random.Random(seed))
        kinds = ASKED if tells_tokens else ASKED[:2]
        found += errors(learner, busy, kinds)
    assert median(found) < 0.08
    assert share_within(0.2, found) >= 0.85


def test_text_that_is_not_cached_counts_by_what_it_takes():
    learner, a, b = PriceLearner(), 0.05, 0.001
    now = 0.0
    for number in range(60):
        pixels, cached = (SMALL, FULL)[number % 2], (0, 400)[number % 3 == 0]
        request = learner.start((pixels,), 4 * 500, now)
        read = pixels / 784 + 0.57 * (500 - cached)
        now += a + b * read
        learner.end(request, now)
        tokens = 500 + round(pixels / 784)
        learner.learn(request, Answer({}, "", "m", "e", tokens, 1, cached_tokens=cached))
    cost = learner.cost(SMALL)
    assert cost.text_token_s == pytest.approx(0.57 * b, rel=0.05)
    assert cost.picture_s == pytest.approx(b * SMALL / 784, rel=0.05)


def test_a_model_that_is_loaded_first_leaves_no_trace():
    quick, slow = (
        server(1, cold_s=cold_s)[0].answer(20, PriceLearner(), random.Random(1)).cost(SMALL)
        for cold_s in (0.0, 300.0)
    )
    assert slow.picture_s == pytest.approx(quick.picture_s, rel=0.1)


def test_before_there_are_answers_a_home_computer_is_assumed():
    learner, usual = PriceLearner(), QuestionCost()
    assert not learner.is_known
    assert learner.cost() == learner.cost(SMALL)
    assert learner.cost().picture_s == pytest.approx(usual.picture_s, rel=0.05)
    assert learner.cost(FULL).picture_s == pytest.approx(4 * usual.picture_s, rel=0.05)
    assert learner.cost().answer_token_s == usual.answer_token_s


def test_answers_that_take_no_time_teach_nothing():
    learner = PriceLearner()
    for _ in range(50):
        request = learner.start((SMALL,), 900, 7.0)
        learner.end(request, 7.0)
        learner.learn(request, Answer({}, "", "m", "e", TEXT_TOKENS, 5))
    assert learner.cost().answer_token_s == QuestionCost().answer_token_s
    assert learner.cost().call_s == QuestionCost().call_s


def test_told_times_of_zero_leave_every_cost_positive():
    learner, now = PriceLearner(), 0.0
    for _ in range(50):
        request = learner.start((SMALL,), 900, now)
        now += 1.0
        learner.end(request, now)
        told = Answer({}, "", "m", "e", TEXT_TOKENS, 5, timings=ServerTimings(0.0, 300, 0.0, 5))
        learner.learn(request, told)
    assert all(0 < part < math.inf for part in astuple(learner.cost(SMALL)))


def test_shares_add_up_to_the_time_that_the_server_was_busy():
    time, now = ServerTime(), 0.0
    rng = random.Random(5)
    learners = [PriceLearner(time), PriceLearner(time)]
    open_requests, spent_s, busy_s = [], 0.0, 0.0
    for _ in range(300):
        step_s = rng.expovariate(1)
        now += step_s
        busy_s += step_s if open_requests else 0.0
        if open_requests and rng.random() < 0.5:
            learner, request = open_requests.pop(rng.randrange(len(open_requests)))
            learner.end(request, now)  # answered or not
            spent_s += request.seconds
        else:
            learner = rng.choice(learners)
            open_requests.append((learner, learner.start((SMALL,), 900, now)))
    for learner, request in open_requests:
        learner.end(request, now)
        spent_s += request.seconds
    assert spent_s == pytest.approx(busy_s)
    assert sum(learner.busy_s for learner in learners) == pytest.approx(busy_s)


def test_another_model_on_the_server_makes_no_question_dearer():
    time = ServerTime()
    learner, other = PriceLearner(time), PriceLearner(time)
    now, rng = 0.0, random.Random(3)
    for _ in range(60):  # both have one in flight, and the server divides its time
        pixels, written = rng.choice([(SMALL, 5), (FULL, 9), (SMALL, 30)])
        mine, theirs = learner.start((pixels,), 1320, now), other.start((FULL,), 1320, now)
        now += 2 * (0.1 + pixels / 784 * 0.001 + written * 0.01)
        learner.end(mine, now)
        other.end(theirs, now)
        learner.learn(mine, Answer({}, "", "m", "e", 330 + pixels // 784, written))
    for kind in (Kind(SMALL, 5), Kind(FULL, 9)):
        expected = 0.1 + kind.pixels / 784 * 0.001 + kind.written * 0.01
        assert learnt(learner, kind) == pytest.approx(expected, rel=0.05)


def test_failures_between_answers_spoil_nothing():
    costs = []
    for fails in (False, True):
        simulated, learner = Simulated.drawn(4, noise=0.05), PriceLearner()
        rng = random.Random(4)
        for _ in range(30):
            if fails:
                request = learner.start((SMALL,), 900, simulated.now)
                simulated.now += 60.0
                learner.end(request, simulated.now)
            simulated.answer(1, learner, rng)
        costs.append(learner.cost(SMALL))
    assert costs[1].picture_s == pytest.approx(costs[0].picture_s, rel=0.1)


def test_the_mean_of_endpoints_counts_the_fast_one_more():
    fast, slow = PriceLearner(), PriceLearner()
    for learner, rates in ((fast, (0.02, 1e-4, 1e-3)), (slow, (0.2, 1e-3, 1e-2))):
        Simulated(rates, noise=0.01, cold_s=0.0).answer(60, learner, random.Random(2))
    mean = mean_cost([fast, slow], SMALL).picture_s
    quick, long = fast.cost(SMALL).picture_s, slow.cost(SMALL).picture_s
    assert mean == pytest.approx((10 * quick + long) / 11, rel=0.1)
