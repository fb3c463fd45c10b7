"""The tasks beside *Tag Videos*, and what happens to Stash while they run."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash import Credentials, Exchange, ItemState
from tests.end_to_end.conftest import CONTROL, DATA, TAGS, Theatre, content, texts, wait_for
from vlm_engine.store.schema import unpacked
from vlm_engine.testing import Fault

UNDO, REMOVE = "Undo Last Run", "Remove VLM Tags and Markers"


def hand_made(theatre: Theatre, scene: str) -> None:
    library = theatre.stash.library
    library.tag_scene(scene, "Home game", "Foul")
    library.add_marker(scene, "Interview", 3.0, 9.5, title="Coach", tags=["Home game"])


# --- Undo Last Run and Remove VLM Tags and Markers ---


def test_undo_restores_the_library_exactly(theatre):
    theatre.install()
    for scene in theatre.queue(0, 1, 2):
        hand_made(theatre, scene)
    before = theatre.stash.library.snapshot()
    theatre.run()
    assert theatre.contents() != [content(scene) for scene in before.scenes]
    job = theatre.run(UNDO)
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert "Run 1 (Tag Videos, " in str(job.output)
    assert "is undone: 3 scenes." in str(job.output)
    assert theatre.stash.library.snapshot().scenes == before.scenes
    names = {tag.name for tag in before.tags} | {"VLM", *CONTROL}
    assert {tag.name for tag in theatre.stash.library.snapshot().tags} == names
    assert job.progress[-1] == 1
    assert "nothing to undo" in str(theatre.run(UNDO).output)


def test_undo_names_and_leaves_what_people_changed(theatre):
    theatre.install()
    (scene,) = theatre.queue(0)
    theatre.run()
    marker = theatre.state(scene).markers[0]
    theatre.stash.library.edit_marker(marker.id, title="my own words")
    job = theatre.run(UNDO)
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    assert [one.title for one in theatre.state(scene).markers] == ["my own words"]
    place = f"{marker.title!r} at 0:00:{int(marker.seconds):02}"
    assert f"{place} stays: somebody has changed it" in texts(job, "warning")
    assert "1 of them except for what people changed since" in str(job.output)


def test_undo_changes_nothing_while_the_run_is_at_work(theatre):
    vlm = theatre.install(CONCURRENT_TASK_LIMIT=1, REQUEST_TIMEOUT=600)
    done, _ = theatre.queue(0, 1)

    def hang_on(exchange: Exchange) -> None:
        if "VLM_Tagged" in theatre.state(done).tags:
            vlm.behaviour.fault = Fault.HANG

    theatre.stash.requests.on_reply = hang_on
    job = theatre.stash.run_task("Tag Videos")
    wait_for(lambda: vlm.behaviour.fault is Fault.HANG)
    wait_for(lambda: "VLM_TagMe" not in theatre.state(done).tags)
    before = theatre.state(done)
    answer = process(theatre, "undo_last_run")
    assert f"is still at work (process {job.pid})" in answer["output"]
    assert theatre.state(done) == before
    job.stop()
    job.wait()
    assert "is undone" in process(theatre, "undo_last_run")["output"]
    assert theatre.state(done).tags == ("VLM_TagMe",)


def test_the_plugins_work_can_be_removed_and_put_back(theatre):
    theatre.install()
    scenes = theatre.queue(0, 1, 2)
    for scene in scenes:
        hand_made(theatre, scene)
    theatre.run()
    after = theatre.contents()
    job = theatre.run(REMOVE)
    assert (job.error, job.progress[-1]) == (None, 1)
    for scene in scenes:
        assert theatre.state(scene).tags == ("Foul", "Home game")
        assert [marker.title for marker in theatre.state(scene).markers] == ["Coach"]
    assert "nothing to remove" in str(theatre.run(REMOVE).output)
    theatre.run(UNDO)
    assert theatre.contents() == after


def test_undo_and_removal_need_no_setting_that_they_do_not_use(theatre):
    vlm = theatre.install()
    (scene,) = theatre.queue(0)
    before = content(theatre.state(scene))
    theatre.run()
    vlm.stop()
    theatre.install(
        ENDPOINTS=[],
        TAG_LIST=[],
        TAG_LISTE=["Foul"],
        CONCURRENT_TASK_LIMIT="many",
        REPORTS_KEPT=-3,
        VLM_ENGINE_CONFIG={"models": 3},
    )
    assert theatre.run("Tag Videos").error
    job = theatre.run(REMOVE)
    assert (job.error, content(theatre.state(scene))) == (None, ((), []))
    assert theatre.run(UNDO).error is None
    (plugin,) = theatre.stash.plugins.loaded.values()
    wrong = "TAG_LIST: [Foul\nMODEL: {"
    (Path(plugin.folder) / "haven_vlm_config.local.yaml").write_text(wrong, encoding="utf-8")
    job = theatre.run(UNDO)
    assert (job.error, content(theatre.state(scene))) == (None, before)
    assert "This task goes on without what is wrong in the settings" in texts(job, "warning")


def test_settings_in_the_data_folder_reach_a_task(theatre):
    theatre.install()
    (scene,) = theatre.queue(0)
    settings = theatre.stash.config_folder / DATA / "settings.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('{"revision": 1, "settings": {"VLM_TAGGED_TAG_NAME": "Done"}}')
    theatre.run()
    assert "Done" in theatre.state(scene).tags
    settings.write_text("{")
    assert "settings.json: is no JSON" in str(theatre.run("Update Tagged Videos").error)
    job = theatre.run(UNDO)
    assert "is undone" in str(job.output)
    assert "goes on without" in texts(job, "warning")


def test_what_the_journal_does_not_know_is_counted_and_said(theatre):
    theatre.install()
    theatre.queue(0, 1)
    theatre.run()
    made = sum(len(theatre.state(scene).markers) for scene in theatre.scenes)
    data = theatre.stash.config_folder / DATA
    for file in data.glob("haven.sqlite3*"):
        file.unlink()
    before = theatre.contents()
    for task in (REMOVE, UNDO):
        output = str(theatre.run(task).output)
        assert "There is nothing to " in output
        counts = f"{made} markers with the tag VLM and 2 scenes with tags below VLM"
        assert f"Stash has {counts}" in output
        assert str(data / "haven.sqlite3") in output
        assert "put it back and start the task again" in output
    assert theatre.contents() == before


# --- Update Tagged Videos and Preview ---


def test_an_update_asks_only_about_new_tags(theatre):
    *known, new = TAGS
    vlm = theatre.install(TAG_LIST=known)
    scene, other = theatre.queue(0, 1)
    theatre.run()
    calls, untouched = vlm.counters.answered, content(theatre.state(other))
    theatre.stash.library.tag_scene(scene, "VLM_UpdateMe")
    renamed = {"Foul": {"RenamedTag": "Personal foul"}}
    theatre.install(vlm, TAG_LIST=known, TAG_RULES=renamed)
    job = theatre.run("Update Tagged Videos")
    assert (job.error, job.progress[-1]) == (None, 1)
    assert "1 scene updated" in str(job.output)
    assert f"Scene {scene} (" in texts(job, "info")
    assert "; tags removed: Foul; markers: " in texts(job, "info")
    assert vlm.counters.answered == calls
    tags = set(theatre.state(scene).tags)
    assert "VLM_UpdateMe" not in tags
    assert ("Personal foul" in tags, "Foul" in tags, new in tags) == (True, False, False)
    theatre.stash.library.tag_scene(scene, "VLM_UpdateMe")
    theatre.install(vlm, TAG_RULES=renamed)
    assert theatre.run("Update Tagged Videos").error is None
    assert vlm.counters.answered > calls
    assert asked_about(theatre)[calls:] == [{new}] * (vlm.counters.answered - calls)
    assert set(theatre.state(scene).tags) == {*tags, new}
    assert content(theatre.state(other)) == untouched


def asked_about(theatre: Theatre) -> list[set[str]]:
    """The tags of each answer that was stored."""
    path = theatre.stash.config_folder / DATA / "haven.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT said FROM answer ORDER BY id")
        return [set(unpacked(said)[0]) for (said,) in rows]


def test_a_task_without_work_says_what_to_do(theatre):
    theatre.install()
    for task, said in (
        ("Tag Videos", "No scene carries the tag VLM_TagMe. Add it"),
        ("Update Tagged Videos", "No scene carries the tag VLM_UpdateMe. Add it"),
        ("Bring Back What You Removed", "No scene or image carries the tag VLM_UpdateMe. Add it"),
    ):
        assert said in str(theatre.run(task).output)
    names = {tag.name for tag in theatre.stash.library.snapshot().tags}
    assert {"VLM_TagMe", "VLM_UpdateMe"} <= names


def test_a_preview_writes_nothing_and_saves_later_questions(theatre):
    vlm = theatre.install()
    theatre.queue(0, 1)
    before = theatre.stash.library.snapshot()
    job = theatre.run("Preview")
    assert (job.error, job.progress[-1]) == (None, 1)
    assert "2 scenes looked at, 0 failed" in str(job.output)
    assert "Nothing was written to Stash" in str(job.output)
    assert "in 2 scenes with the tag VLM_TagMe or VLM_UpdateMe" in texts(job, "info")
    assert theatre.stash.library.snapshot() == before
    assert not theatre.stash.requests.mutations
    assert texts(job, "info").count(" found; tags would be added: ") == 2
    calls = vlm.counters.answered
    theatre.run()
    assert vlm.counters.answered == calls
    assert "VLM_Tagged" in theatre.state(theatre.scenes[0]).tags


def test_a_preview_covers_updates_and_only_says_would(theatre):
    vlm = theatre.install(TAG_LIST=["Foul"])
    (done,) = theatre.queue(0)
    theatre.run()
    theatre.stash.library.tag_scene(done, "VLM_UpdateMe")
    (new,) = theatre.queue(1)
    theatre.stash.library.tag_scene(new, "VLM_UpdateMe")
    _, path = theatre.lose()
    theatre.install(vlm)
    before = theatre.stash.library.snapshot()
    job = theatre.run("Preview")
    assert "2 scenes looked at, 1 failed" in str(job.output)
    assert str(path) in texts(job, "error")
    assert theatre.stash.library.snapshot() == before
    lines = [line for line in texts(job, "info").splitlines() if line.startswith("Scene ")]
    assert len(lines) == 2
    assert all("would be added" in line for line in lines)
    assert " markers: " not in "".join(lines)


# --- time slices, reports ---


def test_a_long_task_lets_waiting_jobs_go_first(theatre):
    vlm = theatre.endpoint(latency_s=0.03, slots=2)
    endpoint = {"base_url": vlm.url, "max_concurrent": 2}
    theatre.install(endpoint, TIME_SLICE=0.002, CONCURRENT_TASK_LIMIT=1)
    theatre.queue(0, 1, 2)
    before = theatre.contents()
    theatre.stash.run_task("Tag Videos")
    waiting = theatre.stash.run_task("Update Tagged Videos")
    jobs = theatre.stash.plugins.queue.jobs
    first = jobs[0].wait(60)
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
    assert "queued itself again" not in str(last.output)  # no job waited any more
    for scene in theatre.scenes:
        assert set(theatre.state(scene).tags) & CONTROL == {"VLM_Tagged"}
    frames = vlm.counters.frame_numbers
    theatre.run(UNDO)  # all time slices are one run
    assert theatre.contents() == before
    assert len(frames) <= len(set(frames)) * 3


def test_each_run_leaves_a_report_also_when_it_breaks_off(theatre):
    vlm = theatre.install(MODEL="sandbox-vlm")
    theatre.queue(0, 1)
    theatre.run()
    theatre.run(UNDO)
    theatre.queue(2)
    vlm.stop()
    theatre.run()
    reports = [
        (run["task"], len(run["scenes"]), run["end"], run["waiting"]) for run in theatre.reports()
    ]
    assert reports == [
        ("Tag Videos", 2, "finished", 0),
        (UNDO, 2, "finished", 0),
        ("Tag Videos", 2, "broken off", 1),
    ]


# --- what happens to Stash meanwhile ---


def test_stash_restarted_in_the_middle_of_a_write_costs_nothing(theatre):
    theatre.install()
    (scene,) = theatre.queue(0)
    theatre.run()
    expected = content(theatre.state(scene))
    theatre.run(UNDO)
    restart = theatre.stash.restart

    def restart_twice() -> None:
        theatre.at_first("TagScene", lambda: restart(0.3))
        restart(0.3)

    theatre.at_first("MarkersCreate", restart_twice)
    job = theatre.run()
    assert job.error is None, job.log
    assert content(theatre.state(scene)) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="processes there outlive their parent")
def test_a_task_ends_with_its_stash_and_the_next_goes_on(theatre):
    vlm = theatre.endpoint(latency_s=0.2, slots=1)
    # Without comparisons, which ask about a frame once more in another style.
    theatre.install({"base_url": vlm.url, "max_concurrent": 1}, FRAMES_COMPARED=0)
    (scene,) = theatre.queue(0)
    # A process that stands for Stash: it starts the task, and prints the task's process id.
    program = (
        "import subprocess, sys; task = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE);"
        " task.stdin.write(sys.argv[1].encode()); task.stdin.close();"
        " print(task.pid, flush=True); task.wait()"
    )
    sent = request_for(theatre, "tag_videos").decode()
    with subprocess.Popen(
        [sys.executable, "-c", program, sent, *command(theatre)],
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
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    vlm.behaviour.latency_s = 0.0
    assert theatre.run().error is None
    assert "VLM_Tagged" in theatre.state(scene).tags
    frames = vlm.counters.frame_numbers
    assert len(frames) - len(set(frames)) <= 1, "answers were not kept"


def is_alive(process: int) -> bool:
    """Return whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return not state.startswith("Z")


