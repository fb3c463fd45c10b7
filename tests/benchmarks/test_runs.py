"""Every benchmark runs from end to end and writes its tables into its page, and nothing else."""

from __future__ import annotations

import math
import re
from dataclasses import astuple, replace
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import forecast, forecast_fit, images, pool, search, store, video
from benchmarks.break_even import WAYS
from benchmarks.filmed import DECODED, SIMULATED_CUTS, UNDECODED
from benchmarks.pool_report import claims
from benchmarks.pool_scenes import POOL, Extent, Scene, quick
from benchmarks.pool_server import Endpoint, Fault
from benchmarks.simulated import SCANNED_HARSH, SCANNED_MILD
from benchmarks.store_rerun import Rerun
from benchmarks.strategies import DENSE, REC
from vlm_engine.checkup.question_counts import LaterQuestions

QUICK = (Endpoint(4, 0.01), Endpoint(2, 0.02))
Rows = dict[str, list[str]]


def room(page: str, folder: Path) -> str:
    """Copy a page into ``folder`` and return what must stay of it."""
    text = (images.DOCS / page).read_text(encoding="utf-8")
    (folder / page).write_text(text, encoding="utf-8")
    before, mark, _ = text.partition(": made by make bench-")
    assert mark
    return before


def written(page: str, folder: Path, before: str) -> str:
    text = (folder / page).read_text(encoding="utf-8")
    assert text.startswith(before)
    return text


def rows(page: str, heading: str) -> Rows:
    """Return the first table below a heading: the cells of each row, by its first cell."""
    table = page.partition(f"### {heading}")[2].partition("\n| ")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]
    return {row[0]: row[1:] for row in cells[2:] if row[1:]}


def test_images(tmp_path):
    before = room(images.PAGE, tmp_path)
    table = images.run([images.Plan(60, Endpoint(4, 0.01, numbered=False))], tmp_path)
    assert table in written(images.PAGE, tmp_path, before)
    tagged, again = [row for row in table.splitlines() if "Tag" in row]
    assert tagged.startswith("| Tag Images | 60 | 4 | 10 ms | ")
    assert again.startswith("| Update Tagged Images | 60 | 4 | 10 ms | ")


@pytest.mark.thorough
def test_pool(tmp_path):
    before, extent = room(pool.PAGE, tmp_path), quick()
    few, many = replace(extent.few, questions=20), replace(extent.many, questions=40)
    pool.run(Extent(extent.three[:1], (), few, many), tmp_path)
    page = written(pool.PAGE, tmp_path, before)
    assert rows(page, "What was promised")
    assert {"Three endpoints", "Memory"} <= {*re.findall("^### (.*)$", page, re.MULTILINE)}
    assert re.search(r"\| this pool \| \d+\.\d", page)


@pytest.mark.thorough
def test_search(tmp_path):
    before, extent = room(search.PAGE, tmp_path), search.quick()
    search.run(replace(extent, plan=replace(extent.plan, duration_s=150.0)), tmp_path)
    page = written(search.PAGE, tmp_path, before)
    simulated = rows(page, "Simulated: all mistakes")
    assert {DENSE, REC, "search"} <= simulated.keys()
    assert {DECODED, UNDECODED, SIMULATED_CUTS, DENSE, REC} <= rows(page, "Real").keys()
    assert rows(page, "What was promised")
    pair = rows(page, "Simulated: a small model scans")
    assert [*pair] == ["alone", SCANNED_MILD, SCANNED_HARSH]
    assert int(pair[SCANNED_HARSH][1]) < int(pair["alone"][1]) < int(pair[SCANNED_HARSH][2])
    asked = rows(page, "Simulated: small pictures and short answers")
    assert asked.keys() == WAYS.keys()
    drawn = ElementTree.fromstring((tmp_path / search.PLOT).read_text(encoding="utf-8"))
    assert {"search", REC, DENSE} <= {element.text for element in drawn.iter()}
    for circle in (element for element in drawn.iter() if element.tag.endswith("circle")):
        assert 0 <= float(circle.get("cx", math.nan)) <= 760
        assert 0 <= float(circle.get("cy", math.nan)) <= 440


