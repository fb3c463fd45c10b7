from contextlib import closing

import pytest

from haven.items import ItemKind, ItemRef
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
from haven.stash.values import Scene, change_of
from sandbox.stash import SandboxStash
from tests.plugin.fragile import NAMES, QUICK, KilledError, handler_of, once, once_replied
from vlm_engine.testing.threads import running
from vlm_engine.types import Span, VideoTagInfo


def info(*tags, **spans):
    found = {tag.replace("_", " "): times for tag, times in spans.items()}
    by_tag = {
        tag: tuple(Span(tag, start, end) for start, end in times) for tag, times in found.items()
    }
    return VideoTagInfo(600.0, {"sport": tags}, {}, {"sport": by_tag})


def apply(handler, scene, found, **options):
    return change_of(
        handler.apply(handler.start_run("Tag Videos"), ItemKind.SCENE, {scene: found}, **options)
    )


def markers(state):
    return [(one.primary_tag, one.seconds, one.end_seconds) for one in state.markers]


def test_results_are_written_and_the_scene_leaves_the_queue(stash, handler):
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
    assert plan.item == ItemRef(ItemKind.SCENE, scene)
    assert [(marker.title, marker.start_s) for marker in plan.create] == [("Foul", 1), ("Foul", 5)]
    assert [tag.name for tag in plan.add] == ["Foul", "VLM_Tagged"]
    assert [tag.name for tag in plan.release] == ["VLM_TagMe"]


def test_markers_whose_hooks_take_longer_than_the_time_out_are_waited_for(stash, tmp_path):
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


def test_of_two_tags_that_only_case_folding_makes_one_the_one_that_is_spelled_so_is_meant(
    stash, handler
):
    """To Stash, other letters than those of ASCII have no case."""
    for name in ("Straße", "Strasse", "Übung", "übung"):
        stash.library.add_tag(name)
    scene, other = (stash.library.add_scene(tags=["VLM_TagMe"]) for _ in range(2))
    apply(handler, scene, info("Strasse", "übung"))
    apply(handler, other, info("Straße", "Übung"))
    assert stash.library.scene_state(scene).tags == ("Strasse", "VLM_Tagged", "übung")
    assert stash.library.scene_state(other).tags == ("Straße", "VLM_Tagged", "Übung")


def test_new_tags_lie_below_the_parent_and_are_left_alone_by_auto_tagging(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, scene, info("Free throw"))
    tags = {tag.name: tag for tag in stash.library.snapshot().tags}
    assert tags["VLM"].parents == ()
    for name in ("Free throw", "VLM_Tagged", "VLM_Errored"):
        assert (tags[name].parents, tags[name].ignore_auto_tag) == (("VLM",), True)


def test_a_tag_that_goes_by_an_alias_or_in_other_case_is_used_and_left_as_it_is(stash, handler):
    stash.library.add_tag("Infringement", aliases=["fouls", "FOUL"])
    stash.library.add_tag("TOR ÜBER ALLES")
    before = stash.library.snapshot().tags
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, scene, info("Foul", "Tor über alles", Foul=[(1, 2)]))
    assert stash.library.snapshot().tags == before
    assert stash.library.scene_state(scene).tags == ("Infringement", "TOR ÜBER ALLES", "VLM_Tagged")
    assert [one.primary_tag for one in stash.library.scene_state(scene).markers] == ["Infringement"]


