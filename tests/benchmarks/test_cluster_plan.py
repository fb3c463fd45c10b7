"""The cluster on paper: small cases whose outcome is known, and the page it is written into."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import cluster
from benchmarks.cluster_plan import Costs, Plan, Result, Simulation
from benchmarks.cluster_scenes import Action, Scene, Server

COSTS = Costs(2e-3, 3e-4, 6e-5, 1e-6, 1e-3, 4e-4, 1e-4, 2e-3)
SMALL = Plan(4, 8, 120, places=8, slots=4, answer_s=2.0)
SHAPES = [
    pytest.param(replace(SMALL, **more), id=name)
    for name, more in {
        "shared": {},
        "own": {"private": True},
        "few slots": {"endpoints": 1, "slots": 2, "videos": 30},
        "slow": {"slow_share": 0.25},
        "lost": {"lost_every_s": 9.0, "joins_after_s": 5.0},
        "lost, own": {"lost_every_s": 9.0, "joins_after_s": 5.0, "private": True},
    }.items()
]


def simulated(plan: Plan, costs: Costs = COSTS) -> Result:
    return Simulation(plan, costs).run()


def test_one_slot_is_busy_all_the_time_where_nothing_costs():
    result = simulated(Plan(1, 1, 20, slots=1, answer_s=1.0), Costs())
    assert result.makespan_s == result.ideal_s == result.needed


def test_a_single_video_takes_its_rounds():
    plan = Plan(1, 4, 1, median_questions=20, sigma=0.0, rounds=5, answer_s=3.0)
    assert simulated(plan, Costs()).makespan_s == pytest.approx(15.0)


@pytest.mark.parametrize("plan", SHAPES)
def test_every_video_is_done_once(plan):
    result = simulated(plan)
    assert result.done == [1] * plan.videos


@pytest.mark.parametrize("plan", SHAPES)
def test_no_endpoint_has_more_than_its_slots(plan):
    assert 1 <= simulated(plan).peak <= plan.slots


@pytest.mark.parametrize("plan", SHAPES)
def test_a_loss_repeats_only_what_was_in_flight(plan):
    result = simulated(plan)
    assert (result.lost > 0) == (plan.lost_every_s > 0)
    assert result.sent == result.stored + result.lost_in_flight
    # Nothing else is asked again, except what is stored while another worker begins.
    assert 0 <= result.stored - result.needed <= result.lost * plan.workers * plan.slots


@pytest.mark.parametrize("plan", SHAPES)
def test_nothing_is_quicker_than_the_ideal(plan):
    assert simulated(plan).over_ideal >= 1.0


def test_the_same_plan_gives_the_same_result():
    assert simulated(SMALL) == simulated(SMALL)
    assert simulated(SMALL) != simulated(replace(SMALL, seed=1))


def test_a_scheduler_that_is_too_slow_is_the_limit():
    slow = simulated(SMALL, Costs(scheduler_call_s=1.0))
    assert slow.scheduler_s / slow.makespan_s > 0.9
    assert slow.makespan_s > 2 * simulated(SMALL).makespan_s


def test_the_ideal_waits_for_a_worker_that_joins_late():
    scene = Scene("late", ("one",), (Server(2, 1.0, "one"), Server(2, 1.0, "two")))
    assert scene.ideal_s(40, 3.0) == 10.0
    late = replace(scene, action=Action("join", "two", 10.0))
    assert late.ideal_s(40, 3.0) == 15.0
    assert late.ideal_s(4, 30.0) == 30.0


@pytest.mark.thorough
def test_the_page_is_written(tmp_path):
    page = tmp_path / cluster.PAGE
    page.write_text((cluster.DOCS / cluster.PAGE).read_text(encoding="utf-8"), encoding="utf-8")
    before = page.read_text(encoding="utf-8").partition("<!-- cluster")[0]
    text = cluster.run(cluster.quick(), tmp_path)
    written = page.read_text(encoding="utf-8")
    assert written.startswith(before)
    assert text in written
    for heading in ("Makespan", "Throughput", "Overhead", "What the parts cost", "On paper"):
        assert f"### {heading}\n" in text
