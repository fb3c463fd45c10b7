"""The pages are true."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from haven.settings.settings import Settings
from sandbox.videos import VideoSpec, generate
from tools import draw_pages
from tools.draw_search import picture
from tools.generated_docs import PAGES, rewritten
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL_PAGES = (*PAGES, "CONTRIBUTING.md", "CHANGELOG.md")
DEFAULT_ADDRESS = "http://localhost:1234"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that holds ``game.mp4``."""
    spec = VideoSpec(
        duration_s=20,
        width=320,
        height=180,
        tags=("Foul", "Turnover", "Goal"),
        seed=3,
        shot_median_s=5,
    )
    generate(spec, tmp_path / "game.mp4")
    return tmp_path


@pytest.fixture
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=4))) as server:
        yield server


def run(command: list[str], place: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HAVEN_VLM_DATA_DIR": str(place / "data")}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_generated_parts_are_up_to_date(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert rewritten(text) == text, "run `make docs`"


def test_the_program_in_the_readme_runs_as_printed(place, vlm):
    (program,) = blocks("python")
    (place / "program.py").write_text(
        program.replace(DEFAULT_ADDRESS, vlm.url.removesuffix("/v1")), encoding="utf-8"
    )
    said = run([sys.executable, "program.py"], place)
    assert "Foul [(" in said
    assert "frames_answered" in said


def test_the_command_in_the_readme_runs_as_printed(place, vlm):
    (line,) = blocks("bash")
    assert f"{DEFAULT_ADDRESS}/v1" in line
    python, script, *arguments = shlex.split(line.replace(f"{DEFAULT_ADDRESS}/v1", vlm.url))
    assert python == "python"
    assert "Foul" in run([sys.executable, str(ROOT / script), *arguments], place)


def test_the_settings_in_the_readme_are_taken(tmp_path, monkeypatch):
    (written,) = blocks("yaml")
    (tmp_path / "haven_vlm_config.local.yaml").write_text(written, encoding="utf-8")
    monkeypatch.setenv("MODELS_KEY", "a-key-of-some-length")
    engine = Settings.load(folder=tmp_path).engine
    endpoints = engine.models["vlm"].endpoints()
    assert [endpoint.name for endpoint in endpoints] == [
        "gaming PC",
        "old server",
        "cloud",
    ]
    assert endpoints[2].is_fallback
    assert engine.category_config["tags"]["Foul"].renamed == "Personal foul"


def test_the_picture_of_a_search_can_be_drawn_and_is_there():
    drawn = picture()
    ElementTree.fromstring(drawn)
    drawing = (ROOT / "docs" / "search.svg").read_text(encoding="utf-8")
    for text in (drawn, drawing):
        assert text.count("<circle") > 100
        assert "Foul" in text


def test_pictures_of_the_pages_are_three_small_ones():
    sizes = {path.stem: path.stat().st_size for path in draw_pages.SHOWN.iterdir()}
    assert sorted(sizes) == sorted(draw_pages.PICTURES)
    assert max(sizes.values()) <= draw_pages.MOST_BYTES
    shown = "".join((ROOT / page).read_text(encoding="utf-8") for page in ALL_PAGES)
    assert [name for name in sizes if f"pictures/{name}.webp" not in shown] == []


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("page", ALL_PAGES)
def test_commands_and_paths_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert target in targets, target
    for named in re.findall(r"`((?:tests|haven|vlm_engine|sandbox|docs)/[\w./-]*)`", text):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize("page", ALL_PAGES)
def test_tests_that_are_named_exist(page):
    for path, name in re.findall(
        r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / page).read_text(encoding="utf-8")
    ):
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_every_message_that_is_explained_exists():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert len(messages) > 20
    sources = [path for folder in ("vlm_engine", "haven") for path in (ROOT / folder).rglob("*.py")]
    sources.append(ROOT / "haven_vlm_connector.py")
    lines = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    code = re.sub(r'"\n\s*f?"', "", lines)  # a message may go on in the next line
    for message in messages:
        assert message in code, message
