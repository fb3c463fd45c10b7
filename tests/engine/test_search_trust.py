"""The search trusts confidences as far as they tell wrong answers from right ones."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from vlm_engine.search.evidence import Evidence, TimeWarp, gather
from vlm_engine.search.learning import learn_rates
from vlm_engine.search.rates import JUDGE, Trust, assumed
from vlm_engine.types import Cut, Observation, Verdict

SHOTS, SHOT_S, LOOKS = 400, 5.0, 2
RIGHT_LOGIT, DOUBTFUL_LOGIT = 5.0, 1.0
CLOCK = TimeWarp(SHOTS * SHOT_S, [Cut(SHOT_S * number, 0.9) for number in range(1, SHOTS)])
PLAYS = range(20, SHOTS, 100)
"""These shots and the forty after each show a foul."""
LOOKALIKES = range(5, SHOTS, 20)
"""Whole shots in which the model sees the opposite of what is there."""


def evidence(lookalike_logit: float) -> Evidence:
    """Two looks in each shot by a model that whole shots fool, and now and then a single frame."""
    rng = random.Random(7)

    def observations() -> Iterator[Observation]:
        for shot in range(SHOTS):
            for look in range(LOOKS):
                slips = rng.random() < 0.04
                logit = (
                    lookalike_logit
                    if shot in LOOKALIKES
                    else DOUBTFUL_LOGIT
                    if slips
                    else RIGHT_LOGIT
                )
                there = any(play <= shot < play + 40 for play in PLAYS)
                present = there != (shot in LOOKALIKES or slips)
                sure = 1 / (1 + math.exp(-abs(rng.gauss(logit, logit / 2))))
                time_s = SHOT_S * (shot + (look + 0.5) / LOOKS)
                yield Observation(time_s, {"Foul": Verdict(present, sure if present else 1 - sure)})

    return gather(observations(), ["Foul"], CLOCK)


def learnt(seen: Evidence) -> tuple[Trust, Trust]:
    observer = learn_rates(seen, assumed(1, SHOTS * SHOT_S), 6).observers[JUDGE]
    return observer.trust, observer.trust_if_fooled


def test_doubtful_lookalikes_are_known_by_their_doubt():
    trust, if_fooled = learnt(evidence(DOUBTFUL_LOGIT))
    assert trust.sharpness > 0.5
    assert if_fooled.sharpness > 0.5 * trust.sharpness


def test_lookalikes_seen_with_full_confidence_void_it_there():
    trust, if_fooled = learnt(evidence(RIGHT_LOGIT))
    assert trust.sharpness > 0.5
    assert if_fooled.sharpness == 0


def test_the_looks_of_one_scene_share_one_voice():
    seen = evidence(DOUBTFUL_LOGIT)
    assert seen.scene_weights.sum() == pytest.approx(len(set(seen.scenes)))
