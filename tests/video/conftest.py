"""Videos that several tests read and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.videos import VideoSpec, generate
from tests.video.numbered import HEIGHT, RATE, WIDTH, remux
from vlm_engine.types import VideoInfo
from vlm_engine.video import probe


@pytest.fixture(scope="session")
def match(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    """An MP4 of 4 s with a key frame each second."""
    spec = VideoSpec(4, WIDTH, HEIGHT, RATE, ("Goal",), seed=1, gop_s=1)
    return probe(generate(spec, tmp_path_factory.mktemp("videos") / "match.mp4").path)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 of 6 s with its index in front, as one for streaming has it."""
    folder = tmp_path_factory.mktemp("videos")
    plain = generate(VideoSpec(6, WIDTH, HEIGHT, RATE, seed=3, gop_s=2), folder / "plain.mp4").path
    return remux(plain, folder / "front.mp4", movflags="faststart")
