"""Videos and clusters that the tests of clusters share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.videos import VideoSpec, generate
from tests.cluster.clusters import Cluster, as_json, cluster, settings
from tests.engine.engines import TAGS
from vlm_engine import VLMEngine
from vlm_engine.testing import Behaviour, SandboxVLM


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five videos of 20 to 40 seconds."""
    folder = tmp_path_factory.mktemp("videos")
    return [
        str(
            generate(
                VideoSpec(
                    20 + 5 * seed,
                    160,
                    96,
                    frame_rate=5,
                    tags=TAGS,
                    seed=seed,
                    shot_median_s=6,
                    gop_s=2,
                ),
                folder / f"game {seed}.mp4",
            ).path
        )
        for seed in range(5)
    ]


@dataclass(frozen=True)
class Alone:
    """What one process finds in the videos, as JSON, with so many questions."""

    results: list[str]
    questions: int


@pytest.fixture(scope="session")
def alone(videos: list[str]) -> Alone:
    """Tag the videos in this process."""

    async def tagged() -> Alone:
        async with SandboxVLM(Behaviour(slots=8)) as vlm, VLMEngine(settings(vlm)) as engine:
            results = await asyncio.gather(*map(engine.process_video, videos))
        return Alone([*map(as_json, results)], vlm.counters.requests)

    return asyncio.run(tagged())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Start clusters with workers of these names. They end with the test."""
    with ExitStack() as stack:
        yield lambda *workers, **more: stack.enter_context(
            cluster(tmp_path / "cluster", *workers, **more)
        )
