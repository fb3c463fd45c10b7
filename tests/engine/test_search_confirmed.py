"""The search reports what it has seen: it believes a model that is right and reports its doubts."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.oracle import drive, marked
from benchmarks.seen import HINTS, watch
from benchmarks.world import World, draw_video
from tests.engine.searches import bounds, play, says, video
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import VideoSearch
from vlm_engine.search.evidence import TimeWarp, gather
from vlm_engine.search.learning import learn_rates
from vlm_engine.search.posterior import Posterior
from vlm_engine.search.rates import JUDGE, assumed
from vlm_engine.types import Cut, FrameQuery, Observation, Purpose, Span, Verdict, VideoInfo


def search_of(
    info: VideoInfo, events: Sequence[tuple[float, float]]
) -> tuple[VideoSearch, list[float]]:
    """A finished search for one tag, and the times at which the model said yes."""
    search, yeses = VideoSearch(info, ("Foul",), SearchConfig()), list[float]()

    def answer(query: FrameQuery) -> Observation:
        observation = says({"Foul": events})(query)
        if observation.verdicts["Foul"].present:
            yeses.append(query.time_s)
        return observation

    play(search, answer)
    return search, yeses


def touches(event: tuple[float, float], spans: Sequence[Span]) -> bool:
    return any(span.start_s < event[1] and span.end_s > event[0] for span in spans)


lengths = st.lists(st.tuples(st.floats(2, 200), st.floats(2, 60)), min_size=1, max_size=20)
"""For each event, how long after the one before it begins, and how long it lasts."""


@given(
    events=lengths,
    shots=st.lists(st.floats(1, 40), max_size=60),
    rest_s=st.floats(2, 600),
    fills=st.booleans(),
)
def test_what_two_looks_confirm_and_none_denies_is_reported(events, shots, rest_s, fills):
    edges = np.cumsum([part for event in events for part in event])
    truth = [(float(edges[i]), float(edges[i + 1])) for i in range(0, len(edges), 2)]
    duration_s = truth[-1][1] + rest_s
    cuts = {float(time_s) for time_s in np.cumsum(shots)} | {
        edge for event in truth if fills for edge in event
    }
    info = video(duration_s, sorted(time_s for time_s in cuts if time_s < duration_s))
    search, yeses = search_of(info, truth)
    for start_s, end_s in truth:
        if sum(start_s <= time_s < end_s for time_s in yeses) >= 2:
            assert touches((start_s, end_s), search.spans())


@pytest.mark.parametrize(
    "hints",
    [hint if hint == "poor" else pytest.param(hint, marks=pytest.mark.thorough) for hint in HINTS],
)
@pytest.mark.parametrize(
    ("tags", "length_s"),
    [(1, 7200.0), pytest.param(2, 14400.0, marks=pytest.mark.thorough), (8, 1200.0)],
)
def test_a_model_that_never_errs_has_its_events_reported(tags, length_s, hints):
    recall, false_cuts = HINTS[hints]
    for filled in (0.0, 1.0):
        world = World(
            duration_s=length_s,
            tags=tags,
            filled_shots=filled,
            cut_recall=recall,
            false_cuts=false_cuts,
            shot_median_s=6,
        )
        seen = watch(NoisyModel(draw_video(world, (3, tags)), Noise(), (3,)))
        assert (seen.lost, seen.doubtful) == (0, 0)


def test_a_model_that_never_contradicts_itself_is_trusted():
    world = World(duration_s=7200.0, tags=4)
    model = NoisyModel(draw_video(world, (12,)), Noise(), (12,))
    search = VideoSearch(model.video, model.tags, SearchConfig())
    drive(search, model)
    evidence = gather(
        (seen for _, seen in search.observations()), model.tags, TimeWarp(7200.0, model.video.cuts)
    )
    rates = learn_rates(evidence, assumed(4, 7200.0), 2)
    seen = evidence.is_seen()
    assert rates.observers[JUDGE].error[seen].max() < 0.01
    assert rates.observers[JUDGE].shot_error[seen].max() < 0.01


@pytest.mark.parametrize(
    "yes_logit", [1.9, None], ids=["yeses half as sure as noes", "no confidences"]
)
def test_events_that_fill_a_shot_each_are_believed(yes_logit):
    shots, shot_s, rng = 400, 5.0, random.Random(7)
    clock = TimeWarp(shots * shot_s, [Cut(shot_s * number, 0.9) for number in range(1, shots)])

    def verdict(present: bool) -> Verdict:
        if yes_logit is None:
            return Verdict(present)
        sure = 1 / (1 + math.exp(-abs(rng.gauss(yes_logit if present else 5.5, 1.0))))
        return Verdict(present, sure if present else 1 - sure)

    times_s = [shot_s * (shot + (query + 0.5) / 3) for shot in range(shots) for query in range(3)]
    queries = (
        Observation(time_s, {"Foul": verdict(time_s // shot_s % 40 == 20)}) for time_s in times_s
    )
    seen = gather(queries, ["Foul"], clock)
    belief = Posterior.of(seen, clock, learn_rates(seen, assumed(1, shots * shot_s), 6))
    assert (belief.present > 0.5)[seen.present].mean() > 0.9
    assert not (belief.present > 0.5)[~seen.present].any()


def test_what_is_confirmed_and_not_believed_has_a_low_confidence():
    """A model that contradicts itself all the time says yes twice about one shot."""
    rng, cuts = random.Random(5), [6.0 * number for number in range(1, 300)]
    search = VideoSearch(video(1800.0, cuts), ("Foul",), SearchConfig())
    lone = 150
    for shot in range(300):
        for query in range(3):
            time_s = 6.0 * shot + 1.0 + 2.0 * query
            present = shot == lone if abs(shot - lone) < 3 else rng.random() < 0.15
            search.record(
                FrameQuery(time_s, ("Foul",), Purpose.SCAN),
                Observation(time_s, {"Foul": Verdict(present)}),
            )
    (span,) = [span for span in search.spans() if touches((6.0 * lone, 6.0 * (lone + 1)), [span])]
    assert span.confidence is not None
    assert span.confidence < 0.5
    assert span not in marked(search.spans())


def test_a_lone_yes_in_a_quiet_video_is_looked_at_again():
    """One event in four hours: no single look could make it believed."""
    cuts = [8.0 * number for number in range(1, 1800)]
    search, yeses = search_of(video(14400.0, cuts), [(8000.0, 8008.0)])
    assert len(yeses) >= 2
    assert bounds(marked(search.spans())) == [(8000.0, 8008.0)]
