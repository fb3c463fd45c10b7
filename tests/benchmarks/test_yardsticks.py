"""The ways to look that the search is measured against do what their names say, and are charged for it."""

from __future__ import annotations

from functools import partial

import pytest

from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.scores import Cost, Summary, score
from benchmarks.simulated import Strategy, searching
from benchmarks.tokens import Wordiness
from benchmarks.upstream import upstream
from benchmarks.world import World, draw_video
from benchmarks.yardsticks import dense, plain, rec
from vlm_engine.testing.answers import AnswerRequest, Style, write
from vlm_engine.types import FrameQuery, Purpose

VIDEO = draw_video(World(duration_s=1800.0, tags=12), (31,))


def oracle(noise: Noise | None = None) -> NoisyModel:
    return NoisyModel(VIDEO, noise or Noise(), (1,))


def f1(strategy: Strategy, noise: Noise | None = None) -> float:
    model = oracle(noise)
    return Summary(
        [score(strategy(model), VIDEO.truth, Cost.of(model.bill, VIDEO.info.duration_s, 0.0))]
    ).f1


@pytest.mark.parametrize(
    ("strategy", "least"),
    [(partial(dense, interval_s=2.0), 0.97), (rec, 0.9), (searching, 0.9)],
    ids=["dense", "rec", "search"],
)
def test_a_perfect_model_gives_a_nearly_perfect_result(strategy: Strategy, least: float) -> None:
    assert f1(strategy) >= least


def test_the_smoother_sees_through_noise() -> None:
    assert f1(partial(dense, interval_s=2.0), Noise(0.1, 0.02)) > 0.7


def test_dense_asks_once_for_each_interval() -> None:
    model = oracle()
    dense(model, 4.0)
    assert model.bill.calls == pytest.approx(1800 / 4, abs=2)
    assert model.bill.rounds == 1
    assert model.bill.image_tokens == model.bill.calls * 752


def test_plain_reading_believes_every_answer() -> None:
    model = oracle(Noise(0.1, 0.02))
    spans = plain(model, 4.0)
    assert (model.bill.calls, model.bill.rounds) == (pytest.approx(1800 / 4, abs=2), 1)
    numbers, seen = model.known()
    for column, tag in enumerate(model.tags):
        for number, present in zip(numbers, seen[:, column], strict=True):
            time_s = model.time_of(int(number))
            inside = any(
                span.tag == tag and span.start_s - 1e-6 <= time_s < span.end_s for span in spans
            )
            assert inside == present or any(
                abs(edge - time_s) < 1e-6 for span in spans for edge in (span.start_s, span.end_s)
            )


def test_rec_asks_less_than_dense_in_few_rounds() -> None:
    model = oracle(Noise(0.05, 0.005))
    rec(model)
    assert 150 < model.bill.calls < 700
    assert 2 <= model.bill.rounds <= 14


def test_upstream_costs_more_rounds_and_finds_less() -> None:
    model = oracle()
    spans = upstream(model, 8.0)
    assert spans
    assert model.bill.rounds > 50
    assert f1(partial(upstream, interval_s=8.0)) < f1(rec)
    assert f1(partial(upstream, interval_s=80.0, as_coded=True)) < f1(
        partial(upstream, interval_s=8.0)
    )


def test_a_frame_asked_twice_is_free_unless_the_answer_was_forgotten() -> None:
    model = oracle()
    model.ask([10, 20, 10])
    model.ask([20])
    assert (model.bill.calls, model.bill.rounds) == (2, 1)
    model.charge_again(20)
    assert model.bill.calls == 3


def test_a_search_is_charged_for_every_look_and_answered_about_its_tags() -> None:
    model = oracle()
    first, second = model.tags[:2]
    seen = model.observe(
        [FrameQuery(10.01, (first,), Purpose.SCAN), FrameQuery(20.0, (first, second), Purpose.EDGE)]
    )
    assert [{*observation.verdicts} for observation in seen] == [{first}, {first, second}]
    assert seen[0].time_s == 10.0
    assert (model.bill.calls, model.bill.rounds) == (2, 1)


@pytest.mark.parametrize("present", [(), ("Foul",), ("Goal", "Foul")])
def test_answers_are_as_long_as_the_sandbox_writes_them(present: tuple[str, ...]) -> None:
    tags = ("Break-away", "Foul", "Goal")
    wordiness = Wordiness(tags, 1920, 1080)
    beliefs = {tag: float(tag in present) for tag in tags}
    assert wordiness.listed([tag in present for tag in tags]) == len(
        write(AnswerRequest(tags, Style.LISTS), beliefs)
    )
    assert wordiness.judged(tags) == len(write(AnswerRequest(tags, Style.VERDICTS), beliefs))


def test_a_picture_is_charged_at_the_size_in_which_it_is_sent() -> None:
    assert Wordiness(("Foul",), 1920, 1080).picture == round(1024 * 576 / 784)
    assert Wordiness(("Foul",), 1920, 1080).small_picture == round(512 * 288 / 784)
    assert Wordiness(("Foul",), 320, 180).picture == round(320 * 180 / 784)
