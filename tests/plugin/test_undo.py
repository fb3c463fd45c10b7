"""Undoing what a run did, and removing all of it: the library is as before, except for what
people changed since.
"""

import random
from contextlib import closing, suppress

import pytest

from haven.items import ItemChange, ItemRef
from haven.stash.errors import ApplyError, ItemGoneError
from haven.stash.handler import MediaHandler
from haven.stash.transport import StashClient, _DroppedError
from tests.plugin.fragile import NAMES, QUICK, KilledError, handler_of
from tests.plugin.items import GALLERY, IMAGE, SCENE, Items, apply, info, kept_back, undo

TAGS = ("Foul", "Goal", "Timeout", "Free throw")
FIRST = info("Foul", "Timeout", Foul=[(1, 2), (5, 6), (300, 310)], Timeout=[(40, 50)])
SECOND = info(
    "Foul",
    "Free throw",
    Foul=[(1, 2), (100, 108)],
    Free_throw=[(n, n + 0.5) for n in range(120, 150)],
)


def a_library(items, count=40):
    """Queued items that people have tagged in their own ways."""
    rng = random.Random(3)
    peoples = ("Home game", "Foul", "Goal", "VLM_Errored")
    return [items.add("VLM_TagMe", *rng.sample(peoples, rng.randint(0, 3))) for _ in range(count)]


def results(items, ids, seed=1):
    rng = random.Random(seed)
    return {item: items.result(*rng.sample(TAGS, rng.randint(0, 3))) for item in ids}


def add_scene(stash):
    """A queued scene that a person has worked on."""
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


# Items of every kind.


def test_undo_restores_the_library_and_removes_new_tags(items, handler):
    ids = a_library(items)
    before = items.stash.library.snapshot()
    items.apply(handler, results(items, ids))
    assert items.stash.library.snapshot() != before
    items.stash.requests.clear()
    fates, tags_left = undo(handler)
    assert (fates.keys(), tags_left) == (set(ids), ())
    assert all(isinstance(fate, ItemChange) and not fate.kept_back for fate in fates.values())
    assert items.stash.library.snapshot() == before
    assert items.stash.requests.mutations[f"bulk{items.kind.capitalize()}Update"] <= 10
    assert handler.last_undoable_run() is None


def test_each_further_undo_goes_one_run_back(items, handler, tmp_path):
    ids = a_library(items, 12)
    states = []
    for seed in range(3):
        for item in ids:
            items.tag(item, "VLM_TagMe")
        states.append(items.all_tags())
        items.apply(handler, results(items, ids, seed))
    for expected in reversed(states):
        with handler_of(items.stash, tmp_path) as fresh:  # after a restart, too
            undo(fresh)
        assert items.all_tags() == expected


def test_tags_that_people_changed_since_stay_and_are_named(items, handler):
    one, other = items.queue(2)
    items.apply(handler, items.same((one, other), "Foul", "Goal"))
    items.untag(one, "Foul")
    noticed = items.apply(handler, items.same([one], "Goal"))
    assert noticed == {one: ItemChange()}
    items.tag(one, "Foul", "Home game")
    fates, _ = undo(handler)
    assert items.all_tags() == {one: ("Foul", "Home game", "VLM_TagMe"), other: ("VLM_TagMe",)}
    assert fates[one].kept_back == (
        "the tag 'Foul' stays: somebody took it off and put it back since",
    )
    assert fates[other].kept_back == ()


def test_an_item_that_is_gone_stops_no_other(items, handler):
    ids = a_library(items, 12)
    before = items.all_tags()
    items.apply(handler, results(items, ids))
    items.remove(ids[3])
    fates, _ = undo(handler)
    assert isinstance(fates.pop(ids[3]), ItemGoneError)
    assert all(isinstance(fate, ItemChange) for fate in fates.values())
    del before[ids[3]]
    assert items.all_tags() == before


