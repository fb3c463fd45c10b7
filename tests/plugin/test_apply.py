"""Results into Stash: what people made stays, nothing is doubled, and one item's failure is its
own.
"""

from contextlib import closing, contextmanager

import pytest

from haven.items import ItemChange, ItemRef
from haven.stash.errors import (
    ApplyError,
    ItemGoneError,
    StashQueryError,
    StashUnreachableError,
    TagClashError,
)
from haven.stash.handler import MediaHandler
from haven.stash.journal import Journal
from haven.stash.transport import StashClient
from haven.stash.values import Scene
from tests.plugin.fragile import NAMES, handler_of, once
from tests.plugin.items import GALLERY, IMAGE, SCENE, Items, apply, info


def markers(state):
    return [(one.primary_tag, one.seconds, one.end_seconds) for one in state.markers]


# Items of every kind.


def test_results_are_written_and_items_leave_the_queue(items, handler):
    first, second = (
        items.add("VLM_TagMe", "VLM_Errored", "Home game"),
        items.add("VLM_TagMe", "Goal"),
    )
    fates = items.apply(
        handler, {first: items.result("Foul", "Goal"), second: items.result("Goal")}
    )
    assert items.tags(first) == ("Foul", "Goal", "Home game", "VLM_Tagged")
    assert items.tags(second) == ("Goal", "VLM_Tagged")
    assert fates == {first: ItemChange(tags_added=("Foul", "Goal")), second: ItemChange()}
    fates = items.apply(handler, items.same([first], "Timeout"))
    assert items.tags(first) == ("Home game", "Timeout", "VLM_Tagged")
    assert fates[first] == ItemChange(tags_added=("Timeout",), tags_removed=("Foul", "Goal"))
    assert handler.owned_ids(items.kind) == (first, second)


def test_the_same_result_again_only_takes_items_off_the_queue(items, handler):
    ids = items.queue(30)
    items.apply(handler, items.same(ids, "Foul"))
    before = items.stash.library.snapshot()
    for item in ids:
        items.tag(item, "VLM_TagMe")
    items.stash.requests.clear()
    fates = items.apply(handler, items.same(ids, "Foul"))
    assert items.stash.library.snapshot() == before
    assert items.stash.requests.mutations == {f"bulk{items.kind.capitalize()}Update": 1}
    assert set(fates.values()) == {ItemChange()}


def test_a_tag_that_a_person_put_back_is_theirs(items, handler):
    other, theirs = ids = items.queue(2)
    items.apply(handler, items.same(ids, "Foul", "Goal"))
    items.untag(theirs, "Foul")
    items.apply(handler, items.same([theirs], "Goal"))
    items.tag(theirs, "Foul")
    fates = items.apply(handler, items.same(ids))
    assert items.all_tags() == {other: ("VLM_Tagged",), theirs: ("Foul", "VLM_Tagged")}
    assert [fates[one].tags_removed for one in ids] == [("Foul", "Goal"), ("Goal",)]


def test_a_tag_clash_fails_only_the_items_that_want_the_tag(items, handler):
    items.stash.library.add_tag("Free throw")
    one, other = items.queue(2)
    results = {one: items.result("Foul", "Free_throw"), other: items.result("Foul")}
    error = items.apply(handler, results)[one]
    assert isinstance(error, ApplyError)
    assert [type(cause) for cause in error.exceptions] == [TagClashError]
    assert str(error).startswith(
        f"the results of {items.kind} {one} are not wholly in Stash, so it stays queued; "
        "Stash cannot"
    )
    assert "'Free_throw' beside 'Free throw'" in str(error)
    assert "alias" in str(error)
    assert items.all_tags() == {one: ("Foul", "VLM_TagMe"), other: ("Foul", "VLM_Tagged")}


def test_a_refused_item_that_is_not_queued_is_not_said_to_be(items, handler):
    items.stash.library.add_tag("Free throw")
    item = items.add()
    error = items.apply(handler, {item: items.result("Free_throw")})[item]
    assert "are not wholly in Stash, so start the task again; " in str(error)


