"""How the sandbox's Stash loads plugins and runs their tasks: compared by hand with a running v0.30.1."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash import Credentials, Job, ManifestError, SandboxStash, Status
from sandbox.stash_client import ask
from vlm_engine.testing.threads import running

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
RECEIVE = "import json, os, sys\ngiven = json.load(sys.stdin)\n"


@pytest.fixture
def stash() -> Iterator[SandboxStash]:
    with running(SandboxStash()) as server:
        yield server


@pytest.fixture
def plugin(tmp_path: Path) -> Write:
    """Writes a plugin's folder: its program, and its manifest with changes (None takes a key away)."""

    def write(program: str, **changes: Any) -> Path:
        folder = tmp_path / "plugins" / "referee"
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            key: value for key, value in {**MANIFEST, **changes}.items() if value is not None
        }
        (folder / "referee.yml").write_text(json.dumps(manifest))
        (folder / "referee.py").write_text(RECEIVE + program)
        return folder

    return write


def run(stash: SandboxStash, folder: Path, task: str | None = "Whistle", **args: Any) -> Job:
    stash.load_plugin(folder)
    return stash.run_task(task, args).wait(30)


def running_job(stash: SandboxStash, folder: Path) -> Job:
    """A job that has said so in its log, and goes on."""
    stash.load_plugin(folder)
    job = stash.run_task("Whistle")
    deadline = time.monotonic() + 30
    while not job.log:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return job


SLEEP = (
    "import time\nprint('\\x01i\\x02on the field', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
)


def test_a_task_gets_one_object_on_stdin_with_connection_and_arguments(
    stash: SandboxStash, plugin: Write
) -> None:
    folder = plugin("print(json.dumps({'output': [given, sys.stdin.read()]}))")
    given, rest = run(stash, folder, mode="card", nested={"a": [1, True]}).output
    connection = given["server_connection"]
    assert given["args"] == {
        "mode": "card",
        "times": "3",
        "loud": "true",
        "nested": {"a": [1, True]},
    }
    assert (connection["Scheme"], connection["Host"], connection["Port"]) == (
        "http",
        "127.0.0.1",
        stash.port,
    )
    assert (connection["Dir"], connection["PluginDir"]) == (str(stash.config_folder), str(folder))
    assert connection["SessionCookie"]["Name"] == "session"
    assert rest == ""


