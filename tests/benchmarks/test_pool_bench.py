"""The benchmark of the pool runs from end to end; its ideal and its endpoints are what they are said to be."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from benchmarks.pool import DOCS, PAGE, measure, run
from benchmarks.pool_pictures import messages, number_in, picture, reply
from benchmarks.pool_report import claims
from benchmarks.pool_scenes import POOL, Extent, Scene, quick
from benchmarks.pool_server import Endpoint, Fault

QUICK = (Endpoint(4, 0.01), Endpoint(2, 0.02))


def scene(*endpoints: Endpoint, questions: int = 40, unanswerable: int = 0) -> Scene:
    return Scene("some", endpoints, endpoints, questions, None, unanswerable)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page after a quick run."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / PAGE).write_text((DOCS / PAGE).read_text(encoding="utf-8"), encoding="utf-8")
    extent = quick()
    run(
        Extent(
            extent.three[:1],
            (),
            replace(extent.few, questions=20),
            replace(extent.many, questions=40),
        ),
        folder,
    )
    return (folder / PAGE).read_text(encoding="utf-8")


def test_the_page_gets_its_tables_and_keeps_the_rest(page: str) -> None:
    before = (DOCS / PAGE).read_text(encoding="utf-8")
    mark = "<!-- pool: made by make bench-pool -->"
    assert mark in before
    assert page.partition(mark)[0] == before.partition(mark)[0]
    for heading in ("What was promised", "Three endpoints", "Memory"):
        table = page.partition(f"### {heading}")[2].partition("\n| ")[2].partition("\n\n")[0]
        assert table.count("\n") >= 2, heading
    assert re.search(r"\| this pool \| \d+\.\d", page)


def test_all_is_answered_and_nothing_asked_twice_by_healthy_endpoints() -> None:
    result = measure(POOL, scene(*QUICK))
    assert (result.outcome.answered, result.outcome.lost, result.outcome.undone) == (40, 0, 0)
    assert sum(own.answered for own in result.counts) >= 40
    assert result.extra <= 0.1
    assert result.outcome.wall_s >= result.scene.ideal_s


def test_poison_pictures_alone_are_lost() -> None:
    poisoned = [replace(endpoint, fault=Fault.POISON) for endpoint in QUICK]
    result = measure(POOL, scene(*poisoned, unanswerable=3))
    assert (result.outcome.answered, result.outcome.lost) == (37, 3)
    assert sum(own.failed for own in result.counts) >= 6


@pytest.mark.parametrize(
    ("fault", "at_s", "until_s"),
    [
        (Fault.DOWN, 0.05, 1e9),
        (Fault.DOWN, 0.05, 0.3),
        (Fault.HANG, 0.05, 1e9),
        (Fault.BUSY, 0.0, 1e9),
    ],
)
def test_endpoints_fail_as_they_are_told_and_nothing_is_lost(
    fault: Fault, at_s: float, until_s: float
) -> None:
    odd = replace(QUICK[0], fault=fault, at_s=at_s, until_s=until_s)
    result = measure(POOL, scene(odd, QUICK[1], questions=80))
    assert (result.outcome.answered, result.outcome.lost) == (80, 0)
    assert result.counts[0].answered < 80


@pytest.mark.parametrize(
    ("changes", "ideal_s"),
    [
        ({}, 10.0),
        ({"fault": Fault.DOWN, "at_s": 4.0, "until_s": 1e9}, 16.0),
        ({"fault": Fault.HANG, "at_s": 4.0, "until_s": 1e9}, 16.0),
        ({"fault": Fault.DOWN, "at_s": 4.0, "until_s": 6.0}, 11.0),
        ({"fault": Fault.BUSY, "at_s": 4.0}, 10.5),
        ({"fault": Fault.DOWN, "at_s": 100.0}, 10.0),
    ],
)
def test_the_ideal_uses_every_working_slot_all_the_time(
    changes: dict[str, object], ideal_s: float
) -> None:
    one = replace(Endpoint(2, 0.2), **changes)  # type: ignore[arg-type]
    assert scene(one, Endpoint(1, 0.1), questions=200).ideal_s == pytest.approx(ideal_s, abs=1e-3)


def test_a_server_finds_the_pictures_number_in_every_clients_request() -> None:
    assert number_in(json.dumps({"messages": messages(4711)}).encode()) == 4711
    assert len(picture(0)) == len(picture(4711)) == 60_000
    assert reply(1) == '{"tags": ["Foul"]}'


def test_claims_are_judged_by_what_was_measured() -> None:
    result = measure(POOL, scene(*QUICK))
    strict = replace(result, scene=replace(result.scene, name="healthy", most=0.0))
    told = {what: holds for what, _, _, holds in claims([strict], [], [])}
    assert told["three endpoints, healthy: makespan over the ideal"] is False
    assert told["lost, poison pictures aside"] is True
