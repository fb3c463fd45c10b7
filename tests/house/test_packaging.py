"""The engine as a package of its own: one version, one wheel, and what is in it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

import vlm_engine
from haven.setup.requirements import lock_of, read_lock
from sandbox.plugin import install
from sandbox.videos import VideoSpec, generate
from tools.check_wheels import faults_of_lock
from tools.lock import FILES
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MOST_BYTES = 460_000
ONLY_THE_PLUGIN = {"stashapp-tools"}


def requirements(lines: list[str]) -> set[str]:
    return {line.split("#")[0].strip() for line in lines} - {""}


def test_one_version_everywhere():
    manifest = yaml.safe_load((ROOT / "ahavenvlmconnector.yml").read_text(encoding="utf-8"))
    newest = re.search(
        r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert newest is not None
    assert manifest["version"] == newest[1] == vlm_engine.__version__
    assert "version" in PROJECT["project"]["dynamic"]


def test_the_engine_needs_what_the_plugin_needs_and_no_more():
    plugin = requirements((ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines())
    engine = requirements(PROJECT["project"]["dependencies"])
    assert {re.split(r"[<>=]", line)[0] for line in plugin - engine} == ONLY_THE_PLUGIN
    assert engine < plugin


def test_the_lock_has_a_wheel_for_every_python_and_platform():
    for file, most in zip(FILES, (300, 50), strict=True):
        assert [*faults_of_lock(file)] == []
        lock = lock_of(file).read_text(encoding="utf-8")
        assert lock.count(".whl\n") == lock.count("--hash=sha256:") > most


def test_what_is_in_both_lock_files_has_one_version():
    first, second = ({one.name: one.version for one in read_lock(lock_of(file))} for file in FILES)
    assert first.keys() & second.keys()
    assert all(first[name] == second[name] for name in first.keys() & second.keys())


def test_every_link_of_the_plugin_leads_to_something_in_it(tmp_path):
    plugin = install(tmp_path / "plugin")
    pages = list(plugin.rglob("*.md"))
    assert plugin / "README.md" in pages
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#\s:]+)[)#]", page.read_text(encoding="utf-8"))
    ]
    named = [
        (file, page)
        for file in plugin.rglob("*.py")
        for page in re.findall(r"\bdocs/\w+\.md", file.read_text("utf-8"))
    ]
    lost = [(page, link) for page, link in links if not (page.parent / link).exists()]
    assert not lost + [(file, page) for file, page in named if not (plugin / page).exists()]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("vlm_engine", {"av", "PIL", "numpy", "aiohttp", "pydantic", "yaml"}),
        ("vlm_engine.config.models", {"av", "PIL", "numpy", "aiohttp"}),
        ("vlm_engine.checkup.machine", {"av", "PIL", "numpy", "aiohttp"}),
        ("vlm_engine.engine", {"av", "PIL", "numpy"}),
        ("vlm_engine.cli.running", {"av", "PIL", "numpy", "aiohttp", "pydantic"}),
    ],
)
def test_what_is_heavy_is_imported_when_it_is_needed(module, heavy):
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & heavy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools 77 or later is not installed here")
    copy = tmp_path_factory.mktemp("checkout")
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "requirements.txt",
        "requirements-dev.txt",
    ):
        shutil.copy2(ROOT / name, copy)
    shutil.copytree(
        ROOT / "vlm_engine", copy / "vlm_engine", ignore=shutil.ignore_patterns("__pycache__")
    )
    (copy / "haven").mkdir()
    (copy / "haven" / "__init__.py").touch()
    target = tmp_path_factory.mktemp("wheel")
    pip(
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(target),
        str(copy),
    )
    (built,) = target.glob("*.whl")
    return built


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_is_small_and_holds_the_engine_alone(wheel):
    assert wheel.name == f"vlm_engine-{vlm_engine.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size <= MOST_BYTES
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vlm_engine").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == modules | {
        "vlm_engine/py.typed"
    }


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's programs, into which the wheel is installed; what it needs is
    borrowed from here.
    """
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    (packages,) = environment.glob(
        "Lib/site-packages" if os.name == "nt" else "lib/*/site-packages"
    )
    (packages / "borrowed.pth").write_text(str(Path(np.__file__).parents[1]))
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    pip(
        "--python",
        str(next(programs.glob("python*"))),
        "install",
        "--no-deps",
        "--no-index",
        str(wheel),
    )
    return programs


def test_the_installed_program_tags_a_video(installed, tmp_path):
    spec = VideoSpec(
        duration_s=20,
        width=320,
        height=180,
        tags=("Foul", "Turnover", "Goal"),
        seed=3,
        shot_median_s=5,
    )
    video = generate(spec, tmp_path / "game.mp4")
    with running(SandboxVLM(Behaviour(slots=4))) as vlm:
        command = [
            "vlm-engine",
            "tag",
            str(video.path),
            "--endpoint",
            vlm.url,
            "--tags",
            ",".join(spec.tags),
        ]
        done = in_place(installed, tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert {row.split("  ")[1] for row in done.stdout.splitlines()[2:]} == {
        tag for tag, spans in video.truth.items() if spans
    }


def test_the_installed_engine_is_the_one_in_the_wheel_and_typed(installed, tmp_path):
    code = (
        "import importlib.metadata, importlib.resources, vlm_engine;"
        "print(vlm_engine.__file__, vlm_engine.__version__, "
        "importlib.metadata.version('vlm-engine'),"
        "importlib.resources.files('vlm_engine').joinpath('py.typed').is_file())"
    )
    where, version, known, typed = in_place(
        installed, tmp_path, "python", "-c", code
    ).stdout.split()
    assert Path(where).is_relative_to(installed.parent)
    assert (version, known, typed) == (vlm_engine.__version__, vlm_engine.__version__, "True")
    assert in_place(installed, tmp_path, "vlm-engine", "--version").stdout.split() == [
        "vlm-engine",
        version,
    ]


def in_place(
    programs: Path, folder: Path, program: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["VLM_ENGINE_DATA_DIR"] = str(folder / "data")
    command = [str(programs / program), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
