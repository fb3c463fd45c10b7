"""docs/cluster.md is true: its commands run as printed, with its files, on real processes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from haven.settings.settings import Settings
from sandbox.snippets import run_program, snippets, write_files
from sandbox.videos import VideoSpec, generate
from vlm_engine import __version__
from vlm_engine.config_models import ClusterConfig, EngineConfig
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cluster.md"
TEXT = PAGE.read_text(encoding="utf-8")
TAGS = ("Foul", "Turnover", "Goal")
BLOCKS = snippets(PAGE)
FILES = [block for block in BLOCKS if block.file_name]
# Each line is a command: none is folded.
COMMANDS = [block.text.splitlines() for block in BLOCKS if block.language == "bash"]
HERE, QUICK, HOME, RACK, CLOUD, CERTIFICATES = COMMANDS
ENDPOINTS = (
    *("localhost:1234", "192.168.1.20:1234", "gateway:4000", "models.internal:8000"),
    "192.168.1.20:1234",
)
HOSTS = ("tcp://nas:8786", "tcp://head:8786", "tls://scheduler.internal:8786")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the videos that the page speaks of."""
    folder = tmp_path_factory.mktemp("media") / "videos"
    folder.mkdir()
    spec = VideoSpec(20, 160, 96, frame_rate=5, tags=TAGS, seed=4, shot_median_s=6, gop_s=2)
    generate(spec, folder / "game.mp4").path.with_suffix(".mp4.truth.json").unlink(missing_ok=True)
    shutil.copyfile(folder / "game.mp4", folder / "training.mp4")
    return folder


@dataclass
class Machines:
    """The machines of the page, all of which are this one. Commands run in ``place``."""

    place: Path
    port: int
    names: Mapping[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, line: str) -> str:
        """Run a command to its end and return what it prints, or start one that does not end."""
        program, *arguments = shlex.split(self.here(line))
        if program == "dask":
            self._start(*arguments)
            return ""
        is_ours = program == "vlm-engine"
        start = [sys.executable, "-m", "vlm_engine"] if is_ours else [program]
        done = subprocess.run(
            [*start, *arguments],
            cwd=self.place,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\n{(self.place / 'log.txt').read_text()}"
        assert not is_ours or not done.stderr
        return done.stdout

    def here(self, text: str) -> str:
        """Return a text of the page with the names and folders that there are."""
        for printed, used in self.names.items():
            text = text.replace(printed, used)
        return text

    def _start(self, kind: str, *arguments: str) -> None:
        apart = {
            "scheduler": ["--host", "127.0.0.1", "--port", str(self.port)],
            "worker": ["--local-directory", str(self.place)],
        }
        with (self.place / "log.txt").open("ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
            self.started.append(
                subprocess.Popen(
                    [*command, *apart[kind]],
                    cwd=self.place,
                    env=self._environment(),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _environment(self) -> dict[str, str]:
        data = {"PYTHONPATH": str(ROOT), "VLM_ENGINE_DATA_DIR": str(self.place)}
        return {**os.environ, **data, "LITELLM_KEY": "a-key-of-the-test", "MODELS_KEY": "another"}

    def stop(self) -> None:
        """End everything that was started."""
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def machines(media: Path, tmp_path: Path) -> Iterator[Machines]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("videos", "mounted"):
        (tmp_path / name).symlink_to(media)
    models = ("qwen3-vl-8b-instruct", "some-vision-model")
    with running(SandboxVLM(Behaviour(slots=16, models=models))) as vlm:
        url = vlm.url.removesuffix("/v1")
        names = {f"http://{host}": url for host in ENDPOINTS}
        names |= {host: f"{host[:3]}://127.0.0.1:{port}" for host in HOSTS}
        names |= {"/volume1/video": str(media), "/mnt/video": str(tmp_path / "mounted")}
        there = Machines(tmp_path, port, names | {"/mnt/bucket": str(tmp_path / "mounted")})
        write_files([block.at(there.names) for block in FILES], tmp_path)
        try:
            yield there
        finally:
            there.stop()


def test_the_command_for_one_machine_runs_as_printed(machines):
    (line,) = HERE
    assert machines.run(line).count(" frames judged with ") == 2


def test_the_quick_start_and_the_program_run_as_printed(machines, monkeypatch, capsys):
    check_commands(machines, QUICK)
    (program,) = [block for block in BLOCKS if block.is_program]
    monkeypatch.chdir(machines.place)
    run_program(program.at(machines.names))
    assert capsys.readouterr().out.count("'Foul': [") == 2


@pytest.mark.thorough
@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(HOME, id="home"),
        pytest.param(RACK, id="rack"),
        pytest.param(
            [*CERTIFICATES, *CLOUD],
            id="cloud",
            marks=pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl"),
        ),
    ],
)
def test_the_commands_of_a_set_up_run_in_their_order(machines, commands):
    check_commands(machines, commands)


def check_commands(machines: Machines, commands: list[str]) -> None:
    said = [machines.run(line) for line in commands]
    assert said[-1].count(" frames judged with ") == 2
    assert "Foul" in said[-1]


def test_the_files_and_the_setting_of_the_plugin_are_taken(machines, tmp_path):
    assert [block.file_name for block in FILES] == [
        "paths.yaml",
        "home.yaml",
        "rack.yaml",
        "cloud.yaml",
    ]
    for block in FILES:
        assert EngineConfig.from_yaml(tmp_path / block.file_name).cluster is not None
    cluster = EngineConfig.from_yaml(tmp_path / "paths.yaml").cluster
    assert cluster.paths_of("attic") != cluster.paths_of("cellar") == cluster.paths["*"]
    (setting,) = [block for block in BLOCKS if block.text.startswith("CLUSTER:")]
    (tmp_path / "haven_vlm_config.local.yaml").write_text(setting.text, encoding="utf-8")
    assert Settings.load(folder=tmp_path).engine.cluster == ClusterConfig(
        address="tcp://nas:8786", paths={"attic": {"/data": "/mnt/video"}}
    )


def test_the_page_names_every_setting_and_this_version():
    keys = {
        name
        for row in re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert set(ClusterConfig.model_fields) <= keys
    assert f'"vlm-engine[cluster]=={__version__}"' in TEXT


def test_messages_that_are_quoted_exist():
    events = TEXT.partition("## What happens when")[2].partition("## Inside")[0]
    messages = [text for text in re.findall(r"`([^`]+)`", events) if " " in text]
    assert len(messages) > 8
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "vlm_engine" / "cluster").glob("*.py")
    )
    code = re.sub(r'"\n\s*f?"', "", sources)
    assert [message for message in messages if message not in code] == []