def test_store(tmp_path):
    before = room(store.PAGE, tmp_path)
    store.run(2 * store.PER_VIDEO, 40.0, tmp_path)
    page = written(store.PAGE, tmp_path, before)
    assert rows(page, "The file")["answers"] == ["1,800"]
    assert len(rows(page, "What was promised")) == 5
    first, *again = rows(page, "The same video again").items()
    assert int(first[1][0]) > 5
    calls = {name: cells[0] for name, cells in again}
    kinds = ["thresholds", "gaps", "shortest markers", "required durations", "names"]
    assert calls == dict.fromkeys(kinds, "0")
    spans = {name: int(cells[2]) for name, cells in again}
    assert max(spans["names"], spans["shortest markers"]) < int(first[1][2])


@pytest.mark.thorough
def test_video(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- video: made by make bench-video -->\nold\n<!-- end of video -->\n"
    )
    video.main(["--quick", "--page", str(page)])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- video")
    assert "old" not in text
    kinds = [f"| {container} |" for container in ("mp4", "mkv", "ts")]
    for row in (*kinds, "| this reader, key frames |", "| OpenCV, a seek for each |"):
        assert text.count(row) == 2, row
    assert "| hints of this reader |" in text
    page.write_text("nothing here\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="no place"):
        video._show("tables", page)


@pytest.mark.parametrize(
    ("hints", "met"),
    [([], 0), ([1.09, 4.91], 2), ([1.11, 4.89], 0), ([0.95, 1.0, 1.05], 1), ([0.2, 1, 3, 9], 1)],
)
def test_a_cut_is_met_by_one_hint_near_it(hints, met):
    assert video._pairs(hints, (1.0, 5.0)) == met


def scene(*endpoints: Endpoint, unanswerable: int = 0) -> Scene:
    return Scene("some", endpoints, endpoints, 40, None, unanswerable)


def test_only_pictures_that_no_endpoint_answers_are_lost():
    poisoned = [replace(endpoint, fault=Fault.POISON) for endpoint in QUICK]
    result = pool.measure(POOL, scene(*poisoned, unanswerable=3))
    assert (result.outcome.answered, result.outcome.lost) == (37, 3)
    assert result.outcome.wall_s >= result.scene.ideal_s


def test_a_promise_that_is_not_kept_is_reported():
    result = pool.measure(POOL, scene(*QUICK))
    strict = replace(result, scene=replace(result.scene, name="healthy", most=0.0))
    kept = {what: holds for what, _, _, holds in claims([strict], [], [])}
    assert kept["three endpoints, healthy: makespan over the ideal"] is False
    assert kept["lost, poison pictures aside"] is True
    costs = store.Costs(1000, 1_100_000, 1.0, [0.3] * 5, 1.0, [0.03] * 50)
    reruns = [Rerun("", 900, 60.0, 5), Rerun("gaps", 3, 1.5, 4)]
    assert not any(claim.holds for claim in store.claims(costs, reruns, 7200))


async def test_forecast(tmp_path):
    before = room(forecast.PAGE, tmp_path)
    text = forecast.report(await forecast.run(forecast.QUICK, [1], 0.0))
    forecast.write(text, tmp_path)
    assert text in written(forecast.PAGE, tmp_path, before)
    scenes, _, _, questions, *forecasts = text.splitlines()[2].strip("| ").split(" | ")
    assert scenes == "4"
    for each in forecasts:
        assert 0.5 < int(each.partition(";")[0]) / int(questions) < 2


def test_constants_of_the_forecast_are_found_again():
    usual = LaterQuestions(12.0, 0.5, 0.4, 0.6, 0.7)
    lengths_s, numbers = (10.0, 100.0, 1000.0, 10_000.0), (1, 4, 32)
    made = [
        forecast_fit.Searched(
            length_s, tags, effort, scan, round(usual.of(length_s, scan, tags, effort), 3), 1.0
        )
        for length_s, tags, effort in product(lengths_s, numbers, (0.5, 1.0, 2.0))
        for scan in (round(length_s / 3) + 2, round(length_s / 10) + 2)
    ]
    found, deviation = forecast_fit.fit(made)
    assert astuple(found) == pytest.approx(astuple(usual), rel=0.02)
    assert deviation < 0.01
