"""An endpoint, media that it can read, and the two command lines, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from haven.tasks.command_line import run_command
from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine.cli import main
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.testing.threads import running

TAGS = ("Foul", "Turnover", "Goal")


@dataclass(frozen=True)
class Done:
    """The exit code of a command, and its output."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]
CHECKED = "with test pictures"
"""Among the arguments of ``tag``: endpoints are tested first. Without it tests count requests."""


def at(vlm: SandboxVLM) -> tuple[str, ...]:
    """Return the options that ask ``vlm`` for ``TAGS``."""
    return "--endpoint", vlm.url, "--model", "sandbox-vlm", "--tags", ",".join(TAGS)


@pytest.fixture
def engine_yaml(tmp_path: Path) -> Callable[..., Path]:
    """Return a configuration file with one model of these settings."""

    def write(**model: object) -> Path:
        (tmp_path / "engine.yaml").write_text(json.dumps({"models": {"vlm": model}}))
        return tmp_path / "engine.yaml"

    return write


@pytest.fixture
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=4))) as server:
        yield server


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Run ``vlm-engine`` with these arguments, its data in a folder of the test's."""
    monkeypatch.setenv("VLM_ENGINE_DATA_DIR", str(tmp_path / "data"))
    return partial(_done, capsys, main)


@pytest.fixture(params=["vlm-engine", "haven_vlm_connector.py"])
def tag(
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    command: Command,
    tmp_path: Path,
) -> Command:
    """Run ``tag`` with these arguments, of the engine and of the plugin."""
    if request.param == "vlm-engine":
        return partial(command, "tag")
    store = tmp_path / "data" / "answers.sqlite"
    store.parent.mkdir()
    return partial(_done, capsys, partial(run_command, store_path=store), "tag")


def _done(
    capsys: pytest.CaptureFixture[str],
    program: Callable[[list[str]], int],
    *arguments: str | Path | float,
) -> Done:
    unchecked = ["--no-check"] if arguments[:1] == ("tag",) and CHECKED not in arguments else []
    given = [str(argument) for argument in arguments if argument != CHECKED]
    try:
        code = program([*given[:1], *unchecked, *given[1:]])
    except SystemExit as error:
        code = int(str(error.code))
    written = capsys.readouterr()
    return Done(code, written.out, written.err)


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
