"""The sandbox's Stash runs plugins as a running v0.30.1 does: compared by hand."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash import Credentials, Job, ManifestError, SandboxStash, Status
from sandbox.stash_client import ask
from vlm_engine.testing import running

Write = Callable[..., Path]
MANIFEST: dict[str, Any] = {
    "name": "Referee",
    "description": "Blows the whistle",
    "version": "1.0",
    "exec": ["python", "{pluginDir}/referee.py"],
    "interface": "raw",
    "tasks": [
        {
            "name": "Whistle",
            "description": "Once",
            "defaultArgs": {"mode": "whistle", "times": 3, "loud": True},
        },
        {"name": "Card", "execArgs": ["red", "{pluginDir}/cards"]},
    ],
    "settings": {"b": {"displayName": "Times", "type": "NUMBER"}, "a": None},
}
RECEIVE = "import json, os, sys, time\ngiven = json.load(sys.stdin)\n"
SLEEP = "print('\\x01i\\x02on the field', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
ASK = """
from urllib.request import Request, urlopen
c = given["server_connection"]
url = f"{c['Scheme']}://{c['Host']}:{c['Port']}/graphql"
cookie = c["SessionCookie"]["Name"] + "=" + c["SessionCookie"]["Value"]
headers = {"Content-Type": "application/json", "Cookie": cookie}
document = "{ version { version } }"
with urlopen(Request(url, json.dumps({"query": document}).encode(), headers), timeout=10) as reply:
    print(json.dumps({"output": json.load(reply)}))
"""
CHILD = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
for _ in range(3000):
    if (folder / "go").exists():
        (folder / "gone").touch()
        break
    time.sleep(0.01)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Write:
    """Return a function that writes a plugin's folder: its program, and changes to its manifest."""

    def write(program: str, **changes: Any) -> Path:
        folder = tmp_path / "plugins" / "referee"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "referee.yml").write_text(json.dumps(MANIFEST | changes))
        (folder / "referee.py").write_text(RECEIVE + program)
        return folder

    return write


def run(stash: SandboxStash, folder: Path, task: str | None = "Whistle", **args: Any) -> Job:
    stash.load_plugin(folder)
    return stash.run_task(task, args).wait(30)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(stash: SandboxStash, folder: Path) -> Job:
    """Start a job that says so in its log and goes on."""
    stash.load_plugin(folder)
    job = stash.run_task("Whistle")
    until(lambda: job.log)
    return job


def test_a_task_gets_connection_and_arguments_on_stdin(stash, plugin):
    folder = plugin("print(json.dumps({'output': [given, sys.stdin.read()]}))")
    given, rest = run(stash, folder, mode="card", nested={"a": [1, True]}).output
    connection = given["server_connection"]
    nested = {"a": [1, True]}
    assert given["args"] == {"mode": "card", "times": "3", "loud": "true", "nested": nested}
    address = (connection["Scheme"], connection["Host"], connection["Port"])
    assert address == ("http", "127.0.0.1", stash.port)
    assert (connection["Dir"], connection["PluginDir"]) == (str(stash.config_folder), str(folder))
    assert (connection["SessionCookie"]["Name"], rest) == ("session", "")
    job = run(stash, plugin("print(json.dumps({'output': given['args']}))"), None, mode="x")
    assert (job.output, job.description) == ({"mode": "x"}, "Running plugin task: referee")


