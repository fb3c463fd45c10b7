"""Results into images, hundreds at a time: what people tagged stays, and one image's trouble is its own."""

import random
import sqlite3
from contextlib import closing

import pytest

from haven.items import ItemChange, ItemKind
from haven.stash.errors import ApplyError, ItemGoneError, StashLockedError, TagClashError
from haven.stash.handler import MediaHandler
from haven.stash.tags import AT_ONCE, Batch, Tagging, batches
from haven.stash.transport import StashClient
from haven.stash.values import change_of
from tests.plugin.fragile import NAMES, handler_of, once
from vlm_engine.types import ImageTagInfo, VideoTagInfo

TAGS = ("Foul", "Goal", "Timeout", "Free throw", "Turnover")
PEOPLES = ("Home game", "Foul", "Goal", "Slow motion", "VLM_Errored")


def info(*tags):
    return ImageTagInfo({"sport": tags}, {})


def apply(handler, results, **options):
    run_id = handler.start_run("Tag Images")
    fates = handler.apply(run_id, ItemKind.IMAGE, results, **options)
    handler.finish_run(run_id)
    return fates


def queued(stash, count, *tags):
    return [stash.library.add_image(tags=["VLM_TagMe", *tags]) for _ in range(count)]


def tags_of(stash):
    return {image.id: image.tags for image in stash.library.snapshot().images}


def test_results_are_written_and_the_images_leave_the_queue(stash, handler):
    first = stash.library.add_image(tags=["VLM_TagMe", "VLM_Errored", "Home game"])
    second = stash.library.add_image(tags=["VLM_TagMe", "Goal"])
    fates = apply(handler, {first: info("Foul", "Goal"), second: info("Goal")})
    assert tags_of(stash) == {
        first: ("Foul", "Goal", "Home game", "VLM_Tagged"),
        second: ("Goal", "VLM_Tagged"),
    }
    assert fates == {first: ItemChange(tags_added=("Foul", "Goal")), second: ItemChange()}


def test_images_with_the_same_change_share_their_requests(stash, handler):
    ids = queued(stash, 2 * AT_ONCE)
    stash.library.tag_id("Foul")
    stash.requests.clear()
    apply(handler, dict.fromkeys(ids, info("Foul")))
    assert stash.requests.mutations == {
        "bulkImageUpdate": 5
    }  # the first asks for little, to see how long Stash takes
    assert set(tags_of(stash).values()) == {("Foul", "VLM_Tagged")}


def test_images_take_one_write_for_fifty_of_them_at_most_also_where_all_differ(stash, handler):
    rng = random.Random(7)
    ids = queued(stash, 3 * AT_ONCE)
    results = {image: info(*rng.sample(TAGS, rng.randint(0, 5))) for image in ids}
    stash.requests.clear()
    fates = apply(handler, results)
    assert stash.requests.writes <= len(ids) // 50
    assert all(isinstance(fate, ItemChange) for fate in fates.values())
    assert tags_of(stash) == {
        image: tuple(sorted((*found.tags["sport"], "VLM_Tagged")))
        for image, found in results.items()
    }


def test_there_is_one_request_for_each_change_or_for_each_tag_whichever_are_fewer():
    assert batches({"1": ["5", "6"], "2": ["6", "5"], "3": []}) == (Batch(("1", "2"), ("5", "6")),)
    three = batches({"1": ["5"], "2": ["6"], "3": ["5", "6"], "4": ["5", "6", "7"]}, last="5")
    assert three == (
        Batch(("2", "3", "4"), ("6",)),
        Batch(("4",), ("7",)),
        Batch(("1", "3", "4"), ("5",)),
    )
    assert batches({}) == ()


def test_a_request_whose_hooks_take_longer_than_the_time_out_is_waited_for(stash, tmp_path):
    ids = queued(stash, 60)
    stash.faults.hook_s = 0.02
    client = StashClient({"Host": "127.0.0.1", "Port": stash.port}, timeout_s=0.5)
    with closing(client), MediaHandler(client, tmp_path / "journal.sqlite", NAMES) as handler:
        fates = apply(handler, dict.fromkeys(ids, info("Foul")))
    assert all(isinstance(fate, ItemChange) for fate in fates.values())
    assert set(tags_of(stash).values()) == {("Foul", "VLM_Tagged")}


