"""Simulated videos and models have the statistics that their settings say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.filmed import FilmModel, Mistakes, measure
from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.pair import Pair
from benchmarks.tokens import FULL, SMALL_LIST, RequestStyle
from benchmarks.world import SHORT_S, SimulatedVideo, World, draw_video
from sandbox.videos import VideoSpec, generate
from vlm_engine.testing import running
from vlm_engine.types import FrameQuery, Purpose

HOUR = World(duration_s=3600.0, tags=35)
SPEC = VideoSpec(
    duration_s=30, width=320, height=180, tags=("Foul", "Turnover", "Goal"), seed=3, shot_median_s=5
)


@pytest.fixture(scope="module")
def video() -> SimulatedVideo:
    return draw_video(HOUR, (8,))


def edges_s(video: SimulatedVideo) -> np.ndarray:
    ends = [end for spans in video.truth.values() for span in spans for end in span]
    return np.array([end for end in ends if 0 < end < video.info.duration_s])


def test_events_are_in_order_and_of_every_length():
    videos = [draw_video(HOUR, (5, number)) for number in range(6)]
    found = [spans for video in videos for spans in video.truth.values()]
    assert 0.25 < np.mean([not spans for spans in found]) < 0.47
    for spans in found:
        assert all(0 <= start < end <= 3600 for start, end in spans)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
    lengths = np.array([end - start for spans in found for start, end in spans])
    assert 0.15 < np.mean(lengths <= SHORT_S) < 0.5
    assert 0.05 < np.mean(lengths > 90) < 0.35


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_share_of_the_edges_lies_on_a_cut(share):
    world = World(cut_coincidence=share, shot_median_s=30.0, duration_s=7200.0, tags=35)
    video = draw_video(world, (6,))
    on_cut = [np.abs(video.cuts_s - edge_s).min() < 0.06 for edge_s in edges_s(video)]
    assert np.mean(on_cut) == pytest.approx(share, abs=0.07)


@pytest.mark.parametrize(
    ("recall", "false_cuts", "precision"), [(0.85, 0.25, 0.8), (0.6, 1.4, 0.4)]
)
def test_cut_hints_are_as_good_as_asked_for(recall, false_cuts, precision):
    world = World(duration_s=7200.0, shot_median_s=30.0, cut_recall=recall, false_cuts=false_cuts)
    video = draw_video(world, (7,))
    hints_s = np.array([cut.time_s for cut in video.info.cuts])
    apart_s = np.abs(video.cuts_s - hints_s[:, None])
    assert np.mean(apart_s.min(0) <= 0.1) == pytest.approx(recall, abs=0.07)
    assert np.mean(apart_s.min(1) <= 0.1) == pytest.approx(precision, abs=0.09)


def judged(
    model: NoisyModel, style: RequestStyle = SMALL_LIST
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return truth, verdicts and probabilities over a video."""
    numbers = np.arange(5, model.frames, 12)
    return model.truth_at(numbers / model.video.frame_rate), *model.judge(numbers, style)


@pytest.mark.parametrize(("missed", "invented"), [(0.0, 0.0), (0.1, 0.02)])
def test_the_model_errs_at_its_rates(video, missed, invented):
    truth, present, _ = judged(NoisyModel(video, Noise(missed, invented), (1,)))
    assert np.mean(~present[truth]) == pytest.approx(missed, abs=missed / 5)
    assert np.mean(present[~truth]) == pytest.approx(invented, abs=invented / 5)


def test_small_pictures_hide_blind_tags_and_double_errors(video):
    model, few = NoisyModel(video, Noise(0.1, 0.0, blind_share=0.2), (1,)), Noise(0.1, 0.0)
    truth, full, _ = judged(model, style=RequestStyle(side=FULL))
    assert (full == judged(NoisyModel(video, few, (1,)))[1]).all()
    _, small, _ = judged(model)
    blind = (full & ~small).any(0)
    assert blind.sum() <= 7
    missed = (truth & ~small)[:, blind].sum() / truth[:, blind].sum()
    assert missed == pytest.approx(0.64, abs=0.1)
    worse = NoisyModel(video, few, (1,))
    worse.factors = {SMALL_LIST: 2.0}
    _, twice, _ = judged(worse)
    assert not (twice & ~full)[truth].any()
    assert np.mean(~twice[truth]) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(("factor", "is_calibrated"), [(1.0, True), (2.0, False)])
def test_confidences_are_calibrated_or_too_sure(video, factor, is_calibrated):
    """Calibrated means a slope of 1 of the truth's logit over the model's."""
    truth, present, probability = judged(
        NoisyModel(video, Noise(0.1, 0.02, confidence=factor), (1,))
    )
    _, silent, _ = judged(NoisyModel(video, Noise(0.1, 0.02), (1,)))
    assert probability is not None
    assert ((probability > 0.5) == present).all()
    assert (present == silent).all()
    logit = np.log(probability / (1 - probability))
    shares = [np.mean(truth[np.abs(logit - at) < 0.4]) for at in (-1.5, 1.5)]
    low, high = (np.log(share / (1 - share)) for share in shares)
    assert ((high - low) / 3.0 > 0.8) == is_calibrated


def test_a_pair_scans_with_one_model_and_judges_with_the_other(video):
    judge = NoisyModel(video, Noise(), (5,))
    pair = Pair(judge, judge.another(Noise(0.3, 0.1)))
    scans = [FrameQuery(float(time_s), pair.tags, Purpose.SCAN) for time_s in range(0, 1800, 20)]
    edges = [FrameQuery(time_s + 0.5, pair.tags, Purpose.EDGE) for time_s in range(5)]
    observations = pair.observe([*edges, *scans])
    assert (pair.bill.total.calls, pair.bill.scan_calls, pair.bill.rounds) == (5, 90, 1)
    assert [one.scanned for one in observations] == [False] * 5 + [True] * 90
    truth = judge.truth_at(np.array([one.time_s for one in observations]))
    present = np.array([[one.verdicts[tag].present for tag in pair.tags] for one in observations])
    wrong = (present != truth).sum(1)
    assert (sum(wrong[:5]), sum(wrong) > 90) == (0, True)


@pytest.mark.parametrize("shot_share", [0.0, 0.8])
def test_the_oracle_answers_as_the_endpoint_does(tmp_path, shot_share):
    film = generate(SPEC, tmp_path / "game.mp4")
    mistakes = Mistakes(0.3, 0.1, shot_share=shot_share)
    with running(mistakes.endpoint(film)) as endpoint:
        result = measure(str(film.path), SPEC.tags, endpoint.url).result
    oracle = FilmModel(film, result.video, mistakes.endpoint(film))
    (found,) = result.findings
    assert found.observations
    for _, seen in found.observations:
        present, _ = oracle.judge(np.array([oracle.number_at(seen.time_s)]))
        verdicts = dict(zip(SPEC.tags, present[0], strict=True))
        for tag, verdict in seen.verdicts.items():
            assert verdict.present == verdicts[tag]