def test_its_surroundings_are_the_server_s_not_the_plugin_s(
    stash: SandboxStash, plugin: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    folder = plugin(
        "print(json.dumps({'output': [os.getcwd(), os.environ['PYTHONPATH'], sys.argv[1:], sys.executable]}))"
    )
    cwd, path, arguments, python = run(stash, folder, "Card").output
    assert Path(cwd).parent == stash.config_folder
    assert path == f"/elsewhere{os.pathsep}{folder.parent}"
    assert arguments == ["red", f"{folder}/cards"]
    assert python == sys.executable


def test_another_interpreter_can_be_asked_for(
    stash: SandboxStash, plugin: Write, tmp_path: Path
) -> None:
    other = tmp_path / "other-python"
    other.write_text('#!/bin/sh\ncat > /dev/null\necho \'{"output": "another"}\'\n')
    other.chmod(0o755)
    stash.load_plugin(plugin(""))
    assert stash.run_task("Whistle", python=str(other)).wait(30).output == "another"


def test_the_announced_host_is_what_plugins_are_told(plugin: Write) -> None:
    with running(SandboxStash(announced_host="0.0.0.0")) as stash:
        assert (
            run(
                stash, plugin("print(json.dumps({'output': given['server_connection']['Host']}))")
            ).output
            == "0.0.0.0"
        )


def test_a_plugin_s_cookie_lets_it_in(plugin: Write) -> None:
    program = """
import urllib.request
c = given["server_connection"]
headers = {"Content-Type": "application/json", "Cookie": c["SessionCookie"]["Name"] + "=" + c["SessionCookie"]["Value"]}
url = f"{c['Scheme']}://{c['Host']}:{c['Port']}/graphql"
request = urllib.request.Request(url, json.dumps({"query": "{ version { version } }"}).encode(), headers)
with urllib.request.urlopen(request, timeout=10) as reply:
    print(json.dumps({"output": json.load(reply)}))
"""
    with running(SandboxStash(credentials=Credentials("referee", "red card"))) as stash:
        job = run(stash, plugin(program))
    assert job.output == {"data": {"version": {"version": "v0.30.1"}}}, job.log


@pytest.mark.parametrize(
    ("program", "output", "error"),
    [
        ("print(json.dumps({'output': 1, 'error': None}))", 1, None),
        ("print(json.dumps({'error': 'no ball'}))", None, "no ball"),
        ("print('tweet'); print(json.dumps({'output': 1}))", 'tweet\n{"output": 1}\n', None),
        ("print([1])", "[1]\n", None),
        ("", "", None),
        ("sys.exit(3)", "", "exit status 3"),
        ("print(json.dumps({'error': 'no ball'})); sys.exit(3)", None, "no ball"),
        ("import signal; os.kill(os.getpid(), signal.SIGTERM)", "", "signal: 15"),
    ],
)
def test_the_result_is_read_from_stdout_and_never_makes_a_job_fail(
    stash: SandboxStash, plugin: Write, program: str, output: object, error: str | None
) -> None:
    job = run(stash, plugin(program))
    assert (job.output, job.error, job.status, job.failure) == (
        output,
        error,
        Status.FINISHED,
        None,
    )


def test_stderr_is_framed(stash: SandboxStash, plugin: Write) -> None:
    lines = [
        "\x01t\x02 a ",
        "\x01d\x02b",
        "\x01i\x02c",
        "\x01w\x02d",
        "\x01e\x02e",
        "bare",
        "\x01z\x02odd",
        "",
        "\x01i\x02",
    ]
    job = run(stash, plugin(f"for line in {lines!r}: print(line, file=sys.stderr)"))
    framed = [("trace", "a"), ("debug", "b"), ("info", "c"), ("warning", "d"), ("error", "e")]
    assert job.log == [
        *framed,
        ("error", "bare"),
        ("error", "\x01z\x02odd"),
        ("error", "\x01i\x02"),
    ]
    assert job.texts("warning") == ["d"]


def test_bare_lines_take_the_level_of_the_manifest(stash: SandboxStash, plugin: Write) -> None:
    assert run(stash, plugin("print('bare', file=sys.stderr)", errLog="info")).log == [
        ("info", "bare")
    ]


def test_progress_is_kept_within_bounds_and_faults_in_it_are_logged(
    stash: SandboxStash, plugin: Write
) -> None:
    job = run(
        stash,
        plugin("for p in ('0.25', '7', '-1', 'half'): print('\\x01p\\x02' + p, file=sys.stderr)"),
    )
    assert job.progress == [0.25, 1.0, 0.0]
    assert job.texts("error") == ["Error parsing progress value 'half'"]


@pytest.mark.parametrize(("length", "survives"), [(65535, True), (65536, False)])
def test_a_line_of_64_kib_ends_the_log_and_closes_the_pipe(
    stash: SandboxStash, plugin: Write, length: int, survives: bool
) -> None:
    program = f"""
os.write(2, b"first\\n" + b"x" * {length} + b"\\n")
import time
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
    texts = job.texts("error")
    assert texts[0] == "first"
    assert [len(text) for text in texts] == ([5, length, 4] if survives else [5])
    assert job.output == ("" if survives else "broken")


def test_what_cannot_be_run_fails(stash: SandboxStash, plugin: Write) -> None:
    stash.load_plugin(plugin("", exec=["no-such-program"]))
    assert (
        stash.run_task("Nap").wait(30).failure
        == "Error creating plugin task: no task with name Nap in plugin Referee"
    )
    lost = stash.run_task("Whistle", plugin_id="linesman").wait(30)
    assert (lost.status, lost.failure) == (
        Status.FAILED,
        "Error creating plugin task: no plugin with ID linesman",
    )
    assert "no-such-program" in str(stash.run_task("Whistle").wait(30).failure)


def test_a_program_that_is_nowhere_on_the_path_is_looked_for_in_the_plugin_s_folder(
    stash: SandboxStash, plugin: Write
) -> None:
    folder = plugin("", exec=["whistle.sh"])
    (folder / "whistle.sh").write_text("#!/bin/sh\ncat > /dev/null\necho tweet\n")
    (folder / "whistle.sh").chmod(0o755)
    assert run(stash, folder).output == "tweet\n"


def test_stopping_kills_the_process_at_once(stash: SandboxStash, plugin: Write) -> None:
    job = running_job(stash, plugin(SLEEP))
    assert job.status is Status.RUNNING
    job.stop()
    job.wait(30)
    assert (job.status, job.exit_code, job.output) == (Status.CANCELLED, -9, "")
    assert job.pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(job.pid, 0)


def test_stopping_spares_the_process_s_children_and_does_not_wait_for_them(
    stash: SandboxStash, plugin: Write, tmp_path: Path
) -> None:
    child = (
        "import pathlib, sys, time\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for _ in range(3000):\n"
        "    if (folder / 'go').exists():\n"
        "        (folder / 'gone').touch()\n"
        "        break\n"
        "    time.sleep(0.01)\n"
    )
    start = f"import subprocess\nsubprocess.Popen([sys.executable, '-c', {child!r}, {str(tmp_path)!r}])\n"
    job = running_job(stash, plugin(start + SLEEP))
    job.stop()
    assert job.wait(20).status is Status.CANCELLED
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 30
    while not (tmp_path / "gone").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_that_holds_stdout_keeps_the_job_running(
    stash: SandboxStash, plugin: Write
) -> None:
    child = "import time; time.sleep(0.3); print('the child')"
    job = run(
        stash, plugin(f"import subprocess\nsubprocess.Popen([sys.executable, '-c', {child!r}])")
    )
    assert job.output == "the child\n"


def test_jobs_run_one_after_another_and_a_waiting_one_can_be_withdrawn(
    stash: SandboxStash, plugin: Write
) -> None:
    first = running_job(stash, plugin(SLEEP))
    second, third = stash.run_task("Whistle"), stash.run_task("Nap")
    assert (second.status, third.status) == (Status.READY, Status.READY)
    second.stop()
    assert (second.status, second.pid) == (Status.CANCELLED, None)
    first.stop()
    assert third.wait(30).status is Status.FAILED
    assert second.exit_code is None


def test_jobs_are_seen_started_and_stopped_over_graphql(stash: SandboxStash, plugin: Write) -> None:
    stash.load_plugin(
        plugin(
            SLEEP.replace(
                "time.sleep(60)", "print('\\x01p\\x020.5', file=sys.stderr); time.sleep(60)"
            )
        )
    )
    queue = "{ jobQueue { id status progress description startTime endTime error } }"
    assert ask(stash.url, queue).data == {"jobQueue": None}
    start = 'mutation ($a: Map) { runPluginTask(plugin_id: "referee", task_name: "Whistle", description: "Half-time", args_map: $a) }'
    job_id = ask(stash.url, start, {"a": {"times": 1}}).data["runPluginTask"]
    deadline = time.monotonic() + 30
    while (job := ask(stash.url, queue).data["jobQueue"][0])["progress"] != 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (job["id"], job["status"], job["endTime"], job["error"]) == (
        job_id,
        "RUNNING",
        None,
        None,
    )
    assert job["description"] == "Running plugin task: Half-time"
    assert ask(stash.url, "mutation ($i: ID!) { stopJob(job_id: $i) }", {"i": job_id}).data == {
        "stopJob": True
    }
    stash.plugins.queue.jobs[0].wait(30)
    assert ask(stash.url, queue).data == {"jobQueue": None}
    found = ask(
        stash.url, "query ($i: ID!) { findJob(input: {id: $i}) { status progress } }", {"i": job_id}
    ).data
    assert found == {"findJob": {"status": "CANCELLED", "progress": 0.5}}
    assert ask(stash.url, '{ findJob(input: {id: "99"}) { id } }').data == {"findJob": None}


def test_only_the_last_ten_jobs_that_are_over_are_remembered(
    stash: SandboxStash, plugin: Write
) -> None:
    stash.load_plugin(plugin(""))
    for _ in range(12):
        stash.run_task("Nap").wait(30)
    known = [
        ask(stash.url, f'{{ findJob(input: {{id: "{number}"}}) {{ id }} }}').data["findJob"]
        for number in (2, 3, 12)
    ]
    assert known == [None, {"id": "3"}, {"id": "12"}]


def test_a_plugin_without_a_task_gets_just_the_arguments(
    stash: SandboxStash, plugin: Write
) -> None:
    job = run(stash, plugin("print(json.dumps({'output': given['args']}))"), None, mode="x")
    assert (job.output, job.description) == ({"mode": "x"}, "Running plugin task: referee")


def test_an_operation_runs_beside_the_queue_and_answers(stash: SandboxStash, plugin: Write) -> None:
    folder = plugin(
        "if given['args'].get('mode') == 'whistle':\n"
        "    print('\\x01i\\x02on', file=sys.stderr, flush=True); import time; time.sleep(60)\n"
        "print(json.dumps({'output': given['args'], 'error': given['args'].get('fault')}))"
    )
    running_job(stash, folder)
    document = 'mutation ($a: Map) { runPluginOperation(plugin_id: "referee", args: $a) }'
    assert ask(stash.url, document, {"a": {"x": [1]}}).data == {"runPluginOperation": {"x": [1]}}
    assert ask(stash.url, document, {"a": {"fault": "no ball"}}).messages == {
        "runPluginOperation": "no ball"
    }
    other = ask(stash.url, 'mutation { runPluginOperation(plugin_id: "linesman") }')
    assert "nil pointer" in other.messages["runPluginOperation"]


def test_a_hook_can_kill_the_plugin_after_a_mutation(stash: SandboxStash, plugin: Write) -> None:
    program = """
import urllib.request
c = given["server_connection"]
for number in range(10):
    document = 'mutation { tagCreate(input: {name: "Foul %d"}) { id } }' % number
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{c['Host']}:{c['Port']}/graphql", json.dumps({"query": document}).encode(), headers)
    urllib.request.urlopen(request, timeout=10).read()
"""
    stash.load_plugin(plugin(program))
    begun = threading.Event()
    jobs: list[Job] = []

    def kill_after_two(_: object) -> None:
        begun.wait(10)
        if stash.requests.mutations["tagCreate"] == 2:
            jobs[0].stop()

    stash.requests.on_reply = kill_after_two
    jobs.append(stash.run_task("Whistle"))
    begun.set()
    assert jobs[0].wait(30).status is Status.CANCELLED
    assert [tag.name for tag in stash.library.snapshot().tags] == ["Foul 0", "Foul 1"]


def test_loaded_plugins_are_listed_with_settings_by_key(stash: SandboxStash, plugin: Write) -> None:
    assert stash.load_plugin(plugin("")) == "referee"
    (listed,) = ask(
        stash.url,
        "{ plugins { id name version tasks { name } settings { name display_name type } } }",
    ).data["plugins"]
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
        ({"tasks": [{"name": "Whistle", "args": {}}]}, "tasks.0.args"),
        ({"settings": {"a": {"type": "SELECT"}}}, "settings.a.type"),
        ({"settings": {"a": {"default": "1"}}}, "settings.a.default"),
        ({"interface": "grpc"}, "interface"),
        ({"exec": "python referee.py"}, "exec"),
        ({"ui": {"javascript": ["a.js"], "routes": []}}, "ui.routes"),
        (
            {"hooks": [{"name": "x", "triggeredBy": ["Scene.Create.Post"], "when": "now"}]},
            "hooks.0.when",
        ),
    ],
)
def test_a_manifest_with_faults_is_refused_and_the_fault_named(
    stash: SandboxStash, plugin: Write, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ManifestError, match=fault):
        stash.load_plugin(plugin("", **changes))
    with pytest.raises(LookupError):
        stash.run_task("Whistle")


def test_a_whole_manifest_is_accepted(stash: SandboxStash, plugin: Write) -> None:
    whole = {
        "url": "https://example.org",
        "errLog": "warning",
        "hooks": [
            {
                "name": "On goal",
                "description": "x",
                "triggeredBy": ["Scene.Update.Post"],
                "defaultArgs": {"a": "b"},
            }
        ],
        "ui": {
            "requires": ["other"],
            "javascript": ["ui/a.js"],
            "css": ["ui/a.css"],
            "assets": {"/ui": "ui"},
            "csp": {"script-src": ["x"], "style-src": ["x"], "connect-src": ["x"]},
        },
    }
    assert stash.load_plugin(plugin("", **whole)) == "referee"


@pytest.mark.parametrize("text", ["name: a\nname: b\n", "name: [a\n", "- a\n"])
def test_a_manifest_that_is_no_mapping_of_unique_keys_is_refused(
    stash: SandboxStash, tmp_path: Path, text: str
) -> None:
    (tmp_path / "referee.yml").write_text(text)
    with pytest.raises(ManifestError):
        stash.load_plugin(tmp_path)


def test_there_is_exactly_one_yml_file_below_the_folder(
    stash: SandboxStash, plugin: Write, tmp_path: Path
) -> None:
    folder = plugin("")
    (folder / "data").mkdir()
    (folder / "data" / "tags.yml").write_text("name: tags\n")
    with pytest.raises(ManifestError, match=r"data/tags\.yml"):
        stash.load_plugin(folder)
    with pytest.raises(ManifestError, match="none"):
        stash.load_plugin(tmp_path / "nowhere")


def test_leaving_the_server_stops_what_runs(plugin: Write) -> None:
    with running(SandboxStash()) as stash:
        job = running_job(stash, plugin(SLEEP))
        waiting = stash.run_task("Whistle")
    assert (job.status, waiting.status) == (Status.CANCELLED, Status.CANCELLED)
