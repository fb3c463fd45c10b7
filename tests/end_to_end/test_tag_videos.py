"""*Tag Videos* from Stash to Stash: a real process, real HTTP, real video files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from sandbox.stash import ItemState, Job
from tests.end_to_end.conftest import CONTROL, Theatre, content, likeness, present, texts
from vlm_engine.testing import Fault


def test_queued_scenes_become_tags_and_markers(theatre):
    vlm = theatre.install()
    vlm.behaviour.latency_s = 0.03
    scenes = theatre.queue(*theatre.videos)
    job = theatre.run()
    assert (job.error, texts(job, "error", "warning")) == (None, "")
    for scene_id, video in zip(scenes, theatre.videos, strict=True):
        scene = theatre.state(scene_id)
        assert set(scene.tags) == {*present(video), "VLM_Tagged"}
        assert likeness(scene, video) > 0.8
        assert all(m.tags == ("VLM",) and m.title == m.primary_tag for m in scene.markers)
    assert job.progress[-1] == 1
    assert len(job.progress) > 5
    assert all(earlier < later for earlier, later in pairwise(job.progress))
    numbers = re.search(
        r"3 scenes tagged, 0 failed; (\d+) frames asked, (\d+) answered, 0 failed;"
        r" (\d+) calls, [\d.]+ model seconds \([\d.]+ s per minute of video\); \d+ s",
        str(job.output),
    )
    assert numbers, job.output
    assert {int(number) for number in numbers.groups()} == {vlm.counters.answered}
    assert "3 scenes queued, 2 at a time." in texts(job, "info")


def hand_made(theatre: Theatre, scene: str) -> None:
    library = theatre.stash.library
    library.tag_scene(scene, "Home game", "Foul")
    library.add_marker(scene, "Interview", 3.0, 9.5, title="Coach", tags=["Home game"])
    library.add_marker(scene, "Goal", 20.0, title="my favourite")


def mine(scene: ItemState) -> Any:
    return [marker for marker in scene.markers if "VLM" not in marker.tags], {
        "Home game",
        "Foul",
    } & set(scene.tags)


def test_answers_about_a_replaced_file_are_not_used(theatre):
    vlm = theatre.install()
    before, after = theatre.videos[:2]
    path = theatre.folder / "match.mp4"
    shutil.copy(before.path, path)
    scene = theatre.stash.library.add_scene(path, tags=["VLM_TagMe"])
    theatre.run()
    calls = vlm.counters.answered
    shutil.copy(after.path, path)
    theatre.stash.library.tag_scene(scene, "VLM_TagMe")
    job = theatre.run()
    sizes = f"{after.path.stat().st_size} bytes, and Stash knows of {before.path.stat().st_size}"
    assert f"{path} has {sizes}: it was changed since Stash scanned it" in texts(job, "warning")
    assert "in an earlier run" not in texts(job, "info")
    assert vlm.counters.answered > calls
    assert set(theatre.state(scene).tags) == {*present(after), "VLM_Tagged"}


def test_what_a_person_made_is_untouched_by_any_run(theatre):
    vlm = theatre.install()
    (scene,) = theatre.queue(0)
    hand_made(theatre, scene)
    before = mine(theatre.state(scene))
    theatre.run()
    assert mine(theatre.state(scene)) == before

    def of_other_tags() -> set[Any]:
        markers = theatre.state(scene).markers
        return {m for m in markers if "VLM" in m.tags and m.primary_tag != "Timeout"}

    others = of_other_tags()
    theatre.install(vlm, TAG_LIST=["Timeout"])  # the other tags are left alone
    theatre.stash.library.tag_scene(scene, "VLM_TagMe")
    job = theatre.run()
    assert mine(theatre.state(scene)) == before
    assert of_other_tags() == others
    assert "left alone because it is not in this tag list: " in texts(job, "info")


@pytest.mark.thorough  # tests/torture kills tasks at random moments
def test_a_killed_run_that_is_repeated_ends_as_if_undisturbed(theatre):
    vlm, library = theatre.install(), theatre.stash.library
    twin = theatre.folder / "twin.mp4"
    twin.write_bytes(theatre.videos[0].path.read_bytes())
    (undisturbed,) = theatre.queue(0)
    killed = library.add_scene(twin, tags=[])
    for scene in (undisturbed, killed):
        hand_made(theatre, scene)
    theatre.run()
    library.tag_scene(killed, "VLM_TagMe")
    before, calls = mine(theatre.state(killed)), vlm.counters.answered
    kills = 0
    while "VLM_TagMe" in theatre.state(killed).tags:
        job = theatre.stash.run_task("Tag Videos")
        writes = 0

        def kill_after_a_write(exchange: Any, job: Job = job, limit: int = 2 * kills) -> None:
            nonlocal writes
            if exchange.kind == "mutation":
                writes += 1
                if writes > limit:
                    job.stop()

        theatre.stash.requests.on_reply = kill_after_a_write
        job.wait()
        theatre.stash.requests.on_reply = None
        assert mine(theatre.state(killed)) == before
        assert {"VLM_TagMe", "VLM_Tagged"} & set(theatre.state(killed).tags)
        kills += 1
        assert kills < 12
    assert kills >= 2
    theatre.run()
    assert content(theatre.state(killed)) == content(theatre.state(undisturbed))
    assert vlm.counters.answered == calls  # both scenes show the same, so every answer was there


def queued_untouched(theatre: Theatre, job: Job) -> None:
    """The batch ended, said so, and every scene is as it was: still queued, without blame."""
    assert job.status == "FINISHED"
    assert job.error
    assert texts(job, "error")
    for scene in theatre.scenes:
        assert theatre.state(scene).tags == ("VLM_TagMe",)
        assert theatre.state(scene).markers == ()


def test_an_endpoint_that_is_down_leaves_everything_queued(theatre):
    vlm = theatre.endpoint()
    vlm.stop()
    settings = {"MODEL": "sandbox-vlm", "ENDPOINT_PATIENCE": 0}
    theatre.install({"base_url": vlm.url, "name": "gym"}, **settings)
    theatre.queue(0, 1, 2)
    job = theatre.run()
    queued_untouched(theatre, job)
    assert "gym" in str(job.error)
    assert vlm.url in str(job.error)


@pytest.mark.parametrize(
    ("behaviour", "endpoint", "settings", "parts"),
    [
        ({"api_key": "right-key-123456"}, {"api_key": "wrong-key-123456"}, {}, ("api_key", "gym")),
        (
            {"models": ("court-vision-7b",)},
            {},
            {"MODEL": "no-such-model"},
            ("no-such-model", "court-vision-7b"),
        ),
        ({"fault": Fault.HANG}, {}, {"REQUEST_TIMEOUT": 0.4}, ("gym",)),
        ({}, {}, {"VIDEO_THRESHOLD": 7, "TAG_LSIT": ["Foul"]}, ("VIDEO_THRESHOLD", "TAG_LIST")),
    ],
    ids=["wrong key", "wrong model", "hanging endpoint", "wrong settings"],
)
def test_what_is_wrong_is_named_and_everything_stays_queued(
    theatre,
    behaviour,
    endpoint,
    settings,
    parts,
):
    vlm = theatre.endpoint(**behaviour)
    theatre.install({"base_url": vlm.url, "name": "gym", **endpoint}, **settings)
    theatre.queue(0, 1, 2)
    job = theatre.run()
    queued_untouched(theatre, job)
    assert [part for part in parts if part not in str(job.error)] == []
    assert "wrong-key-123456" not in str(job.error) + str(job.log)
    if "fault" in behaviour:
        assert "3 not finished and still queued" in texts(job, "warning")


def test_useless_replies_fail_the_scene_which_stays_queued(theatre):
    vlm = theatre.install(theatre.endpoint(fault=Fault.GARBAGE, fault_share=0.9))
    (scene,) = theatre.queue(0)
    job = theatre.run()
    assert set(theatre.state(scene).tags) == {"VLM_TagMe", "VLM_Errored"}
    assert "frames could be judged" in texts(job, "error")
    assert "1 failed" in str(job.output)
    vlm.behaviour.fault = Fault.NONE
    theatre.run()
    assert set(theatre.state(scene).tags) & CONTROL == {"VLM_Tagged"}


def test_a_hanging_endpoint_costs_time_but_no_frame(theatre):
    healthy = theatre.endpoint(latency_s=0.05, slots=1)
    hanging = theatre.endpoint(fault=Fault.HANG)
    theatre.install(
        {"base_url": healthy.url, "max_concurrent": 1},
        {"base_url": hanging.url, "max_concurrent": 4, "name": "hanging"},
        REQUEST_TIMEOUT=1,
    )
    (scene,) = theatre.queue(0)
    job = theatre.run()
    assert job.error is None
    assert "VLM_Tagged" in theatre.state(scene).tags
    assert "answered, 0 failed;" in str(job.output)
    assert "Endpoint hanging: 0 answers" in texts(job, "info")
    assert hanging.counters.requests > 0


def test_damaged_and_missing_files_are_named_and_others_go_on(theatre):
    theatre.install()
    data = bytearray(theatre.videos[0].path.read_bytes())
    start, end = len(data) * 4 // 10, len(data) * 6 // 10
    data[start:end] = bytes(end - start)
    damaged = theatre.folder / "damaged.mp4"
    damaged.write_bytes(data)
    missing, path = theatre.lose()
    scene, good = theatre.queue(replace(theatre.videos[0], path=damaged), 1)
    job = theatre.run()
    assert job.error is None
    assert "VLM_Tagged" in theatre.state(scene).tags
    assert "nothing could be read from" in texts(job, "warning")
    assert set(theatre.state(missing).tags) == {"VLM_TagMe", "VLM_Errored"}
    assert str(path) in texts(job, "error")
    assert "PATH_MUTATION" in texts(job, "error")
    assert "VLM_Tagged" in theatre.state(good).tags


def test_tags_only(theatre):
    theatre.install(CREATE_MARKERS=False)
    (scene,) = theatre.queue(0)
    theatre.run()
    assert set(theatre.state(scene).tags) - CONTROL
    assert theatre.state(scene).markers == ()


def test_a_configuration_of_the_older_plugin_is_honoured(theatre):
    vlm = theatre.endpoint()
    name = "vlm_multiplexer_model"
    ports = {"inputs": ["video_path", "time_interval"]}
    endpoint = {"base_url": vlm.url, "api_key": "", "name": "a", "weight": 9, "is_fallback": False}
    engine = {
        "active_ai_models": [name],
        "trace_logging": True,
        "pipelines": {
            "video_pipeline_dynamic": {
                **ports,
                "output": "results",
                "short_name": "dynamic_video",
                "version": 1.0,
                "models": [{"name": "dynamic_video_ai", **ports, "outputs": "results"}],
            }
        },
        "models": {
            name: {
                "type": "vlm_model",
                "model_file_name": name,
                "model_category": "plays",
                "model_id": "sandbox-vlm",
                "use_multiplexer": True,
                "max_concurrent_requests": 13,
                "instance_count": 10,
                "max_batch_size": 4,
                "multiplexer_endpoints": [{**endpoint, "max_concurrent": 4}],
                "tag_list": ["Foul", "Goal"],
            },
            "result_coalescer": {"type": "python", "model_file_name": "result_coalescer"},
        },
        "category_config": {
            "plays": {
                "Foul": {
                    "RenamedTag": "Personal foul",
                    "MinMarkerDuration": "1s",
                    "MaxGap": "1s",
                    "RequiredDuration": "1s",
                    "TagThreshold": 0.5,
                }
            }
        },
    }
    theatre.install(VLM_ENGINE_CONFIG=engine, ENDPOINTS=None, TAG_LIST=None)
    (scene,) = theatre.queue(0)
    job = theatre.run()
    assert job.error is None, job.log
    tags = set(theatre.state(scene).tags) - CONTROL
    assert {"Personal foul"} <= tags <= {"Personal foul", "Goal"}


def test_an_unexpected_fault_costs_one_scene_and_is_logged(theatre):
    theatre.install()
    (plan,) = theatre.folder.glob("*/*/haven/stash/plan.py")
    fault = "\n\ndef plan_results(*_):\n    raise KeyError('home team')\n"
    plan.write_text(plan.read_text(encoding="utf-8") + fault, encoding="utf-8")
    (scene,) = theatre.queue(0)
    job = theatre.run()
    assert set(theatre.state(scene).tags) == {"VLM_TagMe", "VLM_Errored"}
    assert "KeyError: 'home team'" in texts(job, "error")
    assert "Traceback" not in texts(job, "error")
    assert "in plan_results" in texts(job, "debug")
    assert "1 failed" in str(job.output)


# --- files that this machine does not have under Stash's path ---

THERE = "/data/sport games"


@pytest.fixture
def away(elsewhere: Callable[..., Theatre], videos: tuple[Any, ...]) -> Theatre:
    """A theatre whose Stash wants a log-in, and has the videos in a folder that is not here."""
    from sandbox.stash import Credentials

    return elsewhere(videos[0].path.parent, THERE, credentials=Credentials("referee", "red card"))


def test_a_video_that_is_not_here_is_read_through_stash(away):
    away.install(STREAM_FROM_STASH=True)
    scenes = away.queue(0, 1)
    job = away.run()
    assert (job.error, texts(job, "error", "warning")) == (None, "")
    for scene, video in zip(scenes, away.videos, strict=False):
        assert set(away.state(scene).tags) == {*present(video), "VLM_Tagged"}
        assert likeness(away.state(scene), video) > 0.8
    assert texts(job, "info").count("it is read through Stash") == len(scenes)
    assert away.stash.requests.streamed
    assert all(part.startswith("bytes=") for part in away.stash.requests.streamed)


def test_a_mapped_path_is_read_here_and_asked_once(away):
    folder = str(away.videos[0].path.parent)
    vlm = away.install(STREAM_FROM_STASH=True, PATH_MUTATION=f"{THERE} => {folder}")
    (scene,) = away.queue(0)
    away.run()
    first, calls = away.state(scene), vlm.counters.answered
    assert away.stash.requests.streamed == []
    away.install(vlm, STREAM_FROM_STASH=True)
    away.stash.library.tag_scene(scene, "VLM_TagMe")
    away.run()
    assert (away.state(scene), vlm.counters.answered) == (first, calls)
    assert away.stash.requests.streamed


def test_a_missing_file_is_named_with_both_paths(away, tmp_path):
    away.install()
    (scene,) = away.queue(0)
    error = texts(away.run(), "error")
    name = away.videos[0].path.name
    assert "VLM_Errored" in away.state(scene).tags
    assert f"{THERE}/{name}: there is no such file here: /data does not exist" in error
    assert "Paths on the settings page (PATH_MUTATION in haven_vlm_config.local.yaml)" in error
    assert away.stash.requests.streamed == []
    (tmp_path / "media").mkdir()
    away.install(PATH_MUTATION={"/data": str(tmp_path / "media")})
    error = texts(away.run(), "error")
    assert f"{tmp_path}/media exists, {tmp_path}/media/sport games does not" in error
    assert f"Stash calls it {THERE}/{name}; Paths on the settings page" in error


def test_a_file_that_stash_lacks_too_stays_queued(away):
    away.install(STREAM_FROM_STASH=True)
    scene, path = away.lose()
    job = away.run()
    assert set(away.state(scene).tags) == {"VLM_TagMe", "VLM_Errored"}
    assert f"{path}: nor has Stash got this file" in texts(job, "error")
