"""The benchmark of the search runs from end to end; its yardsticks see just what the endpoint would have told."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.filmed import DECODED, SIMULATED_CUTS, UNDECODED, FilmModel, Mistakes, measure
from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.pair import Pair
from benchmarks.search import DOCS, PAGE, PLOT, quick, run
from benchmarks.sheets import Sheets
from benchmarks.simulated import DENSE, REC, SCANNED_HARSH, SCANNED_MILD
from benchmarks.world import World, draw_video
from sandbox.videos import VideoSpec, generate
from vlm_engine.testing import glyphs
from vlm_engine.testing.threads import running
from vlm_engine.types import FrameQuery, Purpose
from vlm_engine.video import probe

SPEC = VideoSpec(
    duration_s=30, width=320, height=180, tags=("Foul", "Turnover", "Goal"), seed=3, shot_median_s=5
)


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docs folder after a quick run."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / PAGE).write_text((DOCS / PAGE).read_text(encoding="utf-8"), encoding="utf-8")
    extent = quick()
    run(replace(extent, plan=replace(extent.plan, duration_s=150.0)), folder)
    return folder


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """The cells of the first table below a heading, by the first cell of each row."""
    table = page.partition(f"### {heading}")[2].partition("\n| ")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return {cells[0]: cells[1:] for cells in rows}


def test_the_page_gets_its_tables(docs: Path) -> None:
    page = (docs / PAGE).read_text(encoding="utf-8")
    simulated = rows_of(page, "Simulated: all mistakes")
    assert {DENSE, REC, "search"} <= simulated.keys()
    for cells in (simulated[DENSE], simulated["search"]):
        assert len(cells) == 11
        assert all(any(character.isdigit() for character in cell) for cell in cells[:-1])
    real = rows_of(page, "Real")
    assert {DECODED, UNDECODED, SIMULATED_CUTS, DENSE, REC} <= real.keys()
    assert real[DECODED][-1].endswith("MB")
    assert rows_of(page, "What was promised")
    pair = rows_of(page, "Simulated: a small model scans")
    assert list(pair)[2:] == ["alone", SCANNED_MILD, SCANNED_HARSH]
    assert int(pair[SCANNED_HARSH][0]) < int(pair["alone"][0]) < int(pair[SCANNED_HARSH][1])


def test_what_else_is_on_the_page_stays(docs: Path) -> None:
    before, after = ((folder / PAGE).read_text(encoding="utf-8") for folder in (DOCS, docs))
    mark = "<!-- search: made by make bench-search -->"
    assert mark in before
    assert after.partition(mark)[0] == before.partition(mark)[0]


def test_the_plot_is_a_picture_with_every_strategy(docs: Path) -> None:
    drawn = ElementTree.fromstring((docs / PLOT).read_text(encoding="utf-8"))
    texts = {element.text for element in drawn.iter() if element.tag.endswith("text")}
    assert {"search", REC, DENSE} <= texts
    for circle in (element for element in drawn.iter() if element.tag.endswith("circle")):
        assert 0 <= float(circle.get("cx", math.nan)) <= 760
        assert 0 <= float(circle.get("cy", math.nan)) <= 440


def test_four_scan_frames_are_one_call_and_cost_as_many_tokens_as_four() -> None:
    video = draw_video(World(duration_s=300.0), (5,))
    sheets = Sheets(NoisyModel(video, Noise(), (5,)), 2.0)
    queries = [FrameQuery(float(time_s), sheets.tags, Purpose.SCAN) for time_s in range(10)]
    sheets.observe([*queries, FrameQuery(20.0, sheets.tags[:1], Purpose.EDGE)])
    alone = NoisyModel(video, Noise(), (5,))
    alone.observe([*queries, FrameQuery(20.0, sheets.tags[:1], Purpose.EDGE)])
    assert (sheets.bill.calls, sheets.bill.rounds) == (3 + 1, 1)
    assert (sheets.bill.image_tokens, sheets.bill.answer_tokens) == (
        alone.bill.image_tokens,
        alone.bill.answer_tokens,
    )


def test_scans_are_the_scanners_and_everything_else_the_judges() -> None:
    video = draw_video(World(duration_s=1800.0), (5,))
    judge = NoisyModel(video, Noise(), (5,))
    pair = Pair(judge, judge.another(Noise(0.3, 0.1)))
    scans = [FrameQuery(float(time_s), pair.tags, Purpose.SCAN) for time_s in range(0, 1800, 20)]
    edges = [FrameQuery(time_s + 0.5, pair.tags, Purpose.EDGE) for time_s in range(5)]
    seen = pair.observe([*edges, *scans])
    assert (pair.bill.calls, pair.bill.scan_calls, pair.bill.rounds) == (5, 90, 1)
    assert [one.scanned for one in seen] == [False] * 5 + [True] * 90
    truth = judge.truth_at(np.array([one.time_s for one in seen]))
    wrong = [
        one.verdicts[tag].present != truth[row, column]
        for row, one in enumerate(seen)
        for column, tag in enumerate(pair.tags)
    ]
    assert not any(wrong[: 5 * len(pair.tags)])
    assert sum(wrong) > 90


def test_a_model_that_errs_more_often_is_wrong_wherever_the_other_is() -> None:
    video = draw_video(World(duration_s=1800.0), (5,))
    model = NoisyModel(video, Noise(0.05, 0.01), (5, 7))
    numbers = np.arange(0, model.frames, 25)
    truth = model.truth_at(numbers / video.info.frame_rate)
    wrong, more = (each.judge(numbers)[0] != truth for each in (model, model.erring(2.0)))
    assert wrong.sum() < more.sum()
    assert not (wrong & ~more).any()


@pytest.mark.parametrize("shot_share", [0.0, 0.8])
def test_the_oracle_answers_as_the_endpoint_does(tmp_path: Path, shot_share: float) -> None:
    video = generate(SPEC, tmp_path / "game.mp4")
    how = Mistakes(0.3, 0.1, shot_share=shot_share)
    with running(how.endpoint(video)) as endpoint:
        result = measure(str(video.path), SPEC.tags, endpoint.url).result
    oracle = FilmModel(video, result.video, how.endpoint(video))
    (found,) = result.findings
    assert found.observations
    for _, seen in found.observations:
        present, _ = oracle.judge(np.array([oracle.number_at(seen.time_s)]))
        told = dict(zip(SPEC.tags, present[0], strict=True))
        assert {tag: verdict.present for tag, verdict in seen.verdicts.items()} == {
            tag: told[tag] for tag in seen.verdicts
        }


def test_poor_pictures_hold_more_mistakes_than_good_ones_and_as_many_in_all(tmp_path: Path) -> None:
    video = generate(SPEC, tmp_path / "game.mp4")
    endpoint = Mistakes(0.05, 0.005, quality_spread=1.2).endpoint(video)
    shown = [glyphs.Shown(frozenset(), number) for number in range(0, 45_000, 5)]
    rates = np.array([endpoint.error_rate(each, is_there=True) for each in shown])
    assert rates.min() < 0.02 < 0.1 < rates.max() <= 0.45
    assert rates.mean() == pytest.approx(0.05, rel=0.15)
    alike = {
        endpoint.error_rate(glyphs.Shown(frozenset(), number), is_there=True)
        for number in range(15, 22)
    }
    assert len(alike) == 1


def test_mistakes_can_hold_for_a_whole_shot(tmp_path: Path) -> None:
    video = generate(SPEC, tmp_path / "game.mp4")
    oracle = FilmModel(
        video, probe(str(video.path)), Mistakes(0.0, 0.3, shot_share=1.0).endpoint(video)
    )
    bounds = [0, *(round(cut_s * 15) for cut_s in video.cuts_s), SPEC.frames]
    for tag in SPEC.tags:
        for first, end in pairwise(bounds):
            there = [tag in video.tags_at(number / 15 + 1e-6) for number in range(first, end)]
            present = oracle.judge(np.arange(first, end))[0][:, SPEC.tags.index(tag)]
            assert len({*present[~np.array(there)]}) <= 1
