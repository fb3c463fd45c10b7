"""The process that Stash starts: when it is ready, what it takes, whose packages it imports."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from haven.setup import INCOMPLETE
from haven.setup.requirements import fingerprint
from sandbox.plugin import install

ROOT = Path(__file__).resolve().parents[2]
HELP = ("tag", "--help")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return install(tmp_path / "plugins" / "ahavenvlmconnector")


def run(
    plugin: Path,
    *arguments: str,
    sent: str = "",
    python: str = sys.executable,
    cwd: Path | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Runs the entry point to its end."""
    return subprocess.run(
        [python, str(plugin / "haven_vlm_connector.py"), *arguments],
        input=sent,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "HAVEN_VLM_DATA_DIR": str(plugin.parents[1] / "data"), **environment},
        cwd=cwd,
        check=False,
    )


def request(**changes: object) -> str:
    server = {"Scheme": "http", "Host": "127.0.0.1", "Port": 1, "Dir": "/nowhere"}
    return json.dumps({"server_connection": server, "args": {"mode": "tag_videos"}, **changes})


REFUSED = {
    "": "JSON",
    "{": "JSON",
    "[]": "server_connection",
    request(args={}): "tag_videos",
    request(args={"mode": "make_coffee"}): "make_coffee",
    request(args=["mode"]): "args",
    request(server_connection={"Dir": 7}): "Dir",
    "[" * 100_000: "JSON",
    request(): "127.0.0.1:1",  # no Stash is there
}


def test_a_refusal_is_one_json_object_and_one_error_line(plugin):
    """Each in a run of its own; all in one process."""
    program = (
        "import json, sys; from haven.tasks.entry import run_for_stash\n"
        "for sent in json.load(sys.stdin):\n"
        "    code = run_for_stash(sent.encode())\n"
        "    print(f'\\n{code}', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([*REFUSED]),
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "HAVEN_VLM_DATA_DIR": str(plugin.parents[1] / "data")},
        cwd=plugin,
        check=False,
    )
    answers = done.stdout.strip().splitlines()
    errors = [line for line in done.stderr.splitlines() if line.startswith("\x01e\x02")]
    assert answers[1::2] == ["1"] * len(REFUSED)
    for said, answer, error in zip(REFUSED.values(), answers[::2], errors, strict=True):
        assert said in json.loads(answer)["error"]
        assert said in error


