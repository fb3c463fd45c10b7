"""A batch of calls as Stash runs it: a process with JSON on its standard input."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from haven.settings.overlay import read_overlay, write_overlay
from tests.pages.conftest import OPERATION, PLUGIN_ID

PYTHON = (sys.executable, "-c")
STATUS = {"op": "status"}
KILLED_AFTER_S = [
    0.3,
    *(pytest.param(0.03 * step, marks=pytest.mark.thorough) for step in range(1, 60)),
]


def test_a_batch_is_answered_in_order_and_faults_stay_apart(pages):
    pages.stash.library.add_scene(title="A", tags=["VLM_TagMe"])
    batch = pages.send(calls=[{"op": "coffee"}, STATUS, {**STATUS, "id": "1"}])
    assert (batch["api"], batch["ok"]) == (1, True)
    unknown, status, extra = batch["replies"]
    assert unknown == {
        "ok": False,
        "code": "bad_request",
        "message": "calls[0].op: there is no such operation",
    }
    assert status["value"]["queued"] == {"scenes": 1, "images": 0}
    assert extra["message"] == "calls[2].id: there is no such field"


@pytest.mark.parametrize("calls", [None, [], {}, "status", [STATUS] * 33])
def test_a_batch_without_calls_is_refused(pages, calls):
    reply = pages.send(calls=calls)
    assert (reply["ok"], reply["code"]) == (False, "bad_request")


def test_a_page_of_another_version_is_told_to_load_again(pages):
    reply = pages.send(api=2, calls=[STATUS])
    assert (reply["ok"], reply["code"]) == (False, "version")


def test_a_damaged_plugin_answers_plainly(pages):
    (pages.plugin / "haven" / "pages" / "status.py").unlink()
    (reply,) = pages.send(calls=[STATUS])["replies"]
    assert reply["code"] == "updating"
    (pages.plugin / "haven" / "pages" / "dispatch.py").unlink()
    assert pages.send(calls=[STATUS])["code"] == "updating"


def test_missing_packages_are_not_installed_by_a_page(pages):
    with (pages.plugin / "requirements.txt").open("a") as file:
        file.write("haven-tiny-foul>=1\n")
    reply = pages.send(calls=[STATUS])
    assert (reply["ok"], reply["code"]) == (False, "packages")
    assert "Check Set-up" in reply["message"]
    assert not list(pages.data_dir.glob("python/*"))


def test_a_process_ends_when_its_page_is_gone(pages):
    (pages.plugin / "haven" / "pages" / "status.py").write_text("import time; time.sleep(60)\n")
    body = {
        "query": OPERATION % json.dumps(PLUGIN_ID),
        "variables": {"args": {"mode": "pages", "api": 1, "calls": [STATUS]}},
    }
    connection = http.client.HTTPConnection("127.0.0.1", pages.stash.port)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/graphql", json.dumps(body), headers)
    operations = pages.stash.plugins._operations
    wait_for(lambda: bool(operations))
    connection.close()
    wait_for(lambda: not operations)


def wait_for(is_so):
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def change(value, revision=0):
    changes = [{"name": "VIDEO_THRESHOLD", "value": str(value)}]
    return {"op": "change_settings", "revision": revision, "changes": changes}


def test_of_two_processes_one_changes_the_settings(pages):
    with ThreadPoolExecutor(2) as browsers:
        batches = browsers.map(lambda value: pages.send(calls=[change(value)]), (0.6, 0.7))
    codes = [batch["replies"][0].get("code", "done") for batch in batches]
    assert sorted(codes) == ["changed", "done"]


@pytest.mark.parametrize("after_s", KILLED_AFTER_S)
def test_a_kill_leaves_the_settings_as_before_or_after(pages, after_s):
    pages.data_dir.mkdir()
    write_overlay(pages.data_dir, {"VIDEO_THRESHOLD": 0.4, "TAG_LIST": ["Foul"]}, 0)
    connection = {"Host": "127.0.0.1", "Port": pages.stash.port, "Dir": str(pages.data_dir.parent)}
    arguments = {"mode": "pages", "api": 1, "calls": [change(0.6, revision=1)]}
    process = subprocess.Popen(
        [sys.executable, str(pages.plugin / "haven_vlm_connector.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process.stdin.write(json.dumps({"server_connection": connection, "args": arguments}).encode())
    process.stdin.close()
    time.sleep(after_s)
    process.kill()
    process.wait()
    found = read_overlay(pages.data_dir)
    assert (found.revision, found.settings["VIDEO_THRESHOLD"]) in {(1, 0.4), (2, 0.6)}
    assert found.settings["TAG_LIST"] == ["Foul"]
    reply = pages.send(calls=[change(0.7, revision=found.revision)])["replies"][0]
    assert reply["value"]["revision"] == found.revision + 1


def test_a_state_needs_no_large_package(pages):
    """So that it is there at once: each call is a process of its own."""
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from haven.pages.context import PageContext\n"
        "from haven.pages.dispatch import answer\n"
        f"connection = {{'Host': '127.0.0.1', 'Port': {pages.stash.port}}}\n"
        f"with PageContext(connection, Path({str(pages.plugin.parent)!r}), None) as context:\n"
        "    batch = answer({'api': 1, 'calls': [{'op': 'status'}]}, context)\n"
        "json.dump([batch['replies'][0]['ok'], sorted(sys.modules)], sys.stdout)\n"
    )
    done = subprocess.run(
        [*PYTHON, program], cwd=pages.plugin, capture_output=True, text=True, check=True
    )
    has_worked, modules = json.loads(done.stdout)
    assert has_worked
    assert not {"numpy", "av", "aiohttp", "pydantic", "PIL", "yaml"} & set(modules)
