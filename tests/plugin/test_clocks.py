"""No clock has to be right: Stash's may be ahead or behind, and jump between the runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from haven.items import ItemKind
from haven.stash.handler import MediaHandler
from haven.stash.values import change_of
from sandbox.stash import SandboxStash
from tests.old_journals import as_fourth_version
from tests.plugin.fragile import KilledError, handler_of, once_replied
from tests.plugin.items import apply, info, undo
from tests.plugin.test_removed import FOUND, stands

HOUR_S = 3600.0
CLOCKS = [
    (-2 * HOUR_S, -2 * HOUR_S),
    (-5.0, -5.0),
    (2.0, 2.0),
    (2 * HOUR_S, 2 * HOUR_S),
    (2 * HOUR_S, -HOUR_S),
    (-HOUR_S, 3.0),
]


def add_scene(stash: SandboxStash) -> str:
    scene = stash.library.add_scene(tags=["VLM_TagMe", "VLM_Errored", "Home game"])
    stash.library.add_marker(scene, "Foul", 51, 59, title="by hand")
    return scene


@pytest.mark.parametrize(("first_s", "then_s"), CLOCKS)
def test_undo_depends_on_no_clock(
    stash: SandboxStash, tmp_path: Path, first_s: float, then_s: float
) -> None:
    stash.library.set_clock(first_s)
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        scene = add_scene(stash)
        before = stash.library.snapshot()
        stash.library.set_clock(then_s)
        apply(handler, scene, FOUND)
        after = stands(stash, scene)
        stash.library.set_clock(first_s)
        apply(handler, scene, info("Timeout"))
        stash.library.set_clock(then_s)
        undo(handler)
        assert stands(stash, scene) == after
        undo(handler)
    assert stash.library.snapshot() == before


@pytest.mark.parametrize(("first_s", "then_s"), CLOCKS)
def test_removal_and_its_undoing_depend_on_no_clock(
    stash: SandboxStash, tmp_path: Path, first_s: float, then_s: float
) -> None:
    stash.library.set_clock(first_s)
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        scene = add_scene(stash)
        before = stands(stash, scene)
        stash.library.set_clock(then_s)
        apply(handler, scene, FOUND)
        after = stands(stash, scene)
        stash.library.set_clock(first_s)
        change_of(
            handler.remove_owned(
                handler.start_run("Remove VLM Tags and Markers"), ItemKind.SCENE, [scene]
            )
        )
        assert stands(stash, scene) == (before[0] - {"VLM_TagMe", "VLM_Errored"}, before[1])
        stash.library.set_clock(then_s)
        undo(handler)
        assert stands(stash, scene) == after


@pytest.mark.parametrize(("first_s", "then_s"), CLOCKS)
def test_recovery_depends_on_no_clock(
    stash: SandboxStash, tmp_path: Path, first_s: float, then_s: float
) -> None:
    stash.library.set_clock(first_s)
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        scene = add_scene(stash)
        once_replied(stash, "MarkersCreate", handler)
        with pytest.raises(KilledError):
            apply(handler, scene, FOUND)
    stash.library.set_clock(then_s)
    with handler_of(stash, tmp_path) as handler:
        (recovered,) = handler.recover()
        assert recovered.finished
        assert (recovered.gone, recovered.markers) == (False, 3)


def test_undo_of_an_older_journal_depends_on_no_clock(
    stash: SandboxStash, handler: MediaHandler, tmp_path: Path
) -> None:
    stash.library.set_clock(2 * HOUR_S)
    scene = add_scene(stash)
    before = stands(stash, scene)
    apply(handler, scene, FOUND)
    handler.close()
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db:
        as_fourth_version(db)
        db.commit()
    with handler_of(stash, tmp_path) as handler:
        apply(handler, scene, info("Foul"))
        undo(handler)
        undo(handler)
    assert stands(stash, scene) == before