def traced(*arguments: str) -> tuple[set[str], str]:
    """Run a Python. Return the modules that it imports, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE)), done.stdout


def test_only_the_standard_library_is_imported_before_stdin():
    """So it is ready within a second, and works where nothing is installed yet."""
    imported, said = traced("-S", "haven_vlm_connector.py")
    assert "haven.setup.bootstrap" in imported
    assert not imported & {"haven.settings", "haven.stash"}
    packages = {"av", "PIL", "numpy", "aiohttp", "pydantic", "yaml", "stashapi", "requests"}
    plugin = {"vlm_engine", "haven_vlm_config", "haven_media_handler"}
    assert not {name.split(".")[0] for name in imported} & (packages | plugin)
    assert json.loads(said)["error"]


def test_the_engine_is_imported_only_for_work():
    """It takes longer than all that a task without work does."""
    imported, _ = traced("-c", "import haven.tasks.stash_run")
    assert {"haven.tasks.task_list", "haven.tagger", "requests"} <= imported
    assert not imported & {"av", "PIL", "numpy", "aiohttp", "haven.pages.contract"}


# --- the Python that Stash finds ---


def old_pythons() -> list[str]:
    new = ("3.11", "3.12", "3.13", "3.14")
    versions = sorted(Path.home().glob(".pyenv/versions/*/bin/python"))
    found = [str(python) for python in versions if not python.parts[-3].startswith(new)]
    return found or [
        path for name in ("python2.7", "python3.6", "python3.9") if (path := shutil.which(name))
    ]


def test_every_older_python_can_read_the_entry_point():
    """So none of them ends in a SyntaxError: it has nothing that Python 2.7 does not know."""
    nodes = list(ast.walk(ast.parse((ROOT / "haven_vlm_connector.py").read_text("ascii"))))
    newer = (
        ast.JoinedStr,
        ast.FunctionDef,
        ast.AnnAssign,
        ast.NamedExpr,
        ast.AsyncFunctionDef,
        ast.Nonlocal,
        ast.Starred,
    )
    assert not [node for node in nodes if isinstance(node, newer)]
    assert not [
        node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert not [node for node in nodes if isinstance(node, ast.Raise) and node.cause]


@pytest.mark.parametrize(
    "python",
    old_pythons() or [pytest.param("", marks=pytest.mark.skip(reason="no older Python here"))],
)
def test_an_older_python_says_which_one_is_needed(plugin, python):
    done = run(plugin, sent=request(), python=python)
    error = json.loads(done.stdout)["error"]
    assert error.startswith("The plugin needs Python 3.11 or later; this is ")
    assert python in error and "Python Executable Path" in error
    assert (done.returncode, done.stderr.rstrip()) == (1, f"\x01e\x02{error}")
    typed = run(plugin, "tag", "a.mp4", python=python)
    assert (typed.returncode, typed.stderr.rstrip()) == (2, error)


@pytest.mark.parametrize("part", ["_ssl", "_sqlite3", "_ctypes", "asyncio"])
def test_an_incomplete_python_says_what_it_lacks(plugin, tmp_path, part):
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{part!r}] = None\n")
    done = run(plugin, sent=request(), PYTHONPATH=str(tmp_path))
    error = json.loads(done.stdout)["error"]
    assert f"is not complete: it lacks {part.lstrip('_')}. Install all of it" in error
    assert (done.returncode, done.stderr.rstrip()) == (1, f"\x01e\x02{error}")
    typed = run(plugin, *HELP, PYTHONPATH=str(tmp_path))
    assert (typed.returncode, typed.stderr.rstrip()) == (2, error)


# --- whose modules are imported ---


@pytest.mark.parametrize("before", ["", "/nowhere"])
def test_nothing_in_stashs_working_directory_is_imported(plugin, tmp_path, before):
    """Stash appends to PYTHONPATH; an empty part of it means the working directory."""
    stash = tmp_path / "stash"
    stash.mkdir()
    for name in ("json", "logging", "requests", "haven_vlm_utility", "haven"):
        (stash / f"{name}.py").write_text("import sys; sys.stderr.write('executed'); sys.exit(9)\n")
    done = run(plugin, sent=request(), cwd=stash, PYTHONPATH=f"{before}:{tmp_path}:")
    assert "executed" not in done.stderr
    assert "127.0.0.1:1" in json.loads(done.stdout)["error"]


def test_a_python_that_leaves_the_scripts_folder_out_runs_it(plugin):
    done = run(plugin, *HELP, PYTHONSAFEPATH="1")
    assert (done.returncode, done.stderr) == (0, "")


def decoy(folder: Path) -> Path:
    """Another ``vlm_engine`` in a folder, which ends whatever imports it."""
    (folder / "vlm_engine").mkdir(parents=True)
    (folder / "vlm_engine" / "__init__.py").write_text("raise SystemExit('another vlm_engine')\n")
    describe(folder, "vlm-engine", "9.9")
    return folder


def describe(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(text)


@pytest.mark.parametrize(("arguments", "sent"), [(HELP, ""), ((), request())])
def test_another_engine_on_pythonpath_is_not_imported(plugin, tmp_path, arguments, sent):
    done = run(plugin, *arguments, sent=sent, PYTHONPATH=str(decoy(tmp_path / "elsewhere")))
    assert "another vlm_engine" not in done.stderr
    if sent:
        assert "127.0.0.1:1" in json.loads(done.stdout)["error"], done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_another_installed_engine_is_not_imported(plugin, tmp_path):
    """In the site-packages of the Python that Stash starts, beside the plugin's packages."""
    environment = tmp_path / "python"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    where = "Lib/site-packages" if os.name == "nt" else "lib/*/site-packages"
    (packages,) = environment.glob(where)
    decoy(packages)
    (packages / "needed.pth").write_text(str(Path(np.__file__).parents[1]))
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = run(plugin, *HELP, python=str(python))
    assert (done.returncode, done.stderr) == (0, "")


def test_another_engine_of_a_dependency_manager_is_not_imported(plugin, tmp_path):
    """PythonDepManager has one folder for all plugins, searched before the Python's packages."""
    shared = decoy(tmp_path / "shared")
    (shared / "haven_tiny_foul.py").touch()
    describe(shared, "haven-tiny-foul", "1.3.0")
    requirements = plugin / "requirements.txt"
    with requirements.open("a") as file:
        file.write("haven-tiny-foul>=1\n")
    python = hashlib.sha256(sys.version.encode()).hexdigest()[:4]
    name = f"PythonDepManager-{fingerprint(requirements)}-{python}.json"
    remembered = tmp_path / "data" / "python" / name
    remembered.parent.mkdir(parents=True)
    remembered.write_text(json.dumps([str(shared)]))
    done = run(plugin, *HELP)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("gone", ["haven/tasks/stash_run.py", "haven/tasks/entry.py", "vlm_engine"])
@pytest.mark.parametrize("mode", ["tag_videos", "pages"])
def test_a_half_replaced_tree_says_that_it_is_being_updated(plugin, gone, mode):
    lost = plugin / gone
    lost.rename(lost.with_name("away"))
    done = run(plugin, sent=request(args={"mode": mode, "api": 1, "calls": [{"op": "runs"}]}))
    if mode == "pages" and gone == "haven/tasks/stash_run.py":
        assert json.loads(done.stdout)["output"]["ok"]  # no page needs it
        return
    answer = json.loads(done.stdout)
    if "output" in answer:
        assert answer["output"]["code"] == "updating"
    message = answer.get("error") or answer["output"]["message"]
    assert message.startswith(INCOMPLETE)
    assert mode == "tag_videos" or done.returncode == 0  # Stash drops what a failed one says
    assert f"\x01e\x02{INCOMPLETE}" in done.stderr or mode == "pages"
