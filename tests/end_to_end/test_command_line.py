"""The plugin's command line as a user types it, in the installed plugin. ``tests/cli`` has what
both command lines do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.plugin import install
from tests.end_to_end.conftest import TAGS
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running


@pytest.fixture
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=4))) as server:
        yield server


def run(plugin: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(plugin / "haven_vlm_connector.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "HAVEN_VLM_DATA_DIR": str(plugin.parent / "data")},
        check=False,
    )


def found(stdout: str) -> set[str]:
    return {row.split("  ")[1] for row in stdout.splitlines()[2:]}


def test_options_override_the_settings_of_the_plugin(vlm, videos, tmp_path):
    video = videos[0]
    settings = {
        "ENDPOINTS": [vlm.url],
        "TAG_LIST": list(TAGS),
        "TAG_RULES": {TAGS[0]: {"RenamedTag": "the first"}},
        # Paths on the command line are those of this machine: rules for Stash's do not apply.
        "PATH_MUTATION": {str(Path(video.path).parent): "/mnt/elsewhere"},
    }
    plugin = install(tmp_path / "plug in" / "connector", settings)
    done = run(plugin, "tag", video.path)
    assert (done.returncode, done.stderr) == (0, "")
    present = {name for name, spans in video.truth.items() if spans}
    assert found(done.stdout) == {"the first" if tag == TAGS[0] else tag for tag in present}
    assert list((tmp_path / "plug in" / "data").iterdir())
    calls = vlm.counters.answered
    fewer = run(plugin, "tag", video.path, "--tags", TAGS[1])
    assert found(fewer.stdout) <= {TAGS[1]}
    missing = run(plugin, "tag", "missing.png")
    assert (missing.returncode, missing.stderr) == (1, "missing.png: no such file\n")
    assert vlm.counters.answered == calls, "every answer about the video was kept"


def test_a_device_that_cannot_decode_is_named_and_not_needed(vlm, videos, tmp_path):
    plugin = install(tmp_path / "connector", {"VIDEO_DECODING_DEVICE": "abacus"})
    options = ("--endpoint", vlm.url, "--tags", ",".join(TAGS))
    done = run(plugin, "tag", videos[0].path, *options)
    assert done.returncode == 0, done.stderr
    assert (
        "Finale.mp4: decoded by the processor: this FFmpeg knows no device 'abacus'" in done.stderr
    )
    assert found(done.stdout) == {name for name, spans in videos[0].truth.items() if spans}


@pytest.mark.parametrize(
    ("written", "arguments", "message"),
    [
        ({"TAG_LST": ["Foul"]}, [], "TAG_LST: there is no such setting; did you mean TAG_LIST?"),
        ({}, ["--tags", "VLM_TagMe"], "--tags: 'VLM_TagMe' is the name that VLM_TAGME_TAG_NAME"),
    ],
)
def test_a_wrong_setting_or_option_is_named_and_exits_with_2(tmp_path, written, arguments, message):
    done = run(install(tmp_path / "connector", written), "tag", "x.mp4", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_help_explains_exit_codes_and_settings(tmp_path):
    done = run(install(tmp_path / "connector"), "tag", "--help")
    assert done.returncode == 0
    for word in ("--endpoint", "--search-effort", "haven_vlm_config.local.yaml", "exit codes"):
        assert word in done.stdout