def test_the_plugins_environment_is_the_servers(stash, plugin, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    facts = "[os.getcwd(), os.environ['PYTHONPATH'], sys.argv[1:], sys.executable]"
    folder = plugin(f"print(json.dumps({{'output': {facts}}}))")
    cwd, path, arguments, python = run(stash, folder, "Card").output
    assert (Path(cwd).parent, python) == (stash.config_folder, sys.executable)
    assert path == f"/elsewhere{os.pathsep}{folder.parent}"
    assert arguments == ["red", f"{folder}/cards"]


def test_a_plugins_cookie_lets_it_in(plugin):
    with running(SandboxStash(credentials=Credentials("referee", "red card"))) as stash:
        job = run(stash, plugin(ASK))
    assert job.output == {"data": {"version": {"version": "v0.30.1"}}}, job.log


@pytest.mark.parametrize(
    ("program", "output", "error"),
    [
        ("print(json.dumps({'output': 1, 'error': None}))", 1, None),
        ("print(json.dumps({'error': 'no ball'})); sys.exit(3)", None, "no ball"),
        ("print('tweet'); print(json.dumps({'output': 1}))", 'tweet\n{"output": 1}\n', None),
        ("sys.exit(3)", "", "exit status 3"),
        ("import signal; os.kill(os.getpid(), signal.SIGTERM)", "", "signal: 15"),
    ],
)
def test_a_result_never_makes_a_job_fail(stash, plugin, program, output, error):
    job = run(stash, plugin(program))
    assert (job.output, job.error) == (output, error)
    assert (job.status, job.failure) == (Status.FINISHED, None)


def test_stderr_becomes_log_and_progress(stash, plugin):
    lines = [
        "\x01t\x02 a ",
        "\x01d\x02b",
        "\x01i\x02c",
        "\x01w\x02d",
        "\x01e\x02e",
        "bare",
        "\x01z\x02odd",
        "",
        *("\x01p\x02" + progress for progress in ("0.25", "7", "-1", "half")),
    ]
    job = run(stash, plugin(f"for line in {lines!r}: print(line, file=sys.stderr)"))
    assert job.log == [
        *[("trace", "a"), ("debug", "b"), ("info", "c"), ("warning", "d"), ("error", "e")],
        *[("error", "bare"), ("error", "\x01z\x02odd")],
        ("error", "Error parsing progress value 'half'"),
    ]
    assert job.progress == [0.25, 1.0, 0.0]
    bare = run(stash, plugin("print('bare', file=sys.stderr)", errLog="info"))
    assert bare.log == [("info", "bare")]


@pytest.mark.parametrize(("length", "survives"), [(65535, True), (65536, False)])
def test_a_line_of_64_kib_ends_the_log_and_closes_the_pipe(stash, plugin, length, survives):
    program = f"""
os.write(2, b"first\\n" + b"x" * {length} + b"\\n")
try:
    for _ in range(1000):
        os.write(2, b"last\\n")
        time.sleep(0.01)
        if {survives}:
            break
except BrokenPipeError:
    print(json.dumps({{"output": "broken"}}))
"""
    job = run(stash, plugin(program))
    lengths = [len(text) for text in job.texts("error")]
    assert lengths == ([5, length, 4] if survives else [5])
    assert job.output == ("" if survives else "broken")


def test_what_cannot_be_run_fails(stash, plugin):
    stash.load_plugin(plugin("", exec=["no-such-program"]))
    prefix = "Error creating plugin task: no"
    nap, lost = stash.run_task("Nap").wait(30), stash.run_task("Whistle", plugin_id="x").wait(30)
    assert nap.failure == f"{prefix} task with name Nap in plugin Referee"
    assert (lost.status, lost.failure) == (Status.FAILED, f"{prefix} plugin with ID x")
    assert "no-such-program" in str(stash.run_task("Whistle").wait(30).failure)


def test_stopping_kills_the_process_and_spares_its_children(stash, plugin, tmp_path):
    child = f"subprocess.Popen([sys.executable, '-c', {CHILD!r}, {str(tmp_path)!r}])"
    job = start(stash, plugin(f"import subprocess\n{child}\n{SLEEP}"))
    waiting, after = stash.run_task("Whistle"), stash.run_task("Nap")
    assert (job.status, waiting.status) == (Status.RUNNING, Status.READY)
    waiting.stop()
    job.stop()
    assert after.wait(30).status is Status.FAILED  # jobs run one after another
    assert (job.status, job.exit_code, job.output) == (Status.CANCELLED, -9, "")
    assert (waiting.status, waiting.pid) == (Status.CANCELLED, None)
    (tmp_path / "go").touch()
    until((tmp_path / "gone").exists)


def test_a_child_that_holds_stdout_keeps_the_job_running(stash, plugin):
    child = "import time; time.sleep(0.3); print('the child')"
    popen = f"import subprocess\nsubprocess.Popen([sys.executable, '-c', {child!r}])"
    assert run(stash, plugin(popen)).output == "the child\n"


def test_jobs_are_started_seen_and_stopped_over_graphql(stash, plugin):
    stash.load_plugin(plugin("print('\\x01p\\x020.5', file=sys.stderr, flush=True)\n" + SLEEP))
    queue = "{ jobQueue { id status progress description endTime error } }"
    assert ask(stash.url, queue).data == {"jobQueue": None}
    task = 'plugin_id: "referee", task_name: "Whistle", description: "Half-time"'
    job_id = ask(stash.url, f"mutation {{ runPluginTask({task}) }}").data["runPluginTask"]
    until(lambda: ask(stash.url, queue).data["jobQueue"][0]["progress"] == 0.5)
    job = {"id": job_id, "status": "RUNNING", "progress": 0.5, "endTime": None, "error": None}
    job["description"] = "Running plugin task: Half-time"
    assert ask(stash.url, queue).data == {"jobQueue": [job]}
    stop = "mutation ($i: ID!) { stopJob(job_id: $i) }"
    assert ask(stash.url, stop, {"i": job_id}).data == {"stopJob": True}
    stash.plugins.queue.jobs[0].wait(30)
    assert ask(stash.url, queue).data == {"jobQueue": None}
    for _ in range(10):
        stash.run_task("Nap").wait(30)
    find = "query ($i: ID!) { findJob(input: {id: $i}) { status } }"
    last_ten = [ask(stash.url, find, {"i": number}).data["findJob"] for number in (1, 2)]
    assert last_ten == [None, {"status": "FAILED"}]


def test_an_operation_runs_beside_the_queue_and_answers(stash, plugin):
    answer = "print(json.dumps({'output': given['args'], 'error': given['args'].get('fault')}))"
    sleep = f"if given['args'].get('mode') == 'whistle':\n    {SLEEP}".replace(
        "\ntime", "\n    time"
    )
    start(stash, plugin(f"{sleep}{answer}"))
    document = 'mutation ($a: Map) { runPluginOperation(plugin_id: "referee", args: $a) }'
    assert ask(stash.url, document, {"a": {"x": [1]}}).data == {"runPluginOperation": {"x": [1]}}
    refused = ask(stash.url, document, {"a": {"fault": "no ball"}})
    assert refused.messages == {"runPluginOperation": "no ball"}


def test_loaded_plugins_are_listed_with_their_settings(stash, plugin):
    hook = {"name": "On goal", "triggeredBy": ["Scene.Update.Post"], "defaultArgs": {"a": "b"}}
    page = {"javascript": ["ui/a.js"], "assets": {"/ui": "ui"}, "csp": {"script-src": ["x"]}}
    whole = {"url": "https://example.org", "errLog": "warning", "hooks": [hook], "ui": page}
    assert stash.load_plugin(plugin("", **whole)) == "referee"
    fields = "id name version tasks { name } settings { name display_name type }"
    (listed,) = ask(stash.url, f"{{ plugins {{ {fields} }} }}").data["plugins"]
    assert (listed["id"], listed["name"], listed["version"]) == ("referee", "Referee", "1.0")
    assert listed["tasks"] == [{"name": "Whistle"}, {"name": "Card"}]
    assert listed["settings"] == [
        {"name": "a", "display_name": "", "type": "STRING"},
        {"name": "b", "display_name": "Times", "type": "NUMBER"},
    ]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"colour": "red"}, "colour"),
        ({"tasks": [{"name": "Whistle", "args": {}}]}, r"tasks\.0\.args"),
        ({"settings": {"a": {"type": "SELECT"}}}, r"settings\.a\.type"),
        ({"settings": {"a": {"default": "1"}}}, r"settings\.a\.default"),
        ({"exec": "python referee.py"}, "exec"),
        ({"ui": {"javascript": ["a.js"], "routes": []}}, r"ui\.routes"),
    ],
)
def test_a_manifest_that_stash_refuses_is_refused(stash, plugin, changes, fault):
    with pytest.raises(ManifestError, match=fault):
        stash.load_plugin(plugin("", **changes))


def test_there_is_exactly_one_yml_and_its_keys_are_unique(stash, plugin, tmp_path):
    folder = plugin("")
    (folder / "data").mkdir()
    (folder / "data" / "tags.yml").write_text("name: tags\n")
    with pytest.raises(ManifestError, match=r"data/tags\.yml"):
        stash.load_plugin(folder)
    with pytest.raises(ManifestError, match="none"):
        stash.load_plugin(tmp_path / "nowhere")
    (folder / "data" / "tags.yml").unlink()
    (folder / "referee.yml").write_text("name: a\nname: b\n")
    with pytest.raises(ManifestError):
        stash.load_plugin(folder)
