"""Runs and undoings that are killed at any write: started again, they end as if undisturbed."""

import random
from contextlib import contextmanager
from functools import partial

import pytest

from sandbox.stash import SandboxStash
from tests.plugin.fragile import NAMES, KilledError, handler_of, once_replied
from tests.plugin.items import IMAGE, SCENE, Items, Scenario, apply, info, undo
from vlm_engine.testing.threads import running

TAGS = ("Foul", "Goal", "Timeout", "Free throw")
FIRST = info("Foul", "Timeout", Foul=[(1, 2), (5, 6), (300, 310)], Timeout=[(40, 50)])
SECOND = info(
    "Foul",
    "Free throw",
    "Goal",
    Foul=[(1, 2), (100, 108)],
    Free_throw=[(n, n + 0.5) for n in range(120, 150)],
    Goal=[(200, 201)],
)
KINDS = pytest.mark.parametrize("kind", [SCENE, IMAGE])


def used_scenes(stash, folder):
    """A scene after a first run and edits by people, queued again, and another scene."""
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


def used_images(stash, folder):
    """Images after a first run and edits by people, queued again."""
    images, rng = Items(stash, IMAGE), random.Random(3)
    peoples = ("Home game", "Foul", "Goal", "VLM_Errored")
    ids = [images.add("VLM_TagMe", *rng.sample(peoples, rng.randint(0, 3))) for _ in range(24)]
    with handler_of(stash, folder) as handler:
        handler.prepare()
        images.apply(handler, image_results(images, ids, 1))
    for number, image in enumerate(ids):
        images.tag(image, "VLM_TagMe")
        if number % 5 == 0:
            images.untag(image, "Foul", "VLM_Tagged")
            images.tag(image, "VLM_Errored")


def image_results(images, ids, seed, *more):
    rng = random.Random(seed)
    found = {str(number): rng.sample(TAGS, rng.randint(0, 3)) for number in range(1, 25)}
    return {image: images.result(*found[image], *more) for image in ids}


USED = {SCENE: used_scenes, IMAGE: used_images}


def run(stash, folder, kind, **options):
    """One run of the task, as the plugin does it."""
    items = Items(stash, kind)
    with handler_of(stash, folder, **options) as handler:
        handler.prepare()
        handler.recover()
        ids = handler.ids_with(kind, NAMES.tag_me)
        if ids and kind is SCENE:
            items.apply(handler, dict.fromkeys(ids, SECOND))
        elif ids:
            items.apply(handler, image_results(items, ids, 2, "Turnover"))


def without_marker_ids(library):
    """The library to compare after an undoing, which makes removed markers again."""
    scenes = [
        (scene.tags, sorted((m.title, m.seconds, m.end_seconds, m.tags) for m in scene.markers))
        for scene in library.scenes
    ]
    return library.tags, library.images, scenes


def described(exchange):
    """An operation, and whether it adds or removes."""
    tags = exchange.variables.get("input", {}).get("tag_ids", {})
    return f"{exchange.operation} {tags.get('mode', '')}".strip()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """By kind: the library after an undisturbed run, and the requests of that run that changed
    something.
    """
    courses = {}
    for kind, prepare in USED.items():
        folder = tmp_path_factory.mktemp("uninterrupted")
        with running(SandboxStash()) as stash:
            prepare(stash, folder)
            stash.requests.clear()
            run(stash, folder, kind)
            mutations = [one for one in stash.requests.exchanges if one.kind == "mutation"]
            courses[kind] = stash.library.snapshot(), mutations
    return courses


def test_the_tag_that_queues_goes_with_the_last_write(uninterrupted):
    library, mutations = uninterrupted[SCENE]
    scene = library.scenes[0]
    assert scene.tags == ("Foul", "Free throw", "Goal", "Home game", "VLM_Tagged")
    assert len(scene.markers) == 1 + 1 + 1 + 1 + 30
    assert {one.title for one in scene.markers} >= {"a nasty one", "Foul by the goalkeeper"}
    assert [described(exchange) for exchange in mutations] == [
        "TagCreate",
        "MarkersCreate",
        "MarkersCreate",
        "TagScene ADD",
        "MarkersDestroy",
        "TagScene REMOVE",
    ]
    library, mutations = uninterrupted[IMAGE]
    assert all({"Turnover", "VLM_Tagged"} <= set(image.tags) for image in library.images)
    assert not any("VLM_TagMe" in image.tags for image in library.images)
    assert len(mutations) == 13