def test_what_stash_refuses_can_be_undone_again(items, handler):
    ids = a_library(items, 10)
    before = items.stash.library.snapshot()
    items.apply(handler, results(items, ids))
    after = items.stash.library.snapshot()
    items.stash.faults.locked_mutations = 10_000
    fates, _ = undo(handler)
    assert all(isinstance(fate, ApplyError) for fate in fates.values())
    assert all("start the task again" in str(fate) for fate in fates.values())
    assert items.stash.library.snapshot() == after
    items.stash.faults.locked_mutations = 0
    undo(handler)
    assert items.stash.library.snapshot() == before


def test_an_item_that_a_run_changed_twice_is_undone_in_order(items, handler):
    item = items.add("VLM_TagMe", "Home game")
    before = items.stash.library.snapshot()
    run_id = handler.start_run("Tag")
    handler.mark_failed(run_id, items.kind, {item: "it cannot be read"})
    handler.apply(run_id, items.kind, items.same([item], "Foul"))
    handler.apply(run_id, items.kind, items.same([item], "Goal"))
    handler.finish_run(run_id)
    assert items.tags(item) == ("Goal", "Home game", "VLM_Tagged")
    undo(handler)
    assert items.stash.library.snapshot() == before


def test_everything_of_the_plugin_can_be_removed_and_put_back(items, handler):
    ids = a_library(items, 12)
    tags = items.all_tags()
    items.apply(handler, results(items, ids))
    done = items.stash.library.snapshot()
    assert set(handler.owned_ids(items.kind)) == set(ids)
    run_id = handler.start_run("Remove VLM Tags and Markers")
    handler.remove_owned(run_id, items.kind, ids)
    handler.finish_run(run_id)
    assert {item: set(found) for item, found in items.all_tags().items()} == {
        item: set(found) - {"VLM_TagMe", "VLM_Errored"} for item, found in tags.items()
    }
    assert handler.owned_ids(items.kind) == ()
    undo(handler)
    assert items.stash.library.snapshot() == done


def test_a_run_over_all_kinds_is_undone_as_one(stash, handler):
    scenes, images, galleries = (Items(stash, kind) for kind in (SCENE, IMAGE, GALLERY))
    (scene,), ids, (gallery,) = scenes.queue(1), images.queue(3), galleries.queue(1, "Goal")
    before = stash.library.snapshot()
    run_id = handler.start_run("Tag Images")
    handler.apply(run_id, SCENE, {scene: info("Foul", Foul=[(1, 2)])})
    handler.apply(run_id, IMAGE, images.same(ids, "Foul"))
    handler.apply(run_id, GALLERY, galleries.same([gallery], "Foul"))
    handler.finish_run(run_id)
    kinds = [change.item.kind for change in handler.changes_to_undo(handler.last_undoable_run().id)]
    assert kinds == [GALLERY, *[IMAGE] * 3, SCENE]
    undo(handler)
    assert stash.library.snapshot() == before


# A run that is not the last, and some of its items.


def bring_back(handler, run_id, *items):
    """Undo a run, or some items of it, as the task would. Return the fates by change."""
    changes = handler.changes_to_undo(run_id, items or None)
    undoing = handler.start_run("Undo Last Run", undoes=run_id)
    fates = handler.undo_changes(undoing, [change.number for change in changes])
    for number in {change.run_id for change in changes}:
        handler.finish_undo(number)
    handler.finish_run(undoing)
    return fates


def test_one_item_of_a_run_is_undone_and_the_others_stay(items, handler):
    one, other = items.queue(2, "Home game")
    before = items.stash.library.snapshot()
    items.apply(handler, items.same((one, other), "Foul"))
    after = items.all_tags()
    bring_back(handler, 1, ItemRef(items.kind, one))
    assert items.all_tags() == {one: ("Home game", "VLM_TagMe"), other: after[other]}
    assert handler.last_undoable_run().id == 1
    assert bring_back(handler, 1, ItemRef(items.kind, one)) == {}
    undo(handler)
    assert items.stash.library.snapshot() == before