def test_requests_are_as_small_as_the_hooks_of_other_plugins_are_slow(stash):
    batch = Batch(tuple(queued(stash, 400)), (stash.library.tag_id("Foul"),))
    with closing(StashClient({"Host": "127.0.0.1", "Port": stash.port})) as client:
        sending = Tagging(client, request_s=0.2).change(ItemKind.IMAGE, "ADD", batch, halving=False)
        stash.faults.hook_s = 0.02
        slow = [len(next(sending)[0].ids) for _ in range(5)]
        stash.faults.hook_s = 0.0
        fast = [len(part.ids) for part, error in sending if error is None]
    assert slow[0] == 1, "until it is known how long one takes"
    assert max(slow) <= 10 < max(fast)
    assert sum(slow + fast) == 400
    assert set(tags_of(stash).values()) == {("Foul", "VLM_TagMe")}


def test_all_plans_are_on_disk_before_the_first_write(stash, handler, tmp_path):
    ids = queued(stash, 60)
    seen = []

    def look():
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db:
            seen.extend(
                db.execute(
                    "SELECT kind, count(*) FROM journal_plans WHERE closed IS NULL GROUP BY kind"
                )
            )

    once(stash, "TagCreate", look)
    apply(handler, dict.fromkeys(ids, info("Foul")))
    assert seen == [("image", 60)]


@pytest.mark.parametrize("seed", range(5))
def test_what_people_tagged_stays_whatever_is_found_run_after_run(stash, handler, seed):
    rng = random.Random(seed)
    people = {
        stash.library.add_image(): set(rng.sample(PEOPLES, rng.randint(0, 3))) for _ in range(40)
    }
    for image, tags in people.items():
        stash.library.tag_image(image, *tags)
    for _ in range(3):
        chosen = rng.sample(sorted(people), 25)
        results = {image: info(*rng.sample(TAGS, rng.randint(0, 3))) for image in chosen}
        for image in chosen:
            stash.library.tag_image(image, "VLM_TagMe")
        before = tags_of(stash)
        apply(handler, results)
        for image, tags in tags_of(stash).items():
            if image not in results:
                assert tags == before[image]
                continue
            people[image] -= {"VLM_Errored"}
            assert set(tags) == people[image] | set(results[image].tags["sport"]) | {"VLM_Tagged"}
        for image in rng.sample(sorted(people), 5):
            stash.library.tag_image(image, "Break-away")
            people[image].add("Break-away")


def test_a_second_run_with_the_same_result_takes_the_images_off_the_queue_and_no_more(
    stash, handler
):
    ids = queued(stash, 30)
    apply(handler, dict.fromkeys(ids, info("Foul")))
    before = stash.library.snapshot()
    for image in ids:
        stash.library.tag_image(image, "VLM_TagMe")
    stash.requests.clear()
    fates = apply(handler, dict.fromkeys(ids, info("Foul")))
    assert stash.library.snapshot() == before
    assert stash.requests.mutations == {"bulkImageUpdate": 1}
    assert set(fates.values()) == {ItemChange()}


def test_a_tag_of_ours_that_a_person_took_off_and_put_back_is_theirs(stash, handler):
    ours, theirs = queued(stash, 2)
    apply(handler, dict.fromkeys((ours, theirs), info("Foul", "Goal")))
    stash.library.untag_image(theirs, "Foul")
    apply(handler, {theirs: info("Goal")})
    stash.library.tag_image(theirs, "Foul")
    fates = apply(handler, dict.fromkeys((ours, theirs), info()))
    assert tags_of(stash) == {ours: ("VLM_Tagged",), theirs: ("Foul", "VLM_Tagged")}
    assert [fates[one].tags_removed for one in (ours, theirs)] == [("Foul", "Goal"), ("Goal",)]


def test_images_and_scenes_of_the_same_number_are_not_mistaken_for_each_other(stash, handler):
    scene, image = stash.library.add_scene(tags=["Foul"]), stash.library.add_image(tags=["Goal"])
    gallery = stash.library.add_gallery(tags=["Foul", "Goal"])
    assert scene == image == gallery
    apply(handler, {image: info("Foul")})
    assert (handler.owned_ids(ItemKind.SCENE), handler.owned_ids(ItemKind.IMAGE)) == ((), (image,))
    run_id = handler.start_run("Tag Videos")
    change_of(
        handler.apply(
            run_id, ItemKind.SCENE, {scene: VideoTagInfo(60.0, {"sport": ("Goal",)}, {}, {})}
        )
    )
    handler.remove_owned(run_id, ItemKind.GALLERY, [gallery])
    handler.remove_owned(run_id, ItemKind.IMAGE, [image])
    assert stash.library.scene_state(scene).tags == ("Foul", "Goal", "VLM_Tagged")
    change_of(handler.remove_owned(run_id, ItemKind.SCENE, [scene]))
    states = [
        stash.library.scene_state(scene),
        stash.library.image_state(image),
        stash.library.gallery_state(gallery),
    ]
    assert [state.tags for state in states] == [("Foul",), ("Goal",), ("Foul", "Goal")]


