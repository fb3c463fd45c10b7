"""``vlm-engine tag --cluster`` from a terminal: what its user sees, and how Ctrl-C ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.clusters import LIMIT_S, ROOT, until
from tests.engine.engines import TAGS
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

INTERRUPTED = (
    "Interrupted. What was answered until now is kept; the same command goes on from there.\n"
)


@pytest.fixture
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=8))) as server:
        yield server


def command(vlm: SandboxVLM, store: Path, *arguments: str) -> list[str]:
    tag = [sys.executable, "-m", "vlm_engine", "tag", *arguments, "--no-check"]
    return [*tag, "--store", str(store), "--endpoint", vlm.url, "--tags", ",".join(TAGS)]


@contextlib.contextmanager
def terminal(arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a program in a process group of its own, as a shell does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe, taken = subprocess.PIPE, signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        arguments,
        cwd=folder,
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    ) as started:
        signal.signal(signal.SIGINT, taken)
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


def group_of(started: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that the program has started and that are still there."""
    there = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            is_of_it = os.getpgid(process.pid) == started.pid != process.pid
            if is_of_it and process.status() != psutil.STATUS_ZOMBIE:
                there.append(process)
    return there


@pytest.mark.parametrize(
    "moment", [pytest.param("starting", marks=pytest.mark.thorough), "working"]
)
def test_ctrl_c_ends_workers_of_this_machine_in_one_line(vlm, videos, store, tmp_path, moment):
    vlm.behaviour.latency_s = 0.5
    arguments = command(vlm, store, *videos, "--cluster", "local:2", "--quiet")
    with terminal(arguments, tmp_path) as started:
        # the tracker of multiprocessing, and the workers
        until(lambda: vlm.counters.answered if moment == "working" else len(group_of(started)) >= 3)
        os.killpg(started.pid, signal.SIGINT)
        _, said = started.communicate(timeout=LIMIT_S)
        until(lambda: not group_of(started))
    assert (started.returncode, said) == (130, INTERRUPTED)


def test_ctrl_c_leaves_a_cluster_that_works_on(start, vlm, videos, store, tmp_path):
    there = start("attic")
    vlm.behaviour.latency_s = 0.5
    arguments = command(vlm, store, videos[-1], "--cluster", there.address, "--quiet")
    arguments += ["--frames-compared", "0"]
    with terminal(arguments, tmp_path) as started:
        until(lambda: vlm.counters.answered >= 3)
        os.killpg(started.pid, signal.SIGINT)
        _, said = started.communicate(timeout=LIMIT_S)
    assert (started.returncode, said) == (130, INTERRUPTED)
    vlm.behaviour.latency_s = 0.0
    with terminal(arguments, tmp_path) as again:
        found, said = again.communicate(timeout=LIMIT_S)
    assert (again.returncode, said) == (0, "")
    assert found.count(" frames judged with ") == 1
    frames = vlm.counters.frame_numbers
    assert len(frames) - len(set(frames)) <= 8  # those in flight


def test_paths_are_those_of_the_caller(start, vlm, videos, store, tmp_path):
    """A relative path, and a worker in another folder that has the videos elsewhere."""
    here, there = Path(videos[0]).parent, tmp_path / "share"
    there.symlink_to(here)
    config = tmp_path / "engine.yaml"
    paths = {"attic": {str(tmp_path / "nowhere" / here.name): str(there)}}
    address = start("attic").address
    model = {"multiplexer_endpoints": [{"base_url": vlm.url}], "use_multiplexer": True}
    written = {"models": {"vlm": model}, "cluster": {"address": address, "paths": paths}}
    config.write_text(json.dumps(written))
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / here.name).symlink_to(here)
    name = str(Path(here.name, Path(videos[0]).name))
    tag = [sys.executable, "-m", "vlm_engine", "tag", name, "--config", str(config)]
    with terminal(
        [*tag, "--tags", ",".join(TAGS), "--store", str(store)], tmp_path / "nowhere"
    ) as started:
        found, said = started.communicate(timeout=LIMIT_S)
    assert (started.returncode, said) == (0, "")
    assert found.startswith(f"{name} (")
