"""Taking back what a run did, and removing all that is ours: the library is as it was, but for what people changed since."""

from contextlib import closing

import pytest

from haven.items import ItemKind
from haven.stash.errors import ApplyError, ItemGoneError
from haven.stash.handler import MediaHandler
from haven.stash.transport import StashClient, _DroppedError
from haven.stash.values import change_of
from sandbox.stash import SandboxStash
from tests.plugin.fragile import NAMES, QUICK, KilledError, handler_of
from vlm_engine.testing.threads import running
from vlm_engine.types import Span, VideoTagInfo


def info(*tags, **spans):
    found = {tag.replace("_", " "): times for tag, times in spans.items()}
    by_tag = {
        tag: tuple(Span(tag, start, end) for start, end in times) for tag, times in found.items()
    }
    return VideoTagInfo(600.0, {"sport": tags}, {}, {"sport": by_tag})


FIRST = info("Foul", "Timeout", Foul=[(1, 2), (5, 6), (300, 310)], Timeout=[(40, 50)])
SECOND = info(
    "Foul",
    "Free throw",
    Foul=[(1, 2), (100, 108)],
    Free_throw=[(n, n + 0.5) for n in range(120, 150)],
)


def apply(handler, found, *scenes):
    run_id = handler.start_run("Tag Videos")
    for scene in scenes:
        change_of(handler.apply(run_id, ItemKind.SCENE, {scene: found}))
    handler.finish_run(run_id)


def undo(handler):
    """What stays, and why, as the task would log it."""
    handler.recover()
    run = handler.last_undoable_run()
    assert run is not None
    run_id = handler.start_run("Undo Last Run", undoes=run.id)
    told = []
    for change in handler.changes_to_undo(run):
        told += change_of(handler.undo_changes(run_id, [change.number])).kept_back
    told += handler.finish_undo(run)
    handler.finish_run(run_id)
    return told


def add_scene(stash):
    """A scene in line, of which a person has made something."""
    scene = stash.library.add_scene(title="Final", tags=["VLM_TagMe", "VLM_Errored", "Home game"])
    stash.library.add_marker(scene, "Foul", 101, 109, title="a nasty one", tags=["Slow motion"])
    stash.library.add_marker(scene, "Goal", 200.5, title="Goal", tags=["VLM"])
    return scene


def content(stash, scene):
    state = stash.library.scene_state(scene)
    markers = [
        (one.title, one.seconds, one.end_seconds, one.primary_tag, one.tags)
        for one in state.markers
    ]
    return state.tags, sorted(markers, key=str)


def test_an_undone_scene_is_as_it_was_and_queued_again_and_new_tags_are_gone(stash, handler):
    scene, bystander = add_scene(stash), add_scene(stash)
    before = stash.library.snapshot()
    apply(handler, FIRST, scene)
    assert content(stash, scene)[0] == ("Foul", "Home game", "Timeout", "VLM_Tagged")
    assert undo(handler) == []
    assert stash.library.snapshot() == before
    assert handler.last_undoable_run() is None
    assert content(stash, bystander) == content(stash, scene)


def test_a_new_tag_that_a_person_has_put_below_one_of_theirs_stays(stash, handler):
    scene = add_scene(stash)
    apply(handler, FIRST, scene)
    change = {
        "id": stash.library.tag_id("Sports"),
        "child_ids": [stash.library.tag_id("Timeout")],
    }  # nothing of its own
    handler._client.ask(
        "mutation($input: TagUpdateInput!) { tagUpdate(input: $input) { id } }", {"input": change}
    )
    assert undo(handler) == ["the tag 'Timeout' stays in Stash: somebody has changed it since"]
    assert "Timeout" in {tag.name for tag in stash.library.snapshot().tags}


def test_what_a_run_had_removed_is_put_back_and_each_further_undo_goes_one_run_back(
    stash, handler, tmp_path
):
    scene = add_scene(stash)
    states = [content(stash, scene)]
    for found in (FIRST, SECOND, info("Goal", Goal=[(3, 4)]), FIRST):
        stash.library.tag_scene(scene, "VLM_TagMe")
        states.append(content(stash, scene))
        apply(handler, found, scene)
    for expected in reversed(states[1:]):
        with handler_of(stash, tmp_path) as fresh:  # after a restart, too
            assert undo(fresh) == []
        assert content(stash, scene) == expected
    assert content(stash, scene) == states[0]
    assert handler.last_undoable_run() is None


