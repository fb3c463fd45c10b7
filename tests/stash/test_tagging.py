"""*Tag Videos* from the button to the scenes, on a real Stash."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from sandbox.real_stash import RealStash
from sandbox.stash import ItemState, MarkerState
from sandbox.videos import LabelledVideo
from tests.stash.conftest import PLUGIN, TAGS, furnish, short_video
from vlm_engine.spans import f1

Configure = Callable[..., None]


def made(scene: ItemState) -> list[MarkerState]:
    """The plugin's markers."""
    return [marker for marker in scene.markers if "VLM" in marker.tags]


def by_hand(scene: ItemState) -> list[MarkerState]:
    return [marker for marker in scene.markers if "VLM" not in marker.tags]


def likeness(scene: ItemState, video: LabelledVideo) -> float:
    """Return how well markers and truth agree, over the tags that the video shows: 1 is
    entirely.
    """
    present = [tag for tag, spans in video.truth.items() if spans]
    found = {
        tag: [
            (m.seconds, m.end_seconds or m.seconds) for m in scene.markers if m.primary_tag == tag
        ]
        for tag in present
    }
    return sum(f1(found[tag], video.truth[tag]) for tag in present) / len(present)


def test_queued_scenes_get_tags_and_markers(arena, configure):
    configure()
    arena.queue(*arena.videos)
    job = arena.run()
    assert (job.status, job.error) == ("FINISHED", None)
    for video in arena.videos:
        scene = arena.scene(video)
        present = {tag for tag, spans in video.truth.items() if spans}
        assert set(scene.tags) == present | {"VLM_Tagged"}
        assert likeness(scene, video) > 0.8
        for marker in scene.markers:
            assert marker.title == marker.primary_tag
            assert marker.tags == ("VLM",)
            assert marker.end_seconds is not None
            assert marker.seconds < marker.end_seconds <= video.spec.duration_s
    assert arena.said("error", "warning") == []
    assert arena.said("info")[-1].startswith("2 scenes tagged, 0 failed")


def test_new_tags_stand_below_the_tag_of_the_plugin(arena, configure):
    configure()
    arena.queue(arena.videos[0])
    arena.run()
    tags = arena.stash.ask("{ allTags { name ignore_auto_tag parents { name } } }")["allTags"]
    below = {
        tag["name"]
        for tag in tags
        if [parent["name"] for parent in tag["parents"]] == ["VLM"] and tag["ignore_auto_tag"]
    }
    assert below >= {
        "VLM_Tagged",
        "VLM_Errored",
        *(tag for tag in TAGS if arena.videos[0].truth[tag]),
    }


def test_progress_grows_while_the_job_runs(arena, endpoint, configure):
    endpoint.behaviour.latency_s = 0.05
    configure()
    arena.queue(*arena.videos)
    progress = arena.run().progress
    assert len(progress) > 3
    assert all(earlier < later for earlier, later in pairwise(progress))
    assert 0 <= progress[0] < progress[-1] <= 1


def test_what_a_person_made_stays_and_stands_for_its_event(arena, configure):
    video = arena.videos[0]
    start_s, end_s = video.truth["Foul"][0]
    scene = arena.scene(video).id
    arena.stash.add_tags(scene, ["Home game"])
    arena.stash.add_marker(scene, "Interview", 3.0, title="Coach")
    arena.stash.add_marker(scene, "Foul", start_s, end_s, title="clearly a foul")
    before = by_hand(arena.scene(video))
    configure()
    arena.queue(video)
    arena.run()
    after = arena.scene(video)
    assert by_hand(after) == before
    assert {"Home game", "VLM_Tagged"} <= set(after.tags)
    assert made(after)
    assert not [
        m
        for m in made(after)
        if m.primary_tag == "Foul" and m.seconds < end_s and (m.end_seconds or 0) > start_s
    ]


def test_a_second_run_doubles_nothing_and_keeps_edited_markers(arena, endpoint, configure):
    video = arena.videos[0]
    configure()
    arena.queue(video)
    arena.run()
    first, *rest = arena.scene(video).markers
    arena.stash.edit_marker(first.id, title="my own words", seconds=first.seconds + 0.5)
    edited, calls = arena.scene(video), endpoint.counters.answered
    arena.queue(video)
    arena.run()
    assert arena.scene(video) == edited
    assert rest
    assert endpoint.counters.answered == calls


def test_an_endpoint_that_is_down_leaves_every_scene_queued(arena, endpoint, configure):
    endpoint.stop()
    configure(endpointModel=endpoint.behaviour.models[0])
    arena.queue(*arena.videos)
    arena.run()
    for video in arena.videos:
        assert arena.scene(video).tags == ("VLM_TagMe",)
        assert arena.scene(video).markers == ()
    assert any(endpoint.url in line for line in arena.said("error"))


def test_nothing_queued_says_what_to_do(arena, configure):
    configure()
    arena.run()
    assert "VLM_TagMe" in arena.said("info")[-1]
    assert "VLM_TagMe" in arena.tag_names()


def test_a_session_that_would_run_out_is_kept_alive(binary, tmp_path, endpoint):
    endpoint.behaviour.latency_s = 0.8
    endpoint.behaviour.slots = 1
    with RealStash(
        binary, tmp_path, config={"max_session_age": 12}
    ) as stash:  # a busy machine may start a process in that
        arena = furnish(stash, short_video(1))
        stash.demand_login("referee", "whistle")
        stash.configure(PLUGIN, {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS)})
        arena.queue(arena.videos[0])
        arena.run()
        assert arena.said("error", "warning") == []
        assert arena.refusals() == []
        assert "VLM_Tagged" in arena.scene(arena.videos[0]).tags
