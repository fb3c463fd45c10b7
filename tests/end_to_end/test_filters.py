"""Tasks that work on what a filter of Stash shows, and the order in which they begin."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from haven.tasks.selection import check_arguments
from haven.tasks.task_list import TASKS
from sandbox.pictures import write_folder
from sandbox.stash_client import ask
from sandbox.videos import VideoSpec, generate
from tests.end_to_end.conftest import TAGS, texts
from vlm_engine import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "pages.md"
ORGANIZED = json.dumps({"organized": True})


def add_scene(theatre, number, *tags):
    video = theatre.videos[number]
    return theatre.stash.library.add_scene(video.path, title=video.path.stem, tags=tags)


def tags_of(theatre, scene):
    return set(theatre.state(scene).tags)


def without(theatre, tag):
    """The filter for what does not carry a tag."""
    tag_id = theatre.stash.library.tag_id(tag)
    return {"tags": {"value": [tag_id], "modifier": "EXCLUDES"}}


def log_order(job, scenes):
    """Return the scenes in the order in which the log names them."""
    text = texts(job, "info")
    return sorted(scenes, key=lambda scene: text.index(f"Scene {scene} "))


@pytest.fixture
def pictures(tmp_path):
    return write_folder(tmp_path / "pictures", 6, TAGS)


def test_scenes_that_a_filter_shows_are_tagged(theatre):
    theatre.install()
    shown = [add_scene(theatre, number) for number in range(2)]
    other = add_scene(theatre, 2, "Home game")
    job = theatre.run(scene_filter=json.dumps(without(theatre, "Home game")))
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert "2 scenes that the task's arguments name" in texts(job, "info")
    assert all("VLM_Tagged" in tags_of(theatre, scene) for scene in shown)
    assert tags_of(theatre, other) == {"Home game"}


def test_a_filter_may_be_an_object_and_has_a_search(theatre):
    theatre.install()
    shown = theatre.stash.library.add_scene(theatre.videos[0].path, title="Derby")
    other = add_scene(theatre, 1)
    job = theatre.stash.run_task("Tag Videos", {"scene_filter": {}, "search": "derby"}).wait(60)
    assert job.error is None
    assert "VLM_Tagged" in tags_of(theatre, shown)
    assert tags_of(theatre, other) == set()


def test_an_alternative_in_a_filter_does_not_show_items_twice(theatre):
    theatre.install()
    shown = [add_scene(theatre, 0, "Home game"), add_scene(theatre, 1, "Away game")]
    library = theatre.stash.library
    home, away = library.tag_id("Home game"), library.tag_id("Away game")
    either = {
        "tags": {"value": [home], "modifier": "INCLUDES"},
        "OR": {"tags": {"value": [away], "modifier": "INCLUDES"}},
    }
    job = theatre.run("Preview", scene_filter=json.dumps(either))
    assert "2 scenes looked at" in str(job.output)
    assert all("VLM_Tagged" not in tags_of(theatre, scene) for scene in shown)


def test_images_and_galleries_that_filters_show_are_tagged(theatre, pictures):
    theatre.install()
    library = theatre.stash.library
    images = [library.add_image(one.path, title=f"Bild {one.number}") for one in pictures]
    gallery = library.add_gallery(images=images[:2], title="Final")
    library.add_gallery(images=images[2:4], title="Semi")
    filters = {
        "gallery_filter": json.dumps({"title": {"value": "Final", "modifier": "EQUALS"}}),
        "image_filter": json.dumps({"title": {"value": "Bild 5", "modifier": "EQUALS"}}),
    }
    job = theatre.run("Tag Images", **filters)
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    tagged = {image for image, tags in theatre.image_tags().items() if "VLM_Tagged" in tags}
    titled = {image for image, one in zip(images, pictures, strict=True) if one.number == 5}
    assert tagged == {*images[:2], *titled}
    assert "1 of 1 gallery done" in str(job.output)
    assert library.gallery_state(gallery).tags == ("VLM_Tagged",)


def test_a_filter_that_tagging_changes_skips_nothing(theatre):
    """Every scene leaves the filter when it is done, also between two time slices."""
    vlm = theatre.endpoint(latency_s=0.03, slots=2)
    endpoint = {"base_url": vlm.url, "max_concurrent": 2}
    theatre.install(endpoint, TIME_SLICE=0.002, CONCURRENT_TASK_LIMIT=1)
    scenes = [add_scene(theatre, number) for number in range(3)]
    theatre.stash.library.add_tag("VLM_Tagged")
    untagged = json.dumps(without(theatre, "VLM_Tagged"))
    first = theatre.stash.run_task("Tag Videos", {"scene_filter": untagged})
    theatre.stash.run_task("Update Tagged Videos")
    assert "queued itself again" in str(first.wait(60).output)
    last = theatre.stash.plugins.queue.jobs[2].wait(90)
    assert "0 failed" in str(last.output)
    assert all("VLM_Tagged" in tags_of(theatre, scene) for scene in scenes)


def test_a_filter_that_shows_nothing_ends_the_task_at_once(theatre):
    theatre.install()
    theatre.queue(0)
    job = theatre.run(scene_filter=ORGANIZED)
    assert job.output == "No scene is left that the task's arguments name, so nothing was done."


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("Tag Videos", {"scene_filter": "organized"}, "scene_filter: it is not JSON"),
        ("Tag Videos", {"scene_filter": "[1]"}, "scene_filter: write an object"),
        ("Tag Videos", {"scene_filter": "{}", "scenes": "1"}, "by their ids or by scene_filter"),
        ("Tag Videos", {"search": "final"}, "search needs a filter beside it"),
        ("Tag Videos", {"image_filter": "{}"}, "Tag Videos does not take image_filter"),
        ("Tag Videos", {"order": "best"}, "order: 'best' is none of oldest, newest, shortest"),
        ("Tag What Is New", {"except_tags": "[1]"}, "except_tags: write names with commas"),
    ],
)
def test_arguments_that_no_task_takes_are_named(task, arguments, message):
    (known,) = (one for one in TASKS.values() if one.name == task)
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_arguments(known.name, known.takes, arguments)


def test_wrong_filters_are_refused_before_anything_is_done(theatre):
    theatre.install()
    theatre.queue(0)
    before = theatre.contents()
    for task, arguments, message in (
        ("Tag Videos", {"scene_filter": "organized"}, "scene_filter: it is not JSON"),
        ("Tag Videos", {"scene_filter": '{"colour": 1}'}, "scene_filter: Stash refuses it"),
        ("Tag Images", {"gallery_filter": '{"OR": 3}'}, "gallery_filter: Stash refuses it"),
    ):
        assert message in str(theatre.run(task, **arguments).error)
    assert theatre.contents() == before


def test_the_order_of_scenes_is_chosen(theatre, tmp_path):
    theatre.install(CONCURRENT_TASK_LIMIT=1)
    scenes = theatre.queue(0, 1)
    spec = VideoSpec(duration_s=20, width=320, height=180, tags=TAGS, seed=9)
    scenes += theatre.queue(generate(spec, tmp_path / "short.mp4"))
    for order, expected in {"newest": scenes[::-1], "shortest": [scenes[2], *scenes[:2]]}.items():
        assert log_order(theatre.run("Preview", order=order), scenes) == expected


def test_the_examples_of_the_page_are_taken(theatre):
    theatre.install()
    for tag in ("Home game", "Friendly, unofficial"):
        theatre.stash.library.add_tag(tag)
    examples = re.findall(r"```graphql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    tagging = [example for example in examples if '"Undo Last Run"' not in example]
    assert len(tagging) >= 3
    for example in tagging:
        assert ask(theatre.stash.url, example).messages == {}
    jobs = [job.wait(60) for job in theatre.stash.plugins.queue.jobs]
    assert [job.error for job in jobs] == [None] * len(tagging)


def test_names_of_left_out_tags_may_hold_commas(theatre):
    theatre.install()
    new, left_out = add_scene(theatre, 0), add_scene(theatre, 1, "Home, sold out")
    job = theatre.run("Tag What Is New", except_tags=json.dumps(["Home, sold out"]))
    assert job.error is None
    assert "VLM_Tagged" in tags_of(theatre, new)
    assert tags_of(theatre, left_out) == {"Home, sold out"}