def test_what_was_put_back_is_ours_again(stash, handler):
    scene = add_scene(stash)
    apply(handler, FIRST, scene)
    stash.library.tag_scene(scene, "VLM_TagMe")
    apply(handler, SECOND, scene)
    undo(handler)
    apply(handler, info(), scene)
    assert [one[0] for one in content(stash, scene)[1]] == ["Goal", "a nasty one"]
    assert "Timeout" not in content(stash, scene)[0]


def test_what_people_changed_since_stays_and_is_named(stash, handler):
    scene = add_scene(stash)
    before = content(stash, scene)
    apply(handler, FIRST, scene)
    by_start = {one.seconds: one for one in stash.library.scene_state(scene).markers}
    stash.library.edit_marker(by_start[5].id, title="my own words")
    stash.library.remove_marker(by_start[40].id)
    stash.library.untag_scene(scene, "Timeout")
    stash.library.untag_scene(scene, "Foul")
    change_of(
        handler.apply(
            handler.start_run("Tag Videos"), ItemKind.SCENE, {scene: FIRST}, create_markers=False
        )
    )  # sees that they are off
    stash.library.tag_scene(scene, "Foul")
    told = undo(handler)
    tags, markers = content(stash, scene)
    assert tags == tuple(sorted((*before[0], "Foul")))
    assert markers == sorted([*before[1], ("my own words", 5.0, 6.0, "Foul", ("VLM",))], key=str)
    assert told == [
        "the marker 'Foul' at 0:00:05 stays: somebody has changed it since",
        "the marker 'Timeout' at 0:00:40 is gone already: somebody has removed it since",
        "the tag 'Foul' stays: somebody took it off and put it back since",
        "the tag 'Timeout' is gone already: somebody took it off, deleted it or merged it since",
    ]


def test_a_marker_that_a_person_made_in_the_place_of_a_removed_one_stands_for_it(stash, handler):
    scene = add_scene(stash)
    apply(handler, FIRST, scene)
    apply(handler, info("Foul", Foul=[(1, 2)]), scene)
    stash.library.add_marker(scene, "Timeout", 41, 50, title="Drinks")
    assert undo(handler) == [
        "the marker 'Timeout' at 0:00:40 was not put back: somebody has made one there since"
    ]
    assert [one[1] for one in content(stash, scene)[1] if one[3] == "Timeout"] == [41]


@pytest.mark.parametrize("use", ["scene", "marker", "child", "alias"])
def test_a_new_tag_that_somebody_uses_or_changed_since_stays(stash, handler, use):
    scene, other = add_scene(stash), stash.library.add_scene()
    apply(handler, FIRST, scene)
    match use:
        case "scene":
            stash.library.tag_scene(other, "Timeout")
        case "marker":
            stash.library.add_marker(other, "Foul", 1, tags=["Timeout"])
        case "child":
            stash.library.add_tag("Long timeout", parents=["Timeout"])
        case "alias":
            with closing(StashClient({"Host": "127.0.0.1", "Port": stash.port})) as client:
                client.update_tag({"id": stash.library.tag_id("Timeout"), "aliases": ["Time out"]})
    (told,) = undo(handler)
    assert "'Timeout' stays in Stash" in told
    assert "Timeout" in {tag.name for tag in stash.library.snapshot().tags}
    assert "Timeout" not in content(stash, scene)[0]


def test_a_tag_that_was_deleted_meanwhile_is_made_again_to_put_back_what_had_it(stash, handler):
    scene = add_scene(stash)
    stash.library.add_tag("Timeout")
    apply(handler, FIRST, scene)
    expected = content(stash, scene)
    apply(handler, SECOND, scene)
    stash.library.remove_tag("Timeout")
    undo(handler)
    assert content(stash, scene) == expected


def test_a_scene_that_is_gone_stops_nothing(stash, handler):
    one, other = add_scene(stash), add_scene(stash)
    before = content(stash, other)
    apply(handler, FIRST, one, other)
    stash.library.remove_scene(one)
    run = handler.last_undoable_run()
    run_id = handler.start_run("Undo Last Run", undoes=run.id)
    gone = {}
    for change in handler.changes_to_undo(run):
        try:
            change_of(handler.undo_changes(run_id, [change.number]))
        except ItemGoneError as error:
            gone[change.item.id] = error
    assert gone.keys() == {one}
    assert content(stash, other) == before
    assert handler.changes_to_undo(run) == ()


