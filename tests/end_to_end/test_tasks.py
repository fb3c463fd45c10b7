"""The tasks beside *Tag Videos*, and what happens to Stash while they run: real processes, real HTTP, real video files."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash import Credentials, Exchange, ItemState, Job, SandboxStash
from sandbox.videos import LabelledVideo
from tests.end_to_end.conftest import TAGS, Theatre
from vlm_engine.sandbox import Behaviour, Fault
from vlm_engine.sandbox.threads import running
from vlm_engine.store.records import unpacked

Address = Callable[..., dict[str, Any]]
CONTROL = {"VLM_TagMe", "VLM_UpdateMe", "VLM_Tagged", "VLM_Errored"}


def run(theatre: Theatre, task: str, **args: str) -> Job:
    return theatre.stash.run_task(task, args).wait(90)


def content(scene: ItemState) -> tuple[Any, ...]:
    return scene.tags, sorted(((m.title, m.seconds, m.end_seconds, m.primary_tag, m.tags) for m in scene.markers), key=str)


def contents(theatre: Theatre) -> list[tuple[Any, ...]]:
    return [content(scene) for scene in theatre.stash.library.snapshot().scenes]


def hand_made(theatre: Theatre, scene: str) -> None:
    theatre.stash.library.tag_scene(scene, "Home game", "Foul")
    theatre.stash.library.add_marker(scene, "Interview", 3.0, 9.5, title="Coach", tags=["Home game"])


def texts(job: Job, *levels: str) -> str:
    return "\n".join(text for level, text in job.log if level in levels)


# Undo Last Run and Remove VLM Tags and Markers.


def test_undo_brings_the_library_back_exactly_and_says_so(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    for scene in theatre.queue(*videos):
        hand_made(theatre, scene)
    before = theatre.stash.library.snapshot()
    theatre.run()
    assert contents(theatre) != [content(scene) for scene in before.scenes]
    job = run(theatre, "Undo Last Run")
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert "Run 1 (Tag Videos, " in str(job.output)
    assert "is undone: 3 scenes." in str(job.output)
    assert theatre.stash.library.snapshot().scenes == before.scenes
    names = {tag.name for tag in before.tags} | {"VLM", "VLM_UpdateMe", "VLM_Tagged", "VLM_Errored"}
    assert {tag.name for tag in theatre.stash.library.snapshot().tags} == names
    assert job.progress[-1] == 1
    assert "nothing to undo" in str(run(theatre, "Undo Last Run").output)


def test_undo_names_what_people_changed_since_and_leaves_it(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    (scene,) = theatre.queue(videos[0])
    theatre.run()
    marker = theatre.state(scene).markers[0]
    theatre.stash.library.edit_marker(marker.id, title="my own words")
    job = run(theatre, "Undo Last Run")
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    assert [one.title for one in theatre.state(scene).markers] == ["my own words"]
    assert f"{marker.title!r} at 0:00:{int(marker.seconds):02} stays: somebody has changed it" in texts(job, "warning")
    assert "1 of them but for what people have changed since" in str(job.output)


def test_undo_touches_nothing_while_the_run_is_at_work(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(slots=4))
    theatre.install(address(vlm), CONCURRENT_TASK_LIMIT=1, REQUEST_TIMEOUT=600)
    done, _ = theatre.queue(*videos[:2])

    def hang_on(exchange: Exchange) -> None:
        if "VLM_Tagged" in theatre.state(done).tags:
            vlm.behaviour.fault = Fault.HANG

    theatre.stash.requests.on_reply = hang_on
    job = theatre.stash.run_task("Tag Videos")
    wait_for(lambda: vlm.behaviour.fault is Fault.HANG and "VLM_TagMe" not in theatre.state(done).tags)
    before = theatre.state(done)
    said = process(theatre, "undo_last_run")
    assert f"is still at work (process {job.pid})" in said["output"]
    assert theatre.state(done) == before
    job.stop()
    job.wait()
    assert "is undone" in process(theatre, "undo_last_run")["output"]
    assert theatre.state(done).tags == ("VLM_TagMe",)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_everything_of_the_plugins_can_be_removed_and_put_back(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    scenes = theatre.queue(*videos)
    for scene in scenes:
        hand_made(theatre, scene)
    theatre.run()
    after = contents(theatre)
    job = run(theatre, "Remove VLM Tags and Markers")
    assert (job.error, job.progress[-1]) == (None, 1)
    for scene in scenes:
        assert theatre.state(scene).tags == ("Foul", "Home game")
        assert [marker.title for marker in theatre.state(scene).markers] == ["Coach"]
    assert "nothing to remove" in str(run(theatre, "Remove VLM Tags and Markers").output)
    run(theatre, "Undo Last Run")
    assert contents(theatre) == after


def test_tasks_that_take_back_need_no_endpoint(theatre: Theatre, videos: Sequence[LabelledVideo], address: Address) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    (scene,) = theatre.queue(videos[0])
    theatre.run()
    vlm.stop()
    assert run(theatre, "Undo Last Run").error is None
    assert theatre.state(scene).tags == ("VLM_TagMe",)


# Update Tagged Videos and Preview.


def test_an_update_asks_nothing_under_other_rules_and_only_about_what_is_new(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    *known, new = TAGS
    theatre.install(address(vlm), TAG_LIST=known)
    scene, other = theatre.queue(*videos[:2])
    theatre.run()
    calls, untouched = vlm.counters.answered, content(theatre.state(other))
    theatre.stash.library.tag_scene(scene, "VLM_UpdateMe")
    renamed = {"Foul": {"RenamedTag": "Personal foul"}}
    theatre.install(address(vlm), TAG_LIST=known, TAG_RULES=renamed)
    job = run(theatre, "Update Tagged Videos")
    assert job.error is None
    assert "1 scene updated" in str(job.output)
    assert f"Scene {scene} (" in texts(job, "info")
    assert "; tags removed: Foul; markers: " in texts(job, "info")
    assert vlm.counters.answered == calls
    assert job.progress[-1] == 1
    tags = set(theatre.state(scene).tags)
    assert "VLM_UpdateMe" not in tags
    assert ("Personal foul" in tags, "Foul" in tags, new in tags) == (True, False, False)
    theatre.stash.library.tag_scene(scene, "VLM_UpdateMe")
    theatre.install(address(vlm), TAG_RULES=renamed)
    assert run(theatre, "Update Tagged Videos").error is None
    assert vlm.counters.answered > calls
    assert asked_about(theatre)[calls:] == [{new}] * (vlm.counters.answered - calls)
    assert set(theatre.state(scene).tags) == {*tags, new}
    assert content(theatre.state(other)) == untouched


def asked_about(theatre: Theatre) -> list[set[str]]:
    """The tags of each answer that was stored."""
    with closing(sqlite3.connect(theatre.stash.config_folder / "haven_vlm_connector" / "haven.sqlite3")) as db:
        return [set(unpacked(said)[0]) for (said,) in db.execute("SELECT said FROM answer ORDER BY id")]


def test_nothing_to_update_says_what_to_do_and_makes_the_tag_for_it(theatre: Theatre, address: Address) -> None:
    theatre.install(address(theatre.endpoint()))
    assert "VLM_UpdateMe" in str(run(theatre, "Update Tagged Videos").output)
    assert "VLM_UpdateMe" in {tag.name for tag in theatre.stash.library.snapshot().tags}


def test_a_preview_says_what_would_change_writes_nothing_and_spares_the_run_its_questions(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    theatre.queue(*videos[:2])
    before = theatre.stash.library.snapshot()
    job = run(theatre, "Preview")
    assert job.error is None
    assert "2 scenes looked at, 0 failed" in str(job.output)
    assert job.progress[-1] == 1
    assert "Nothing was written to Stash" in str(job.output)
    assert theatre.stash.library.snapshot() == before
    assert not theatre.stash.requests.mutations
    assert texts(job, "info").count(" found; tags would be added: ") == 2
    calls = vlm.counters.answered
    theatre.run()
    assert vlm.counters.answered == calls
    assert "VLM_Tagged" in theatre.state(theatre.scenes[0]).tags


def test_a_preview_of_a_scene_that_cannot_be_read_only_says_so(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    lost = theatre.folder / "lost.mp4"
    lost.write_bytes(videos[1].path.read_bytes())
    theatre.stash.library.add_scene(lost, title="lost", tags=["VLM_TagMe"])
    lost.unlink()
    before = theatre.stash.library.snapshot()
    job = run(theatre, "Preview")
    assert str(lost) in texts(job, "error")
    assert "1 failed" in str(job.output)
    assert theatre.stash.library.snapshot() == before


# Turns.


def test_a_long_task_gives_those_that_wait_their_turn_and_goes_on_behind_them(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(latency_s=0.03, slots=2))
    theatre.install(address(vlm, max_concurrent=2), TIME_SLICE=0.002, CONCURRENT_TASK_LIMIT=1)
    theatre.queue(*videos)
    before = contents(theatre)
    theatre.stash.run_task("Tag Videos")
    waiting = theatre.stash.run_task("Update Tagged Videos")
    first = theatre.stash.plugins.queue.jobs[0].wait(60)
    assert "queued itself again" in str(first.output)
    assert "still queued" in str(first.output)
    assert waiting.wait(60).error is None
    jobs = theatre.stash.plugins.queue.jobs
    assert [job.description.removeprefix("Running plugin task: ") for job in jobs] == [
        "Tag Videos",
        "Update Tagged Videos",
        "Tag Videos",
    ]
    last = jobs[2].wait(90)
    assert "0 failed" in str(last.output)
    assert "queued itself again" not in str(last.output)  # nobody waited any more
    for scene in theatre.scenes:
        assert set(theatre.state(scene).tags) & CONTROL == {"VLM_Tagged"}
    frames = vlm.counters.frame_numbers
    run(theatre, "Undo Last Run")  # all turns are one run
    assert contents(theatre) == before
    assert len(frames) <= len(set(frames)) * len(videos)


# What is handed over at the end.


def test_each_run_is_handed_over_at_its_end_also_when_it_breaks_off(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm), MODEL="sandbox-vlm")
    theatre.queue(*videos[:2])
    theatre.run()
    run(theatre, "Undo Last Run")
    theatre.stash.library.tag_scene(theatre.queue(videos[2])[0], "VLM_TagMe")
    vlm.stop()
    theatre.run()
    folder = theatre.stash.config_folder / "haven_vlm_connector" / "reports"
    reports = sorted(
        (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")), key=lambda run: run["run_id"]
    )
    assert [(run["task"], len(run["scenes"]), run["end"], run["waiting"]) for run in reports] == [
        ("Tag Videos", 2, "finished", 0),
        ("Undo Last Run", 2, "finished", 0),
        ("Tag Videos", 2, "broken off", 1),
    ]


# What happens to Stash meanwhile.


def at_first(theatre: Theatre, operation: str, act: Callable[[], None]) -> None:
    """``act`` happens when the first ``operation`` has come, before it is carried out."""

    def hook(exchange: Exchange) -> None:
        if exchange.operation == operation:
            theatre.stash.requests.on_request = None
            act()

    theatre.stash.requests.on_request = hook


@pytest.mark.parametrize("operation", ["MarkersCreate", "TagScene"])
def test_stash_restarted_in_the_middle_of_a_write_costs_nothing(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address, operation: str
) -> None:
    theatre.install(address(theatre.endpoint()))
    (scene,) = theatre.queue(videos[0])
    theatre.run()
    expected = content(theatre.state(scene))
    run(theatre, "Undo Last Run")
    at_first(theatre, operation, lambda: theatre.stash.restart(0.3))
    job = theatre.run()
    assert job.error is None, job.log
    assert content(theatre.state(scene)) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="a process is not told there when its parent ends")
def test_a_task_ends_with_the_stash_that_started_it_and_the_next_one_goes_on(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(slots=1, latency_s=0.2))
    theatre.install(address(vlm, max_concurrent=1))
    (scene,) = theatre.queue(videos[0])
    (plugin,) = theatre.stash.plugins.loaded.values()
    server = {"Scheme": "http", "Host": "127.0.0.1", "Port": theatre.stash.port, "Dir": str(theatre.stash.config_folder)}
    sent = json.dumps({"server_connection": server, "args": {"mode": "tag_videos"}})
    # What stands for Stash: it starts the task, and says which process that is.
    start = "import subprocess, sys; task = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)"
    command = [sys.executable, str(plugin.folder / "haven_vlm_connector.py")]
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{start}; task.stdin.write(sys.argv[1].encode()); task.stdin.close(); print(task.pid, flush=True); task.wait()",
            sent,
            *command,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as stand_in:
        assert stand_in.stdout is not None
        task = int(stand_in.stdout.readline())
        wait_for(lambda: vlm.counters.answered >= 2)
        stand_in.kill()
        stand_in.wait()
        wait_for(lambda: not is_alive(task))
    answered = vlm.counters.answered
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    assert theatre.run().error is None
    assert "VLM_Tagged" in theatre.state(scene).tags
    frames = vlm.counters.frame_numbers
    assert len(frames) - len(set(frames)) <= 1, f"{answered} answers were kept"


def is_alive(process: int) -> bool:
    """Whether there is such a process that has not ended: one that nobody has waited for has."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return not state.startswith("Z")