# What happens meanwhile.


def test_an_image_that_vanished_before_is_told_and_stops_no_other(stash, handler):
    one, gone, other = queued(stash, 3)
    stash.library.remove_image(gone)
    fates = apply(handler, dict.fromkeys((one, gone, other, "4711"), info("Foul")))
    assert [type(fates[key]) for key in (one, gone, other, "4711")] == [
        ItemChange,
        ItemGoneError,
        ItemChange,
        ItemGoneError,
    ]
    assert str(fates[gone]) == f"image {gone} is no longer in Stash; it was deleted or merged"
    assert set(tags_of(stash).values()) == {("Foul", "VLM_Tagged")}


@pytest.mark.parametrize("nth", [1, 2])
def test_an_image_that_vanishes_between_plan_and_write_stops_no_other(stash, handler, nth):
    ids = queued(stash, 100)
    gone = {ids[0], ids[50], ids[99]}
    left = [nth]

    def hook(exchange):
        left[0] -= exchange.operation == "TagImage"
        if left[0] == 0:
            stash.requests.on_request = None
            for image in gone:
                stash.library.remove_image(image)

    stash.requests.on_request = hook
    stash.requests.clear()
    fates = apply(handler, dict.fromkeys(ids, info("Foul")))
    assert {key for key, fate in fates.items() if isinstance(fate, ItemGoneError)} == gone
    assert set(tags_of(stash).values()) == {("Foul", "VLM_Tagged")}
    assert stash.requests.mutations["bulkImageUpdate"] == 5
    assert handler.recover() == ()


def test_images_that_go_on_vanishing_are_found_one_by_one(stash, handler):
    ids = queued(stash, 64)
    doomed = [ids[5], ids[40]]

    def hook(exchange):
        if exchange.operation == "TagImage" and doomed:
            stash.library.remove_image(doomed.pop())

    stash.requests.on_request = hook
    fates = apply(handler, dict.fromkeys(ids, info("Foul")))
    assert {key for key, fate in fates.items() if not isinstance(fate, ItemChange)} == {
        ids[5],
        ids[40],
    }
    assert set(tags_of(stash).values()) == {("Foul", "VLM_Tagged")}


def test_a_tag_deleted_meanwhile_is_made_again_once(stash, handler):
    ids = queued(stash, 40)
    stash.library.tag_id("Goal")
    once(stash, "TagImage", lambda: stash.library.remove_tag("Goal"))
    stash.requests.clear()
    apply(handler, {image: info("Goal", *["Foul"][: n % 2]) for n, image in enumerate(ids)})
    assert set(tags_of(stash).values()) == {("Goal", "VLM_Tagged"), ("Foul", "Goal", "VLM_Tagged")}
    assert stash.requests.mutations["tagCreate"] == 2


def test_a_tag_merged_meanwhile_into_one_a_person_gave_an_image_does_not_become_ours(
    stash, handler
):
    theirs, ours = queued(stash, 2)
    stash.library.tag_image(theirs, "Handball")
    stash.library.tag_id("Foul")

    once(stash, "TagImage", lambda: stash.library.merge_tag("Foul", "Handball"))
    apply(handler, dict.fromkeys((theirs, ours), info("Foul")))
    assert tags_of(stash) == dict.fromkeys((theirs, ours), ("Handball", "VLM_Tagged"))
    apply(handler, dict.fromkeys((theirs, ours), info()))
    assert tags_of(stash) == {theirs: ("Handball", "VLM_Tagged"), ours: ("VLM_Tagged",)}


def test_a_tag_renamed_meanwhile_is_still_that_tag(stash, handler):
    ids = queued(stash, 3)
    stash.library.tag_id("Foul")
    once(stash, "TagImage", lambda: stash.library.rename_tag("Foul", "Handball"))
    apply(handler, dict.fromkeys(ids, info("Foul")))
    assert set(tags_of(stash).values()) == {("Handball", "VLM_Tagged")}
    apply(handler, dict.fromkeys(ids, info()))
    assert set(tags_of(stash).values()) == {("VLM_Tagged",)}