def test_an_older_run_takes_later_runs_of_its_items_along(items, handler):
    first, second = items.queue(2)
    start = items.all_tags()
    items.apply(handler, items.same([first], "Foul"))
    between = items.all_tags()
    items.tag(first, "VLM_TagMe")
    items.apply(handler, items.same((first, second), "Goal"))
    after = items.all_tags()
    bring_back(handler, 1)
    assert items.all_tags() == {first: start[first], second: after[second]}
    assert handler.run(1).is_undone
    assert not handler.run(2).is_undone
    undo(handler)
    assert items.all_tags() == start
    assert between[second] == start[second]


def test_what_people_changed_stays_when_an_older_run_is_undone(items, handler):
    (item,) = items.queue(1)
    items.apply(handler, items.same([item], "Foul", "Goal"))
    items.apply(handler, items.same([item], "Foul", "Goal", "Timeout"))
    items.untag(item, "Foul")
    items.tag(item, "Home game")
    preview = handler.preview_undo(1, ItemRef(items.kind, item))
    assert set(preview.tags_removed) == {"Goal", "Timeout", "VLM_Tagged"}
    assert preview.tags_added == ("VLM_TagMe",)
    assert "'Foul' is gone already" in preview.kept_back[0]
    fates = bring_back(handler, 1)
    assert items.tags(item) == ("Home game", "VLM_TagMe")
    assert any("'Foul' is gone already" in str(fate.kept_back) for fate in fates.values())


def test_an_earlier_change_waits_for_a_later_one_that_failed(items, handler):
    (item,) = items.queue(1)
    items.apply(handler, items.same([item], "Foul"))
    items.apply(handler, items.same([item], "Goal"))
    after = items.tags(item)
    items.stash.faults.locked_mutations = 10_000
    fates = bring_back(handler, 1)
    assert len(fates) == 2
    assert len(set(map(str, fates.values()))) == 1
    assert items.tags(item) == after
    items.stash.faults.locked_mutations = 0
    bring_back(handler, 1)
    assert items.tags(item) == ("VLM_TagMe",)


def test_the_last_run_of_each_item_is_known(items, handler):
    first, second, third = items.queue(3)
    items.apply(handler, items.same((first, second), "Foul"))
    items.apply(handler, items.same([first], "Goal"))
    refs = [ItemRef(items.kind, item) for item in (first, second, third)]
    assert handler.last_runs_of(refs) == {refs[0]: 2, refs[1]: 1}
    bring_back(handler, 2, refs[0])
    assert handler.last_runs_of(refs) == {refs[0]: 1, refs[1]: 1}


@pytest.mark.parametrize(
    ("at", "after"),
    [
        pytest.param(at, after, marks=[] if after == bool(at % 2) else pytest.mark.thorough)
        for at in range(1, 26, 3)
        for after in (False, True)
    ],
)
def test_an_undo_of_one_scene_killed_at_any_request_is_completed(stash, tmp_path, at, after):
    scene, other = add_scene(stash), add_scene(stash)
    before = content(stash, scene)
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        for found in (FIRST, SECOND):
            run_id = handler.start_run("Tag Videos")
            handler.apply(run_id, SCENE, {scene: found, other: found})
            handler.finish_run(run_id)
    tagged, item = content(stash, other), ItemRef(SCENE, scene)
    with suppress(KilledError), handler_of(stash, tmp_path, at=at, after=after) as handler:
        bring_back(handler, 1, item)
    with handler_of(stash, tmp_path) as handler:
        handler.recover()
        bring_back(handler, 1, item)
        assert content(stash, scene) == before
        assert content(stash, other) == tagged
        bring_back(handler, 1)
    assert content(stash, other) == before