def test_a_tag_deleted_meanwhile_is_made_again_once(items, handler):
    ids = items.queue(40)
    items.stash.library.tag_id("Goal")
    once(items.stash, items.operation, lambda: items.stash.library.remove_tag("Goal"))
    items.stash.requests.clear()
    fouls = [("Goal", *["Foul"][: number % 2]) for number in range(40)]
    items.apply(handler, {one: items.result(*tags) for one, tags in zip(ids, fouls, strict=True)})
    assert list(items.all_tags().values()) == [
        tuple(sorted((*tags, "VLM_Tagged"))) for tags in fouls
    ]
    assert items.stash.requests.mutations["tagCreate"] == 2


@pytest.mark.parametrize("change", ["merge_tag", "rename_tag"])
def test_a_tag_merged_or_renamed_meanwhile_is_still_that_tag(items, handler, change):
    other, theirs = ids = items.queue(2)
    library, stays = items.stash.library, ()
    library.tag_id("Foul")
    if change == "merge_tag":  # into one that a person has put there
        items.tag(theirs, "Handball")
        stays = ("Handball",)
    once(items.stash, items.operation, lambda: getattr(library, change)("Foul", "Handball"))
    items.apply(handler, items.same(ids, "Foul"))
    assert items.all_tags() == dict.fromkeys(ids, ("Handball", "VLM_Tagged"))
    items.apply(handler, items.same(ids))
    assert items.all_tags() == {other: ("VLM_Tagged",), theirs: (*stays, "VLM_Tagged")}


def test_an_item_that_vanishes_stops_no_other(items, handler):
    one, gone, vanishing, other = ids = items.queue(4)
    items.remove(gone)
    once(items.stash, items.operation, lambda: items.remove(vanishing))
    fates = items.apply(handler, items.same((*ids, "4711"), "Foul"))
    lost = {item for item, fate in fates.items() if isinstance(fate, ItemGoneError)}
    assert lost == {gone, vanishing, "4711"}
    assert (
        str(fates[gone]) == f"{items.kind} {gone} is no longer in Stash; it was deleted or merged"
    )
    assert items.all_tags() == dict.fromkeys((one, other), ("Foul", "VLM_Tagged"))
    assert handler.recover() == ()


def test_a_failed_item_stays_queued_until_a_run_succeeds(items, handler):
    ids = items.queue(60)
    items.remove(ids[7])
    items.stash.requests.clear()
    reasons = {item: f"{item} cannot be read" for item in ids}
    fates = handler.mark_failed(handler.start_run("Tag"), items.kind, reasons)
    assert fates.keys() == set(ids) - {ids[7]}
    assert items.stash.requests.writes == 2
    assert set(items.all_tags().values()) == {("VLM_Errored", "VLM_TagMe")}
    items.apply(handler, items.same(ids, "Foul"))
    assert set(items.all_tags().values()) == {("Foul", "VLM_Tagged")}


def test_an_update_removes_only_the_tag_that_asked_for_it(items, handler):
    item = items.add("VLM_UpdateMe", "VLM_TagMe")
    items.apply(handler, items.same([item], "Foul"), updating=True)
    assert items.tags(item) == ("Foul", "VLM_TagMe", "VLM_Tagged")


def test_a_preview_tells_the_change_and_writes_nothing(items, tmp_path):
    with handler_of(items.stash, tmp_path) as handler:  # without the plugin's tags
        one, other = items.queue(2, "Goal")
        items.stash.requests.clear()
        results = {
            one: items.result("Foul", "Goal"),
            other: items.result("Goal"),
            "77": items.result(),
        }
        fates = handler.preview(items.kind, results)
        assert items.stash.requests.writes == 0
        assert fates[one] == ItemChange(tags_added=("Foul",))
        assert fates[other] == ItemChange()
        assert isinstance(fates["77"], ItemGoneError)
        assert handler.last_undoable_run() is None


