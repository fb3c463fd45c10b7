"""Workers that lack a file, the package or its version: they are named, and the others work."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from distributed import Client

from tests.cluster.clusters import APART, ROOT, as_json, settings, soon, tagging
from vlm_engine import __version__
from vlm_engine.cluster import open_engine
from vlm_engine.cluster.session import Session
from vlm_engine.errors import ConfigError, MediaNotFoundError
from vlm_engine.store import AnswerStore
from vlm_engine.testing import Behaviour, SandboxVLM


async def test_a_video_goes_to_a_worker_that_has_it(start, videos, alone):
    there = start("w1", "w2", threads=1)
    paths = {"w1": {str(Path(videos[0]).parent): str(there.folder / "nowhere")}}
    async with tagging(there, Behaviour(slots=8), paths=paths) as (engine, _):
        results = await asyncio.gather(*map(engine.process_video, videos))
    assert [*map(as_json, results)] == alone.results


async def test_a_video_that_no_worker_has_names_each_of_them(start, videos, alone, tmp_path):
    there, missing = start("w1", "w2"), str(tmp_path / "missing.mp4")
    async with tagging(there, Behaviour(slots=8)) as (engine, _):
        works = [engine.process_video(one) for one in (missing, *videos)]
        error, *results = await asyncio.gather(*works, return_exceptions=True)
    assert [*map(as_json, results)] == alone.results
    assert isinstance(error, MediaNotFoundError)
    assert all(part in str(error) for part in (missing, "worker w1", "worker w2", "`paths`"))


async def test_a_cluster_without_workers_says_how_to_start_some(start):
    there = start()
    async with SandboxVLM() as vlm:
        config = settings(vlm, cluster=there.address)
        assert config.cluster is not None
        with pytest.raises(ConfigError, match="has joined .* start some with `dask worker tcp://"):
            async with Session(config, config.cluster, AnswerStore(None), join_s=0.5):
                pass


@pytest.fixture
def other_version(tmp_path: Path) -> Path:
    """A folder with this package in another version."""
    folder = tmp_path / "packages"
    shutil.copytree(ROOT / "vlm_engine", folder / "vlm_engine")
    init = folder / "vlm_engine" / "__init__.py"
    init.write_text(init.read_text().replace(f'"{__version__}"', '"0.0.1"'))
    return folder


BARE = ("worker bare at ", "it has no vlm-engine", "pip install", __version__)
OTHER = ("worker other at ", "it has vlm-engine 0.0.1", "pip install", __version__)


async def test_workers_without_the_right_package_are_named(
    start, videos, alone, other_version, caplog
):
    there = start("w1")
    there.join("bare", **APART)
    there.join("other", **APART, PYTHONPATH=str(other_version))
    async with (
        Client(there.address, asynchronous=True) as client,
        SandboxVLM(Behaviour(slots=8)) as vlm,
    ):
        await client.wait_for_workers(3)
        config = settings(vlm, cluster=there.address)
        async with open_engine(config) as engine:
            results = await asyncio.gather(*map(engine.process_video, videos))
            await soon(lambda: len(warnings(caplog)) == 2)
        assert [*map(as_json, results)] == alone.results
        for name, parts in (("bare", BARE), ("other", OTHER)):
            (warning,) = (one for one in warnings(caplog) if f"worker {name}" in one)
            assert all(part in warning for part in parts), warning

        # They are not harmed.
        assert await client.submit(pow, 2, 5, workers=["bare"], pure=False) == 32
        assert await client.submit(pow, 2, 5, workers=["other"], pure=False) == 32

        there.kill("w1")
        async with asyncio.timeout(30):
            while len(await client.nthreads()) > 2:
                await asyncio.sleep(0.05)
        with pytest.raises(ConfigError) as caught:
            await open_engine(config).initialize()
        assert all(part in str(caught.value) for part in (*BARE, *OTHER))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was warned of."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.name.startswith("vlm_engine")
    ]


async def test_a_scheduler_without_the_package_is_told(start, tmp_path):
    there = start(**APART)
    async with SandboxVLM() as vlm:
        with pytest.raises(ConfigError) as caught:
            await open_engine(settings(vlm, cluster=there.address)).initialize()
    assert there.address in str(caught.value)
    assert "has no vlm-engine" in str(caught.value)
    assert "pip install" in str(caught.value)


@pytest.mark.thorough  # tests/cluster/test_check.py waits as long for the same
async def test_an_address_without_a_scheduler_is_told():
    async with SandboxVLM() as vlm:
        with pytest.raises(ConfigError, match="no scheduler answers at tcp://127.0.0.1:1 .*start"):
            await open_engine(settings(vlm, cluster="tcp://127.0.0.1:1")).initialize()


def test_a_script_that_its_workers_would_run_says_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio\n"
        "from vlm_engine.cluster import open_engine\n"
        "from vlm_engine.config_models import EngineConfig\n"
        "model = {'api_base_url': 'http://127.0.0.1:9', 'tag_list': ['Foul']}\n"
        "engine = open_engine(EngineConfig(models={'vlm': model}, cluster='local:1'))\n"
        "asyncio.run(engine.initialize())\n"
    )
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script]
    ended = subprocess.run(
        command, env=there, capture_output=True, text=True, timeout=60, check=False
    )
    *_, last = ended.stderr.splitlines()
    assert "the workers of this machine do not start" in last
    assert last.endswith('`if __name__ == "__main__":`')