def test_the_preview_of_an_undo_is_the_change_it_makes(stash, handler, tmp_path):
    scene = add_scene(stash)
    before = content(stash, scene)
    apply(handler, scene, FIRST)
    apply(handler, scene, SECOND)
    item = ItemRef(SCENE, scene)
    stash.library.edit_marker(
        next(one.id for one in stash.library.scene_state(scene).markers if one.seconds == 120),
        title="my own words",
    )
    snapshot = stash.library.snapshot()
    preview = handler.preview_undo(1, item)
    assert stash.library.snapshot() == snapshot
    assert preview.kept_back == (
        "the marker 'Free throw' at 0:02:00 stays: somebody has changed it since",
    )
    total = ItemChange()
    for fate in bring_back(handler, 1, item).values():
        total = total.then(fate)
    assert (set(total.tags_removed), total.tags_added) == (
        set(preview.tags_removed),
        preview.tags_added,
    )
    assert set(total.markers_removed) == set(preview.markers_removed)
    assert (total.markers_added, preview.markers_added) == ((), ())
    assert total.kept_back == preview.kept_back
    tags, markers = content(stash, scene)
    assert tags == before[0]
    assert [one for one in markers if one[0] != "my own words"] == before[1]


# Scenes and their markers.


def test_an_undo_goes_back_over_several_runs_marker_by_marker(stash, handler):
    scene, bystander = add_scene(stash), add_scene(stash)
    states = []
    for found in (FIRST, SECOND, info("Goal", Goal=[(3, 4)]), FIRST):
        stash.library.tag_scene(scene, "VLM_TagMe")
        states.append(content(stash, scene))
        apply(handler, scene, found)
    for expected in reversed(states):
        assert kept_back(handler) == []
        assert content(stash, scene) == expected
    assert handler.last_undoable_run() is None
    assert content(stash, bystander) == content(stash, scene)


def test_a_new_tag_that_a_person_moved_below_another_stays(stash, handler):
    scene = add_scene(stash)
    apply(handler, scene, FIRST)
    change = {
        "id": stash.library.tag_id("Sports"),
        "child_ids": [stash.library.tag_id("Timeout")],
    }  # nothing of its own
    handler._client.ask(
        "mutation($input: TagUpdateInput!) { tagUpdate(input: $input) { id } }", {"input": change}
    )
    assert kept_back(handler) == ["the tag 'Timeout' stays in Stash: somebody has changed it since"]
    assert "Timeout" in {tag.name for tag in stash.library.snapshot().tags}


def test_what_was_put_back_is_the_plugins_again(stash, handler):
    scene = add_scene(stash)
    apply(handler, scene, FIRST)
    stash.library.tag_scene(scene, "VLM_TagMe")
    apply(handler, scene, SECOND)
    kept_back(handler)
    apply(handler, scene, info())
    assert [one[0] for one in content(stash, scene)[1]] == ["Goal", "a nasty one"]
    assert "Timeout" not in content(stash, scene)[0]


def test_markers_that_people_changed_since_stay_and_are_named(stash, handler):
    scene = add_scene(stash)
    before = content(stash, scene)
    apply(handler, scene, FIRST)
    by_start = {one.seconds: one for one in stash.library.scene_state(scene).markers}
    stash.library.edit_marker(by_start[5].id, title="my own words")
    stash.library.remove_marker(by_start[40].id)
    stash.library.untag_scene(scene, "Timeout")
    stash.library.untag_scene(scene, "Foul")
    apply(handler, scene, FIRST, create_markers=False)  # sees that they are off
    stash.library.tag_scene(scene, "Foul")
    kept = kept_back(handler)
    tags, markers = content(stash, scene)
    assert tags == tuple(sorted((*before[0], "Foul")))
    assert markers == sorted([*before[1], ("my own words", 5.0, 6.0, "Foul", ("VLM",))], key=str)
    assert kept == [
        "the marker 'Foul' at 0:00:05 stays: somebody has changed it since",
        "the marker 'Timeout' at 0:00:40 is gone already: somebody has removed it since",
        "the tag 'Foul' stays: somebody took it off and put it back since",
        "the tag 'Timeout' is gone already: somebody took it off, deleted it or merged it since",
    ]