def test_a_result_of_none_leaves_the_tags_of_a_gallery(stash, handler):
    items = Items(stash, GALLERY)
    gallery = items.add("VLM_UpdateMe")
    items.apply(handler, items.same([gallery], "Foul"))
    items.apply(handler, {gallery: None}, updating=True)
    assert items.tags(gallery) == ("Foul", "VLM_Tagged")


def test_items_of_different_kinds_with_one_id_are_told_apart(stash, handler):
    scenes, images, galleries = (Items(stash, kind) for kind in (SCENE, IMAGE, GALLERY))
    scene, image, gallery = scenes.add("Foul"), images.add("Goal"), galleries.add("Foul", "Goal")
    assert scene == image == gallery
    images.apply(handler, images.same([image], "Foul"))
    assert (handler.owned_ids(SCENE), handler.owned_ids(IMAGE)) == ((), (image,))
    run_id = handler.start_run("Remove VLM Tags and Markers")
    scenes.apply(handler, scenes.same([scene], "Goal"))
    handler.remove_owned(run_id, GALLERY, [gallery])
    handler.remove_owned(run_id, IMAGE, [image])
    assert scenes.tags(scene) == ("Foul", "Goal", "VLM_Tagged")
    handler.remove_owned(run_id, SCENE, [scene])
    assert (scenes.tags(scene), images.tags(image)) == (("Foul",), ("Goal",))
    assert galleries.tags(gallery) == ("Foul", "Goal")


# Scenes and their markers.


def test_markers_are_written_with_the_tags_of_a_scene(stash, handler):
    scene = stash.library.add_scene(title="Final", tags=["VLM_TagMe", "VLM_Errored", "Home game"])
    applied = apply(
        handler, scene, info("Foul", "Goal", Foul=[(10, 12.5)], Goal=[(1, 2), (30, 31)])
    )
    state = stash.library.scene_state(scene)
    assert state.tags == ("Foul", "Goal", "Home game", "VLM_Tagged")
    assert markers(state) == [("Goal", 1, 2), ("Foul", 10, 12.5), ("Goal", 30, 31)]
    assert all(one.title == one.primary_tag and one.tags == ("VLM",) for one in state.markers)
    assert (applied.tags_added, applied.tags_removed) == (("Foul", "Goal"), ())
    assert (len(applied.markers_added), applied.markers_removed, applied.markers_kept) == (3, (), 0)
    assert stash.requests.mutations["bulkSceneUpdate"] == 2


