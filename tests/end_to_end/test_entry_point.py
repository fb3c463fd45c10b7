"""The process that Stash starts: when it is ready, what it takes, what it says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.plugin import install

ROOT = Path(__file__).resolve().parents[2]


def start(plugin: Path, sent: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "HAVEN_VLM_DATA_DIR": str(plugin.parent / "data")}
    script = str(plugin / "haven_vlm_connector.py")
    return subprocess.run(
        [sys.executable, script],
        input=sent.encode(),
        capture_output=True,
        timeout=60,
        env=environment,
        check=False,
    )


def connection(**more: object) -> str:
    return json.dumps(
        {
            "server_connection": {
                "Scheme": "http",
                "Host": "127.0.0.1",
                "Port": 1,
                "Dir": "/nowhere",
            },
            **more,
        }
    )


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "server_connection"),
        (connection(args={}), "tag_videos"),
        (connection(args={"mode": "make_coffee"}), "make_coffee"),
        (connection(args=["mode"]), "args"),
        (connection(server_connection={"Dir": 7}), "Dir"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_what_it_cannot_do_is_one_json_object_and_one_error_line(
    tmp_path: Path, sent: str, said: str
) -> None:
    done = start(install(tmp_path / "plugin"), sent)
    assert done.returncode == 1
    assert said in json.loads(done.stdout)["error"]
    assert all(line.startswith(b"\x01e\x02") for line in done.stderr.splitlines())
    assert said.encode() in done.stderr


def test_a_stash_that_is_not_there_is_an_error_with_its_address(tmp_path: Path) -> None:
    done = start(install(tmp_path / "plugin"), connection(args={"mode": "tag_videos"}))
    assert "127.0.0.1:1" in json.loads(done.stdout)["error"]


def test_only_the_standard_library_is_imported_before_stdin_is_read() -> None:
    """So it is ready within a second, and works where nothing is installed yet."""
    traced = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "haven_vlm_connector.py"],
        cwd=ROOT,
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    imported = set(re.findall(r"\| +([\w.]+)$", traced.stderr.decode(), re.MULTILINE))
    assert "haven.setup.bootstrap" in imported
    assert not imported & {"haven.settings", "haven.stash"}
    top_level = {name.split(".")[0] for name in imported}
    assert not top_level & {
        "av",
        "PIL",
        "numpy",
        "aiohttp",
        "pydantic",
        "yaml",
        "stashapi",
        "requests",
        "vlm_engine",
        "haven_vlm_config",
        "haven_media_handler",
    }
    assert json.loads(traced.stdout)["error"]


# --- the Python that Stash finds ---


def old_pythons() -> list[str]:
    versions = sorted(Path.home().glob(".pyenv/versions/*/bin/python"))
    found = [
        str(python)
        for python in versions
        if not python.parts[-3].startswith(("3.11", "3.12", "3.13", "3.14"))
    ]
    return found or [
        path for name in ("python2.7", "python3.6", "python3.9") if (path := shutil.which(name))
    ]


def test_every_older_python_can_read_the_entry_point() -> None:
    """So none of them ends in a SyntaxError: it has nothing that Python 2.7 does not know."""
    text = (ROOT / "haven_vlm_connector.py").read_text(encoding="ascii")
    newer = (
        ast.JoinedStr,
        ast.FunctionDef,
        ast.AnnAssign,
        ast.NamedExpr,
        ast.AsyncFunctionDef,
        ast.Nonlocal,
        ast.Starred,
    )
    nodes = list(ast.walk(ast.parse(text)))
    assert not [node for node in nodes if isinstance(node, newer)]
    assert not [
        node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert not [node for node in nodes if isinstance(node, ast.Raise) and node.cause]


@pytest.mark.parametrize(
    "python",
    old_pythons() or [pytest.param("", marks=pytest.mark.skip(reason="no older Python here"))],
)
def test_an_older_python_is_told_which_one_is_needed(tmp_path: Path, python: str) -> None:
    script = str(install(tmp_path / "plugin") / "haven_vlm_connector.py")
    done = subprocess.run(
        [python, script], input=connection().encode(), capture_output=True, timeout=60, check=False
    )
    told = json.loads(done.stdout)["error"]
    assert told.startswith("The plugin needs Python 3.11 or later; this is ")
    assert python in told and "Python Executable Path" in told
    assert done.stderr.decode().rstrip() == f"\x01e\x02{told}"
    assert done.returncode == 1
    typed = subprocess.run(
        [python, script, "tag", "a.mp4"], capture_output=True, timeout=60, check=False
    )
    assert (typed.returncode, typed.stderr.decode().rstrip()) == (2, told)


@pytest.mark.parametrize("before", ["", "/nowhere"])
def test_nothing_in_stashs_working_directory_is_imported(tmp_path: Path, before: str) -> None:
    """Stash appends to PYTHONPATH: where there was none, an empty part is left, which means the working directory."""
    plugin, stash = install(tmp_path / "plugin"), tmp_path / "stash"
    stash.mkdir()
    for name in ("json", "logging", "requests", "haven_vlm_utility", "haven"):
        (stash / f"{name}.py").write_text("import sys; sys.stderr.write('executed'); sys.exit(9)\n")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{before}:{tmp_path}:",
        "HAVEN_VLM_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [sys.executable, str(plugin / "haven_vlm_connector.py")],
        input=connection(args={"mode": "tag_videos"}).encode(),
        capture_output=True,
        timeout=60,
        env=environment,
        cwd=stash,
        check=False,
    )
    assert b"executed" not in done.stderr
    assert "127.0.0.1:1" in json.loads(done.stdout)["error"]
