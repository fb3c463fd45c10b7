"""Results into images, hundreds at a time: few requests, and one image's failure is its own."""

import random
from contextlib import closing

import pytest

from haven.items import ItemChange
from haven.stash.errors import ApplyError, ItemGoneError, StashLockedError
from haven.stash.tags import AT_ONCE, Batch, Tagging, batches
from haven.stash.transport import StashClient
from tests.plugin.items import IMAGE, Items

TAGS = ("Foul", "Goal", "Timeout", "Free throw", "Turnover")
PEOPLES = ("Home game", "Foul", "Goal", "Slow motion", "VLM_Errored")


@pytest.fixture
def images(stash):
    return Items(stash, IMAGE)


def all_combinations(images, ids):
    """Results that differ from image to image: each combination of ``TAGS`` once."""
    return {
        image: images.result(*[tag for bit, tag in enumerate(TAGS) if number >> bit & 1])
        for number, image in enumerate(ids, 1)
    }


def expected_tags(results):
    return {
        image: tuple(sorted((*found.tags["sport"], "VLM_Tagged")))
        for image, found in results.items()
    }


def nth_request(stash, nth, act):
    """``act`` before the ``nth`` next request that changes tags of images."""
    left = [nth]

    def hook(exchange):
        left[0] -= exchange.operation == "TagImage"
        if left[0] == 0:
            stash.requests.on_request = None
            act()

    stash.requests.on_request = hook


def test_images_take_at_most_one_write_for_fifty(stash, images, handler):
    rng = random.Random(7)
    ids = images.queue(3 * AT_ONCE)
    results = {image: images.result(*rng.sample(TAGS, rng.randint(0, 5))) for image in ids}
    stash.requests.clear()
    fates = images.apply(handler, results)
    assert stash.requests.writes <= len(ids) // 50
    assert all(isinstance(fate, ItemChange) for fate in fates.values())
    assert images.all_tags() == {
        image: tuple(sorted((*found.tags["sport"], "VLM_Tagged")))
        for image, found in results.items()
    }


def test_requests_are_by_change_or_by_tag_whichever_are_fewer():
    assert batches({"1": ["5", "6"], "2": ["6", "5"], "3": []}) == (Batch(("1", "2"), ("5", "6")),)
    three = batches({"1": ["5"], "2": ["6"], "3": ["5", "6"], "4": ["5", "6", "7"]}, last="5")
    assert three == (
        Batch(("2", "3", "4"), ("6",)),
        Batch(("4",), ("7",)),
        Batch(("1", "3", "4"), ("5",)),
    )
    assert batches({}) == ()


def test_slow_hooks_make_requests_smaller(stash, images):
    batch = Batch(tuple(images.queue(400)), (stash.library.tag_id("Foul"),))
    with closing(StashClient({"Host": "127.0.0.1", "Port": stash.port})) as client:
        sending = Tagging(client, request_s=0.2).change(IMAGE, "ADD", batch, halving=False)
        stash.faults.hook_s = 0.02
        slow = [len(next(sending)[0].ids) for _ in range(5)]
        stash.faults.hook_s = 0.0
        fast = [len(part.ids) for part, error in sending if error is None]
    assert slow[0] == 1, "until it is known how long one takes"
    assert max(slow) <= 10 < max(fast)
    assert sum(slow + fast) == 400
    assert set(images.all_tags().values()) == {("Foul", "VLM_TagMe")}


@pytest.mark.parametrize("seed", range(5))
def test_what_people_tagged_stays_run_after_run(stash, images, handler, seed):
    rng = random.Random(seed)
    people = {images.add(): set(rng.sample(PEOPLES, rng.randint(0, 3))) for _ in range(40)}
    for image, tags in people.items():
        images.tag(image, *tags)
    for _ in range(3):
        chosen = rng.sample(sorted(people), 25)
        results = {image: images.result(*rng.sample(TAGS, rng.randint(0, 3))) for image in chosen}
        for image in chosen:
            images.tag(image, "VLM_TagMe")
        before = images.all_tags()
        images.apply(handler, results)
        for image, tags in images.all_tags().items():
            if image not in results:
                assert tags == before[image]
                continue
            people[image] -= {"VLM_Errored"}
            assert set(tags) == people[image] | set(results[image].tags["sport"]) | {"VLM_Tagged"}
        for image in rng.sample(sorted(people), 5):
            images.tag(image, "Break-away")
            people[image].add("Break-away")