def test_the_whole_plan_is_on_disk_before_the_first_write(stash, handler, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    found = []

    def look(exchange):
        if exchange.kind == "mutation" and not found:
            with closing(Journal(tmp_path / "journal.sqlite")) as journal:
                found.extend(opened.plan for opened in journal.unfinished())

    stash.requests.on_request = look
    apply(handler, scene, info("Foul", Foul=[(1, 2), (5, 6)]))
    (plan,) = found
    assert plan.item == ItemRef(SCENE, scene)
    assert [(marker.title, marker.start_s) for marker in plan.create] == [("Foul", 1), ("Foul", 5)]
    assert [tag.name for tag in plan.add] == ["Foul", "VLM_Tagged"]
    assert [tag.name for tag in plan.release] == ["VLM_TagMe"]


def test_slow_hooks_of_other_plugins_are_waited_for(stash, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    client = StashClient({"Host": "127.0.0.1", "Port": stash.port}, timeout_s=0.5)
    with closing(client), MediaHandler(client, tmp_path / "journal.sqlite", NAMES) as handler:
        handler.prepare()
        stash.faults.hook_s = 0.05
        apply(handler, scene, info("Goal", Goal=[(10 * n, 10 * n + 2) for n in range(20)]))
        assert len(stash.library.scene_state(scene).markers) == 20
        apply(handler, scene, info())
    assert stash.library.scene_state(scene).markers == ()
    assert stash.requests.mutations["sceneMarkerCreate"] == 20


def test_of_two_tags_equal_but_for_case_the_exact_one_is_used(stash, handler):
    """To Stash, other letters than those of ASCII have no case."""
    for name in ("Straße", "Strasse", "Übung", "übung"):
        stash.library.add_tag(name)
    scene, other = (stash.library.add_scene(tags=["VLM_TagMe"]) for _ in range(2))
    apply(handler, scene, info("Strasse", "übung"))
    apply(handler, other, info("Straße", "Übung"))
    assert stash.library.scene_state(scene).tags == ("Strasse", "VLM_Tagged", "übung")
    assert stash.library.scene_state(other).tags == ("Straße", "VLM_Tagged", "Übung")


def test_new_tags_are_below_the_parent_and_not_auto_tagged(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, scene, info("Free throw"))
    tags = {tag.name: tag for tag in stash.library.snapshot().tags}
    assert tags["VLM"].parents == ()
    for name in ("Free throw", "VLM_Tagged", "VLM_Errored"):
        assert (tags[name].parents, tags[name].ignore_auto_tag) == (("VLM",), True)


def test_a_tag_is_found_by_alias_or_in_another_case(stash, handler):
    stash.library.add_tag("Infringement", aliases=["fouls", "FOUL"])
    stash.library.add_tag("TOR ÜBER ALLES")
    before = stash.library.snapshot().tags
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, scene, info("Foul", "Tor über alles", Foul=[(1, 2)]))
    assert stash.library.snapshot().tags == before
    assert stash.library.scene_state(scene).tags == ("Infringement", "TOR ÜBER ALLES", "VLM_Tagged")
    assert [one.primary_tag for one in stash.library.scene_state(scene).markers] == ["Infringement"]


def test_what_a_person_adds_during_a_run_is_theirs(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    (read,) = handler.read(Scene, [scene])
    stash.library.tag_scene(scene, "Foul")
    stash.library.add_marker(scene, "Foul", 10.5, 20)
    apply(handler, read.id, info("Foul", Foul=[(10, 20)]))
    assert markers(stash.library.scene_state(scene)) == [("Foul", 10.5, 20)]
    stash.library.tag_scene(scene, "VLM_TagMe")
    apply(handler, scene, info())
    assert stash.library.scene_state(scene).tags == ("Foul", "VLM_Tagged")
    assert markers(stash.library.scene_state(scene)) == [("Foul", 10.5, 20)]


def test_without_markers_only_tags_are_written(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, scene, info("Goal", Goal=[(1, 2)]))
    before = stash.library.scene_state(scene).markers
    change = apply(handler, scene, info("Foul", Foul=[(5, 6)]), create_markers=False)
    after = stash.library.scene_state(scene)
    assert (after.tags, after.markers) == (("Foul", "VLM_Tagged"), before)
    assert (change.markers_added, change.markers_removed) == ((), ())


def test_a_scene_with_a_refused_marker_stays_queued(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe", "VLM_Errored"])
    apply(handler, scene, info("Timeout", Timeout=[(50, 60)]))
    stash.library.tag_scene(scene, "VLM_TagMe")
    stash.library.untag_scene(scene, "VLM_Tagged")
    with pytest.raises(ApplyError) as caught:
        apply(handler, scene, info("Foul", Foul=[(1, 2), (5, 4), (8, 9)]))
    assert [type(cause) for cause in caught.value.exceptions] == [StashQueryError]
    assert "stays queued" in str(caught.value)
    assert caught.value.exceptions[0].message in str(caught.value)
    state = stash.library.scene_state(scene)
    assert state.tags == ("Foul", "Timeout", "VLM_TagMe")
    assert markers(state) == [("Foul", 1, 2), ("Foul", 8, 9), ("Timeout", 50, 60)]
    apply(handler, scene, info("Foul", Foul=[(1, 2), (8, 9)]))
    state = stash.library.scene_state(scene)
    assert state.tags == ("Foul", "VLM_Tagged")
    assert markers(state) == [("Foul", 1, 2), ("Foul", 8, 9)]


def test_a_locked_database_is_waited_for_and_nothing_is_doubled(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    stash.library.tag_id("Foul")
    stash.faults.locked_mutations = 3
    apply(handler, scene, info("Foul", Foul=[(n, n + 0.5) for n in range(30)]))
    assert len(stash.library.scene_state(scene).markers) == 30
    assert stash.library.scene_state(scene).tags == ("Foul", "VLM_Tagged")


def test_a_tag_renamed_since_it_was_last_used_is_not_mistaken(stash, handler):
    scene, other = (stash.library.add_scene(tags=["VLM_TagMe"]) for _ in range(2))
    apply(handler, scene, info("Foul"))
    client = StashClient({"Host": "127.0.0.1", "Port": stash.port})
    with closing(client):
        client.update_tag({"id": stash.library.tag_id("Foul"), "name": "Handball"})
    apply(handler, other, info("Foul"))
    assert stash.library.scene_state(other).tags == ("Foul", "VLM_Tagged")


def test_a_marker_that_a_person_deletes_meanwhile_stops_nothing(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, scene, info("Foul", Foul=[(1, 2), (5, 6)]))
    stash.library.tag_scene(scene, "VLM_TagMe")
    first = stash.library.scene_state(scene).markers[0].id
    once(stash, "MarkersDestroy", lambda: stash.library.remove_marker(first))
    apply(handler, scene, info())
    state = stash.library.scene_state(scene)
    assert (state.tags, state.markers) == (("VLM_Tagged",), ())


@pytest.mark.parametrize("operation", ["Scene", "MarkersCreate", "TagScene"])
def test_a_scene_that_vanishes_is_an_error_of_that_scene_alone(stash, handler, operation):
    scene, other = (stash.library.add_scene(tags=["VLM_TagMe"]) for _ in range(2))
    once(stash, operation, lambda: stash.library.remove_scene(scene))
    with pytest.raises(ItemGoneError, match=f"scene {scene} "):
        apply(handler, scene, info("Foul", Foul=[(1, 2)]))
    handler.mark_failed(handler.start_run("Tag Videos"), SCENE, {scene: "gone"})
    assert handler.recover() == ()
    apply(handler, other, info("Foul", Foul=[(1, 2)]))
    assert stash.library.scene_state(other).tags == ("Foul", "VLM_Tagged")


@pytest.fixture
def lossy_handler(stash, tmp_path, monkeypatch):
    """Make a handler that loses the reply to the first ``operation``: Stash has carried it out,
    and nobody hears of it.
    """

    @contextmanager
    def make(operation):
        with handler_of(stash, tmp_path) as handler:
            handler.prepare()
            client, lost = handler._client, []
            post = client._post

            def lossy_post(document, *args):
                response = post(document, *args)
                if operation in document and not lost:
                    lost.append(operation)
                    response.close()
                    raise StashUnreachableError("the connection was dropped")
                return response

            monkeypatch.setattr(client, "_post", lossy_post)
            yield handler

    return make


def test_after_a_lost_reply_no_marker_is_created_twice(stash, lossy_handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with lossy_handler("MarkersCreate") as handler:
        apply(handler, scene, info("Foul", Foul=[(n, n + 0.5) for n in range(60)]))
        assert len(stash.library.scene_state(scene).markers) == 60
        assert stash.requests.mutations["sceneMarkerCreate"] == 60
        stash.library.tag_scene(scene, "VLM_TagMe")
        apply(handler, scene, info())
    assert stash.library.scene_state(scene).markers == ()


def test_a_scene_can_be_tried_again_after_a_lost_connection(stash, lossy_handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with lossy_handler("TagScene") as handler:
        with pytest.raises(StashUnreachableError):
            apply(handler, scene, info("Foul", Foul=[(1, 2)]))
        assert "VLM_TagMe" in stash.library.scene_state(scene).tags
        apply(handler, scene, info())
        assert handler.recover() == ()
    state = stash.library.scene_state(scene)
    assert (state.tags, state.markers) == (("VLM_Tagged",), ())