def test_a_second_run_with_the_same_result_changes_nothing(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    found = info("Foul", Foul=[(1, 2), (5, 6)])
    apply(handler, scene, found)
    before = stash.library.snapshot()
    stash.library.tag_scene(scene, "VLM_TagMe")
    applied = apply(handler, scene, found)
    assert stash.library.snapshot() == before
    assert (
        applied.tags_added,
        applied.markers_added,
        applied.markers_removed,
        applied.markers_kept,
    ) == ((), (), (), 2)


def test_a_second_run_takes_away_what_of_ours_is_no_longer_found_and_nothing_else(
    stash, handler, tmp_path
):
    scene = stash.library.add_scene(tags=["VLM_TagMe", "Goal"])
    by_hand = stash.library.add_marker(scene, "Goal", 100, 110, title="the winner")
    apply(
        handler,
        scene,
        info("Foul", "Goal", "Timeout", Foul=[(1, 2), (5, 6), (20, 30)], Goal=[(99, 111)]),
    )
    moved, *_ = [one for one in stash.library.scene_state(scene).markers if one.seconds == 5]
    stash.library.edit_marker(moved.id, seconds=5.5)
    stash.library.tag_scene(scene, "VLM_TagMe", "Turnover")
    applied = apply(handler, scene, info("Foul", Foul=[(20, 30)]))
    state = stash.library.scene_state(scene)
    assert state.tags == ("Foul", "Goal", "Turnover", "VLM_Tagged")
    assert markers(state) == [("Foul", 5.5, 6), ("Foul", 20, 30), ("Goal", 100, 110)]
    assert by_hand in {one.id for one in state.markers}
    assert (applied.tags_removed, len(applied.markers_removed), applied.markers_kept) == (
        ("Timeout",),
        1,
        1,
    )
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        assert [
            (one.title, one.start_s)
            for one in journal.owned(ItemRef(ItemKind.SCENE, scene)).markers.values()
        ] == [("Foul", 20)]
        assert journal.owned(ItemRef(ItemKind.SCENE, scene)).tag_ids == {
            stash.library.tag_id("Foul"),
            stash.library.tag_id("VLM_Tagged"),
        }


def test_what_a_person_added_while_the_video_was_looked_at_is_theirs(stash, handler):
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


def test_a_tag_of_ours_that_a_person_took_off_and_put_back_is_theirs(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, scene, info("Foul"))
    stash.library.untag_scene(scene, "Foul")
    apply(handler, scene, info())
    stash.library.tag_scene(scene, "Foul")
    apply(handler, scene, info())
    assert stash.library.scene_state(scene).tags == ("Foul", "VLM_Tagged")


def test_without_markers_only_tags_are_written(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    applied = apply(handler, scene, info("Foul", Foul=[(1, 2)]), create_markers=False)
    assert stash.library.scene_state(scene).tags == ("Foul", "VLM_Tagged")
    assert (stash.library.scene_state(scene).markers, applied.markers_added) == ((), ())


def test_one_marker_that_stash_refuses_is_told_and_the_scene_stays_queued(stash, handler):
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


def test_a_name_that_stash_takes_for_another_is_told_for_that_tag_alone(stash, handler):
    stash.library.add_tag("Free throw")
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with pytest.raises(ApplyError) as caught:
        apply(handler, scene, info("Foul", "Free_throw", Foul=[(1, 2)]))
    assert [type(cause) for cause in caught.value.exceptions] == [TagClashError]
    assert "'Free_throw' beside 'Free throw'" in str(caught.value)
    assert "alias" in str(caught.value)
    state = stash.library.scene_state(scene)
    assert state.tags == ("Foul", "VLM_TagMe")
    assert markers(state) == [("Foul", 1, 2)]


def test_a_locked_database_is_waited_for_and_nothing_is_doubled(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    stash.library.tag_id("Foul")
    stash.faults.locked_mutations = 3
    apply(handler, scene, info("Foul", Foul=[(n, n + 0.5) for n in range(30)]))
    assert len(stash.library.scene_state(scene).markers) == 30
    assert stash.library.scene_state(scene).tags == ("Foul", "VLM_Tagged")


@pytest.mark.parametrize("operation", ["MarkersCreate", "TagScene"])
def test_a_tag_deleted_meanwhile_is_made_again(stash, handler, operation):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    stash.library.tag_id("Foul")
    stash.library.tag_id("Goal")
    once(stash, operation, lambda: stash.library.remove_tag("Goal"))
    goals = [(50, 60)] if operation == "MarkersCreate" else []
    apply(handler, scene, info("Foul", "Goal", Foul=[(1, 2)], Goal=goals))
    state = stash.library.scene_state(scene)
    assert state.tags == ("Foul", "Goal", "VLM_Tagged")
    assert len(state.markers) == 1 + len(goals)


def test_a_tag_merged_meanwhile_into_one_a_person_gave_the_scene_does_not_become_ours(
    stash, handler
):
    scene = stash.library.add_scene(tags=["VLM_TagMe", "Handball"])
    stash.library.tag_id("Foul")

    def merge():
        stash.library.remove_tag("Foul")
        with closing(StashClient({"Host": "127.0.0.1", "Port": stash.port})) as client:
            client.update_tag({"id": stash.library.tag_id("Handball"), "aliases": ["Foul"]})

    once(stash, "TagScene", merge)
    apply(handler, scene, info("Foul", "Goal"))
    apply(handler, scene, info())
    assert stash.library.scene_state(scene).tags == ("Handball", "VLM_Tagged")


def test_a_tag_renamed_since_it_was_last_used_is_not_mistaken(stash, handler):
    scene, other = (stash.library.add_scene(tags=["VLM_TagMe"]) for _ in range(2))
    apply(handler, scene, info("Foul"))
    client = StashClient({"Host": "127.0.0.1", "Port": stash.port})
    with closing(client):
        client.update_tag({"id": stash.library.tag_id("Foul"), "name": "Handball"})
    apply(handler, other, info("Foul"))
    assert stash.library.scene_state(other).tags == ("Foul", "VLM_Tagged")


def test_a_marker_that_a_person_destroyed_meanwhile_stops_nothing(stash, handler):
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
    handler.mark_failed(handler.start_run("Tag Videos"), ItemKind.SCENE, {scene: "gone"})
    assert handler.recover() == ()
    apply(handler, other, info("Foul", Foul=[(1, 2)]))
    assert stash.library.scene_state(other).tags == ("Foul", "VLM_Tagged")


def test_a_failed_scene_is_marked_and_stays_queued_until_a_later_run_succeeds(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    handler.mark_failed(handler.start_run("Tag Videos"), ItemKind.SCENE, {scene: "no such file"})
    assert stash.library.scene_state(scene).tags == ("VLM_Errored", "VLM_TagMe")
    apply(handler, scene, info("Foul"))
    assert stash.library.scene_state(scene).tags == ("Foul", "VLM_Tagged")


class LossyClient(StashClient):
    """Loses the reply to the first ``operation``: Stash has carried it out, and nobody hears of it."""

    def __init__(self, stash, operation):
        super().__init__(
            {"Host": "127.0.0.1", "Port": stash.port}, retry=QUICK, sleep=lambda _: None
        )
        self.operation = operation

    def _post(self, document, variables, work_s):
        response = super()._post(document, variables, work_s)
        if self.operation and self.operation in document:
            self.operation = ""
            response.close()
            raise StashUnreachableError("the connection was dropped")
        return response


def test_a_reply_that_is_lost_is_looked_up_rather_than_sent_again(stash, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with MediaHandler(
        LossyClient(stash, "MarkersCreate"), tmp_path / "journal.sqlite", NAMES
    ) as handler:
        handler.prepare()
        apply(handler, scene, info("Foul", Foul=[(n, n + 0.5) for n in range(60)]))
        assert len(stash.library.scene_state(scene).markers) == 60
        assert stash.requests.mutations["sceneMarkerCreate"] == 60
        stash.library.tag_scene(scene, "VLM_TagMe")
        apply(handler, scene, info())
    assert stash.library.scene_state(scene).markers == ()


def test_after_a_lost_connection_the_same_run_can_try_the_scene_again(stash, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with MediaHandler(
        LossyClient(stash, "TagScene"), tmp_path / "journal.sqlite", NAMES
    ) as handler:
        handler.prepare()
        with pytest.raises(StashUnreachableError):
            apply(handler, scene, info("Foul", Foul=[(1, 2)]))
        assert "VLM_TagMe" in stash.library.scene_state(scene).tags
        apply(handler, scene, info())
        assert handler.recover() == ()
    state = stash.library.scene_state(scene)
    assert (state.tags, state.markers) == (("VLM_Tagged",), ())


# A run that is killed.

FIRST = info("Foul", "Timeout", Foul=[(1, 2), (5, 6), (300, 310)], Timeout=[(40, 50)])
SECOND = info(
    "Foul",
    "Free throw",
    "Goal",
    Foul=[(1, 2), (100, 108)],
    Free_throw=[(n, n + 0.5) for n in range(120, 150)],
    Goal=[(200, 201)],
)


def lived_in(stash, folder):
    """A library in which a first run went well, people changed things, and the scene is queued again. Returns its id."""
    scene = stash.library.add_scene(title="Final", tags=["VLM_TagMe", "Goal", "Home game"])
    bystander = stash.library.add_scene(title="Warm-up", tags=["Foul", "VLM_Tagged"])
    stash.library.add_marker(bystander, "Foul", 1, 2, tags=["VLM"])
    stash.library.add_marker(scene, "Foul", 101, 109, title="a nasty one", tags=["Slow motion"])
    stash.library.add_marker(scene, "Goal", 200.5, title="Goal", tags=["VLM"])
    with handler_of(stash, folder) as handler:
        handler.prepare()
        apply(handler, scene, FIRST)
    edited = next(one for one in stash.library.scene_state(scene).markers if one.seconds == 300)
    stash.library.edit_marker(edited.id, title="Foul by the goalkeeper")
    stash.library.tag_scene(scene, "VLM_TagMe", "VLM_Errored")
    return scene


def run(stash, folder, **options):
    """One run of the task, as the plugin does it."""
    with handler_of(stash, folder, **options) as handler:
        handler.prepare()
        handler.recover()
        for scene in handler.ids_with(ItemKind.SCENE, NAMES.tag_me):
            apply(handler, scene, SECOND)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The library after a run that nothing disturbed, and those of its requests that changed something."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with running(SandboxStash()) as stash:
        lived_in(stash, folder)
        stash.requests.clear()
        run(stash, folder)
        return stash.library.snapshot(), [
            exchange for exchange in stash.requests.exchanges if exchange.kind == "mutation"
        ]


def test_the_uninterrupted_run_does_all_there_is_to_do(uninterrupted):
    scene = uninterrupted[0].scenes[0]
    assert scene.tags == ("Foul", "Free throw", "Goal", "Home game", "VLM_Tagged")
    assert len(scene.markers) == 1 + 1 + 1 + 1 + 30
    assert {one.title for one in scene.markers} >= {"a nasty one", "Foul by the goalkeeper"}
    order = [
        "TagCreate",
        "MarkersCreate",
        "MarkersCreate",
        "TagScene ADD",
        "MarkersDestroy",
        "TagScene REMOVE",
    ]
    assert [told(exchange) for exchange in uninterrupted[1]] == order


def told(exchange):
    """An operation, and whether it adds or removes."""
    mode = (
        exchange.variables["input"]["tag_ids"]["mode"] if exchange.operation == "TagScene" else ""
    )
    return f"{exchange.operation} {mode}".strip()


@pytest.mark.parametrize("after", [False, True], ids=["before it leaves", "once it is answered"])
@pytest.mark.parametrize("mutation", range(6))
def test_killed_at_any_write_and_run_again_it_ends_as_if_undisturbed(
    uninterrupted, stash, tmp_path, mutation, after
):
    expected, mutations = uninterrupted
    scene = lived_in(stash, tmp_path)
    with pytest.raises(KilledError):
        run(stash, tmp_path, at=mutations[mutation].number, after=after)
    queued = "VLM_TagMe" in stash.library.scene_state(scene).tags
    assert queued or stash.library.snapshot() == expected
    run(stash, tmp_path)
    assert stash.library.snapshot() == expected


def test_killed_again_and_again_it_still_ends_as_if_undisturbed(uninterrupted, stash, tmp_path):
    expected, _ = uninterrupted
    lived_in(stash, tmp_path)
    for at in range(1, 100):
        try:
            run(stash, tmp_path, at=at, after=bool(at % 2))
            break
        except KilledError:
            continue
    else:
        pytest.fail("it never came to its end")
    assert stash.library.snapshot() == expected
    with handler_of(stash, tmp_path) as handler:
        assert handler.recover() == ()


def test_what_a_killed_run_wrote_is_ours_and_goes_when_it_is_no_longer_found(stash, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    found = info("Foul", Foul=[(1, 2), (5, 6)])
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "TagScene", handler)
        with pytest.raises(KilledError):
            apply(handler, scene, found)
    with handler_of(stash, tmp_path) as handler:
        (recovered,) = handler.recover()
        assert (recovered.item.id, recovered.finished, recovered.tags) == (scene, True, 2)
        apply(handler, scene, info())
    state = stash.library.scene_state(scene)
    assert (state.tags, state.markers) == (("VLM_Tagged",), ())


def test_a_run_killed_after_its_last_write_is_found_finished(stash, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "TagScene", handler, nth=2)
        with pytest.raises(KilledError):
            apply(handler, scene, info("Foul", Foul=[(1, 2)]))
    assert stash.library.scene_state(scene).tags == ("Foul", "VLM_Tagged")
    with handler_of(stash, tmp_path) as handler:
        (recovered,) = handler.recover()
        assert (recovered.item.id, recovered.finished) == (scene, True)
        assert (handler.recover(), handler.ids_with(ItemKind.SCENE, NAMES.tag_me)) == ((), ())


def test_what_a_person_changed_between_the_kill_and_the_next_run_is_theirs(stash, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    found = info("Foul", Foul=[(1, 2), (5, 6)])
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "MarkersCreate", handler)
        with pytest.raises(KilledError):
            apply(handler, scene, found)
    one = stash.library.scene_state(scene).markers[0]
    stash.library.edit_marker(one.id, end_seconds=2.2)
    with handler_of(stash, tmp_path) as handler:
        (recovered,) = handler.recover()
        assert recovered.markers == 1
        apply(handler, scene, info())
    assert markers(stash.library.scene_state(scene)) == [("Foul", 1, 2.2)]
