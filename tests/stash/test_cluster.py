"""Tasks whose scenes the workers of a cluster look at, on a real Stash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.stash.test_tagging import likeness

Configure = Callable[..., None]


def test_workers_on_this_machine_tag_scenes(arena, configure):
    configure(workCluster="local:2")
    arena.queue(*arena.videos)
    job = arena.run()
    assert (job.status, job.error) == ("FINISHED", None)
    for video in arena.videos:
        scene = arena.scene(video)
        assert set(scene.tags) == {"VLM_Tagged", *(tag for tag in video.truth if video.truth[tag])}
        assert likeness(scene, video) > 0.8
    assert arena.said("error", "warning") == []
    assert "2 scenes queued, as many at a time as the cluster takes." in arena.said("info")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the process ends alone elsewhere")
def test_stop_ends_the_workers_and_the_next_task_goes_on(arena, endpoint, configure):
    configure(workCluster="local:2")
    endpoint.behaviour.latency_s = 0.2
    arena.queue(*arena.videos)
    job = arena.start()
    arena.stash.watch(job, until=lambda progress: progress > 0.1)
    processes = psutil.Process(arena.stash.pid).children(recursive=True)
    assert len(processes) > 2
    arena.stash.stop_job(job)
    assert arena.stash.watch(job).status == "CANCELLED"
    _, left = psutil.wait_procs(processes, timeout=20)
    assert not left
    assert [arena.scene(video).tags for video in arena.videos] == [("VLM_TagMe",)] * 2
    assert arena.said("warning") == []
    endpoint.behaviour.latency_s = 0.0
    arena.run()
    assert all("VLM_Tagged" in arena.scene(video).tags for video in arena.videos)
    assert any(" of them in an earlier run" in line for line in arena.said("info"))