@pytest.mark.parametrize("api_key", ["", "a-key-of-some-length"])
def test_a_session_that_ends_costs_nothing_with_an_api_key(elsewhere, api_key):
    theatre = elsewhere(credentials=Credentials("coach", "whistle"), api_key=api_key)
    theatre.install()
    scenes = theatre.queue(0, 1)
    theatre.at_first("MarkersCreate", theatre.stash.sessions.expire_all)
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


def test_a_scene_deleted_or_merged_meanwhile_stops_nothing(theatre):
    theatre.install(CONCURRENT_TASK_LIMIT=1)
    deleted, merged, stays = theatre.queue(0, 1, 2)
    library = theatre.stash.library
    target = library.add_scene(title="The whole match", tags=["Home game"])

    def delete_then_merge() -> None:
        library.remove_scene(deleted)
        theatre.at_first("TagScene", lambda: library.merge_scene(merged, target))

    theatre.at_first("MarkersCreate", delete_then_merge)
    job = theatre.run()
    assert job.error is None
    assert "1 scene tagged, 0 failed, 2 no longer in Stash" in str(job.output)
    for scene in (deleted, merged):
        assert f"scene {scene} is no longer in Stash" in texts(job, "warning")
    assert "VLM_Tagged" in theatre.state(stays).tags
    assert theatre.state(target).tags == ("Home game",)
    assert theatre.state(target).markers  # they came with the merge, and are a person's now
    job = theatre.run(UNDO)
    assert "2 no longer in Stash" in str(job.output)
    assert theatre.state(stays).tags == ("VLM_TagMe",)
    assert theatre.state(target).markers