def test_what_stash_refuses_leaves_the_scene_to_be_undone_again_and_takes_nothing_off(
    stash, handler
):
    scene = add_scene(stash)
    before = content(stash, scene)
    apply(handler, FIRST, scene)
    after = content(stash, scene)
    run = handler.last_undoable_run()
    (change,) = handler.changes_to_undo(run)
    stash.faults.locked_mutations = 1000
    with pytest.raises(ApplyError, match="start the task again"):
        change_of(
            handler.undo_changes(handler.start_run("Undo Last Run", undoes=run.id), [change.number])
        )
    assert content(stash, scene) == after
    stash.faults.locked_mutations = 0
    assert undo(handler) == []
    assert content(stash, scene) == before


def test_a_scene_that_failed_is_freed_of_what_says_so(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    handler.mark_failed(handler.start_run("Tag Videos"), ItemKind.SCENE, {scene: "no such file"})
    assert content(stash, scene)[0] == ("VLM_Errored", "VLM_TagMe")
    undo(handler)
    assert content(stash, scene)[0] == ("VLM_TagMe",)


def test_everything_of_ours_can_be_removed_and_put_back(stash, handler):
    scene, other = add_scene(stash), add_scene(stash)
    by_hand = content(stash, other)
    apply(handler, FIRST, scene)
    moved = next(one for one in stash.library.scene_state(scene).markers if one.seconds == 300)
    stash.library.edit_marker(moved.id, seconds=301)
    after = content(stash, scene)
    run_id = handler.start_run("Remove VLM Tags and Markers")
    assert handler.owned_ids(ItemKind.SCENE) == (scene,)
    change = change_of(handler.remove_owned(run_id, ItemKind.SCENE, [scene]))
    assert (change.tags_removed, len(change.markers_removed)) == (
        ("Foul", "Timeout", "VLM_Tagged"),
        3,
    )
    tags, markers = content(stash, scene)
    assert tags == ("Home game",)
    assert sorted(one[1] for one in markers) == [101, 200.5, 301]
    assert handler.owned_ids(ItemKind.SCENE) == ()
    assert undo(handler) == []
    assert content(stash, scene) == after
    assert content(stash, other) == by_hand


def test_a_preview_tells_what_would_change_and_writes_nothing(stash, handler, tmp_path):
    scene = add_scene(stash)
    before, journal = stash.library.snapshot(), (tmp_path / "journal.sqlite").read_bytes()
    change = change_of(handler.preview(ItemKind.SCENE, {scene: FIRST}))
    assert change.tags_added == ("Foul", "Timeout")
    assert [(one.title, one.start_s) for one in change.markers_added] == [
        ("Foul", 1),
        ("Foul", 5),
        ("Timeout", 40),
        ("Foul", 300),
    ]
    assert stash.library.snapshot() == before
    assert (tmp_path / "journal.sqlite").read_bytes() == journal
    assert handler.last_undoable_run() is None
    told = change_of(handler.apply(handler.start_run("Tag Videos"), ItemKind.SCENE, {scene: FIRST}))
    assert told == change


def test_a_preview_needs_no_tag_of_the_plugin_to_exist(stash, tmp_path):
    scene = stash.library.add_scene(title="Final")
    before = stash.library.snapshot()
    with handler_of(stash, tmp_path) as handler:
        assert change_of(handler.preview(ItemKind.SCENE, {scene: FIRST})).tags_added == (
            "Foul",
            "Timeout",
        )
        assert handler.ids_with(ItemKind.SCENE, "VLM_TagMe") == ()
    assert stash.library.snapshot() == before


def test_an_updated_scene_loses_the_tag_that_asked_for_it_and_only_that(stash, handler):
    scene = add_scene(stash)
    apply(handler, FIRST, scene)
    stash.library.tag_scene(scene, "VLM_UpdateMe", "VLM_TagMe")
    before = content(stash, scene)
    change_of(
        handler.apply(
            handler.start_run("Update Tagged Videos"),
            ItemKind.SCENE,
            {scene: SECOND},
            updating=True,
        )
    )
    assert content(stash, scene)[0] == (
        "Foul",
        "Free throw",
        "Home game",
        "VLM_TagMe",
        "VLM_Tagged",
    )
    undo(handler)
    assert content(stash, scene) == before


class LossyClient(StashClient):
    """Loses the reply to the first request that makes a tag: Stash has carried it out, and nobody hears of it."""

    lost = False

    def _send(self, document, variables, work_s=0.0):
        reply = super()._send(document, variables, work_s)
        if "tagCreate" in document and variables["input"]["name"] == "Timeout" and not self.lost:
            self.lost = True
            raise _DroppedError("the connection was dropped")
        return reply


def test_a_new_tag_whose_making_was_not_heard_of_goes_as_well(stash, tmp_path):
    scene = add_scene(stash)
    client = LossyClient(
        {"Host": "127.0.0.1", "Port": stash.port}, retry=QUICK, sleep=lambda _: None
    )
    with MediaHandler(client, tmp_path / "journal.sqlite", NAMES) as handler:
        handler.prepare()
        apply(handler, FIRST, scene)
        assert client.lost
        assert undo(handler) == []
    assert "Timeout" not in {tag.name for tag in stash.library.snapshot().tags}


# An undoing that is killed.


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The requests of an undoing that change something."""
    with running(SandboxStash()) as stash:
        folder = tmp_path_factory.mktemp("uninterrupted")
        two_runs(stash, folder)
        stash.requests.clear()
        with handler_of(stash, folder) as handler:
            undo(handler)
        return [exchange for exchange in stash.requests.exchanges if exchange.kind == "mutation"]


def two_runs(stash, folder):
    """A scene with what a first run made, and how it was before, and after, the second."""
    scene = add_scene(stash)
    with handler_of(stash, folder) as handler:
        handler.prepare()
        apply(handler, FIRST, scene)
        stash.library.tag_scene(scene, "VLM_TagMe", "VLM_Errored")
        before = content(stash, scene)
        apply(handler, SECOND, scene)
    return scene, before


def test_an_undoing_writes_in_an_order_that_loses_nothing(uninterrupted):
    modes = [
        one.variables["input"]["tag_ids"]["mode"]
        for one in uninterrupted
        if one.operation == "TagScene"
    ]
    order = ["MarkersCreate", "TagScene", "MarkersDestroy", "TagScene", "TagDestroy"]
    assert ([one.operation for one in uninterrupted], modes) == (order, ["ADD", "REMOVE"])


@pytest.mark.parametrize("after", [False, True], ids=["before it leaves", "once it is answered"])
@pytest.mark.parametrize("mutation", range(5))
def test_killed_at_any_write_and_run_again_the_library_is_as_before(
    uninterrupted, stash, tmp_path, mutation, after
):
    scene, before = two_runs(stash, tmp_path)
    with (
        pytest.raises(KilledError),
        handler_of(stash, tmp_path, at=uninterrupted[mutation].number, after=after) as handler,
    ):
        undo(handler)
    with handler_of(stash, tmp_path) as handler:
        assert undo(handler) == []
    assert content(stash, scene) == before
    assert "Free throw" not in {tag.name for tag in stash.library.snapshot().tags}


def test_a_half_undone_scene_is_completed_by_whichever_task_comes_next(
    uninterrupted, stash, tmp_path
):
    scene, before = two_runs(stash, tmp_path)
    with (
        pytest.raises(KilledError),
        handler_of(stash, tmp_path, at=uninterrupted[2].number) as handler,
    ):
        undo(handler)
    with handler_of(stash, tmp_path) as handler:
        (recovered,) = handler.recover()
        assert recovered.finished
    assert content(stash, scene) == before


def test_what_people_change_between_the_kill_and_the_next_try_stays_theirs(
    uninterrupted, stash, tmp_path
):
    scene, before = two_runs(stash, tmp_path)
    with (
        pytest.raises(KilledError),
        handler_of(stash, tmp_path, at=uninterrupted[0].number, after=True) as handler,
    ):
        undo(handler)
    back = next(one for one in stash.library.scene_state(scene).markers if one.seconds == 300)
    stash.library.edit_marker(back.id, end_seconds=312)
    with handler_of(stash, tmp_path) as handler:
        undo(handler)
    edited = [one if one[1] != 300 else (*one[:2], 312.0, *one[3:]) for one in before[1]]
    assert content(stash, scene) == (before[0], sorted(edited, key=str))