@pytest.mark.parametrize("api_key", ["", "a-key-of-some-length"])
def test_a_session_that_ends_in_the_middle_of_a_task_leaves_it_queued_unless_there_is_a_key(
    videos: Sequence[LabelledVideo], address: Address, tmp_path: Path, api_key: str
) -> None:
    with ExitStack() as servers:
        stash = servers.enter_context(running(SandboxStash(credentials=Credentials("coach", "whistle"), api_key=api_key)))
        theatre = Theatre(stash, tmp_path, servers)
        theatre.install(address(theatre.endpoint()))
        scenes = theatre.queue(*videos[:2])
        at_first(theatre, "MarkersCreate", stash.sessions.expire_all)
        job = theatre.run()
        if api_key:
            assert job.error is None
        else:
            assert "refuses access (401)" in str(job.error)
            assert any("VLM_TagMe" in theatre.state(scene).tags for scene in scenes)
            assert theatre.run().error is None  # the next task brings a session of its own
        for scene in scenes:
            assert set(theatre.state(scene).tags) & CONTROL == {"VLM_Tagged"}
            markers = [(m.title, m.seconds, m.end_seconds) for m in theatre.state(scene).markers]
            assert len(markers) == len(set(markers))


def test_a_scene_that_is_deleted_or_merged_while_it_is_tagged_stops_nothing(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()), CONCURRENT_TASK_LIMIT=1)
    deleted, merged, stays = theatre.queue(*videos)
    target = theatre.stash.library.add_scene(title="The whole match", tags=["Home game"])

    def merge() -> None:
        theatre.stash.library.merge_scene(merged, target)

    def delete_then_merge() -> None:
        theatre.stash.library.remove_scene(deleted)
        at_first(theatre, "TagScene", merge)

    at_first(theatre, "MarkersCreate", delete_then_merge)
    job = theatre.run()
    assert job.error is None
    assert "1 scene tagged, 0 failed, 2 no longer in Stash" in str(job.output)
    for scene in (deleted, merged):
        assert f"scene {scene} is no longer in Stash" in texts(job, "warning")
    assert "VLM_Tagged" in theatre.state(stays).tags
    assert theatre.state(target).tags == ("Home game",)
    assert theatre.state(target).markers  # they went there with the merge, and are a person's from then on
    job = run(theatre, "Undo Last Run")
    assert "2 no longer in Stash" in str(job.output)
    assert theatre.state(stays).tags == ("VLM_TagMe",)
    assert theatre.state(target).markers