def test_a_tag_renamed_or_deleted_meanwhile_is_found_or_made(theatre):
    theatre.install(CONCURRENT_TASK_LIMIT=1)
    (scene,) = theatre.queue(0)
    library = theatre.stash.library
    names = tags_of(theatre)
    for tag in names:
        library.add_tag(tag)
    renamed, removed = names[0], names[1]

    def act() -> None:
        library.rename_tag(renamed, "By another name")
        library.remove_tag(removed)

    theatre.at_first("MarkersCreate", act)
    job = theatre.run()
    assert job.error is None, job.log
    tags = set(theatre.state(scene).tags)
    assert {"By another name", removed, "VLM_Tagged"} <= tags
    assert "VLM_TagMe" not in tags
    primary = {marker.primary_tag for marker in theatre.state(scene).markers}
    assert primary == set(names) - {renamed} | {"By another name"}
    theatre.run(UNDO)
    assert content(theatre.state(scene)) == (("VLM_TagMe",), [])


def tags_of(theatre: Theatre) -> list[str]:
    return [tag for tag in TAGS if theatre.videos[0].truth[tag]]


@pytest.mark.parametrize("operation", ["MarkersCreate", "TagScene"])
def test_a_tag_merged_meanwhile_is_the_one_it_went_into(theatre, operation):
    theatre.install(CONCURRENT_TASK_LIMIT=1)
    scene, other = theatre.queue(0, 1)
    library = theatre.stash.library
    library.tag_scene(other, "Handball")
    merged, *names = tags_of(theatre)
    library.add_tag(merged)
    before = theatre.contents()
    theatre.at_first(operation, lambda: library.merge_tag(merged, "Handball"))
    job = theatre.run()
    assert job.error is None, job.log
    assert set(theatre.state(scene).tags) == {*names, "Handball", "VLM_Tagged"}
    markers = theatre.state(scene).markers
    assert {marker.primary_tag for marker in markers} == {*names, "Handball"}
    assert len({(m.primary_tag, m.seconds, m.end_seconds) for m in markers}) == len(markers)
    assert "Handball" in theatre.state(other).tags
    job = theatre.run(UNDO)
    assert theatre.contents()[1] == before[1]
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    stay = theatre.state(scene).markers  # the merge has changed those that were there
    expected = {"Handball"} if operation == "TagScene" else set()
    assert {marker.primary_tag for marker in stay} == expected
    assert texts(job, "warning").count("stays: somebody has changed it since") == len(stay)


