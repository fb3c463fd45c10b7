"""The simulated videos and the model that looks at them have the statistics that their settings say."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import numpy as np
import pytest

from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.world import (
    SHORT_S,
    SimulatedVideo,
    World,
    cut_hints,
    draw_video,
    shot_lengths,
    tag_names,
)

HOUR = World(duration_s=3600.0, tags=35)


@pytest.fixture(scope="module")
def videos() -> list[SimulatedVideo]:
    return [draw_video(HOUR, (5, number)) for number in range(6)]


def edges_of(video: SimulatedVideo) -> np.ndarray:
    inside = [
        e
        for spans in video.truth.values()
        for span in spans
        for e in span
        if 0 < e < video.info.duration_s
    ]
    return np.array(inside)


def on_a_cut(video: SimulatedVideo) -> float:
    edges_s = edges_of(video)
    return float(np.mean([np.abs(video.cuts_s - edge_s).min() < 0.06 for edge_s in edges_s]))


def test_the_same_seed_draws_the_same_video() -> None:
    first, again, other = (draw_video(World(), seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert first.info == again.info
    assert first.truth == again.truth
    assert first.info != other.info


def test_spans_are_in_order_and_inside(videos: list[SimulatedVideo]) -> None:
    for video in videos:
        for spans in video.truth.values():
            assert all(0 <= start < end <= video.info.duration_s for start, end in spans)
            assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_a_third_of_the_tags_is_never_there(videos: list[SimulatedVideo]) -> None:
    absent = [not spans for video in videos for spans in video.truth.values()]
    assert 0.25 < np.mean(absent) < 0.47


def test_events_are_short_medium_and_long(videos: list[SimulatedVideo]) -> None:
    lengths = np.array(
        [end - start for video in videos for spans in video.truth.values() for start, end in spans]
    )
    assert 0.15 < np.mean(lengths <= SHORT_S) < 0.5
    assert 0.05 < np.mean(lengths > 90) < 0.35
    without = draw_video(World(duration_s=3600.0, tags=35, kinds=(0.5, 0.5, 0.0)), (5, 0))
    assert (
        np.mean(
            [end - start <= SHORT_S for spans in without.truth.values() for start, end in spans]
        )
        < 0.15
    )


def test_shots_have_the_median_that_was_asked_for() -> None:
    # Cuts that an edge brought with it shorten the shots, so there are to be none.
    video = draw_video(
        World(duration_s=7200.0, tags=5, cut_coincidence=0.0, shot_median_s=12.0), (4,)
    )
    assert 10 < median(shot_lengths(video)) < 14


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_share_of_the_edges_lies_on_a_cut(share: float) -> None:
    video = draw_video(
        World(cut_coincidence=share, shot_median_s=30.0, duration_s=7200.0, tags=35), (6,)
    )
    assert on_a_cut(video) == pytest.approx(share, abs=0.07)


def test_cut_hints_are_as_good_as_asked_for() -> None:
    for recall, false_cuts, precision in ((0.85, 0.25, 0.8), (0.6, 1.4, 0.4)):
        world = World(
            cut_recall=recall, false_cuts=false_cuts, duration_s=7200.0, shot_median_s=30.0
        )
        video = draw_video(world, (7,))
        hints_s = np.array([cut.time_s for cut in video.info.cuts])
        right = np.mean([np.abs(video.cuts_s - hint_s).min() <= 0.1 for hint_s in hints_s])
        found = np.mean([np.abs(hints_s - cut_s).min() <= 0.1 for cut_s in video.cuts_s])
        assert found == pytest.approx(recall, abs=0.07)
        assert right == pytest.approx(precision, abs=0.09)
    assert draw_video(World(cut_recall=0.0, false_cuts=0.0), (7,)).info.cuts == ()


def test_tag_names_differ() -> None:
    assert len({*tag_names(35)}) == 35


def wrong_share(noise: Noise, seed: int = 1) -> tuple[float, float]:
    """(share missed, share invented) over every half second of a video."""
    model = NoisyModel(draw_video(HOUR, (8,)), noise, (seed,))
    numbers = np.arange(5, model.frames, 12)
    present, _ = model.judge(numbers)
    truth = model.truth_at(numbers / model.video.frame_rate)
    return float(np.mean(~present[truth])), float(np.mean(present[~truth]))


def test_the_model_errs_at_its_rates() -> None:
    assert wrong_share(Noise()) == (0.0, 0.0)
    missed, invented = wrong_share(Noise(0.1, 0.02))
    assert missed == pytest.approx(0.1, abs=0.02)
    assert invented == pytest.approx(0.02, abs=0.004)


def test_some_errors_are_shared_by_a_shot() -> None:
    video = draw_video(HOUR, (9,))
    model = NoisyModel(video, Noise(0.0, 0.1, shot_share=1.0), (1,))
    middles_s = [(start + end) / 2 for start, end in pairwise([*video.cuts_s]) if end - start > 4]
    early, late = (
        np.array([model.number_at(time_s + by) for time_s in middles_s]) for by in (-1.0, 1.0)
    )
    before, after = model.judge(early)[0], model.judge(late)[0]
    absent = ~model.truth_at(early / model.video.frame_rate) & ~model.truth_at(
        late / model.video.frame_rate
    )
    assert before[absent].any()
    assert (before == after)[absent].all()


def test_rates_can_differ_between_tags() -> None:
    video = draw_video(HOUR, (8,))
    numbers = np.arange(5, 3600 * 25, 12)

    def spread(tag_spread: float) -> float:
        model = NoisyModel(video, Noise(0.0, 0.05, shot_share=0.0, tag_spread=tag_spread), (1,))
        truth = model.truth_at(numbers / model.video.frame_rate)
        invented = np.where(truth, np.nan, model.judge(numbers)[0])
        return float(np.nanstd(np.nanmean(invented, axis=0)))

    assert spread(1.0) > 3 * spread(0.0)


@pytest.mark.parametrize(("factor", "is_calibrated"), [(1.0, True), (2.0, False)])
def test_confidences_are_calibrated_or_too_sure(factor: float, is_calibrated: bool) -> None:
    noise = Noise(0.1, 0.02, confidence=factor)
    model = NoisyModel(draw_video(HOUR, (8,)), noise, (1,))
    numbers = np.arange(5, model.frames, 12)
    present, probability = model.judge(numbers)
    assert probability is not None
    assert ((probability > 0.5) == present).all()
    truth = model.truth_at(numbers / model.video.frame_rate)
    # Calibrated up to an offset, that of the share of presence: slope 1 of truth's logit over the model's.
    logit = np.log(probability / (1 - probability))
    low, high = ((logit > at - 0.4) & (logit < at + 0.4) for at in (-1.5, 1.5))
    odds = [np.log(np.mean(truth[chosen]) / (1 - np.mean(truth[chosen]))) for chosen in (low, high)]
    slope = (odds[1] - odds[0]) / 3.0
    assert (slope > 0.8) == is_calibrated


def test_the_same_errors_are_made_whatever_the_confidences() -> None:
    video, numbers = draw_video(World(), (3,)), np.arange(0, 5000, 40)
    plain, told = (
        NoisyModel(video, Noise(0.1, 0.02, confidence=factor), (1,)).judge(numbers)[0]
        for factor in (None, 2.0)
    )
    assert (plain == told).all()


def test_events_that_fill_shots_begin_and_end_on_cuts() -> None:
    video = draw_video(World(duration_s=7200.0, tags=12, filled_shots=1.0, shot_median_s=6.0), (2,))
    bounds_s = np.concatenate([[0.0], video.cuts_s, [7200.0]])
    edges_s = np.array(
        [edge_s for spans in video.truth.values() for span in spans for edge_s in span]
    )
    assert len(edges_s) > 100
    assert np.abs(bounds_s - edges_s[:, None]).min(1).max() < 0.06


def test_fades_are_hinted_at_less_often_and_less_exactly() -> None:
    cuts_s = np.arange(10.0, 36_000.0, 10.0)
    strengths = np.full(len(cuts_s), 0.9)
    for fades, recall, off_s in ((0.0, 0.85, 0.1), (1.0, 0.6, 0.5)):
        hints = cut_hints(np.random.default_rng(4), cuts_s, strengths, 36_000.0, 0.85, 0.0, fades)
        assert len(hints) / len(cuts_s) == pytest.approx(recall, abs=0.03)
        away_s = [abs(hint.time_s - round(hint.time_s / 10) * 10) for hint in hints]
        assert off_s * 0.9 < max(away_s) <= off_s


def test_noes_can_be_surer_than_yeses_and_misses_differ_by_tag() -> None:
    video = draw_video(World(duration_s=7200.0, tags=30), (2,))
    usual, sure = (
        NoisyModel(video, Noise(0.1, 0.02, confidence=1.0, sure_noes=factor), (2,))
        for factor in (1.0, 3.0)
    )
    numbers = np.arange(0, usual.frames, 50)
    present, probability = usual.judge(numbers)
    _, surer = sure.judge(numbers)
    assert probability is not None
    assert surer is not None
    assert np.array_equal(probability[present], surer[present])
    assert surer[~present].mean() < 0.5 * probability[~present].mean()

    by_tag = NoisyModel(video, Noise(misses_by_tag=(0.05, 0.5)), (2,))
    truth = by_tag.truth_at(numbers / video.info.frame_rate)
    seen, _ = by_tag.judge(numbers)
    often = truth.sum(0) > 200
    missed = 1 - (seen & truth).sum(0)[often] / truth.sum(0)[often]
    assert missed.min() < 0.15 < 0.3 < missed.max()