@pytest.mark.parametrize("nth", [1, 2])
def test_images_that_vanish_during_the_writes_stop_no_other(stash, images, handler, nth):
    ids = images.queue(100)
    gone = {ids[0], ids[50], ids[99]}
    nth_request(stash, nth, lambda: [images.remove(image) for image in gone])
    stash.requests.clear()
    fates = images.apply(handler, images.same(ids, "Foul"))
    assert {key for key, fate in fates.items() if isinstance(fate, ItemGoneError)} == gone
    assert set(images.all_tags().values()) == {("Foul", "VLM_Tagged")}
    assert stash.requests.mutations["bulkImageUpdate"] == 5
    assert handler.recover() == ()


def test_images_that_go_on_vanishing_are_found_one_by_one(stash, images, handler):
    ids = images.queue(64)
    doomed = [ids[5], ids[40]]

    def hook(exchange):
        if exchange.operation == "TagImage" and doomed:
            images.remove(doomed.pop())

    stash.requests.on_request = hook
    fates = images.apply(handler, images.same(ids, "Foul"))
    assert {key for key, fate in fates.items() if not isinstance(fate, ItemChange)} == {
        ids[5],
        ids[40],
    }
    assert set(images.all_tags().values()) == {("Foul", "VLM_Tagged")}


@pytest.mark.parametrize("spared", [0, 1, 2])
def test_a_locked_database_leaves_the_images_queued(stash, images, handler, spared):
    """Whichever write it begins with."""
    ids = images.queue(30)
    results = {image: images.result(*TAGS[: n % 3]) for n, image in enumerate(ids)}
    for tag in TAGS:
        stash.library.tag_id(tag)
    nth_request(stash, spared + 1, lambda: setattr(stash.faults, "locked_mutations", 10_000))
    fates = images.apply(handler, results)
    stash.faults.locked_mutations = 0
    failed = {image: fate for image, fate in fates.items() if isinstance(fate, ApplyError)}
    assert failed
    assert all(isinstance(fate.exceptions[0], StashLockedError) for fate in failed.values())
    assert failed.keys() == {key for key, tags in images.all_tags().items() if "VLM_TagMe" in tags}
    images.apply(handler, {image: results[image] for image in failed})
    assert images.all_tags() == expected_tags(results)
    images.apply(handler, images.same(ids))
    assert set(images.all_tags().values()) == {("VLM_Tagged",)}


def test_an_image_with_a_refused_tag_is_not_marked_as_done(stash, images, handler):
    results = all_combinations(images, images.queue(31))
    goal = stash.library.tag_id("Goal")

    def hook(exchange):
        is_goal = exchange.operation == "TagImage" and exchange.variables["input"]["tag_ids"][
            "ids"
        ] == [goal]
        stash.faults.locked_mutations = 1 if is_goal else 0

    stash.requests.on_request = hook
    fates = images.apply(handler, results)
    after = images.all_tags()
    for image, found in results.items():
        wants_goal = "Goal" in found.tags["sport"]
        assert isinstance(fates[image], ApplyError if wants_goal else ItemChange)
        assert ("VLM_TagMe" in after[image], "VLM_Tagged" in after[image]) == (
            wants_goal,
            not wants_goal,
        )
    assert handler.recover() == ()
    stash.requests.on_request = None
    images.apply(handler, results)
    assert images.all_tags() == expected_tags(results)


def test_no_image_is_marked_as_done_before_its_tags_are_on(stash, images, handler):
    results = all_combinations(images, images.queue(60))
    wanted = {image: set(found.tags["sport"]) for image, found in results.items()}

    def hook(exchange):
        for image, tags in images.all_tags().items():
            assert "VLM_Tagged" not in tags or wanted[image] <= set(tags)
            assert "VLM_TagMe" in tags or {"VLM_Tagged", *wanted[image]} <= set(tags)

    stash.requests.on_reply = hook
    images.apply(handler, results)
    assert len(stash.requests.exchanges) > 8