def test_a_name_that_stash_takes_for_another_is_told_for_the_images_that_want_it_alone(
    stash, handler
):
    stash.library.add_tag("Free throw")
    one, other = queued(stash, 2)
    fates = apply(handler, {one: info("Foul", "Free_throw"), other: info("Foul")})
    assert isinstance(fates[one], ApplyError)
    assert [type(cause) for cause in fates[one].exceptions] == [TagClashError]
    assert str(fates[one]).startswith(
        f"the results of image {one} are not wholly in Stash, so it stays queued; Stash cannot"
    )
    assert tags_of(stash) == {one: ("Foul", "VLM_TagMe"), other: ("Foul", "VLM_Tagged")}


@pytest.mark.parametrize("spared", [0, 1, 2])
def test_a_database_that_stays_locked_leaves_the_images_queued(stash, handler, spared):
    """Whichever write it begins with."""
    ids = queued(stash, 30)
    results = {image: info(*TAGS[: n % 3]) for n, image in enumerate(ids)}
    for tag in TAGS:
        stash.library.tag_id(tag)
    left = [spared]

    def hook(exchange):
        if exchange.operation == "TagImage":
            if left[0] == 0:
                stash.faults.locked_mutations = 10_000
            left[0] -= 1

    stash.requests.on_request = hook
    fates = apply(handler, results)
    stash.requests.on_request, stash.faults.locked_mutations = None, 0
    failed = {image: fate for image, fate in fates.items() if isinstance(fate, ApplyError)}
    assert failed
    assert all(isinstance(fate.exceptions[0], StashLockedError) for fate in failed.values())
    after = tags_of(stash)
    assert all("VLM_TagMe" in after[image] for image in failed)
    assert not any("VLM_TagMe" in after[image] for image in fates.keys() - failed.keys())
    apply(handler, {image: results[image] for image in failed})
    assert tags_of(stash) == {
        image: tuple(sorted((*found.tags["sport"], "VLM_Tagged")))
        for image, found in results.items()
    }
    apply(handler, dict.fromkeys(ids, info()))
    assert set(tags_of(stash).values()) == {("VLM_Tagged",)}


def test_an_image_that_one_tag_is_refused_for_is_not_said_to_be_done(stash, handler):
    ids = queued(stash, 31)
    results = {
        image: info(*[tag for bit, tag in enumerate(TAGS) if n >> bit & 1])
        for n, image in enumerate(ids, 1)
    }
    goal = stash.library.tag_id("Goal")

    def hook(exchange):
        is_it = exchange.operation == "TagImage" and exchange.variables["input"]["tag_ids"][
            "ids"
        ] == [goal]
        stash.faults.locked_mutations = 1 if is_it else 0

    stash.requests.on_request = hook
    fates = apply(handler, results)
    assert len(fates) == 31
    after = tags_of(stash)
    for image, found in results.items():
        wanted = found.tags["sport"]
        assert isinstance(fates[image], ApplyError if "Goal" in wanted else ItemChange)
        assert ("VLM_TagMe" in after[image], "VLM_Tagged" in after[image]) == (
            "Goal" in wanted,
            "Goal" not in wanted,
        )
    assert handler.recover() == ()
    stash.requests.on_request = None
    apply(handler, results)
    assert tags_of(stash) == {
        image: tuple(sorted((*found.tags["sport"], "VLM_Tagged")))
        for image, found in results.items()
    }


def test_what_is_written_down_as_ours_is_so_once(stash, handler, tmp_path):
    """Also where the first try got half of it through, before an image vanished."""
    ids = queued(stash, 31)
    results = {
        image: info(*[tag for bit, tag in enumerate(TAGS) if n >> bit & 1])
        for n, image in enumerate(ids, 1)
    }
    left = [3]

    def hook(exchange):
        left[0] -= exchange.operation == "TagImage"
        if left[0] == 0:
            stash.requests.on_request = None
            stash.library.remove_image(ids[30])

    stash.requests.on_request = hook
    apply(handler, results)
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db:
        assert (
            db.execute(
                "SELECT item_id, tag_id FROM journal_tags GROUP BY 1, 2 HAVING count(*) > 1"
            ).fetchall()
            == []
        )