@pytest.mark.parametrize("after", [False, True], ids=["before it leaves", "once it is answered"])
@pytest.mark.parametrize(
    ("kind", "mutation"), [*((SCENE, n) for n in range(6)), *((IMAGE, n) for n in range(0, 13, 2))]
)
def test_a_run_killed_at_any_write_ends_as_if_undisturbed(
    uninterrupted, stash, tmp_path, kind, mutation, after
):
    expected, mutations = uninterrupted[kind]
    USED[kind](stash, tmp_path)
    with pytest.raises(KilledError):
        run(stash, tmp_path, kind, at=mutations[mutation].number, after=after)
    last = mutation == len(mutations) - 1
    queued = any("VLM_TagMe" in tags for tags in Items(stash, kind).all_tags().values())
    assert queued or (last and stash.library.snapshot() == expected)
    run(stash, tmp_path, kind)
    assert stash.library.snapshot() == expected
    with handler_of(stash, tmp_path) as handler:
        assert handler.recover() == ()


@pytest.mark.parametrize(
    ("kind", "mutation"), [*((SCENE, n) for n in (1, 3, 5)), *((IMAGE, n) for n in (0, 6, 12))]
)
def test_a_killed_run_can_be_undone(uninterrupted, stash, tmp_path, kind, mutation):
    _, mutations = uninterrupted[kind]
    USED[kind](stash, tmp_path)
    before = without_marker_ids(stash.library.snapshot())
    with pytest.raises(KilledError):
        run(stash, tmp_path, kind, at=mutations[mutation].number, after=True)
    with handler_of(stash, tmp_path) as handler:
        handler.cut_off_runs()
        undo(handler)
    assert without_marker_ids(stash.library.snapshot()) == before


def kill_again_and_again(act):
    """``act(at=…, after=…)`` dies one request later each time, until it comes to its end."""
    for at in range(1, 200):
        try:
            return act(at=at, after=bool(at % 2))
        except KilledError:
            continue
    return pytest.fail("it never came to its end")


@KINDS
def test_a_run_killed_again_and_again_comes_to_its_end(uninterrupted, stash, tmp_path, kind):
    USED[kind](stash, tmp_path)
    kill_again_and_again(partial(run, stash, tmp_path, kind))
    assert stash.library.snapshot() == uninterrupted[kind][0]


@KINDS
def test_an_undoing_killed_again_and_again_comes_to_its_end(stash, tmp_path, kind):
    USED[kind](stash, tmp_path)
    before = without_marker_ids(stash.library.snapshot())
    run(stash, tmp_path, kind)

    def undo_once(**options):
        with handler_of(stash, tmp_path, **options) as handler:
            if without_marker_ids(stash.library.snapshot()) != before or handler.recover():
                undo(handler)

    kill_again_and_again(undo_once)
    assert without_marker_ids(stash.library.snapshot()) == before


@contextmanager
def killed_once_replied(stash, folder, operation, nth=1):
    """A handler whose process dies once the reply to the ``nth`` ``operation`` is there."""
    with handler_of(stash, folder) as handler:
        handler.prepare()
        once_replied(stash, operation, handler, nth)
        with pytest.raises(KilledError):
            yield handler


def test_what_a_killed_run_wrote_is_recovered_in_few_requests(items, tmp_path):
    ids = items.queue(500 if items.kind is IMAGE else 20)
    with killed_once_replied(items.stash, tmp_path, items.operation) as handler:
        items.apply(handler, items.same(ids, "Foul"))
    items.stash.requests.clear()
    with handler_of(items.stash, tmp_path) as handler:
        recovered = handler.recover()
        assert [one.item.id for one in recovered] == ids
        assert all(one.finished for one in recovered)
    assert len(items.stash.requests.exchanges) < 10
    # The items stay queued: the settings may have changed since.
    assert set(items.all_tags().values()) == {("Foul", "VLM_TagMe", "VLM_Tagged")}


def test_a_run_killed_after_its_last_write_is_found_finished(items, tmp_path):
    (item,) = items.queue(1)
    with killed_once_replied(items.stash, tmp_path, items.operation, nth=2) as handler:
        items.apply(handler, items.same([item], "Foul"))
    assert items.tags(item) == ("Foul", "VLM_Tagged")
    with handler_of(items.stash, tmp_path) as handler:
        (recovered,) = handler.recover()
        assert (recovered.item.id, recovered.finished) == (item, True)
        assert (handler.recover(), handler.ids_with(items.kind, NAMES.tag_me)) == ((), ())


