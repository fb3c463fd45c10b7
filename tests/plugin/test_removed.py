"""Edits by people hold in every later run until they ask otherwise; a tag list concerns its own
tags only.
"""

import pytest

from haven.items import ItemRef
from tests.plugin.fragile import handler_of
from tests.plugin.items import GALLERY, IMAGE, SCENE, Items, Scenario, apply, info
from vlm_engine import ImageTagInfo

ALL = [("Foul", 10.0), ("Foul", 50.0), ("Foul", 90.0), ("Goal", 30.0)]
FOUND = info("Foul", "Goal", Foul=[(10, 20), (50, 60), (90, 95)], Goal=[(30, 33)])


@pytest.fixture
def untouched(stash, tmp_path):
    return Scenario(stash, tmp_path, "VLM_TagMe")


@pytest.fixture
def tagged(untouched):
    """A scene that was tagged with ``FOUND``."""
    untouched.apply(FOUND)
    return untouched


@pytest.fixture
def reduced(tagged):
    """A scene that was tagged with ``FOUND``, of which a person has removed a tag and a marker."""
    tagged.remove_marker(50)
    tagged.untag("Goal")
    return tagged


def test_a_tag_and_a_marker_that_were_taken_off_stay_off(reduced):
    change = reduced.preview(FOUND)
    assert (change.is_empty, change.stays_off) == (True, ("Goal", "1 marker Foul"))
    for updating in (True, False, True):
        change = reduced.apply(FOUND, updating=updating)
        assert reduced.content == ({"Foul"}, [ALL[0], *ALL[2:]])
        assert change.stays_off == ("Goal", "1 marker Foul")
        assert (change.tags_added, change.markers_added) == ((), ())


@pytest.mark.parametrize(
    "changes",
    [
        {"primary_tag": "Corner kick"},
        {"seconds": 200.0, "end_seconds": 210.0},
        {"end_seconds": 52.0},
    ],
)
def test_nothing_is_put_beside_a_marker_that_was_changed(tagged, changes):
    tagged.edit_marker(50, **changes)
    expected = tagged.content
    tagged.apply(FOUND)
    assert tagged.content == expected


@pytest.mark.parametrize(
    ("fouls", "expected"),
    [
        *(
            ([(10, 20), times, (90, 95), (300, 305)], [10.0, 90.0, 300.0])
            for times in ((49, 61), (55, 70), (51, 52))
        ),
        ([(10, 95)], [10.0, 90.0]),
    ],
)
def test_a_removed_event_stays_off_at_other_times(tagged, fouls, expected):
    tagged.remove_marker(50)
    tagged.apply(info("Foul", "Goal", Foul=fouls, Goal=[(30, 33)]))
    assert tagged.content[1] == [*(("Foul", start_s) for start_s in expected), ("Goal", 30.0)]


def test_it_stays_off_under_another_name_in_stash(tagged):
    tagged.untag("Foul")
    tagged.remove_marker(50)
    tagged.stash.library.rename_tag("Foul", "Personal foul")
    fouls = [(10, 20), (50, 60), (90, 95)]
    tagged.apply(info("Personal foul", "Goal", Personal_foul=fouls, Goal=[(30, 33)]))
    tags, markers = tagged.content
    assert "Personal foul" not in tags
    assert ("Personal foul", 50.0) not in markers


def test_it_stays_off_where_the_settings_give_it_another_name(untouched):
    untouched.apply(info("Foul", Foul=[(10, 20), (50, 60)]), tag_list={"Foul": "Foul"})
    untouched.untag("Foul")
    untouched.remove_marker(50)
    renamed = info("Personal foul", Personal_foul=[(10, 20), (50, 60)])
    untouched.apply(renamed, tag_list={"Foul": "Personal foul"})
    assert untouched.content == (set(), [("Personal foul", 10.0)])


def test_it_stays_off_when_the_tag_was_deleted_and_made_anew(untouched):
    untouched.apply(info("Foul"))
    untouched.stash.library.remove_tag("Foul")
    untouched.stash.library.add_tag("Foul")
    untouched.apply(info("Foul"))
    assert untouched.content == (set(), [])


def test_what_a_person_had_put_there_and_takes_off_stays_off(untouched):
    untouched.tag("Foul")
    untouched.stash.library.add_marker(untouched.scene, "Goal", 30, 33, title="the winner")

    def known():
        with untouched.handler() as handler:
            return handler._journal.known(ItemRef(SCENE, untouched.scene))

    untouched.apply(FOUND)
    before = known()
    untouched.apply(FOUND)
    assert known() == before, "each is written down once"
    untouched.untag("Foul")
    untouched.remove_marker(30)
    untouched.apply(FOUND)
    assert untouched.content == ({"Goal"}, ALL[:3])


def test_what_a_person_puts_back_themselves_stays(tagged):
    tagged.untag("Goal")
    tagged.remove_marker(30)
    tagged.apply(FOUND)
    tagged.tag("Goal")
    tagged.stash.library.add_marker(tagged.scene, "Goal", 31, 33)
    tagged.apply(FOUND)
    assert tagged.content == ({"Foul", "Goal"}, [*ALL[:3], ("Goal", 31.0)])


def test_what_tasks_of_the_plugin_take_off_does_not_stay_off(tagged):
    tagged.remove_owned()
    tagged.apply(FOUND)
    assert tagged.content == ({"Foul", "Goal"}, ALL)
    tagged.undo()
    tagged.apply(info())
    tagged.apply(FOUND)
    assert tagged.content == ({"Foul", "Goal"}, ALL)


