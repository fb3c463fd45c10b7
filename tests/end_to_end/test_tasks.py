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
from vlm_engine.store.schema import unpacked
from vlm_engine.testing import Behaviour, Fault
from vlm_engine.testing.threads import running

Address = Callable[..., dict[str, Any]]
CONTROL = {"VLM_TagMe", "VLM_UpdateMe", "VLM_Tagged", "VLM_Errored"}


def run(theatre: Theatre, task: str, **args: str) -> Job:
    return theatre.stash.run_task(task, args).wait(90)


def content(scene: ItemState) -> tuple[Any, ...]:
    return scene.tags, sorted(
        ((m.title, m.seconds, m.end_seconds, m.primary_tag, m.tags) for m in scene.markers), key=str
    )


def contents(theatre: Theatre) -> list[tuple[Any, ...]]:
    return [content(scene) for scene in theatre.stash.library.snapshot().scenes]


def hand_made(theatre: Theatre, scene: str) -> None:
    theatre.stash.library.tag_scene(scene, "Home game", "Foul")
    theatre.stash.library.add_marker(
        scene, "Interview", 3.0, 9.5, title="Coach", tags=["Home game"]
    )


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
    assert (
        f"{marker.title!r} at 0:00:{int(marker.seconds):02} stays: somebody has changed it"
        in texts(job, "warning")
    )
    assert "1 of them except for what people changed since" in str(job.output)


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
    wait_for(
        lambda: vlm.behaviour.fault is Fault.HANG and "VLM_TagMe" not in theatre.state(done).tags
    )
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


def test_tasks_that_take_back_need_no_endpoint(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
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
    with closing(
        sqlite3.connect(theatre.stash.config_folder / "haven_vlm_connector" / "haven.sqlite3")
    ) as db:
        return [
            set(unpacked(said)[0]) for (said,) in db.execute("SELECT said FROM answer ORDER BY id")
        ]


def test_nothing_to_update_says_what_to_do_and_makes_the_tag_for_it(
    theatre: Theatre, address: Address
) -> None:
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
        (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")),
        key=lambda run: run["run_id"],
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


@pytest.mark.skipif(
    sys.platform == "win32", reason="a process is not told there when its parent ends"
)
def test_a_task_ends_with_the_stash_that_started_it_and_the_next_one_goes_on(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(slots=1, latency_s=0.2))
    theatre.install(address(vlm, max_concurrent=1))
    (scene,) = theatre.queue(videos[0])
    (plugin,) = theatre.stash.plugins.loaded.values()
    server = {
        "Scheme": "http",
        "Host": "127.0.0.1",
        "Port": theatre.stash.port,
        "Dir": str(theatre.stash.config_folder),
    }
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
        stash = servers.enter_context(
            running(SandboxStash(credentials=Credentials("coach", "whistle"), api_key=api_key))
        )
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
    assert theatre.state(
        target
    ).markers  # they went there with the merge, and are a person's from then on
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
    spans = {
        (marker.primary_tag, marker.seconds, marker.end_seconds)
        for marker in theatre.state(scene).markers
    }
    assert len(spans) == len(theatre.state(scene).markers)
    assert "Handball" in theatre.state(other).tags
    job = run(theatre, "Undo Last Run")
    assert contents(theatre)[1] == before[1]
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    stay = theatre.state(scene).markers  # the merge has changed those that were there
    assert {marker.primary_tag for marker in stay} == (
        {"Handball"} if operation == "TagScene" else set()
    )
    assert texts(job, "warning").count("stays: somebody has changed it since") == len(stay)


# Two processes at once.


def request_for(theatre: Theatre, mode: str) -> bytes:
    connection = {
        "Scheme": "http",
        "Host": "127.0.0.1",
        "Port": theatre.stash.port,
        "Dir": str(theatre.stash.config_folder),
    }
    return json.dumps({"server_connection": connection, "args": {"mode": mode}}).encode()


def start(theatre: Theatre) -> subprocess.Popen[bytes]:
    (plugin,) = theatre.folder.glob(f"plügins {theatre.installed}/*/haven_vlm_connector.py")
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, plugin], stdin=pipe, stdout=pipe, stderr=pipe, env=dict(os.environ)
    )


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


# What people take off, and other tag lists.


