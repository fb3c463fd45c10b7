"""The Stop button of a real Stash, which kills the plugin's process, and the run after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.real_stash import RealStash
from vlm_engine.testing import Fault

Configure = Callable[..., None]
LEAVE_S = 10.0


def children(stash: RealStash) -> set[int]:
    """The processes that Stash has started and that are still there (Linux only)."""
    lists = Path(f"/proc/{stash.pid}/task").glob("*/children")
    return {int(pid) for each in lists for pid in each.read_text().split()}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for the process in /proc")
def test_stop_ends_the_process_and_leaves_the_scene_queued(arena, endpoint, configure):
    endpoint.behaviour.latency_s = 0.1
    configure()
    video = arena.videos[0]
    arena.queue(video)
    job = arena.start()
    arena.stash.watch(job, until=lambda progress: progress > 0)
    endpoint.behaviour.fault = Fault.HANG  # so that the job cannot end before it is stopped
    assert children(arena.stash)
    arena.stash.stop_job(job)
    assert arena.stash.watch(job).status == "CANCELLED"
    gone_by = time.monotonic() + LEAVE_S
    while children(arena.stash) or endpoint.counters.in_flight:
        assert time.monotonic() < gone_by, "the process, or what it asked for, outlived the job"
        time.sleep(0.05)
    assert arena.scene(video).tags == ("VLM_TagMe",)
    assert arena.scene(video).markers == ()


def test_a_run_after_a_stopped_one_ends_as_if_undisturbed(arena, endpoint, configure):
    """One scene is done and the other begun when the job is stopped; the next run asks only what
    was not answered.
    """
    first, second = arena.videos

    def prepare() -> None:
        configure(videosAtOnce=1)
        arena.work_by_hand()
        arena.queue(first, second)

    prepare()
    arena.run()
    undisturbed, calls = (
        arena.contents(),
        endpoint.counters.answered,
    )

    arena.reset()
    prepare()
    endpoint.behaviour.latency_s = 0.1
    job = arena.start()
    arena.stash.watch(
        job,
        until=lambda _: (
            "VLM_Tagged" in arena.scene(first).tags
            and endpoint.counters.answered - calls > 0.7 * calls
        ),
    )
    endpoint.behaviour.fault = Fault.HANG
    arena.stash.stop_job(job)
    assert arena.stash.watch(job).status == "CANCELLED"
    done, paid = arena.scene(first), endpoint.counters.answered - calls
    assert "VLM_TagMe" in arena.scene(second).tags

    endpoint.behaviour.fault = Fault.NONE
    arena.run()
    assert arena.contents() == undisturbed
    assert arena.scene(first) == done
    assert endpoint.counters.answered - calls - paid <= calls - paid + endpoint.behaviour.slots
