"""``vlm-engine serve-sandbox``: an endpoint that needs no model."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from vlm_engine import testing
from vlm_engine.cli import arguments
from vlm_engine.cli.arguments import PROFILES, PURPOSES
from vlm_engine.testing import HOST, Profile
from vlm_engine.types import Purpose

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30


def test_it_serves_until_it_is_interrupted():
    command = [sys.executable, "-m", "vlm_engine", "serve-sandbox"]
    command += ["--profile", "ollama", "--model", "referee:7b", "--unsound", "wrong-model"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            assert first.endswith(" the ways of ollama; unsound: wrong-model\n")
            url = first.split()[0]
            listed = requests.get(f"{url}/models", timeout=PATIENCE_S).json()["data"][0]
            assert (listed["id"], listed["owned_by"]) == ("referee:7b", "library")
            question = {"model": "referee:7b", "messages": [{"role": "user", "content": "Foul?"}]}
            page = f"{url}/chat/completions"
            reply = requests.post(page, json=question, timeout=PATIENCE_S).json()
            assert reply["model"] == "another-vlm"
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


@pytest.mark.skipif(os.name == "nt", reason="there two may listen on one port")
def test_a_port_that_is_taken_is_named(command):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = command("serve-sandbox", "--port", port)
    assert done.code == 2
    assert f"--port {port}: nothing can be served there" in done.err


def test_the_help_knows_every_choice():
    """They are written out there, because to import them takes what the command may not need."""
    assert tuple(str(profile) for profile in Profile) == PROFILES
    assert tuple(testing.UNSOUND) == arguments.UNSOUND
    assert set(PURPOSES) == {str(purpose) for purpose in Purpose}