def test_no_image_is_said_to_be_done_before_all_of_its_tags_are_on(stash, handler):
    ids = queued(stash, 60)
    results = {
        image: info(*[tag for bit, tag in enumerate(TAGS) if n >> bit & 1])
        for n, image in enumerate(ids, 1)
    }
    wanted = {image: set(found.tags["sport"]) for image, found in results.items()}

    def hook(exchange):
        for image, tags in tags_of(stash).items():
            assert "VLM_Tagged" not in tags or wanted[image] <= set(tags)
            assert "VLM_TagMe" in tags or {"VLM_Tagged", *wanted[image]} <= set(tags)

    stash.requests.on_reply = hook
    apply(handler, results)
    assert len(stash.requests.exchanges) > 8


# Failures, updates, previews.


def test_failed_images_are_marked_and_stay_queued_until_a_later_run_succeeds(stash, handler):
    ids = queued(stash, 60)
    stash.library.remove_image(ids[7])
    stash.requests.clear()
    run_id = handler.start_run("Tag Images")
    fates = handler.mark_failed(
        run_id, ItemKind.IMAGE, {image: f"image {image} is no picture" for image in ids}
    )
    assert fates.keys() == set(ids) - {ids[7]}
    assert stash.requests.writes == 2
    assert set(tags_of(stash).values()) == {("VLM_Errored", "VLM_TagMe")}
    apply(handler, dict.fromkeys(ids, info("Foul")))
    assert set(tags_of(stash).values()) == {("Foul", "VLM_Tagged")}


def test_an_updated_image_loses_the_tag_that_asked_for_it_and_only_that(stash, handler):
    image = stash.library.add_image(tags=["VLM_UpdateMe", "VLM_TagMe"])
    apply(handler, {image: info("Foul")}, updating=True)
    assert tags_of(stash) == {image: ("Foul", "VLM_TagMe", "VLM_Tagged")}


def test_a_preview_tells_what_would_change_and_writes_nothing(stash, tmp_path):
    with handler_of(stash, tmp_path) as handler:
        one, other = queued(stash, 2, "Goal")
        stash.requests.clear()
        fates = handler.preview(
            ItemKind.IMAGE, {one: info("Foul", "Goal"), other: info("Goal"), "77": info()}
        )
        assert stash.requests.writes == 0
        assert fates[one] == ItemChange(tags_added=("Foul",))
        assert fates[other] == ItemChange()
        assert isinstance(fates["77"], ItemGoneError)
        assert handler.last_undoable_run() is None


# Galleries.


def test_a_gallery_gets_tags_and_leaves_the_queue(stash, handler):
    gallery = stash.library.add_gallery(tags=["VLM_TagMe", "Home game", "Goal"])
    run_id = handler.start_run("Tag Images")
    change = change_of(handler.apply(run_id, ItemKind.GALLERY, {gallery: info("Foul", "Goal")}))
    assert stash.library.gallery_state(gallery).tags == ("Foul", "Goal", "Home game", "VLM_Tagged")
    assert change == ItemChange(tags_added=("Foul",))
    change = change_of(handler.apply(run_id, ItemKind.GALLERY, {gallery: info("Timeout")}))
    assert stash.library.gallery_state(gallery).tags == (
        "Goal",
        "Home game",
        "Timeout",
        "VLM_Tagged",
    )
    assert change == ItemChange(tags_added=("Timeout",), tags_removed=("Foul",))
    assert handler.owned_ids(ItemKind.GALLERY) == (gallery,)
    assert stash.requests.mutations["bulkGalleryUpdate"] == 4


def test_a_gallery_can_leave_the_queue_with_its_tags_as_they_are(stash, handler):
    gallery = stash.library.add_gallery(tags=["VLM_UpdateMe"])
    run_id = handler.start_run("Tag Images")
    change_of(handler.apply(run_id, ItemKind.GALLERY, {gallery: info("Foul")}))
    assert stash.library.gallery_state(gallery).tags == ("Foul", "VLM_Tagged", "VLM_UpdateMe")
    change_of(handler.apply(run_id, ItemKind.GALLERY, {gallery: None}, updating=True))
    assert stash.library.gallery_state(gallery).tags == ("Foul", "VLM_Tagged")


def test_a_gallery_that_is_gone_is_told(stash, handler):
    with pytest.raises(ItemGoneError, match="gallery 77 is no longer in Stash"):
        change_of(
            handler.apply(
                handler.start_run("Tag Images"),
                ItemKind.GALLERY,
                {"77": ImageTagInfo({"": ("Foul",)}, {})},
            )
        )