def test_a_marker_edited_between_kill_and_next_run_is_theirs(stash, tmp_path):
    scenario = Scenario(stash, tmp_path, "VLM_TagMe")
    scenario.apply_until_killed(info("Foul", Foul=[(1, 2), (5, 6)]), "MarkersCreate")
    scenario.edit_marker(1, end_seconds=2.2)
    with scenario.handler() as handler:
        (recovered,) = handler.recover()
    assert recovered.markers == 1
    scenario.apply(info())
    assert scenario.content == (set(), [("Foul", 1)])


def test_tags_changed_between_kill_and_next_run_are_theirs(items, tmp_path):
    ids = items.queue(10)
    with killed_once_replied(items.stash, tmp_path, items.operation) as handler:
        items.apply(handler, items.same(ids, "Foul", "Goal"))
    items.untag(ids[0], "Foul")
    items.tag(ids[1], "Timeout")
    items.remove(ids[2])
    with handler_of(items.stash, tmp_path) as handler:
        recovered = {one.item.id: one for one in handler.recover()}
        assert recovered.keys() == set(ids)
        assert [one.gone for one in recovered.values()] == [item == ids[2] for item in ids]
        assert recovered[ids[3]].tags == 3
        assert all(one.finished for item, one in recovered.items() if item != ids[2])
        assert handler.recover() == ()
        items.apply(handler, items.same(ids))
    assert items.tags(ids[1]) == ("Timeout", "VLM_Tagged")
    assert items.tags(ids[3]) == ("VLM_Tagged",)


def test_a_half_written_item_is_finished_before_it_changes_again(items, tmp_path):
    ids = items.queue(10, "Home game")
    with killed_once_replied(items.stash, tmp_path, items.operation) as handler:
        items.apply(handler, items.same(ids, "Foul"))
    with handler_of(items.stash, tmp_path) as handler:
        items.apply(handler, items.same(ids[:5], "Goal"))
        assert {one.item.id for one in handler.recover()} == set(ids[5:])
    assert [items.tags(item) for item in ids] == [
        *[("Goal", "Home game", "VLM_Tagged")] * 5,
        *[("Foul", "Home game", "VLM_TagMe", "VLM_Tagged")] * 5,
    ]


# An undoing that is killed.


@pytest.fixture(scope="module")
def undoing(tmp_path_factory):
    """The requests of an undisturbed undoing that change something."""
    with running(SandboxStash()) as stash:
        folder = tmp_path_factory.mktemp("undoing")
        two_runs(stash, folder)
        stash.requests.clear()
        with handler_of(stash, folder) as handler:
            undo(handler)
        return [one for one in stash.requests.exchanges if one.kind == "mutation"]


def two_runs(stash, folder):
    """A scene after two runs. Return the library before the second."""
    used_scenes(stash, folder)
    before = stash.library.snapshot()
    run(stash, folder, SCENE)
    return before


@pytest.mark.parametrize("after", [False, True], ids=["before it leaves", "once it is answered"])
@pytest.mark.parametrize("mutation", range(5))
def test_an_undoing_killed_at_any_write_can_be_started_again(
    undoing, stash, tmp_path, mutation, after
):
    before = two_runs(stash, tmp_path)
    with (
        pytest.raises(KilledError),
        handler_of(stash, tmp_path, at=undoing[mutation].number, after=after) as handler,
    ):
        undo(handler)
    with handler_of(stash, tmp_path) as handler:
        (recovered,) = handler.recover() or [None]
        assert recovered is None or recovered.finished
        undo(handler)
    assert without_marker_ids(stash.library.snapshot()) == without_marker_ids(before)


def test_a_marker_edited_between_kill_and_next_undoing_is_theirs(undoing, stash, tmp_path):
    two_runs(stash, tmp_path)
    with (
        pytest.raises(KilledError),
        handler_of(stash, tmp_path, at=undoing[0].number, after=True) as handler,
    ):
        undo(handler)
    scene = stash.library.snapshot().scenes[0]
    back = next(one for one in scene.markers if one.seconds == 40)
    stash.library.edit_marker(back.id, end_seconds=52)
    with handler_of(stash, tmp_path) as handler:
        undo(handler)
    after = stash.library.scene_state(scene.id).markers
    assert [one.end_seconds for one in after if one.seconds == 40] == [52]
