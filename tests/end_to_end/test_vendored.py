"""The plugin uses its own engine, whatever else of that name is installed: another plugin's, or a program's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from sandbox.plugin import install

HELP = ("tag", "--help")
DECOY = "raise SystemExit('another vlm_engine was imported')\n"


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return install(tmp_path / "plugins" / "ahavenvlmconnector")


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A folder with another ``vlm_engine``, which ends whatever imports it."""
    return put_decoy(tmp_path / "elsewhere")


def put_decoy(folder: Path) -> Path:
    (folder / "vlm_engine").mkdir(parents=True)
    (folder / "vlm_engine" / "__init__.py").write_text(DECOY)
    (folder / "vlm_engine-9.9.dist-info").mkdir()
    (folder / "vlm_engine-9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: vlm-engine\nVersion: 9.9\n"
    )
    return folder


def run(
    python: str, plugin: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    surroundings = {
        **os.environ,
        "HAVEN_VLM_DATA_DIR": str(plugin.parent.parent / "data"),
        **environment,
    }
    command = [python, str(plugin / "haven_vlm_connector.py"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=surroundings, check=False
    )


def test_the_decoy_would_show(decoy: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import vlm_engine"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(decoy)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "another vlm_engine was imported" in done.stderr


def test_another_engine_on_pythonpath_is_passed_over(plugin: Path, decoy: Path) -> None:
    done = run(sys.executable, plugin, *HELP, PYTHONPATH=str(decoy))
    assert (done.returncode, done.stderr) == (0, "")


def test_another_engine_that_is_installed_is_passed_over(plugin: Path, tmp_path: Path) -> None:
    """In the site-packages of the Python that Stash starts, beside the packages that the plugin needs."""
    environment = tmp_path / "python"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    (packages,) = environment.glob(
        "Lib/site-packages" if os.name == "nt" else "lib/*/site-packages"
    )
    put_decoy(packages)
    (packages / "needed.pth").write_text(str(Path(np.__file__).parents[1]))
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = run(str(python), plugin, *HELP)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_engine_among_packages_that_were_fetched_for_plugins_is_passed_over(
    plugin: Path, tmp_path: Path
) -> None:
    """PythonDepManager keeps one folder for all plugins, and that goes before the Python's own packages."""
    shared = put_decoy(tmp_path / "shared")
    (shared / "haven_tiny_foul.py").touch()
    (shared / "haven_tiny_foul-1.3.0.dist-info").mkdir()
    described = "Metadata-Version: 2.1\nName: haven-tiny-foul\nVersion: 1.3.0\n"
    (shared / "haven_tiny_foul-1.3.0.dist-info" / "METADATA").write_text(described)
    with (plugin / "requirements.txt").open("a") as requirements:
        requirements.write("haven-tiny-foul>=1\n")
    fingerprint = hashlib.sha256(
        (plugin / "requirements.txt").read_bytes() + sys.version.encode()
    ).hexdigest()[:12]
    remembered = tmp_path / "data" / "python" / f"PythonDepManager-{fingerprint}.json"
    remembered.parent.mkdir(parents=True)
    remembered.write_text(json.dumps([str(shared)]))
    done = run(sys.executable, plugin, *HELP)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_task_of_stash_uses_its_own_engine_too(plugin: Path, decoy: Path) -> None:
    sent = json.dumps(
        {
            "server_connection": {"Scheme": "http", "Host": "127.0.0.1", "Port": 1},
            "args": {"mode": "tag_videos"},
        }
    )
    done = subprocess.run(
        [sys.executable, str(plugin / "haven_vlm_connector.py")],
        input=sent,
        env={
            **os.environ,
            "PYTHONPATH": str(decoy),
            "HAVEN_VLM_DATA_DIR": str(plugin.parent.parent / "data"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "127.0.0.1:1" in json.loads(done.stdout)["error"], done.stderr
