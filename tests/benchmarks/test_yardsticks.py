"""The ways to look that the search is compared with do what their names say."""

from __future__ import annotations

from functools import partial

import pytest

from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.scores import Cost, Summary, score
from benchmarks.strategies import Strategy, searching
from benchmarks.tokens import TokenCounts
from benchmarks.upstream import upstream
from benchmarks.world import World, draw_video
from benchmarks.yardsticks import dense, plain, rec
from vlm_engine.testing.answers import AnswerRequest, Style, write
from vlm_engine.types import Form

VIDEO = draw_video(World(duration_s=1800.0, tags=12), (31,))
FEW = Noise(0.1, 0.02)


def f1(strategy: Strategy, noise: Noise | None = None) -> float:
    model = NoisyModel(VIDEO, noise or Noise(), (1,))
    spans = strategy(model)
    return Summary([score(spans, VIDEO.truth, Cost.of(model.bill, 1800.0, 0.0))]).f1


@pytest.mark.parametrize(
    ("strategy", "noise", "least"),
    [
        (partial(dense, interval_s=2.0), Noise(), 0.97),
        (partial(dense, interval_s=2.0), FEW, 0.7),
        (rec, Noise(), 0.9),
        (searching, Noise(), 0.9),
    ],
)
def test_a_good_model_gives_a_good_result(strategy, noise, least):
    assert f1(strategy, noise) >= least


@pytest.mark.parametrize(
    ("strategy", "calls", "rounds"),
    [
        (partial(dense, interval_s=4.0), (448, 452), (1, 1)),
        (partial(plain, interval_s=4.0), (448, 452), (1, 1)),
        (rec, (150, 700), (2, 14)),
        (partial(upstream, interval_s=8.0), (200, 2000), (50, 2000)),
    ],
)
def test_every_look_is_charged(strategy, calls, rounds):
    model = NoisyModel(VIDEO, Noise(0.05, 0.005), (1,))
    strategy(model)
    assert calls[0] <= model.bill.total.calls <= calls[1]
    assert rounds[0] <= model.bill.rounds <= rounds[1]


def test_upstream_finds_less():
    coded = partial(upstream, interval_s=80.0, as_coded=True)
    assert f1(coded) < f1(partial(upstream, interval_s=8.0)) < f1(rec)


@pytest.mark.parametrize("present", [(), ("Foul",), ("Goal", "Foul")])
def test_answers_are_as_long_as_the_sandbox_writes_them(present):
    tags = ("Break-away", "Foul", "Goal")
    counts, there = TokenCounts(tags, 1920, 1080), [tag in present for tag in tags]
    beliefs = {tag: float(tag in present) for tag in tags}
    for form, style in ((Form.LIST, Style.LISTS), (Form.VERDICTS, Style.VERDICTS)):
        written = write(AnswerRequest(tags, style), beliefs)
        assert counts.answer(form, tags, there) == len(written)
