"""Edits by people hold in every later run until they ask otherwise; a tag list concerns its own
tags only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from haven.items import ItemKind, ItemRef
from haven.stash.handler import MediaHandler
from haven.stash.values import change_of
from sandbox.stash import SandboxStash
from tests.plugin.fragile import KilledError, handler_of, once_replied
from tests.plugin.items import apply, info, undo
from vlm_engine import ImageTagInfo

FOUND = info("Foul", "Goal", Foul=[(10, 20), (50, 60), (90, 95)], Goal=[(30, 33)])


@pytest.fixture
def scene(stash: SandboxStash, handler: MediaHandler) -> str:
    """A scene that was tagged with ``FOUND``."""
    made = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, made, FOUND)
    return made


def marker(stash: SandboxStash, scene: str, start_s: float) -> str:
    return next(
        one.id for one in stash.library.scene_state(scene).markers if one.seconds == start_s
    )


def stands(stash: SandboxStash, scene: str) -> tuple[set[str], list[tuple[str, float]]]:
    state = stash.library.scene_state(scene)
    return set(state.tags) - {"VLM_Tagged"}, sorted(
        (one.primary_tag, one.seconds) for one in state.markers
    )


ALL = [("Foul", 10.0), ("Foul", 50.0), ("Foul", 90.0), ("Goal", 30.0)]


def test_a_tag_and_a_marker_that_were_taken_off_stay_off(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    stash.library.remove_marker(marker(stash, scene, 50))
    stash.library.untag_scene(scene, "Goal")
    expected = ({"Foul"}, [("Foul", 10.0), ("Foul", 90.0), ("Goal", 30.0)])
    for updating in (True, False, True):
        change = apply(handler, scene, FOUND, updating=updating)
        assert stands(stash, scene) == expected
        assert change.stays_off == ("Goal", "1 marker Foul")
        assert (change.tags_added, change.markers_added) == ((), ())


def test_a_preview_knows_what_was_taken_off_since_the_last_run(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    stash.library.remove_marker(marker(stash, scene, 50))
    stash.library.untag_scene(scene, "Goal")
    change = change_of(handler.preview(ItemKind.SCENE, {scene: FOUND}))
    assert (change.is_empty, change.stays_off) == (True, ("Goal", "1 marker Foul"))


def relabel(stash: SandboxStash, one: str) -> None:
    stash.library.edit_marker(one, primary_tag="Corner kick")


def move(stash: SandboxStash, one: str) -> None:
    stash.library.edit_marker(one, seconds=200.0, end_seconds=210.0)


def shorten(stash: SandboxStash, one: str) -> None:
    stash.library.edit_marker(one, end_seconds=52.0)


@pytest.mark.parametrize("edit", [relabel, move, shorten])
def test_nothing_is_put_beside_a_marker_that_was_changed(
    stash: SandboxStash,
    handler: MediaHandler,
    scene: str,
    edit: Callable[[SandboxStash, str], None],
) -> None:
    edit(stash, marker(stash, scene, 50))
    expected = stands(stash, scene)
    apply(handler, scene, FOUND)
    assert stands(stash, scene) == expected


@pytest.mark.parametrize("times", [(49.0, 61.0), (55.0, 70.0), (51.0, 52.0)])
def test_a_removed_event_stays_off_at_slightly_other_times(
    stash: SandboxStash, handler: MediaHandler, scene: str, times: tuple[float, float]
) -> None:
    stash.library.remove_marker(marker(stash, scene, 50))
    apply(
        handler,
        scene,
        info(
            "Foul",
            "Goal",
            Foul=[(10, 20), times, (90, 95), (300, 305)],
            Goal=[(30, 33)],
        ),
    )
    assert stands(stash, scene)[1] == [
        ("Foul", 10.0),
        ("Foul", 90.0),
        ("Foul", 300.0),
        ("Goal", 30.0),
    ]


def test_the_rest_of_an_event_is_kept_when_it_is_found_as_one(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    stash.library.remove_marker(marker(stash, scene, 50))
    apply(handler, scene, info("Foul", "Goal", Foul=[(10, 95)], Goal=[(30, 33)]))
    assert stands(stash, scene)[1] == [("Foul", 10.0), ("Foul", 90.0), ("Goal", 30.0)]


def test_it_stays_off_under_another_name_in_stash(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    stash.library.untag_scene(scene, "Foul")
    stash.library.remove_marker(marker(stash, scene, 50))
    stash.library.rename_tag("Foul", "Personal foul")
    renamed = info(
        "Personal foul",
        "Goal",
        Personal_foul=[(10, 20), (50, 60), (90, 95)],
        Goal=[(30, 33)],
    )
    apply(handler, scene, renamed)
    tags, markers = stands(stash, scene)
    assert "Personal foul" not in tags
    assert ("Personal foul", 50.0) not in markers


def test_it_stays_off_where_the_settings_give_it_another_name(
    stash: SandboxStash, tmp_path: Path
) -> None:
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, tmp_path, tag_list={"Foul": "Foul"}) as handler:
        apply(handler, scene, info("Foul", Foul=[(10, 20), (50, 60)]))
    stash.library.untag_scene(scene, "Foul")
    stash.library.remove_marker(marker(stash, scene, 50))
    with handler_of(stash, tmp_path, tag_list={"Foul": "Personal foul"}) as handler:
        apply(handler, scene, info("Personal foul", Personal_foul=[(10, 20), (50, 60)]))
    assert stands(stash, scene) == (set(), [("Personal foul", 10.0)])


def test_it_stays_off_when_the_tag_was_deleted_and_made_anew(
    stash: SandboxStash, handler: MediaHandler
) -> None:
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, scene, info("Foul"))
    stash.library.remove_tag("Foul")
    stash.library.add_tag("Foul")
    apply(handler, scene, info("Foul"))
    assert stands(stash, scene) == (set(), [])


def test_what_a_person_had_put_there_and_takes_off_stays_off(
    stash: SandboxStash, handler: MediaHandler
) -> None:
    scene = stash.library.add_scene(tags=["VLM_TagMe", "Foul"])
    by_hand = stash.library.add_marker(scene, "Goal", 30, 33, title="the winner")
    apply(handler, scene, FOUND)
    known = handler._journal.known(ItemRef(ItemKind.SCENE, scene))
    apply(handler, scene, FOUND)
    assert handler._journal.known(ItemRef(ItemKind.SCENE, scene)) == known, (
        "each is written down once"
    )
    stash.library.untag_scene(scene, "Foul")
    stash.library.remove_marker(by_hand)
    apply(handler, scene, FOUND)
    assert stands(stash, scene) == ({"Goal"}, ALL[:3])


def test_what_a_person_puts_back_themselves_stays(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    stash.library.untag_scene(scene, "Goal")
    stash.library.remove_marker(marker(stash, scene, 30))
    apply(handler, scene, FOUND)
    stash.library.tag_scene(scene, "Goal")
    stash.library.add_marker(scene, "Goal", 31, 33)
    apply(handler, scene, FOUND)
    assert stands(stash, scene) == ({"Foul", "Goal"}, [*ALL[:3], ("Goal", 31.0)])


def test_what_tasks_of_the_plugin_take_off_does_not_stay_off(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    change_of(
        handler.remove_owned(
            handler.start_run("Remove VLM Tags and Markers"), ItemKind.SCENE, [scene]
        )
    )
    apply(handler, scene, FOUND)
    assert stands(stash, scene) == ({"Foul", "Goal"}, ALL)
    undo(handler)
    apply(handler, scene, info())
    apply(handler, scene, FOUND)
    assert stands(stash, scene) == ({"Foul", "Goal"}, ALL)


def test_a_scene_from_which_all_was_taken_is_done_from_the_start(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    for one in stash.library.scene_state(scene).markers:
        stash.library.remove_marker(one.id)
    stash.library.untag_scene(scene, "Foul", "Goal", "VLM_Tagged")
    apply(handler, scene, FOUND)
    assert stands(stash, scene) == ({"Foul", "Goal"}, ALL)


def test_who_asks_gets_it_back_until_that_is_undone(
    stash: SandboxStash, handler: MediaHandler, tmp_path: Path, scene: str
) -> None:
    stash.library.remove_marker(marker(stash, scene, 50))
    stash.library.untag_scene(scene, "Goal")
    apply(handler, scene, FOUND)
    before = stands(stash, scene)
    handler.close()
    with handler_of(stash, tmp_path, bring_back=True) as asking:
        apply(asking, scene, FOUND)
        assert stands(stash, scene) == ({"Foul", "Goal"}, ALL)
    with handler_of(stash, tmp_path) as again:
        apply(again, scene, info())
        apply(again, scene, FOUND)
        assert stands(stash, scene) == ({"Foul", "Goal"}, ALL)
        for _ in range(3):
            undo(again)
        assert stands(stash, scene) == before
        apply(again, scene, FOUND)
        assert stands(stash, scene) == before


def test_images_and_galleries_keep_off_what_was_taken_off(
    stash: SandboxStash, handler: MediaHandler, tmp_path: Path
) -> None:
    image, gallery = (
        stash.library.add_image(tags=["VLM_TagMe"]),
        stash.library.add_gallery(tags=["VLM_TagMe"]),
    )
    found = {image: ImageTagInfo({"sport": ("Foul", "Goal")}, {})}

    def run(handler: MediaHandler) -> tuple[set[str], set[str]]:
        run_id = handler.start_run("Tag Images")
        handler.apply(run_id, ItemKind.IMAGE, found)
        change_of(
            handler.apply(
                run_id, ItemKind.GALLERY, {gallery: ImageTagInfo({"": ("Foul", "Goal")}, {})}
            )
        )
        return set(stash.library.image_state(image).tags), set(
            stash.library.gallery_state(gallery).tags
        )

    every, fewer = {"Foul", "Goal", "VLM_Tagged"}, {"Foul", "VLM_Tagged"}
    assert run(handler) == (every, every)
    stash.library.untag_image(image, "Goal")
    stash.library.untag_gallery(gallery, "Goal")
    assert run(handler) == run(handler) == (fewer, fewer)
    handler.close()
    with handler_of(stash, tmp_path, bring_back=True) as asking:
        assert run(asking) == (every, every)


def test_what_is_removed_between_kill_and_next_run_stays_off(
    stash: SandboxStash, tmp_path: Path
) -> None:
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "TagScene", handler, 2)
        with pytest.raises(KilledError):
            apply(handler, scene, FOUND)
    stash.library.untag_scene(scene, "Goal")
    stash.library.remove_marker(marker(stash, scene, 30))
    with handler_of(stash, tmp_path) as handler:
        handler.recover()
        apply(handler, scene, FOUND)
    assert stands(stash, scene) == ({"Foul"}, ALL[:3])


# Tag lists.


def test_what_another_tag_list_found_is_left_alone_and_told(
    stash: SandboxStash, tmp_path: Path
) -> None:
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, tmp_path, tag_list={"Foul": "Foul", "Goal": "Goal"}) as handler:
        apply(handler, scene, FOUND)
    with handler_of(stash, tmp_path, tag_list={"Goal": "Goal", "Timeout": "Timeout"}) as handler:
        found = info("Timeout", Timeout=[(12, 14)])
        expected = ("Foul", "3 markers Foul")
        assert change_of(handler.preview(ItemKind.SCENE, {scene: found})).left_alone == expected
        change = apply(handler, scene, found)
        assert (change.left_alone, change.tags_removed, len(change.markers_removed)) == (
            expected,
            ("Goal",),
            1,
        )
        assert stands(stash, scene) == ({"Foul", "Timeout"}, [*ALL[:3], ("Timeout", 12.0)])
        change_of(
            handler.remove_owned(
                handler.start_run("Remove VLM Tags and Markers"), ItemKind.SCENE, [scene]
            )
        )
        assert stands(stash, scene) == (set(), [])


def test_a_renamed_tag_leaves_nothing_under_its_former_name(
    stash: SandboxStash, tmp_path: Path
) -> None:
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    for name in ("Foul", "Personal foul", "Infringement"):
        with handler_of(stash, tmp_path, tag_list={"Foul": name}) as handler:
            apply(handler, scene, info(name, **{name: [(10, 20)]}))
        assert stands(stash, scene) == ({name}, [(name, 10.0)])


def test_a_list_that_finds_nothing_any_more_takes_its_own_off(
    stash: SandboxStash, tmp_path: Path
) -> None:
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, tmp_path, tag_list={"foul": "Foul"}) as handler:
        apply(handler, scene, info("Foul", Foul=[(10, 20)]))
        apply(handler, scene, info())
    assert stands(stash, scene) == (set(), [])


def test_a_tag_that_was_renamed_keeps_its_new_name_where_it_is(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    stash.library.rename_tag("Foul", "Personal foul")
    before = stash.library.scene_state(scene)
    other = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, other, FOUND)
    for updating in (True, False):
        assert change_of(handler.preview(ItemKind.SCENE, {scene: FOUND})).is_empty
        assert apply(handler, scene, FOUND, updating=updating).is_empty
        assert stash.library.scene_state(scene) == before
    stash.library.remove_marker(marker(stash, scene, 50))
    apply(handler, scene, FOUND)
    assert stands(stash, scene)[1] == [
        ("Goal", 30.0),
        ("Personal foul", 10.0),
        ("Personal foul", 90.0),
    ]
    apply(handler, scene, info())
    assert stands(stash, scene) == (set(), [])


def test_markers_that_came_with_a_merged_scene_are_still_ours(
    stash: SandboxStash, handler: MediaHandler, scene: str
) -> None:
    other = stash.library.add_scene(tags=["VLM_TagMe"])
    apply(handler, other, info("Foul", Foul=[(11, 21), (200, 210)]))
    by_hand = stash.library.add_marker(other, "Interview", 300.0)
    stash.library.merge_scene(other, scene)
    before = stands(stash, scene)
    assert len(before[1]) == len(ALL) + 3
    assert len(change_of(handler.preview(ItemKind.SCENE, {scene: FOUND})).markers_removed) == 2
    apply(handler, scene, FOUND)
    assert stands(stash, scene)[1] == sorted([*ALL, ("Interview", 300.0)])
    undo(handler)
    assert stands(stash, scene)[1] == before[1]
    change_of(
        handler.remove_owned(
            handler.start_run("Remove VLM Tags and Markers"), ItemKind.SCENE, [scene]
        )
    )
    assert [one.id for one in stash.library.scene_state(scene).markers] == [by_hand]
    undo(handler)
    assert stands(stash, scene)[1] == before[1]


def test_a_renamed_tag_stays_on_images_and_their_gallery(
    stash: SandboxStash, handler: MediaHandler
) -> None:
    image = stash.library.add_image(tags=["VLM_TagMe"])
    gallery = stash.library.add_gallery(images=[image], tags=["VLM_TagMe"])

    def run() -> tuple[tuple[str, ...], tuple[str, ...]]:
        run_id = handler.start_run("Tag Images")
        handler.apply(
            run_id, ItemKind.IMAGE, {image: ImageTagInfo({"sport": ("Foul", "Goal")}, {})}
        )
        counts = handler.image_tag_counts(gallery, ("Foul", "Goal"))
        change_of(
            handler.apply(
                run_id,
                ItemKind.GALLERY,
                {gallery: ImageTagInfo({"": tuple([tag for tag in counts if counts[tag]])}, {})},
            )
        )
        return stash.library.image_state(image).tags, stash.library.gallery_state(gallery).tags

    run()
    stash.library.rename_tag("Foul", "Personal foul")
    assert run() == (("Goal", "Personal foul", "VLM_Tagged"),) * 2
