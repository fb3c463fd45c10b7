"""Videos and paths that the tests of the engine share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.engine.engines import TAGS


@pytest.fixture(scope="session")
def game(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    """A video of half a minute."""
    spec = VideoSpec(30, 320, 180, tags=TAGS, seed=4, shot_median_s=6, gop_s=4)
    return generate(spec, tmp_path_factory.mktemp("video") / "game.mp4")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    """A video of ten seconds."""
    spec = VideoSpec(10, 320, 180, tags=TAGS, seed=4, shot_median_s=4, gop_s=1)
    return generate(spec, tmp_path_factory.mktemp("clip") / "game.mp4")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"
