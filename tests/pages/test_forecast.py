"""The forecast of every start: of the queue, of chosen items, of a filter, and of what is new."""

from __future__ import annotations

import json
import time

import pytest

from haven.pages.measurements import keep_measurement, keep_places
from haven.settings.overlay import write_overlay
from sandbox.videos import VideoSpec, generate
from vlm_engine import EndpointSpeed, Measurement

MANY = 20_000


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    spec = VideoSpec(duration_s=20, width=320, height=180, tags=("Foul", "Goal"), seed=3)
    return generate(spec, tmp_path_factory.mktemp("games") / "final.mp4").path


@pytest.fixture
def known(pages):
    pages.data_dir.mkdir()
    write_overlay(pages.data_dir, {"TAG_LIST": ["Foul", "Goal"]}, 0)
    return pages


def figures(pages, **arguments):
    """Return the numbers of scenes and images, and the length of the scenes in seconds."""
    (section,) = pages.value("forecast", **arguments)["sections"]
    (queue,) = [one["figures"] for one in section["findings"] if one["what"] == "queue"]
    return queue["scenes"], queue["images"], queue["video_s"]


def writes(pages, **arguments):
    (section,) = pages.value("forecast", **arguments)["sections"]
    (text,) = [one["text"] for one in section["findings"] if one["what"] == "writes"]
    return text


def test_chosen_items_are_counted(known, video):
    library = known.stash.library
    scenes = [library.add_scene(video, title="Final")]
    images = [library.add_image(title=f"Team {number}") for number in range(5)]
    gallery = library.add_gallery(images=images[:3])
    assert figures(known, scenes=scenes) == (1, 0, pytest.approx(20, abs=1))
    assert figures(known, scenes=[*scenes, "999"])[:2] == (2, 0)
    assert figures(known, images=images)[:2] == (0, 5)
    assert figures(known, galleries=[gallery])[:2] == (0, 3)


def test_filters_are_counted_with_their_search(known, video):
    library = known.stash.library
    library.add_scene(video, title="Final")
    images = [library.add_image(title=f"Team {number}") for number in range(5)]
    library.add_gallery(images=images[:3], title="Home")
    library.add_gallery(images=images[3:], title="Away")
    assert figures(known, scene_filter="{}") == (1, 0, pytest.approx(20, abs=1))
    assert figures(known, scene_filter="{}", search="semi")[:2] == (0, 0)
    assert figures(known, image_filter="{}", search="team")[:2] == (0, 5)
    home = json.dumps({"title": {"value": "Home", "modifier": "EQUALS"}})
    assert figures(known, gallery_filter=home)[:2] == (0, 3)
    assert figures(known, gallery_filter="{}", search="away")[:2] == (0, 2)


def test_what_is_new_is_counted_without_left_out_tags(known, video):
    library = known.stash.library
    library.add_scene(video, title="Final", tags=["Home game"])
    library.add_image(title="Team")
    library.add_image(title="Seen", tags=["VLM_Tagged"])
    assert figures(known, is_new=True)[:2] == (1, 1)
    assert figures(known, is_new=True, except_tags=["home game"])[:2] == (0, 1)
    assert known.failure("forecast", is_new=True, except_tags=["Awya"]) == (
        "settings",
        "Stash has no tag Awya",
    )


def test_it_says_what_is_written(known, video):
    library = known.stash.library
    scenes = [library.add_scene(video, title="Final")]
    images = [library.add_image(title="Team")]
    stays = "your own tags and markers, and what you decided, stay as they are"
    assert writes(known, scenes=scenes) == f"tags and markers for scenes; {stays}"
    assert writes(known, images=images) == f"tags for images; {stays}"
    assert writes(known) == "nothing"
    write_overlay(known.data_dir, {"CREATE_MARKERS": False}, 1)
    assert writes(known, scenes=scenes).startswith("tags, and no markers, for scenes;")


def test_a_cluster_counts_what_the_last_check_found(known, video):
    library = known.stash.library
    library.add_copies(library.add_scene(video, tags=["VLM_TagMe"]), 19)
    write_overlay(known.data_dir, {"TAG_LIST": ["Foul"], "CLUSTER": "tcp://nas:8786"}, 1)
    engine = known.context().settings().engine
    ((endpoint, _),) = engine.used_endpoints()
    speed = EndpointSpeed("Rack", 64, 0.5, 0.5)
    keep_measurement(known.data_dir, endpoint, Measurement(speed, ("big",)))
    seconds = []
    for places in (None, 2, 8, None):
        keep_places(known.data_dir, engine.cluster, places)
        (section,) = known.value("forecast", scene_filter="{}")["sections"]
        found = {one["what"]: one for one in section["findings"]}
        seconds.append(found["time"]["figures"]["seconds"])
        assert ("cluster" in found) == (places is None)
    assert "the time is that of 2 videos at once; start Check Set-up" in found["cluster"]["text"]
    assert seconds[0] == seconds[1] == seconds[3] > 2 * seconds[2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({"scene_filter": "all"}, "bad_request", "scene_filter: it is not JSON"),
        ({"scene_filter": '{"colour": 1}'}, "stash", "colour"),
        ({"scenes": [7]}, "bad_request", "scenes"),
    ],
)
def test_wrong_scopes_are_refused(known, arguments, code, message):
    found, text = known.failure("forecast", **arguments)
    assert (found, message in text) == (code, True)


@pytest.mark.thorough
def test_20_000_scenes_are_counted_within_a_second(known, video):
    known.stash.library.add_copies(known.stash.library.add_scene(video, title="Final"), MANY - 1)
    known.value("forecast", scene_filter="{}")
    before = time.perf_counter()
    scenes, _, video_s = figures(known, scene_filter="{}")
    assert time.perf_counter() - before < 1.0
    assert scenes == MANY
    assert video_s == pytest.approx(MANY * 20, rel=0.05)
