"""No clock has to be right: Stash's may be ahead or behind, and jump between the runs."""

import sqlite3
from contextlib import closing

import pytest

from tests.old_journals import as_fourth_version
from tests.plugin.items import Scenario, info
from tests.plugin.test_removed import FOUND

HOUR_S = 3600.0


@pytest.fixture
def scenario(stash, tmp_path):
    scenario = Scenario(stash, tmp_path, "VLM_TagMe", "VLM_Errored", "Home game")
    stash.library.add_marker(scenario.scene, "Foul", 51, 59, title="by hand")
    return scenario


@pytest.fixture(
    params=[
        (-2 * HOUR_S, -2 * HOUR_S),
        (-5.0, -5.0),
        (2.0, 2.0),
        (2 * HOUR_S, 2 * HOUR_S),
        (2 * HOUR_S, -HOUR_S),
        (-HOUR_S, 3.0),
    ]
)
def clocks(stash, request):
    """Two settings of Stash's clock, to jump to in turn."""
    first_s, then_s = request.param
    stash.library.set_clock(first_s)
    return (
        lambda: stash.library.set_clock(first_s),
        lambda: stash.library.set_clock(then_s),
    )


def test_undo_depends_on_no_clock(clocks, scenario):
    first, then = clocks
    before = scenario.stash.library.snapshot()
    then()
    scenario.apply(FOUND)
    after = scenario.content
    first()
    scenario.apply(info("Timeout"))
    then()
    scenario.undo()
    assert scenario.content == after
    scenario.undo()
    assert scenario.stash.library.snapshot() == before


def test_removal_and_its_undoing_depend_on_no_clock(clocks, scenario):
    first, then = clocks
    tags, markers = scenario.content
    then()
    scenario.apply(FOUND)
    after = scenario.content
    first()
    scenario.remove_owned()
    assert scenario.content == (tags - {"VLM_TagMe", "VLM_Errored"}, markers)
    then()
    scenario.undo()
    assert scenario.content == after


def test_recovery_depends_on_no_clock(clocks, scenario):
    scenario.apply_until_killed(FOUND, "MarkersCreate")
    clocks[1]()
    with scenario.handler() as handler:
        (recovered,) = handler.recover()
    assert (recovered.finished, recovered.gone, recovered.markers) == (True, False, 3)


def test_undo_of_an_older_journal_depends_on_no_clock(scenario, tmp_path):
    scenario.stash.library.set_clock(2 * HOUR_S)
    before = scenario.content
    scenario.apply(FOUND)
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db:
        as_fourth_version(db)
        db.commit()
    scenario.apply(info("Foul"))
    scenario.undo()
    scenario.undo()
    assert scenario.content == before
