"""The custom field that names the run: written with the tags, undone, and never a person's."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from haven.items import ItemRef
from haven.stash.reading import RUN_FIELD
from haven.stash.server import handshake
from sandbox.stash import SandboxStash
from tests.plugin.fragile import KilledError, handler_of
from tests.plugin.items import SCENE, apply, info, undo
from vlm_engine.testing.threads import running

FOUND = info("Foul", Foul=[(1, 2)])


@pytest.fixture
def stash():
    with running(SandboxStash(version="v0.31.0")) as stash:
        yield stash


@contextmanager
def open_handler(stash, folder, **options):
    with handler_of(stash, folder, marks_run=True, **options) as handler:
        handshake(handler._client, "ahavenvlmconnector")
        yield handler


@pytest.fixture
def handler(stash, tmp_path):
    with open_handler(stash, tmp_path) as handler:
        handler.prepare()
        yield handler


def mark(stash, scene):
    return stash.library.custom_fields(scene).get(RUN_FIELD)


def test_the_field_is_filled_in_the_request_that_adds_the_tags(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    stash.library.set_custom_fields(scene, referee="Smith")
    stash.requests.clear()
    apply(handler, scene, FOUND)
    assert stash.library.custom_fields(scene) == {"referee": "Smith", RUN_FIELD: "1"}
    assert stash.requests.mutations["bulkSceneUpdate"] == 2  # tags on, then the queue's off
    apply(handler, scene, info())
    assert mark(stash, scene) == "2"
    undo(handler)
    assert mark(stash, scene) == "1"
    undo(handler)
    assert stash.library.custom_fields(scene) == {"referee": "Smith"}


def test_a_value_that_a_person_wrote_stays(stash, handler):
    scene = stash.library.add_scene()
    apply(handler, scene, FOUND)
    stash.library.set_custom_fields(scene, **{RUN_FIELD: "my best"})
    undo(handler)
    assert mark(stash, scene) == "my best"


def test_removing_everything_removes_the_field_until_it_is_undone(stash, handler):
    scene = stash.library.add_scene()
    apply(handler, scene, FOUND)
    run_id = handler.start_run("Remove VLM Tags and Markers")
    handler.remove_owned(run_id, SCENE, [scene])
    handler.finish_run(run_id)
    assert mark(stash, scene) is None
    undo(handler)
    assert mark(stash, scene) == "1"


def test_one_scene_of_an_older_run_goes_back_with_its_field(stash, handler):
    first, second = (stash.library.add_scene() for _ in range(2))
    for found in (FOUND, info("Goal")):
        run_id = handler.start_run("Tag Videos")
        handler.apply(run_id, SCENE, {first: found, second: found})
        handler.finish_run(run_id)
    changes = handler.changes_to_undo(1, [ItemRef(SCENE, first)])
    undoing = handler.start_run("Undo Last Run", undoes=1)
    handler.undo_changes(undoing, [change.number for change in changes])
    assert (mark(stash, first), mark(stash, second)) == (None, "2")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(2, 16))
def test_a_run_killed_at_any_request_is_marked_and_undone_all_the_same(stash, tmp_path, at, after):
    with open_handler(stash, tmp_path) as handler:
        handler.prepare()
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    before = stash.library.snapshot()
    try:
        with open_handler(stash, tmp_path, at=at, after=after) as handler:
            apply(handler, scene, FOUND)
    except KilledError:
        with open_handler(stash, tmp_path) as handler:
            handler.recover()
            state = stash.library.scene_state(scene)
            assert (mark(stash, scene) is not None) == ("Foul" in state.tags)
            apply(handler, scene, FOUND)
    assert mark(stash, scene) is not None
    with open_handler(stash, tmp_path) as handler:
        while handler.last_undoable_run():
            undo(handler)
    assert mark(stash, scene) is None
    assert stash.library.snapshot().scenes == before.scenes


def test_a_stash_without_custom_fields_is_asked_for_none(tmp_path):
    with running(SandboxStash()) as stash, open_handler(stash, tmp_path) as handler:
        handler.prepare()
        scene = stash.library.add_scene()
        apply(handler, scene, FOUND)
        assert not handler._client.has_custom_fields
        assert "Foul" in stash.library.scene_state(scene).tags
