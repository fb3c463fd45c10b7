"""*Tag Videos* from Stash to Stash: a real process, real HTTP, real video files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash import ItemState, Job
from sandbox.videos import LabelledVideo
from tests.end_to_end.conftest import TAGS, Theatre
from vlm_engine.spans import f1
from vlm_engine.testing import Behaviour, Fault

Address = Callable[..., dict[str, Any]]
CONTROL = {"VLM_TagMe", "VLM_Tagged", "VLM_Errored"}


def lines(job: Job, level: str) -> str:
    return "\n".join(text for own, text in job.log if own == level)


def found(scene: ItemState) -> Mapping[str, list[tuple[float, float]]]:
    by_tag: dict[str, list[tuple[float, float]]] = {tag: [] for tag in TAGS}
    for marker in scene.markers:
        assert marker.end_seconds is not None
        by_tag.setdefault(marker.primary_tag, []).append((marker.seconds, marker.end_seconds))
    return by_tag


def without_ids(scene: ItemState) -> tuple[Any, ...]:
    return scene.tags, sorted(
        (m.title, m.seconds, m.end_seconds, m.primary_tag, m.tags) for m in scene.markers
    )


def test_a_queued_scene_becomes_tags_and_markers(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    scenes = theatre.queue(*videos)
    job = theatre.run()
    assert job.error is None, job.log
    for scene_id, video in zip(scenes, videos, strict=True):
        scene = theatre.state(scene_id)
        present = {tag for tag, spans in video.truth.items() if spans}
        assert set(scene.tags) == present | {"VLM_Tagged"}
        spans = found(scene)
        assert sum(f1(spans[tag], video.truth[tag]) for tag in present) / len(present) > 0.8
        assert all(
            marker.tags == ("VLM",) and marker.title == marker.primary_tag
            for marker in scene.markers
        )
    assert lines(job, "error") == lines(job, "warning") == ""


def test_progress_grows_to_one_and_the_end_line_tells_the_truth(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(latency_s=0.05, slots=2))
    theatre.install(address(vlm, max_concurrent=2))
    theatre.queue(*videos[:2])
    job = theatre.run()
    assert job.progress[-1] == 1
    assert len(job.progress) > 5
    assert all(earlier < later for earlier, later in pairwise(job.progress))
    told = re.search(
        r"2 scenes tagged, 0 failed; (\d+) frames asked, (\d+) answered, 0 failed; (\d+) calls; \d+ s",
        str(job.output),
    )
    assert told, job.output
    assert {int(number) for number in told.groups()} == {vlm.counters.answered}


def test_a_second_run_changes_nothing_and_asks_nothing(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    (scene,) = theatre.queue(videos[0])
    theatre.run()
    first, calls = theatre.state(scene), vlm.counters.answered
    theatre.stash.library.tag_scene(scene, "VLM_TagMe")
    job = theatre.run()
    assert job.error is None
    assert theatre.state(scene) == first
    assert vlm.counters.answered == calls


def hand_made(theatre: Theatre, scene: str) -> None:
    theatre.stash.library.tag_scene(scene, "Home game", "Foul")
    theatre.stash.library.add_marker(
        scene, "Interview", 3.0, 9.5, title="Coach", tags=["Home game"]
    )
    theatre.stash.library.add_marker(scene, "Goal", 20.0, title="my favourite")


def mine(scene: ItemState) -> Any:
    return [marker for marker in scene.markers if "VLM" not in marker.tags], {
        "Home game",
        "Foul",
    } & set(scene.tags)


def test_a_file_that_was_replaced_since_stash_scanned_it_is_not_taken_for_the_one_before(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address, tmp_path: Path
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    before, after = videos[:2]
    path = tmp_path / "match.mp4"
    shutil.copy(before.path, path)
    scene = theatre.stash.library.add_scene(path, tags=["VLM_TagMe"])
    theatre.run()
    calls = vlm.counters.answered
    shutil.copy(after.path, path)
    theatre.stash.library.tag_scene(scene, "VLM_TagMe")
    job = theatre.run()
    known, now = before.path.stat().st_size, after.path.stat().st_size
    assert (
        f"{path} has {now} bytes, and Stash knows of {known}: it was changed since Stash scanned it"
        in lines(job, "warning")
    )
    assert "in an earlier run" not in lines(job, "info")
    assert vlm.counters.answered > calls
    assert set(theatre.state(scene).tags) == {
        tag for tag, spans in after.truth.items() if spans
    } | {"VLM_Tagged"}


def test_what_a_person_made_is_untouched_by_any_run(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    (scene,) = theatre.queue(videos[0])
    hand_made(theatre, scene)
    before = mine(theatre.state(scene))
    theatre.run()
    assert mine(theatre.state(scene)) == before
    of_others = {
        marker
        for marker in theatre.state(scene).markers
        if "VLM" in marker.tags and marker.primary_tag != "Timeout"
    }
    theatre.install(
        address(vlm), TAG_LIST=["Timeout"]
    )  # the rest is no longer looked for, and left alone
    theatre.stash.library.tag_scene(scene, "VLM_TagMe")
    theatre.run()
    after = theatre.state(scene)
    assert mine(after) == before
    ours = {marker for marker in after.markers if "VLM" in marker.tags}
    assert {marker for marker in ours if marker.primary_tag != "Timeout"} == of_others


def test_a_run_killed_at_any_point_and_repeated_ends_as_if_it_had_not_been(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    twin = theatre.folder / "twin.mp4"
    twin.write_bytes(videos[0].path.read_bytes())
    (undisturbed,) = theatre.queue(videos[0])
    killed = theatre.stash.library.add_scene(twin, tags=["VLM_TagMe"])
    for scene in (undisturbed, killed):
        hand_made(theatre, scene)
    theatre.stash.library.untag_scene(killed, "VLM_TagMe")
    theatre.run()
    theatre.stash.library.untag_scene(undisturbed, "VLM_TagMe")
    theatre.stash.library.tag_scene(killed, "VLM_TagMe")
    before = mine(theatre.state(killed))
    calls = vlm.counters.answered
    kills = 0
    while "VLM_TagMe" in theatre.state(killed).tags:
        job = theatre.stash.run_task("Tag Videos")
        writes = 0

        def kill_after_a_write(exchange: Any, job: Job = job, limit: int = kills) -> None:
            nonlocal writes
            if exchange.kind == "mutation":
                writes += 1
                if writes > limit:
                    job.stop()

        theatre.stash.requests.on_reply = kill_after_a_write
        job.wait()
        theatre.stash.requests.on_reply = None
        assert mine(theatre.state(killed)) == before
        assert (
            "VLM_TagMe" in theatre.state(killed).tags or "VLM_Tagged" in theatre.state(killed).tags
        )
        kills += 1
        assert kills < 12
    assert kills >= 2
    theatre.run()
    assert without_ids(theatre.state(killed)) == without_ids(theatre.state(undisturbed))
    assert (
        vlm.counters.answered == calls
    )  # the other scene shows the same file, so every answer was there


def test_a_task_stopped_in_the_middle_of_its_questions_goes_on_from_there(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(latency_s=0.1, slots=2))
    theatre.install(address(vlm, max_concurrent=2))
    (scene,) = theatre.queue(videos[0])
    job = theatre.stash.run_task("Tag Videos")
    while vlm.counters.answered < 6 and not job.over:
        theatre.stash.library.scene_state(scene)
    job.stop()
    job.wait()
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    paid = vlm.counters.answered
    vlm.behaviour.latency_s = 0.0
    theatre.run()
    assert "VLM_Tagged" in theatre.state(scene).tags
    frames = vlm.counters.frame_numbers
    assert len(frames) - len(set(frames)) <= 2 + 1, "more was asked twice than was in flight"
    assert paid >= 6


def queued_untouched(theatre: Theatre, job: Job) -> None:
    """The batch ended, said so, and every scene is as it was: still queued, neither done nor blamed."""
    assert job.status == "FINISHED"
    assert job.error
    assert lines(job, "error")
    for scene in theatre.scenes:
        assert theatre.state(scene).tags == ("VLM_TagMe",)
        assert theatre.state(scene).markers == ()


def test_an_endpoint_that_is_down_leaves_everything_queued(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    vlm.stop()
    theatre.install(address(vlm, name="gym"), MODEL="sandbox-vlm", ENDPOINT_PATIENCE=0)
    theatre.queue(*videos)
    job = theatre.run()
    queued_untouched(theatre, job)
    assert "gym" in str(job.error)
    assert vlm.url in str(job.error)


def test_a_wrong_key_leaves_everything_queued_and_names_the_setting_but_not_the_key(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(api_key="right-key-123456"))
    theatre.install(address(vlm, name="gym", api_key="wrong-key-123456"))
    theatre.queue(*videos)
    job = theatre.run()
    queued_untouched(theatre, job)
    assert "api_key" in str(job.error)
    assert "gym" in str(job.error)
    everything = str(job.error) + str(job.log)
    assert "wrong-key-123456" not in everything


def test_a_wrong_model_leaves_everything_queued_and_names_what_there_is(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(models=("court-vision-7b",)))
    theatre.install(address(vlm, name="gym"), MODEL="no-such-model")
    theatre.queue(*videos)
    job = theatre.run()
    queued_untouched(theatre, job)
    assert "no-such-model" in str(job.error)
    assert "court-vision-7b" in str(job.error)


def test_garbage_replies_fail_the_scene_which_stays_queued(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(fault=Fault.GARBAGE, fault_share=0.9))
    theatre.install(address(vlm))
    (scene,) = theatre.queue(videos[0])
    job = theatre.run()
    assert set(theatre.state(scene).tags) == {"VLM_TagMe", "VLM_Errored"}
    assert "frames could be judged" in lines(job, "error")
    assert "1 failed" in str(job.output)
    vlm.behaviour.fault = Fault.NONE
    theatre.run()
    assert "VLM_Tagged" in theatre.state(scene).tags
    assert not {"VLM_TagMe", "VLM_Errored"} & set(theatre.state(scene).tags)


def test_a_scene_of_which_much_cannot_be_read_says_so_in_a_warning(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address, tmp_path: Path
) -> None:
    theatre.install(address(theatre.endpoint()))
    data = bytearray(videos[0].path.read_bytes())
    start, end = len(data) * 4 // 10, len(data) * 6 // 10
    data[start:end] = bytes(end - start)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    (scene,) = theatre.queue(replace(videos[0], path=broken))
    job = theatre.run()
    assert job.error is None
    assert "VLM_Tagged" in theatre.state(scene).tags
    assert "nothing could be read from" in lines(job, "warning")


def test_a_hanging_endpoint_beside_a_healthy_one_costs_time_but_no_frame(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    healthy, hanging = (
        theatre.endpoint(Behaviour(latency_s=0.05, slots=1)),
        theatre.endpoint(Behaviour(fault=Fault.HANG)),
    )
    addresses = address(healthy, name="healthy", max_concurrent=1), address(hanging, name="hanging")
    theatre.install(*addresses, REQUEST_TIMEOUT=1)
    (scene,) = theatre.queue(videos[0])
    job = theatre.run()
    assert job.error is None
    assert "VLM_Tagged" in theatre.state(scene).tags
    assert "answered, 0 failed;" in str(job.output)
    assert "Endpoint hanging: 0 answers" in lines(job, "info")
    assert hanging.counters.requests > 0


def test_a_hanging_endpoint_alone_ends_the_batch_in_bounded_time(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(
        address(theatre.endpoint(Behaviour(fault=Fault.HANG)), name="gym"), REQUEST_TIMEOUT=0.4
    )
    theatre.queue(*videos)
    job = theatre.run()
    queued_untouched(theatre, job)
    assert "gym" in str(job.error)
    assert "3 not finished and still queued" in lines(job, "warning")


def test_a_scene_that_fails_is_marked_and_the_others_go_on(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    lost = theatre.folder / "lost.mp4"
    lost.write_bytes(videos[1].path.read_bytes())
    bad = theatre.stash.library.add_scene(lost, title="lost", tags=["VLM_TagMe"])
    lost.unlink()
    (good,) = theatre.queue(videos[0])
    job = theatre.run()
    assert set(theatre.state(bad).tags) == {"VLM_TagMe", "VLM_Errored"}
    assert "VLM_Tagged" in theatre.state(good).tags
    assert str(lost) in lines(job, "error")
    assert "PATH_MUTATION" in lines(job, "error")


def test_nothing_queued_says_what_to_do(theatre: Theatre, address: Address) -> None:
    theatre.install(address(theatre.endpoint()))
    job = theatre.run()
    assert "VLM_TagMe" in str(job.output)
    assert "VLM_TagMe" in {tag.name for tag in theatre.stash.library.snapshot().tags}


def test_tags_only(theatre: Theatre, videos: Sequence[LabelledVideo], address: Address) -> None:
    theatre.install(address(theatre.endpoint()), CREATE_MARKERS=False)
    (scene,) = theatre.queue(videos[0])
    theatre.run()
    assert set(theatre.state(scene).tags) - CONTROL
    assert theatre.state(scene).markers == ()


def test_wrong_settings_are_all_named_and_nothing_is_done(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()), VIDEO_THRESHOLD=7, TAG_LSIT=["Foul"])
    theatre.queue(videos[0])
    job = theatre.run()
    queued_untouched(theatre, job)
    assert "VIDEO_THRESHOLD" in str(job.error)
    assert "TAG_LIST" in str(job.error)


@pytest.mark.parametrize("engine_tags", [["Foul", "Goal"]])
def test_a_configuration_of_the_older_plugin_is_honoured(
    theatre: Theatre, videos: Sequence[LabelledVideo], engine_tags: list[str]
) -> None:
    vlm = theatre.endpoint()
    rule = {
        "RenamedTag": "Personal foul",
        "MinMarkerDuration": "1s",
        "MaxGap": "1s",
        "RequiredDuration": "1s",
        "TagThreshold": 0.5,
    }
    engine = {
        "active_ai_models": ["vlm_multiplexer_model"],
        "trace_logging": True,
        "pipelines": {
            "video_pipeline_dynamic": {
                "inputs": ["video_path", "time_interval"],
                "output": "results",
                "short_name": "dynamic_video",
                "version": 1.0,
                "models": [
                    {
                        "name": "dynamic_video_ai",
                        "inputs": ["video_path", "time_interval"],
                        "outputs": "results",
                    }
                ],
            }
        },
        "models": {
            "vlm_multiplexer_model": {
                "type": "vlm_model",
                "model_file_name": "vlm_multiplexer_model",
                "model_category": "plays",
                "model_id": "sandbox-vlm",
                "use_multiplexer": True,
                "max_concurrent_requests": 13,
                "instance_count": 10,
                "max_batch_size": 4,
                "multiplexer_endpoints": [
                    {
                        "base_url": vlm.url,
                        "api_key": "",
                        "name": "a",
                        "weight": 9,
                        "is_fallback": False,
                        "max_concurrent": 4,
                    }
                ],
                "tag_list": engine_tags,
            },
            "result_coalescer": {"type": "python", "model_file_name": "result_coalescer"},
        },
        "category_config": {"plays": {"Foul": rule}},
    }
    theatre.install(VLM_ENGINE_CONFIG=engine, ENDPOINTS=None, TAG_LIST=None)
    (scene,) = theatre.queue(videos[0])
    job = theatre.run()
    assert job.error is None, job.log
    tags = set(theatre.state(scene).tags) - CONTROL
    assert tags <= {"Personal foul", "Goal"}
    assert "Personal foul" in tags


def test_a_path_that_stash_sees_elsewhere_is_mapped(
    videos: Sequence[LabelledVideo], tmp_path: Any, address: Address
) -> None:
    from contextlib import ExitStack

    from sandbox.stash import SandboxStash
    from vlm_engine.testing.threads import running

    here = videos[0].path.parent
    with ExitStack() as servers:
        stash = servers.enter_context(
            running(SandboxStash(shown_as={str(here): "/data/sport games"}))
        )
        theatre = Theatre(stash, tmp_path, servers)
        theatre.install(address(theatre.endpoint()), PATH_MUTATION={"/data/sport games": str(here)})
        (scene,) = theatre.queue(videos[0])
        assert theatre.run().error is None
        assert "VLM_Tagged" in theatre.state(scene).tags
