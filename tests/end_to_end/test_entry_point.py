"""The process that Stash starts: when it is ready, what it takes, what it says."""

from __future__ import annotations

import json
import os
import re
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
        [sys.executable, script], input=sent.encode(), capture_output=True, timeout=60, env=environment, check=False
    )


def connection(**more: object) -> str:
    return json.dumps({"server_connection": {"Scheme": "http", "Host": "127.0.0.1", "Port": 1, "Dir": "/nowhere"}, **more})


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "server_connection"),
        (connection(args={}), "tag_videos"),
        (connection(args={"mode": "make_coffee"}), "make_coffee"),
    ],
)
def test_what_it_cannot_do_is_one_json_object_and_one_error_line(tmp_path: Path, sent: str, said: str) -> None:
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
    assert "haven_vlm_utility" in imported
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
        "haven_tasks",
    }
    assert json.loads(traced.stdout)["error"]