def test_a_scene_from_which_all_was_taken_is_done_from_the_start(tagged):
    for _, start_s in ALL:
        tagged.remove_marker(start_s)
    tagged.untag("Foul", "Goal", "VLM_Tagged")
    tagged.apply(FOUND)
    assert tagged.content == ({"Foul", "Goal"}, ALL)


def test_who_asks_gets_it_back_until_that_is_undone(reduced):
    reduced.apply(FOUND)
    before = reduced.content
    reduced.apply(FOUND, bring_back=True)
    assert reduced.content == ({"Foul", "Goal"}, ALL)
    reduced.apply(info())
    reduced.apply(FOUND)
    assert reduced.content == ({"Foul", "Goal"}, ALL)
    for _ in range(3):
        reduced.undo()
    assert reduced.content == before
    reduced.apply(FOUND)
    assert reduced.content == before


@pytest.mark.parametrize("kind", [IMAGE, GALLERY])
def test_images_and_galleries_keep_off_what_was_taken_off(stash, tmp_path, kind):
    items = Items(stash, kind)
    (item,) = items.queue(1)

    def run(**options):
        with handler_of(stash, tmp_path, **options) as handler:
            handler.prepare()
            items.apply(handler, items.same([item], "Foul", "Goal"))
        return items.tags(item)

    every = ("Foul", "Goal", "VLM_Tagged")
    assert run() == every
    items.untag(item, "Goal")
    assert run() == run() == ("Foul", "VLM_Tagged")
    assert run(bring_back=True) == every


def test_what_is_removed_between_kill_and_next_run_stays_off(untouched):
    untouched.apply_until_killed(FOUND, "TagScene", 2)
    untouched.untag("Goal")
    untouched.remove_marker(30)
    with untouched.handler() as handler:
        handler.recover()
    untouched.apply(FOUND)
    assert untouched.content == ({"Foul"}, ALL[:3])


# Tag lists.


def test_what_another_tag_list_found_is_left_alone_and_told(untouched):
    untouched.apply(FOUND, tag_list={"Foul": "Foul", "Goal": "Goal"})
    options = {"tag_list": {"Goal": "Goal", "Timeout": "Timeout"}}
    found, expected = info("Timeout", Timeout=[(12, 14)]), ("Foul", "3 markers Foul")
    assert untouched.preview(found, **options).left_alone == expected
    change = untouched.apply(found, **options)
    assert (change.left_alone, change.tags_removed) == (expected, ("Goal",))
    assert len(change.markers_removed) == 1
    assert untouched.content == ({"Foul", "Timeout"}, [*ALL[:3], ("Timeout", 12.0)])
    untouched.remove_owned(**options)
    assert untouched.content == (set(), [])


def test_a_renamed_tag_leaves_nothing_under_its_former_name(untouched):
    for name in ("Foul", "Personal foul", "Infringement"):
        untouched.apply(info(name, **{name: [(10, 20)]}), tag_list={"Foul": name})
        assert untouched.content == ({name}, [(name, 10.0)])
    untouched.apply(info(), tag_list={"Foul": "Infringement"})
    assert untouched.content == (set(), [])


def test_a_tag_that_was_renamed_keeps_its_new_name_where_it_is(tagged):
    library = tagged.stash.library
    library.rename_tag("Foul", "Personal foul")
    before = library.scene_state(tagged.scene)
    other = library.add_scene(tags=["VLM_TagMe"])
    with tagged.handler() as handler:
        apply(handler, other, FOUND)
    for updating in (True, False):
        assert tagged.preview(FOUND).is_empty
        assert tagged.apply(FOUND, updating=updating).is_empty
        assert library.scene_state(tagged.scene) == before
    tagged.remove_marker(50)
    tagged.apply(FOUND)
    assert tagged.content[1] == [("Goal", 30.0), ("Personal foul", 10.0), ("Personal foul", 90.0)]
    tagged.apply(info())
    assert tagged.content == (set(), [])


def test_markers_that_came_with_a_merged_scene_are_still_ours(tagged):
    library = tagged.stash.library
    other = library.add_scene(tags=["VLM_TagMe"])
    with tagged.handler() as handler:
        apply(handler, other, info("Foul", Foul=[(11, 21), (200, 210)]))
    by_hand = ("Interview", 300.0)
    library.add_marker(other, *by_hand)
    library.merge_scene(other, tagged.scene)
    before = tagged.content[1]
    assert len(before) == len(ALL) + 3
    assert len(tagged.preview(FOUND).markers_removed) == 2
    tagged.apply(FOUND)
    assert tagged.content[1] == sorted([*ALL, by_hand])
    tagged.undo()
    assert tagged.content[1] == before
    tagged.remove_owned()
    assert tagged.content[1] == [by_hand]
    tagged.undo()
    assert tagged.content[1] == before


def test_a_renamed_tag_stays_on_images_and_their_gallery(stash, handler):
    image = stash.library.add_image(tags=["VLM_TagMe"])
    gallery = stash.library.add_gallery(images=[image], tags=["VLM_TagMe"])

    def run():
        Items(stash, IMAGE).apply(handler, {image: ImageTagInfo({"": ("Foul", "Goal")}, {})})
        counts = handler.image_tag_counts(gallery, ("Foul", "Goal"))
        found = ImageTagInfo({"": tuple(tag for tag in counts if counts[tag])}, {})
        Items(stash, GALLERY).apply(handler, {gallery: found})
        return stash.library.image_state(image).tags, stash.library.gallery_state(gallery).tags

    run()
    stash.library.rename_tag("Foul", "Personal foul")
    assert run() == (("Goal", "Personal foul", "VLM_Tagged"),) * 2
