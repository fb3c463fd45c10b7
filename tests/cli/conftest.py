"""What the tests of ``vlm-engine`` share: an endpoint, media that it can read, and the command run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine.cli import main
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.testing.threads import running

TAGS = ("Foul", "Turnover", "Goal")


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=4))) as server:
        yield server


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Runs ``vlm-engine`` with these arguments, its data in a folder of the test's."""
    monkeypatch.setenv("VLM_ENGINE_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str | Path) -> Done:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = int(str(error.code))
        written = capsys.readouterr()
        return Done(code, written.out, written.err)

    return run


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    """A short game."""
    spec = VideoSpec(duration_s=20, width=320, height=180, tags=TAGS, seed=3, shot_median_s=5)
    return generate(spec, tmp_path_factory.mktemp("media") / "game.mp4")


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of a foul."""
    path = tmp_path_factory.mktemp("photos") / "foul.jpg"
    glyphs.picture(["Foul"], 640, 360, frame_number=7).save(path, quality=90)
    return path
