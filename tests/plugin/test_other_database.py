"""A Stash with a new or restored database reuses ids: the journal must not take other scenes and
tags for its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from haven.items import ItemKind
from haven.stash.values import change_of
from sandbox.stash import SandboxStash
from tests.plugin.fragile import KilledError, handler_of, once_replied
from tests.plugin.items import apply, info
from vlm_engine import VideoTagInfo
from vlm_engine.testing.threads import running

PEOPLES = ("Favourite", "Family", "Home game", "Interview", "My best", "To cut", "VLM_TagMe")


def found(*tags: str) -> VideoTagInfo:
    return info(*tags, **{tag: [(5, 9)] for tag in tags})


def tagged(stash: SandboxStash, folder: Path) -> str:
    """A scene that the plugin has tagged."""
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, folder) as handler:
        handler.prepare()
        apply(handler, scene, found("Foul", "Goal", "Timeout"))
    return scene


def a_second_later() -> None:
    """Stash dates what it makes by the second."""
    time.sleep(1.1)


@pytest.fixture
def anew(stash: SandboxStash, tmp_path: Path) -> Iterator[SandboxStash]:
    """A Stash without a past, beside a journal that has one: the same numbers are a person's
    there.
    """
    first = tagged(stash, tmp_path)
    a_second_later()
    with running(SandboxStash()) as other:
        assert other.library.add_scene(tags=PEOPLES) == first
        old, new = (
            {tag.id: tag.name for tag in one.library.snapshot().tags} for one in (stash, other)
        )
        assert len(old.keys() & new.keys()) == len(new)
        yield other


def tags_of(stash: SandboxStash) -> set[str]:
    (scene,) = stash.library.snapshot().scenes
    return set(scene.tags)


def test_tagging_takes_off_nothing_that_people_put_there(
    anew: SandboxStash, tmp_path: Path
) -> None:
    with handler_of(anew, tmp_path) as handler:
        handler.prepare()
        assert change_of(handler.preview(ItemKind.SCENE, {"1": found("Foul")})).tags_removed == ()
        apply(handler, "1", found("Foul"))
        assert tags_of(anew) == {*PEOPLES, "Foul", "VLM_Tagged"} - {"VLM_TagMe"}
        apply(handler, "1", found())
    assert tags_of(anew) == {*PEOPLES, "VLM_Tagged"} - {"VLM_TagMe"}


def test_removing_takes_off_nothing(anew: SandboxStash, tmp_path: Path) -> None:
    with handler_of(anew, tmp_path) as handler:
        run_id = handler.start_run("Remove VLM Tags and Markers")
        for scene in handler.owned_ids(ItemKind.SCENE):
            assert change_of(handler.remove_owned(run_id, ItemKind.SCENE, [scene])).is_empty
    assert tags_of(anew) == set(PEOPLES)


def test_undoing_leaves_a_scene_alone_that_was_made_since(
    anew: SandboxStash, tmp_path: Path
) -> None:
    with handler_of(anew, tmp_path) as handler:
        run = handler.last_undoable_run()
        assert run is not None
        run_id = handler.start_run("Undo Last Run", undoes=run.id)
        (change,) = handler.changes_to_undo(run)
        change = change_of(handler.undo_changes(run_id, [change.number]))
    assert tags_of(anew) == set(PEOPLES)
    assert change.kept_back == ("scene 1 is another one than the run changed: it was made since",)


def test_a_half_written_plan_is_not_completed_on_another_scene(
    stash: SandboxStash, tmp_path: Path
) -> None:
    stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "TagScene", handler)
        with pytest.raises(KilledError):
            apply(handler, "1", found("Foul"))
    a_second_later()
    with running(SandboxStash()) as other:
        other.library.add_scene(tags=PEOPLES)
        with handler_of(other, tmp_path) as handler:
            (recovered,) = handler.recover()
            assert recovered.gone
            assert handler.recover() == ()
        assert tags_of(other) == set(PEOPLES)


@pytest.fixture
def restored(stash: SandboxStash, tmp_path: Path) -> str:
    """A scene that was tagged after the backup that Stash has been put back from; a person has
    tagged it since.
    """
    scene = stash.library.add_scene()
    backup = stash.library.saved()
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        stash.library.tag_scene(scene, "VLM_TagMe")
        apply(handler, scene, found("Foul", "Goal", "Timeout"))
    stash.library.restore(backup)
    a_second_later()
    stash.library.tag_scene(scene, *PEOPLES[:-1], "Last season", "VLM_TagMe")
    return scene


def test_after_a_backup_what_people_put_there_since_stays(
    stash: SandboxStash, tmp_path: Path, restored: str
) -> None:
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        apply(handler, restored, found("Foul"))
        expected = {*PEOPLES[:-1], "Last season", "Foul", "VLM_Tagged"}
        assert set(stash.library.scene_state(restored).tags) == expected
        change_of(
            handler.remove_owned(
                handler.start_run("Remove VLM Tags and Markers"), ItemKind.SCENE, [restored]
            )
        )
    assert set(stash.library.scene_state(restored).tags) == {*PEOPLES[:-1], "Last season"}


def test_after_a_backup_undoing_puts_tags_back_by_their_names(
    stash: SandboxStash, tmp_path: Path, restored: str
) -> None:
    stash.library.untag_scene(restored, "VLM_TagMe")
    before = stash.library.scene_state(restored).tags
    numbers = {tag.name: tag.id for tag in stash.library.snapshot().tags}
    with handler_of(stash, tmp_path) as handler:
        run = handler.last_undoable_run()
        assert run is not None
        (change,) = handler.changes_to_undo(run)
        released = {tag.id for tag in handler._journal.facts(change.number).released}
        assert released & {number for name, number in numbers.items() if name != "VLM_TagMe"}
        change_of(
            handler.undo_changes(handler.start_run("Undo Last Run", undoes=run.id), [change.number])
        )
    assert set(stash.library.scene_state(restored).tags) == {*before, "VLM_TagMe"}


# What people did to a scene while its change was cut off.


def test_tags_added_by_people_after_an_early_kill_are_theirs(
    stash: SandboxStash, tmp_path: Path
) -> None:
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "MarkersCreate", handler)
        with pytest.raises(KilledError):
            apply(handler, scene, found("Foul", "Goal"))
    stash.library.tag_scene(scene, "Foul")
    with handler_of(stash, tmp_path) as handler:
        handler.recover()
        assert set(stash.library.scene_state(scene).tags) == {
            "Foul",
            "Goal",
            "VLM_TagMe",
            "VLM_Tagged",
        }
        change_of(
            handler.remove_owned(
                handler.start_run("Remove VLM Tags and Markers"), ItemKind.SCENE, [scene]
            )
        )
    assert stash.library.scene_state(scene).tags == ("Foul", "VLM_TagMe")
