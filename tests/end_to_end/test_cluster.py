"""Runs whose videos and images the workers of a cluster look at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import content, present, texts, wait_for

ROOT = Path(__file__).resolve().parents[2]
STEADY = {"FRAMES_COMPARED": 0, "VIDEO_LEARN_COSTS": False}
"""Settings with which a search asks the same in every run."""


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the processes that look at media for a task."""
    children = psutil.Process(pid).children(recursive=True)
    return [one for one in children if "spawn_main" in " ".join(one.cmdline())]


def test_a_cluster_finds_what_one_machine_finds(elsewhere, pictures):
    found = []
    for number, settings in enumerate(({}, {"CLUSTER": "local:2"})):
        theatre = elsewhere()
        theatre.installed = 10 * number
        theatre.install(**settings, **STEADY, IMAGE_FROM_STASH=False)
        scenes = theatre.queue(0)
        images = theatre.add(*pictures[:4], *pictures[-4:])
        lost, path = theatre.lose()
        job = theatre.run("Tag What Is New")
        assert job.error is None
        assert set(theatre.state(scenes[0]).tags) == {*present(theatre.videos[0]), "VLM_Tagged"}
        assert "VLM_Errored" in theatre.state(lost).tags
        tags = theatre.image_tags()
        assert all(set(tags[image]) >= one.tags for image, one in images.items())
        found.append((content(theatre.state(scenes[0])), tags))
    assert found[0] == found[1]
    (error,) = job.texts("error")
    assert f"{path}: no worker of the cluster can read it: worker " in error
    assert job.texts("warning") == []
    assert "2 scenes, as many at a time as the cluster takes." in texts(job, "info")
    assert "8 images, as many at a time as the cluster takes." in texts(job, "info")


def test_local_workers_end_with_a_task_that_is_killed(theatre):
    vlm = theatre.install(CLUSTER="local:2", CONCURRENT_TASK_LIMIT=1)
    vlm.behaviour.latency_s = 0.5
    theatre.queue(0, 1)
    job = theatre.stash.run_task("Tag Videos", {})
    wait_for(lambda: vlm.counters.answered > 1)
    workers = workers_of(job.pid)
    assert len(workers) == 2
    job.stop()
    job.wait()
    _, left = psutil.wait_procs(workers, timeout=20)
    assert not left
    assert job.texts("warning") == []
    assert "2 scenes queued, as many at a time as the cluster takes, at most 1." in texts(
        job, "info"
    )


@pytest.mark.thorough
def test_a_killed_run_over_a_cluster_asks_nothing_twice(elsewhere):
    alone, theatre = elsewhere(), elsewhere()
    counted = alone.install(**STEADY)
    (undisturbed,) = alone.queue(0)
    alone.run()
    theatre.installed = 10
    vlm = theatre.install(CLUSTER="local:2", **STEADY)
    vlm.behaviour.latency_s = 0.3
    (scene,) = theatre.queue(0)
    job = theatre.stash.run_task("Tag Videos", {})
    wait_for(lambda: vlm.counters.answered > 8)
    job.stop()
    job.wait()
    wait_for(lambda: not vlm.counters.in_flight)
    vlm.behaviour.latency_s = 0.0
    assert theatre.run().error is None
    assert content(theatre.state(scene)) == content(alone.state(undisturbed))
    assert vlm.counters.answered <= counted.counters.answered + 4  # those in flight


@pytest.mark.thorough
def test_files_that_workers_lack_come_from_stash_or_fail(theatre, pictures):
    """Stash sends pictures, which travel on to workers; a video is read by workers alone."""
    folders = {str(file.path.parent): "/nowhere" for file in (theatre.videos[0], pictures[0])}
    cluster = {"address": "local:1", "paths": {"*": folders}}
    theatre.install(CLUSTER=cluster, STREAM_FROM_STASH=True)
    (scene,) = theatre.queue(0)
    images = theatre.add(*pictures[:12])
    job = theatre.run("Tag What Is New")
    assert job.error is None
    tags = theatre.image_tags()
    assert {image: tags[image] for image in images} == {
        image: {*one.tags, "VLM_Tagged"} for image, one in images.items()
    }
    assert "Until then Stash is asked for it" in texts(job, "info")
    assert set(theatre.state(scene).tags) == {"VLM_TagMe", "VLM_Errored"}
    (error,) = job.texts("error")
    assert "no worker of the cluster can read it: worker 0 at" in error
    assert f"/nowhere/{theatre.videos[0].path.name}" in error


@pytest.mark.thorough
@pytest.mark.parametrize("task", ["Tag Videos", "Tag Images"])
def test_without_the_cluster_everything_stays_queued(theatre, pictures, task):
    theatre.install(CLUSTER="tcp://127.0.0.1:9")
    (scene,) = theatre.queue(0)
    (image,) = theatre.add(pictures[0])
    job = theatre.run(task)
    assert "cluster: no scheduler answers at tcp://127.0.0.1:9" in str(job.error)
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    assert theatre.image_tags()[image] == {"VLM_TagMe"}


def test_a_worker_leaves_standard_output_to_its_task():
    code = (
        "import logging, runpy; runpy.run_path('haven_vlm_connector.py', run_name='__mp_main__');"
        "print('of a library'); logging.getLogger('distributed').error('lost')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "of a library\n")