# --- two processes at once ---


def request_for(theatre: Theatre, mode: str) -> bytes:
    connection = {
        "Scheme": "http",
        "Host": "127.0.0.1",
        "Port": theatre.stash.port,
        "Dir": str(theatre.stash.config_folder),
    }
    return json.dumps({"server_connection": connection, "args": {"mode": mode}}).encode()


def command(theatre: Theatre) -> list[str]:
    (plugin,) = theatre.folder.glob(f"plügins {theatre.installed}/*/haven_vlm_connector.py")
    return [sys.executable, str(plugin)]


def start(theatre: Theatre) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(theatre), stdin=pipe, stdout=pipe, stderr=pipe, env=dict(os.environ)
    )


def process(theatre: Theatre, mode: str) -> dict[str, Any]:
    """Runs a task beside Stash's queue."""
    with start(theatre) as beside:
        out, log = beside.communicate(request_for(theatre, mode), timeout=60)
    assert beside.returncode == 0, log.decode()
    return dict(json.loads(out))


def test_two_tasks_at_once_double_and_lose_nothing(theatre):
    theatre.install()
    for scene in theatre.queue(0, 1, 2):
        hand_made(theatre, scene)
    before = theatre.contents()
    theatre.run()
    expected = theatre.contents()
    theatre.run(UNDO)
    with start(theatre) as one, start(theatre) as other:
        for each in (one, other):
            assert each.stdin is not None
            each.stdin.write(request_for(theatre, "tag_videos"))
            each.stdin.close()
            each.stdin = None
        for each in (one, other):
            out, log = each.communicate(timeout=90)
            assert json.loads(out).get("error") is None, log.decode()
    assert theatre.contents() == expected
    for _ in range(2):
        theatre.run(UNDO)
    assert theatre.contents() == before


