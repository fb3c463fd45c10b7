"""Tasks that work on exactly the items that their arguments name, and *Tag What Is New*."""

from __future__ import annotations

import re

import pytest

from haven.tasks.selection import check_arguments
from haven.tasks.task_list import TASKS
from sandbox.pictures import write_folder
from tests.end_to_end.conftest import TAGS, texts
from vlm_engine import ConfigError

NEW = "Tag What Is New"
QUEUE = {"VLM_TagMe", "VLM_UpdateMe"}


def add_scene(theatre, number, *tags):
    video = theatre.videos[number]
    return theatre.stash.library.add_scene(video.path, title=video.path.stem, tags=tags)


def tags_of(theatre, scene):
    return set(theatre.state(scene).tags)


@pytest.fixture
def pictures(tmp_path):
    return write_folder(tmp_path / "pictures", 6, TAGS)


def test_named_scenes_are_tagged_queued_or_not(theatre):
    theatre.install()
    named, queued = add_scene(theatre, 0), add_scene(theatre, 1, "VLM_TagMe")
    updated = add_scene(theatre, 2, "VLM_UpdateMe")
    job = theatre.run(scenes=f"{named},{updated}")
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert "2 scenes that the task's arguments name" in texts(job, "info")
    assert "VLM_Tagged" in tags_of(theatre, named)
    assert tags_of(theatre, named) & QUEUE == set()
    assert tags_of(theatre, updated) & QUEUE == {"VLM_UpdateMe"}
    assert tags_of(theatre, queued) == {"VLM_TagMe"}


def test_a_named_scene_that_fails_is_marked_and_not_queued(theatre):
    theatre.install()
    scene, _ = theatre.lose()
    theatre.stash.library.untag_scene(scene, "VLM_TagMe")
    other = add_scene(theatre, 0)
    job = theatre.run(scenes=f"{scene},999999")
    assert "1 failed, 1 no longer in Stash" in str(job.output)
    assert "failed: " in texts(job, "error")
    assert tags_of(theatre, scene) == {"VLM_Errored"}
    assert tags_of(theatre, other) == set()


def test_named_images_and_galleries_are_tagged(theatre, pictures):
    theatre.install()
    library = theatre.stash.library
    images = [library.add_image(one.path, title=f"Bild {one.number}") for one in pictures]
    gallery = library.add_gallery(images=images[:2], title="Final")
    job = theatre.run("Tag Images", images=images[2], galleries=gallery)
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    tagged = {image for image, tags in theatre.image_tags().items() if "VLM_Tagged" in tags}
    assert tagged == set(images[:3])
    assert "1 of 1 gallery done" in str(job.output)
    assert library.gallery_state(gallery).tags == ("VLM_Tagged",)


@pytest.mark.thorough  # test_filters has one whose items leave the filter meanwhile
def test_named_scenes_go_on_in_a_later_time_slice(theatre):
    vlm = theatre.endpoint(latency_s=0.03, slots=2)
    endpoint = {"base_url": vlm.url, "max_concurrent": 2}
    theatre.install(endpoint, TIME_SLICE=0.002, CONCURRENT_TASK_LIMIT=1)
    scenes = [add_scene(theatre, number) for number in range(2)]
    other = add_scene(theatre, 2)
    first = theatre.stash.run_task("Tag Videos", {"scenes": ",".join(scenes)})
    theatre.stash.run_task("Update Tagged Videos")
    output = str(first.wait(60).output)
    assert "queued itself again" in output
    assert "still queued" not in output
    last = theatre.stash.plugins.queue.jobs[2].wait(90)
    assert "0 failed" in str(last.output)
    assert all("VLM_Tagged" in tags_of(theatre, scene) for scene in scenes)
    assert tags_of(theatre, other) == set()


def test_a_preview_of_named_items_writes_nothing(theatre):
    theatre.install()
    scene = add_scene(theatre, 0)
    add_scene(theatre, 1, "VLM_TagMe")
    job = theatre.run("Preview", scenes=scene)
    assert "1 scene looked at" in str(job.output)
    assert tags_of(theatre, scene) == set()


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("Tag Videos", {"scenes": "all"}, "'all' is not the id of an item"),
        ("Tag Videos", {"images": "1"}, "Tag Videos does not take images; it takes scenes"),
        ("Check Set-up", {"scenes": "1"}, "Check Set-up does not take scenes"),
        ("Undo Last Run", {"run": "last"}, "'last' is not the number of a run"),
        ("Tag Videos", {"run": "1"}, "Tag Videos does not take run"),
    ],
)
def test_names_that_no_task_takes_are_named(task, arguments, message):
    (known,) = (one for one in TASKS.values() if one.name == task)
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_arguments(known.name, known.takes, arguments)


def test_wrong_names_are_refused_before_anything_is_done(theatre):
    theatre.install()
    theatre.queue(0)
    before = theatre.contents()
    for task, arguments, message in (
        ("Tag Videos", {"scenes": "all"}, "'all' is not the id of an item"),
        ("Undo Last Run", {"run": "7"}, "the journal has no run 7"),
    ):
        assert message in str(theatre.run(task, **arguments).error)
    assert theatre.contents() == before


# --- Tag What Is New ---


def test_everything_new_is_tagged_once(theatre, pictures):
    vlm = theatre.install()
    library = theatre.stash.library
    new, queued = add_scene(theatre, 0), add_scene(theatre, 1, "VLM_TagMe")
    done = add_scene(theatre, 2, "VLM_Tagged")
    image = library.add_image(pictures[0].path, title="Bild")
    job = theatre.run(NEW)
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert "2 scenes and 1 image without the tag VLM_Tagged" in texts(job, "info")
    assert "Forecast, time: no endpoint has been found to work yet" in texts(job, "info")
    for scene in (new, queued):
        assert tags_of(theatre, scene) & {"VLM_Tagged", *QUEUE} == {"VLM_Tagged"}
    assert tags_of(theatre, done) == {"VLM_Tagged"}
    assert "VLM_Tagged" in theatre.image_tags()[image]
    answered = vlm.counters.answered
    assert "There is nothing new" in str(theatre.run(NEW).output)
    assert vlm.counters.answered == answered


def test_items_with_excepted_tags_are_left_out(theatre):
    theatre.install()
    theatre.run("Check Set-up")
    new, left_out = add_scene(theatre, 0), add_scene(theatre, 1, "Home game")
    job = theatre.run(NEW, except_tags="home game")
    assert "1 scene without the tag VLM_Tagged and without home game" in texts(job, "info")
    assert "Forecast, time: about " in texts(job, "info")
    assert "VLM_Tagged" in tags_of(theatre, new)
    assert tags_of(theatre, left_out) == {"Home game"}


def test_a_misspelt_excepted_tag_stops_the_task(theatre):
    theatre.install()
    scene = add_scene(theatre, 0, "Home game")
    job = theatre.run(NEW, except_tags="Home gmae")
    assert "Stash has no tag Home gmae" in str(job.error)
    assert tags_of(theatre, scene) == {"Home game"}


def test_what_a_harder_look_found_is_found_by_later_runs(theatre):
    vlm = theatre.install()
    (scene,) = theatre.queue(0)
    theatre.run(VIDEO_SEARCH_EFFORT="6")
    harder = theatre.state(scene)
    requests = vlm.counters.answered
    job = theatre.run("Update Tagged Videos", scenes=scene)
    assert job.error is None
    assert vlm.counters.answered == requests
    assert theatre.state(scene) == harder