def test_what_a_person_took_off_stays_off_until_they_ask_for_it(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    (scene,) = theatre.queue(videos[0])
    theatre.run()
    whole = content(theatre.state(scene))
    tag = next(name for name in whole[0] if name in TAGS)
    wrong, relabelled, *_ = (one for one in theatre.state(scene).markers if "VLM" in one.tags)
    theatre.stash.library.remove_marker(wrong.id)
    theatre.stash.library.edit_marker(relabelled.id, primary_tag="Corner kick", title="Corner kick")
    theatre.stash.library.untag_scene(scene, tag)
    wanted = content(theatre.state(scene))
    for task, queue in (("Update Tagged Videos", "VLM_UpdateMe"), ("Tag Videos", "VLM_TagMe")):
        theatre.stash.library.tag_scene(scene, queue)
        job = run(theatre, task)
        assert content(theatre.state(scene)) == wanted
        assert f"stays off because a person took it off: {tag}, " in texts(job, "info")
    theatre.stash.library.tag_scene(scene, "VLM_UpdateMe")
    job = run(theatre, "Bring Back What You Removed")
    assert (job.error, job.progress[-1]) == (None, 1)
    tags, markers = content(theatre.state(scene))
    assert tags == whole[0]
    assert set(whole[1]) <= set(markers)
    assert (
        len(markers) == len(whole[1]) + 1
    )  # the one that was relabelled is a person's, and stays as well
    run(theatre, "Undo Last Run")
    theatre.stash.library.untag_scene(scene, "VLM_UpdateMe")
    assert content(theatre.state(scene)) == wanted


def test_any_task_can_be_asked_for_what_was_taken_off(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    (scene,) = theatre.queue(videos[0])
    theatre.run()
    whole = content(theatre.state(scene))
    theatre.stash.library.remove_marker(theatre.state(scene).markers[0].id)
    theatre.stash.library.tag_scene(scene, "VLM_TagMe")
    assert "bring_back: 'perhaps' is neither yes nor no" in str(
        run(theatre, "Tag Videos", bring_back="perhaps").error
    )
    run(theatre, "Tag Videos", bring_back="yes")
    assert content(theatre.state(scene)) == whole


def test_nothing_to_bring_back_says_what_to_do(theatre: Theatre, address: Address) -> None:
    theatre.install(address(theatre.endpoint()))
    assert "No scene or image carries the tag VLM_UpdateMe" in str(
        run(theatre, "Bring Back What You Removed").output
    )


def test_another_tag_list_leaves_what_the_first_one_found(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm), TAG_LIST=["Foul", "Goal"])
    (scene,) = theatre.queue(videos[0])
    theatre.run()
    tags, markers = content(theatre.state(scene))
    theatre.install(address(vlm), TAG_LIST=["Turnover", "Timeout"])
    theatre.stash.library.tag_scene(scene, "VLM_TagMe")
    job = theatre.run()
    after = content(theatre.state(scene))
    assert set(tags) <= set(after[0])
    assert set(markers) < set(after[1])
    assert "left alone because it is not in this tag list: " in texts(job, "info")


# What tasks depend on, and what they say.

BAD: dict[str, Any] = {
    "no tags": {"TAG_LIST": []},
    "no endpoint": {"ENDPOINTS": []},
    "a setting that does not exist": {"TAG_LISTE": ["Foul"]},
    "a wrong number": {"CONCURRENT_TASK_LIMIT": "many", "REPORTS_KEPT": -3},
    "a wrong configuration": {"VLM_ENGINE_CONFIG": {"models": 3}},
}


@pytest.mark.parametrize("settings", BAD.values(), ids=BAD)
def test_undo_and_removal_need_no_setting_that_they_do_not_use(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address, settings: dict[str, Any]
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    (scene,) = theatre.queue(videos[0])
    before = content(theatre.state(scene))
    theatre.run()
    theatre.install(address(vlm), **settings)
    assert run(theatre, "Tag Videos").error
    job = run(theatre, "Remove VLM Tags and Markers")
    assert (job.error, content(theatre.state(scene))) == (None, ((), []))
    assert run(theatre, "Undo Last Run").error is None
    assert run(theatre, "Undo Last Run").error is None
    assert content(theatre.state(scene)) == before


def test_a_settings_file_that_cannot_be_read_stops_no_undoing(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    (scene,) = theatre.queue(videos[0])
    before = content(theatre.state(scene))
    theatre.run()
    (plugin,) = theatre.stash.plugins.loaded.values()
    (Path(plugin.folder) / "haven_vlm_config.local.yaml").write_text(
        "TAG_LIST: [Foul\nMODEL: {", encoding="utf-8"
    )
    job = run(theatre, "Undo Last Run")
    assert (job.error, content(theatre.state(scene))) == (None, before)
    assert "This task goes on without what is wrong in the settings" in texts(job, "warning")


def test_what_the_journal_does_not_know_is_counted_and_said(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    theatre.queue(*videos[:2])
    theatre.run()
    made = sum(len(theatre.state(scene).markers) for scene in theatre.scenes)
    data = theatre.stash.config_folder / "haven_vlm_connector"
    for file in data.glob("haven.sqlite3*"):
        file.unlink()
    before = contents(theatre)
    for task in ("Remove VLM Tags and Markers", "Undo Last Run"):
        told = str(run(theatre, task).output)
        assert "There is nothing to " in told
        assert f"Stash has {made} markers with the tag VLM and 2 scenes with tags below VLM" in told
        assert str(data / "haven.sqlite3") in told
        assert "put it back and start the task again" in told
    assert contents(theatre) == before


def test_a_preview_covers_what_waits_for_an_update_and_only_says_would(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm), TAG_LIST=["Foul"])
    done, new = theatre.queue(*videos[:2])
    theatre.stash.library.untag_scene(new, "VLM_TagMe")
    theatre.run()
    theatre.stash.library.tag_scene(done, "VLM_UpdateMe")
    theatre.stash.library.tag_scene(new, "VLM_TagMe", "VLM_UpdateMe")
    theatre.install(address(vlm), TAG_LIST=["Foul", "Turnover", "Goal", "Timeout"])
    before = theatre.stash.library.snapshot()
    job = run(theatre, "Preview")
    assert "2 scenes looked at" in str(job.output)
    assert theatre.stash.library.snapshot() == before
    lines = [line for line in texts(job, "info").splitlines() if line.startswith("Scene ")]
    assert len(lines) == 2
    assert all("would be added" in line for line in lines)
    assert " markers: " not in "".join(lines)