# --- what people take off ---


def test_what_a_person_took_off_stays_off_until_asked_for(theatre):
    theatre.install()
    (scene,) = theatre.queue(0)
    theatre.run()
    library = theatre.stash.library
    whole = content(theatre.state(scene))
    tag = next(name for name in whole[0] if name in TAGS)
    wrong, relabelled, *_ = (m for m in theatre.state(scene).markers if "VLM" in m.tags)
    library.remove_marker(wrong.id)
    library.edit_marker(relabelled.id, primary_tag="Corner kick", title="Corner kick")
    library.untag_scene(scene, tag)
    wanted = content(theatre.state(scene))

    def brought_back(state: ItemState) -> bool:
        tags, markers = content(state)
        # The marker that was relabelled is a person's now, and stays as well.
        return tags == whole[0] and set(whole[1]) < set(markers)

    library.tag_scene(scene, "VLM_UpdateMe")
    job = theatre.run("Update Tagged Videos")
    assert content(theatre.state(scene)) == wanted
    assert f"stays off because a person took it off: {tag}, " in texts(job, "info")
    library.tag_scene(scene, "VLM_UpdateMe")
    job = theatre.run("Bring Back What You Removed")
    assert (job.error, job.progress[-1]) == (None, 1)
    assert brought_back(theatre.state(scene))
    theatre.run(UNDO)
    library.untag_scene(scene, "VLM_UpdateMe")
    assert content(theatre.state(scene)) == wanted
    library.tag_scene(scene, "VLM_TagMe")
    job = theatre.run("Tag Videos", bring_back="perhaps")
    assert "bring_back: 'perhaps' is neither yes nor no" in str(job.error)
    theatre.run("Tag Videos", bring_back="yes")
    assert brought_back(theatre.state(scene))
