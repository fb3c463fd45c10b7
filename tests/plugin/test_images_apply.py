"""Results into images, hundreds at a time: what people tagged stays, and one image's trouble is its own."""

import random

import pytest

from haven_media_handler import ItemChange
from sandbox.stash import SandboxStash
from tests.plugin.fragile import handler_of
from vlm_engine.sandbox.threads import running
from vlm_engine.types import ImageTagInfo

TAGS = ("Foul", "Goal", "Timeout", "Free throw", "Turnover")


@pytest.fixture
def stash():
    with running(SandboxStash()) as stash:
        yield stash


@pytest.fixture
def handler(stash, tmp_path):
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        yield handler


def info(*tags):
    return ImageTagInfo({"sport": tags}, {})


def apply(handler, results, **options):
    run_id = handler.start_run("Tag Images")
    fates = handler.apply_images(run_id, results, **options)
    handler.finish_run(run_id)
    return fates


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


def test_images_take_one_write_for_fifty_of_them_at_most(stash, handler):
    rng = random.Random(7)
    ids = [stash.library.add_image(tags=["VLM_TagMe"]) for _ in range(2000)]
    results = {image: info(*rng.sample(TAGS, rng.randint(0, 3))) for image in ids}
    stash.requests.clear()
    fates = apply(handler, results)
    assert stash.requests.writes <= len(ids) // 50
    assert set(stash.requests.mutations) <= {"tagCreate", "bulkImageUpdate"}
    assert all(isinstance(fate, ItemChange) for fate in fates.values())
    expected = {image: tuple(sorted((*found.tags["sport"], "VLM_Tagged"))) for image, found in results.items()}
    assert tags_of(stash) == expected