def test_a_tag_renamed_or_deleted_while_scenes_are_tagged_is_the_same_tag_or_made_again(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()), CONCURRENT_TASK_LIMIT=1)
    (scene,) = theatre.queue(videos[0])
    names = [tag for tag in TAGS if videos[0].truth[tag]]
    for tag in names:
        theatre.stash.library.add_tag(tag)
    renamed, removed = names[0], names[1]

    def act() -> None:
        theatre.stash.library.rename_tag(renamed, "By another name")
        theatre.stash.library.remove_tag(removed)

    at_first(theatre, "MarkersCreate", act)
    job = theatre.run()
    assert job.error is None, job.log
    tags = set(theatre.state(scene).tags)
    assert {"By another name", removed, "VLM_Tagged"} <= tags
    assert "VLM_TagMe" not in tags
    primary = {marker.primary_tag for marker in theatre.state(scene).markers}
    assert primary == set(names) - {renamed} | {"By another name"}
    run(theatre, "Undo Last Run")
    assert content(theatre.state(scene)) == (("VLM_TagMe",), [])


@pytest.mark.parametrize("operation", ["MarkersCreate", "TagScene"])
def test_a_tag_merged_while_scenes_are_tagged_is_the_one_it_went_into(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address, operation: str
) -> None:
    theatre.install(address(theatre.endpoint()), CONCURRENT_TASK_LIMIT=1)
    scene, other = theatre.queue(*videos[:2])
    theatre.stash.library.tag_scene(other, "Handball")
    merged, *names = [tag for tag in TAGS if videos[0].truth[tag]]
    theatre.stash.library.add_tag(merged)
    before = contents(theatre)
    at_first(theatre, operation, lambda: theatre.stash.library.merge_tag(merged, "Handball"))
    job = theatre.run()
    assert job.error is None, job.log
    assert set(theatre.state(scene).tags) == {*names, "Handball", "VLM_Tagged"}
    assert {marker.primary_tag for marker in theatre.state(scene).markers} == {*names, "Handball"}
    spans = {(marker.primary_tag, marker.seconds, marker.end_seconds) for marker in theatre.state(scene).markers}
    assert len(spans) == len(theatre.state(scene).markers)
    assert "Handball" in theatre.state(other).tags
    job = run(theatre, "Undo Last Run")
    assert contents(theatre)[1] == before[1]
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    stay = theatre.state(scene).markers  # the merge has changed those that were there
    assert {marker.primary_tag for marker in stay} == ({"Handball"} if operation == "TagScene" else set())
    assert texts(job, "warning").count("stays: somebody has changed it since") == len(stay)


