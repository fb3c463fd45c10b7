"""Runs over images that are killed, undone, removed: the library is as it was, but for what people changed since."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from haven.items import ItemChange, ItemKind
from haven.stash.errors import ApplyError, ItemGoneError
from haven.stash.values import change_of
from sandbox.stash import SandboxStash
from tests.plugin.fragile import NAMES, KilledError, handler_of, once_replied
from vlm_engine.testing.threads import running
from vlm_engine.types import ImageTagInfo, Span, VideoTagInfo

ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0
TAGS = ("Foul", "Goal", "Timeout", "Free throw")


def info(*tags):
    return ImageTagInfo({"sport": tags}, {})


def apply(handler, results):
    run_id = handler.start_run("Tag Images")
    fates = handler.apply(run_id, ItemKind.IMAGE, results)
    handler.finish_run(run_id)
    return fates


def undo(handler):
    """The fates of all changes of the last run that can be undone, as the task would undo it."""
    handler.recover()
    run = handler.last_undoable_run()
    assert run is not None
    run_id = handler.start_run("Undo Last Run", undoes=run.id)
    changes = handler.changes_to_undo(run)
    fates = handler.undo_changes(run_id, [change.number for change in changes])
    if not any(isinstance(fate, ApplyError) for fate in fates.values()):
        handler.finish_undo(run)
    handler.finish_run(run_id)
    return {change.item.id: fates[change.number] for change in changes}


def a_library(stash, count=40):
    """Images in line, which people have tagged in their own ways."""
    rng = random.Random(3)
    peoples = ("Home game", "Foul", "Goal", "VLM_Errored")
    return [
        stash.library.add_image(tags=["VLM_TagMe", *rng.sample(peoples, rng.randint(0, 3))])
        for _ in range(count)
    ]


def found_in(ids, seed=1):
    rng = random.Random(seed)
    return {image: info(*rng.sample(TAGS, rng.randint(0, 3))) for image in ids}


def test_undone_images_are_as_they_were_and_queued_again_and_new_tags_are_gone(stash, handler):
    ids = a_library(stash)
    before = stash.library.snapshot()
    apply(handler, found_in(ids))
    assert stash.library.snapshot() != before
    stash.requests.clear()
    fates = undo(handler)
    assert fates.keys() == set(ids)
    assert all(isinstance(fate, ItemChange) and not fate.kept_back for fate in fates.values())
    assert stash.library.snapshot() == before
    assert stash.requests.mutations["bulkImageUpdate"] <= 10
    assert handler.last_undoable_run() is None


def test_each_further_undo_goes_one_run_back_also_after_a_restart(stash, handler, tmp_path):
    ids = a_library(stash)
    states = [stash.library.snapshot().images]
    for seed in range(3):
        for image in ids:
            stash.library.tag_image(image, "VLM_TagMe")
        states.append(stash.library.snapshot().images)
        apply(handler, found_in(ids, seed))
    for expected in reversed(states[1:]):
        with handler_of(stash, tmp_path) as fresh:
            undo(fresh)
        assert stash.library.snapshot().images == expected
    assert states[0] == states[1]


def test_what_people_changed_since_stays_and_is_named(stash, handler):
    one, other = (stash.library.add_image(tags=["VLM_TagMe"]) for _ in range(2))
    apply(handler, dict.fromkeys((one, other), info("Foul", "Goal")))
    stash.library.untag_image(one, "Foul")
    handler.preview(ItemKind.IMAGE, {one: info()})
    assert apply(handler, {one: info("Goal")}) == {
        one: ItemChange()
    }  # and now the journal knows what went
    stash.library.tag_image(one, "Foul", "Home game")
    fates = undo(handler)
    assert stash.library.image_state(one).tags == ("Foul", "Home game", "VLM_TagMe")
    assert stash.library.image_state(other).tags == ("VLM_TagMe",)
    assert fates[one].kept_back == (
        "the tag 'Foul' stays: somebody took it off and put it back since",
    )
    assert fates[other].kept_back == ()


def test_an_image_that_is_gone_stops_nothing(stash, handler):
    ids = a_library(stash)
    before = {image.id: image.tags for image in stash.library.snapshot().images}
    apply(handler, found_in(ids))
    stash.library.remove_image(ids[3])
    fates = undo(handler)
    assert isinstance(fates.pop(ids[3]), ItemGoneError)
    assert all(isinstance(fate, ItemChange) for fate in fates.values())
    del before[ids[3]]
    assert {image.id: image.tags for image in stash.library.snapshot().images} == before


def test_what_stash_refuses_leaves_the_images_to_be_undone_again(stash, handler):
    ids = a_library(stash, 10)
    before = stash.library.snapshot()
    apply(handler, found_in(ids))
    after = stash.library.snapshot()
    stash.faults.locked_mutations = 10_000
    assert all(isinstance(fate, ApplyError) for fate in undo(handler).values())
    assert stash.library.snapshot() == after
    stash.faults.locked_mutations = 0
    undo(handler)
    assert stash.library.snapshot() == before


def test_an_image_that_a_run_changed_twice_is_undone_in_order(stash, handler):
    image = stash.library.add_image(tags=["VLM_TagMe", "Home game"])
    before = stash.library.snapshot()
    run_id = handler.start_run("Tag Images")
    handler.mark_failed(run_id, ItemKind.IMAGE, {image: "no picture"})
    handler.apply(run_id, ItemKind.IMAGE, {image: info("Foul")})
    handler.apply(run_id, ItemKind.IMAGE, {image: info("Goal")})
    handler.finish_run(run_id)
    assert stash.library.image_state(image).tags == ("Goal", "Home game", "VLM_Tagged")
    undo(handler)
    assert stash.library.snapshot() == before


def test_a_run_over_scenes_images_and_galleries_is_undone_as_one(stash, handler):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    images = [stash.library.add_image(tags=["VLM_TagMe"]) for _ in range(3)]
    gallery = stash.library.add_gallery(images=images, tags=["VLM_TagMe", "Goal"])
    before = stash.library.snapshot()
    run_id = handler.start_run("Tag Images")
    spans = {"sport": {"Foul": (Span("Foul", 1, 2),)}}
    change_of(
        handler.apply(
            run_id, ItemKind.SCENE, {scene: VideoTagInfo(60.0, {"sport": ("Foul",)}, {}, spans)}
        )
    )
    handler.apply(run_id, ItemKind.IMAGE, dict.fromkeys(images, info("Foul")))
    change_of(handler.apply(run_id, ItemKind.GALLERY, {gallery: ImageTagInfo({"": ("Foul",)}, {})}))
    handler.finish_run(run_id)
    kinds = [change.item.kind for change in handler.changes_to_undo(handler.last_undoable_run())]
    assert kinds == [ItemKind.GALLERY, *[ItemKind.IMAGE] * 3, ItemKind.SCENE]
    undo(handler)
    assert stash.library.snapshot() == before


def test_everything_of_ours_can_be_removed_from_images_and_galleries_and_put_back(stash, handler):
    ids = a_library(stash)
    gallery = stash.library.add_gallery(images=ids, tags=["Goal"])
    tags = {image.id: image.tags for image in stash.library.snapshot().images}
    apply(handler, found_in(ids))
    change_of(
        handler.apply(
            handler.start_run("Tag Images"),
            ItemKind.GALLERY,
            {gallery: ImageTagInfo({"": ("Foul",)}, {})},
        )
    )
    done = stash.library.snapshot()
    run_id = handler.start_run("Remove VLM Tags and Markers")
    assert set(handler.owned_ids(ItemKind.IMAGE)) == set(ids)
    handler.remove_owned(run_id, ItemKind.IMAGE, handler.owned_ids(ItemKind.IMAGE))
    handler.remove_owned(run_id, ItemKind.GALLERY, handler.owned_ids(ItemKind.GALLERY))
    handler.finish_run(run_id)
    queue = {"VLM_TagMe", "VLM_Errored"}
    assert {image.id: set(image.tags) for image in stash.library.snapshot().images} == {
        image: set(own) - queue for image, own in tags.items()
    }
    assert stash.library.gallery_state(gallery).tags == ("Goal",)
    assert handler.owned_ids(ItemKind.IMAGE) == handler.owned_ids(ItemKind.GALLERY) == ()
    undo(handler)
    assert stash.library.snapshot() == done


# Runs that are killed.


def lived_in(stash, folder):
    """A library in which a first run went well, people changed things, and the images are queued again. Returns their ids."""
    ids = a_library(stash, 24)
    with handler_of(stash, folder) as handler:
        handler.prepare()
        apply(handler, found_in(ids))
    for image in ids:
        stash.library.tag_image(image, "VLM_TagMe")
    for image in ids[::5]:
        stash.library.untag_image(image, "Foul", "VLM_Tagged")
        stash.library.tag_image(image, "VLM_Errored")
    return ids


def run(stash, folder, **options):
    """One run of the task, as the plugin does it."""
    with handler_of(stash, folder, **options) as handler:
        handler.prepare()
        handler.recover()
        ids = handler.ids_with(ItemKind.IMAGE, NAMES.tag_me)
        if ids:
            found = found_in([str(number) for number in range(1, 25)], seed=2)
            apply(handler, {image: info(*found[image].tags["sport"], "Turnover") for image in ids})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The library after a run that nothing disturbed, and which of its requests changed something (from 1)."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with running(SandboxStash()) as stash:
        lived_in(stash, folder)
        stash.requests.clear()
        run(stash, folder)
        kinds = [exchange.kind for exchange in stash.requests.exchanges]
        return stash.library.snapshot(), [
            n for n, kind in enumerate(kinds, 1) if kind == "mutation"
        ]


MUTATIONS = 13


def test_the_uninterrupted_run_does_all_there_is_to_do(uninterrupted):
    after, mutations = uninterrupted
    assert all(
        {"Turnover", "VLM_Tagged"} <= set(image.tags) and "VLM_TagMe" not in image.tags
        for image in after.images
    )
    assert len(mutations) == MUTATIONS


@pytest.mark.parametrize("after", [False, True], ids=["before it leaves", "once it is answered"])
@pytest.mark.parametrize("mutation", range(MUTATIONS))
def test_killed_at_any_write_and_run_again_it_ends_as_if_undisturbed(
    uninterrupted, stash, tmp_path, mutation, after
):
    expected, mutations = uninterrupted
    lived_in(stash, tmp_path)
    with pytest.raises(KilledError):
        run(stash, tmp_path, at=mutations[mutation], after=after)
    run(stash, tmp_path)
    assert stash.library.snapshot() == expected
    with handler_of(stash, tmp_path) as handler:
        assert handler.recover() == ()


@pytest.mark.parametrize("mutation", range(0, MUTATIONS, 3))
def test_a_killed_run_can_be_undone(uninterrupted, stash, tmp_path, mutation):
    _, mutations = uninterrupted
    lived_in(stash, tmp_path)
    before = stash.library.snapshot()
    with pytest.raises(KilledError):
        run(stash, tmp_path, at=mutations[mutation], after=True)
    with handler_of(stash, tmp_path) as handler:
        handler.cut_off_runs()
        undo(handler)
    assert stash.library.snapshot() == before


def test_killed_again_and_again_also_while_undoing_it_still_comes_to_its_end(stash, tmp_path):
    lived_in(stash, tmp_path)
    before = stash.library.snapshot()
    run(stash, tmp_path)
    for at in range(1, 200):
        try:
            with handler_of(stash, tmp_path, at=at, after=bool(at % 2)) as handler:
                if stash.library.snapshot() == before and not handler.recover():
                    break
                undo(handler)
        except KilledError:
            continue
    else:
        pytest.fail("it never came to its end")
    assert stash.library.snapshot() == before


def test_what_a_person_changed_between_the_kill_and_the_next_run_is_theirs(stash, tmp_path):
    ids = [stash.library.add_image(tags=["VLM_TagMe"]) for _ in range(10)]
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "TagImage", handler)
        with pytest.raises(KilledError):
            apply(handler, dict.fromkeys(ids, info("Foul", "Goal")))
    stash.library.untag_image(ids[0], "Foul")
    stash.library.tag_image(ids[1], "Timeout")
    stash.library.remove_image(ids[2])
    with handler_of(stash, tmp_path) as handler:
        recovered = {one.item.id: one for one in handler.recover()}
        assert recovered.keys() == set(ids)
        assert [one.gone for one in recovered.values()] == [image == ids[2] for image in ids]
        assert recovered[ids[3]].tags == 3
        assert all(one.finished for image, one in recovered.items() if image != ids[2])
        apply(handler, dict.fromkeys(ids, info()))
    assert stash.library.image_state(ids[1]).tags == ("Timeout", "VLM_Tagged")
    assert stash.library.image_state(ids[3]).tags == ("VLM_Tagged",)


def test_what_was_left_half_written_is_completed_before_the_same_images_are_changed_again(
    stash, tmp_path
):
    ids = [stash.library.add_image(tags=["VLM_TagMe", "Home game"]) for _ in range(10)]
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "TagImage", handler)
        with pytest.raises(KilledError):
            apply(handler, dict.fromkeys(ids, info("Foul")))
    with handler_of(stash, tmp_path) as handler:
        apply(handler, dict.fromkeys(ids[:5], info("Goal")))
        assert {one.item.id for one in handler.recover()} == set(ids[5:])
    tags = [stash.library.image_state(image).tags for image in ids]
    # The others stay in line: the settings may have changed since.
    assert (
        tags
        == [("Goal", "Home game", "VLM_Tagged")] * 5
        + [("Foul", "Home game", "VLM_TagMe", "VLM_Tagged")] * 5
    )


def test_the_plans_of_hundreds_of_images_are_recovered_in_few_requests(stash, tmp_path):
    ids = [stash.library.add_image(tags=["VLM_TagMe"]) for _ in range(500)]
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "TagImage", handler)
        with pytest.raises(KilledError):
            apply(handler, dict.fromkeys(ids, info("Foul")))
    stash.requests.clear()
    with handler_of(stash, tmp_path) as handler:
        assert len(handler.recover()) == 500
    assert (
        sum(exchange.changes for exchange in stash.requests.exchanges) == 450
    )  # what had been added is not added again
    assert len(stash.requests.exchanges) < 10


TASK = """
import json, sys
from pathlib import Path
from haven.items import ItemKind
from haven_media_handler import MediaHandler
from haven.settings.settings import TagNames
from vlm_engine.types import ImageTagInfo