def test_a_persons_marker_in_place_of_a_removed_one_stays_alone(stash, handler):
    scene = add_scene(stash)
    apply(handler, scene, FIRST)
    apply(handler, scene, info("Foul", Foul=[(1, 2)]))
    stash.library.add_marker(scene, "Timeout", 41, 50, title="Drinks")
    assert kept_back(handler) == [
        "the marker 'Timeout' at 0:00:40 was not put back: somebody has made one there since"
    ]
    assert [one[1] for one in content(stash, scene)[1] if one[3] == "Timeout"] == [41]


@pytest.mark.parametrize("use", ["scene", "marker", "child", "alias"])
def test_a_new_tag_that_somebody_uses_or_changed_since_stays(stash, handler, use):
    scene, other = add_scene(stash), stash.library.add_scene()
    apply(handler, scene, FIRST)
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
    (reason,) = kept_back(handler)
    assert "'Timeout' stays in Stash" in reason
    assert "Timeout" in {tag.name for tag in stash.library.snapshot().tags}
    assert "Timeout" not in content(stash, scene)[0]


def test_a_deleted_tag_is_made_again_for_what_had_it(stash, handler):
    scene = add_scene(stash)
    stash.library.add_tag("Timeout")
    apply(handler, scene, FIRST)
    expected = content(stash, scene)
    apply(handler, scene, SECOND)
    stash.library.remove_tag("Timeout")
    kept_back(handler)
    assert content(stash, scene) == expected


def test_edited_markers_stay_when_everything_is_removed(stash, handler):
    scene = add_scene(stash)
    apply(handler, scene, FIRST)
    moved = next(one for one in stash.library.scene_state(scene).markers if one.seconds == 300)
    stash.library.edit_marker(moved.id, seconds=301)
    after = content(stash, scene)
    run_id = handler.start_run("Remove VLM Tags and Markers")
    change = handler.remove_owned(run_id, SCENE, [scene])[scene]
    assert change.tags_removed == ("Foul", "Timeout", "VLM_Tagged")
    assert len(change.markers_removed) == 3
    tags, markers = content(stash, scene)
    assert tags == ("Home game",)
    assert sorted(one[1] for one in markers) == [101, 200.5, 301]
    assert kept_back(handler) == []
    assert content(stash, scene) == after


def test_a_preview_is_the_change_that_apply_makes(stash, handler, tmp_path):
    scene = add_scene(stash)
    before, journal = stash.library.snapshot(), (tmp_path / "journal.sqlite").read_bytes()
    change = handler.preview(SCENE, {scene: FIRST})[scene]
    assert [(one.title, one.start_s) for one in change.markers_added] == [
        ("Foul", 1),
        ("Foul", 5),
        ("Timeout", 40),
        ("Foul", 300),
    ]
    assert stash.library.snapshot() == before
    assert (tmp_path / "journal.sqlite").read_bytes() == journal
    assert apply(handler, scene, FIRST) == change


class LossyClient(StashClient):
    """Loses the reply to the first request that makes a tag: Stash has carried it out, and
    nobody hears of it.
    """

    lost = False

    def _send(self, document, variables, work_s=0.0):
        reply = super()._send(document, variables, work_s)
        if "tagCreate" in document and variables["input"]["name"] == "Timeout" and not self.lost:
            self.lost = True
            raise _DroppedError("the connection was dropped")
        return reply


def test_a_new_tag_whose_reply_was_lost_is_removed_as_well(stash, tmp_path):
    scene = add_scene(stash)
    client = LossyClient(
        {"Host": "127.0.0.1", "Port": stash.port}, retry=QUICK, sleep=lambda _: None
    )
    with MediaHandler(client, tmp_path / "journal.sqlite", NAMES) as handler:
        handler.prepare()
        apply(handler, scene, FIRST)
        assert client.lost
        assert kept_back(handler) == []
    assert "Timeout" not in {tag.name for tag in stash.library.snapshot().tags}
