"""A Stash with a new or restored database reuses ids: the journal must not take other scenes and
tags for its own.
"""

import time

import pytest

from haven.stash.values import change_of
from sandbox.stash import SandboxStash
from tests.plugin.fragile import handler_of
from tests.plugin.items import SCENE, Scenario, apply, info
from vlm_engine.testing.threads import running

PEOPLES = ("Favourite", "Family", "Home game", "Interview", "My best", "To cut", "VLM_TagMe")


def found(*tags):
    return info(*tags, **{tag: [(5, 9)] for tag in tags})


def a_second_later():
    """Stash dates what it makes by the second."""
    time.sleep(1.1)


@pytest.fixture
def scenario(stash, tmp_path):
    return Scenario(stash, tmp_path, "VLM_TagMe")


@pytest.fixture
def anew(scenario):
    """A Stash without a past, beside a journal that has one: the same numbers are a person's
    there.
    """
    scenario.apply(found("Foul", "Goal", "Timeout"))
    a_second_later()
    with running(SandboxStash()) as other:
        assert other.library.add_scene(tags=PEOPLES) == scenario.scene
        old, new = (
            {tag.id for tag in one.library.snapshot().tags} for one in (scenario.stash, other)
        )
        assert new <= old
        yield other


def tags_of(stash):
    (scene,) = stash.library.snapshot().scenes
    return set(scene.tags)


def undo(handler):
    """Undo the last run, which made one change. Return what undoing it changed."""
    run = handler.last_undoable_run()
    (change,) = handler.changes_to_undo(run.id)
    run_id = handler.start_run("Undo Last Run", undoes=run.id)
    return change_of(handler.undo_changes(run_id, [change.number]))


def test_tagging_takes_off_nothing_that_people_put_there(anew, tmp_path):
    with handler_of(anew, tmp_path) as handler:
        handler.prepare()
        assert change_of(handler.preview(SCENE, {"1": found("Foul")})).tags_removed == ()
        apply(handler, "1", found("Foul"))
        assert tags_of(anew) == {*PEOPLES, "Foul", "VLM_Tagged"} - {"VLM_TagMe"}
        apply(handler, "1", found())
    assert tags_of(anew) == {*PEOPLES, "VLM_Tagged"} - {"VLM_TagMe"}


def test_removing_takes_off_nothing(anew, tmp_path):
    with handler_of(anew, tmp_path) as handler:
        run_id = handler.start_run("Remove VLM Tags and Markers")
        for scene in handler.owned_ids(SCENE):
            assert change_of(handler.remove_owned(run_id, SCENE, [scene])).is_empty
    assert tags_of(anew) == set(PEOPLES)


def test_undoing_leaves_a_scene_alone_that_was_made_since(anew, tmp_path):
    with handler_of(anew, tmp_path) as handler:
        change = undo(handler)
    assert tags_of(anew) == set(PEOPLES)
    assert change.kept_back == ("scene 1 is another one than the run changed: it was made since",)


def test_a_half_written_plan_is_not_completed_on_another_scene(scenario, tmp_path):
    scenario.apply_until_killed(found("Foul"), "TagScene")
    a_second_later()
    with running(SandboxStash()) as other:
        other.library.add_scene(tags=PEOPLES)
        with handler_of(other, tmp_path) as handler:
            (recovered,) = handler.recover()
            assert recovered.gone
            assert handler.recover() == ()
        assert tags_of(other) == set(PEOPLES)


@pytest.fixture
def restored(stash, tmp_path):
    """A scene that was tagged after the backup that Stash has been put back from; a person has
    tagged it since.
    """
    scene = stash.library.add_scene()
    backup = stash.library.saved()
    scenario = Scenario(stash, tmp_path, scene=scene)
    scenario.tag("VLM_TagMe")
    scenario.apply(found("Foul", "Goal", "Timeout"))
    stash.library.restore(backup)
    a_second_later()
    scenario.tag(*PEOPLES[:-1], "Last season", "VLM_TagMe")
    return scenario


def test_after_a_backup_what_people_put_there_since_stays(restored):
    with restored.handler() as handler:
        handler.prepare()
    restored.apply(found("Foul"))
    assert restored.content[0] == {*PEOPLES[:-1], "Last season", "Foul"}
    restored.remove_owned()
    assert restored.content[0] == {*PEOPLES[:-1], "Last season"}


def test_after_a_backup_undoing_puts_tags_back_by_their_names(restored):
    restored.untag("VLM_TagMe")
    before, _ = restored.content
    others = {tag.id for tag in restored.stash.library.snapshot().tags if tag.name != "VLM_TagMe"}
    with restored.handler() as handler:
        (change,) = handler.changes_to_undo(handler.last_undoable_run().id)
        assert others & {tag.id for tag in handler._journal.facts(change.number).released}
        undo(handler)
    assert restored.content[0] == {*before, "VLM_TagMe"}


def test_tags_added_by_people_after_an_early_kill_are_theirs(scenario):
    scenario.apply_until_killed(found("Foul", "Goal"), "MarkersCreate")
    scenario.tag("Foul")
    with scenario.handler() as handler:
        handler.recover()
    assert scenario.content[0] == {"Foul", "Goal", "VLM_TagMe"}
    scenario.remove_owned()
    assert scenario.content[0] == {"Foul", "VLM_TagMe"}