port, journal, found = json.loads(sys.argv[1])
with MediaHandler({"Host": "127.0.0.1", "Port": port}, Path(journal), TagNames()) as handler:
    handler.prepare()
    handler.recover()
    ids = handler.ids_with(ItemKind.IMAGE, TagNames().tag_me)
    results = {image: ImageTagInfo({"sport": tuple(found[image])}, {}) for image in ids}
    handler.apply(handler.start_run("Tag Images"), ItemKind.IMAGE, results)
"""


@pytest.mark.parametrize(("hook", "nth"), [("on_request", 1), ("on_reply", 3), ("on_reply", 6)])
def test_a_process_killed_in_the_middle_of_writing_loses_nothing(stash, tmp_path, hook, nth):
    ids = [stash.library.add_image(tags=["VLM_TagMe", "Home game"]) for _ in range(50)]
    found = {
        image: [tag for bit, tag in enumerate(TAGS) if n >> bit & 1] for n, image in enumerate(ids)
    }
    told = json.dumps([stash.port, str(tmp_path / "journal.sqlite"), found])

    def process():
        command = [sys.executable, "-c", TASK, told]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    left = [nth]
    with process() as task:

        def kill(exchange):
            left[0] -= exchange.operation == "TagImage"
            if left[0] == 0:
                task.kill()
                task.wait(LIMIT_S)

        setattr(stash.requests, hook, kill)
        _, log = task.communicate(timeout=LIMIT_S)
        setattr(stash.requests, hook, None)
    assert task.returncode == -signal.SIGKILL, log.decode()
    with process() as task:
        _, log = task.communicate(timeout=LIMIT_S)
    assert (task.returncode, log) == (0, b"")
    tags = {image.id: image.tags for image in stash.library.snapshot().images}
    assert tags == {
        image: tuple(sorted({"Home game", "VLM_Tagged", *own})) for image, own in found.items()
    }