# Two processes at once.


def request_for(theatre: Theatre, mode: str) -> bytes:
    connection = {"Scheme": "http", "Host": "127.0.0.1", "Port": theatre.stash.port, "Dir": str(theatre.stash.config_folder)}
    return json.dumps({"server_connection": connection, "args": {"mode": mode}}).encode()


def start(theatre: Theatre) -> subprocess.Popen[bytes]:
    (plugin,) = theatre.folder.glob(f"plügins {theatre.installed}/*/haven_vlm_connector.py")
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, plugin], stdin=pipe, stdout=pipe, stderr=pipe, env=dict(os.environ))


def process(theatre: Theatre, mode: str) -> dict[str, Any]:
    """Runs a task beside Stash's queue."""
    with start(theatre) as beside:
        out, log = beside.communicate(request_for(theatre, mode), timeout=60)
    assert beside.returncode == 0, log.decode()
    return dict(json.loads(out))


def test_two_tasks_at_once_on_one_library_double_and_lose_nothing(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    scenes = theatre.queue(*videos)
    for scene in scenes:
        hand_made(theatre, scene)
    before = contents(theatre)
    theatre.run()
    expected = contents(theatre)
    run(theatre, "Undo Last Run")
    with start(theatre) as one, start(theatre) as other:
        for each in (one, other):
            assert each.stdin is not None
            each.stdin.write(request_for(theatre, "tag_videos"))
            each.stdin.close()
            each.stdin = None
        for each in (one, other):
            out, log = each.communicate(timeout=90)
            assert json.loads(out).get("error") is None, log.decode()
    assert contents(theatre) == expected
    for _ in range(2):
        run(theatre, "Undo Last Run")
    assert contents(theatre) == before
