"""The tasks that take back what others did, and turns, on a real Stash."""

from __future__ import annotations

import time
from collections.abc import Callable

from sandbox.real_stash import RealStash
from sandbox.stash import ItemState
from tests.stash.conftest import DATA, PLUGIN, TAGS, Arena, furnish, short_video
from vlm_engine.testing import Fault

Configure = Callable[..., None]


def test_undo_and_removal_are_exact_and_new_tags_go(arena, configure):
    configure()
    arena.work_by_hand()
    arena.queue(*arena.videos)
    before, tags = arena.contents(), arena.tag_names()
    arena.run()
    after = arena.contents()
    arena.run("Remove VLM Tags and Markers")
    assert [(set(tags), [m[0] for m in markers]) for tags, markers in arena.contents()] == [
        ({"Home game"}, ["Coach"])
    ] * 2
    arena.run("Undo Last Run")
    assert arena.contents() == after
    arena.run("Undo Last Run")
    assert arena.contents() == before
    assert arena.tag_names() - tags == {"VLM", "VLM_UpdateMe", "VLM_Tagged", "VLM_Errored"}
    arena.run("Undo Last Run")
    assert "nothing to undo" in arena.said("info")[-1]
    assert arena.said("warning", "error") == []


def test_undo_keeps_and_names_what_people_changed_or_use(arena, configure):
    configure()
    video, other = arena.videos
    arena.queue(video)
    arena.run()
    first, *_ = arena.scene(video).markers
    arena.stash.edit_marker(first.id, title="my own words")
    arena.stash.add_tags(
        arena.scene(other).id, [next(tag for tag in arena.scene(video).tags if tag != "VLM_Tagged")]
    )
    arena.run("Undo Last Run")
    assert arena.scene(video).tags == ("VLM_TagMe",)
    assert [marker.title for marker in arena.scene(video).markers] == ["my own words"]
    assert "stays: somebody has changed it since" in arena.said("warning")[0]
    assert any("stays in Stash: it is in use" in line for line in arena.said("info"))


def test_an_undoing_that_was_stopped_is_gone_on_with(arena, configure):
    configure()
    arena.work_by_hand()
    arena.queue(*arena.videos)
    before = arena.contents()
    arena.run()
    job = arena.start("Undo Last Run")
    arena.stash.watch(job, until=lambda _: any("VLM_TagMe" in tags for tags, _ in arena.contents()))
    arena.stash.stop_job(job)
    arena.stash.watch(job)
    arena.run("Undo Last Run")
    assert arena.contents() == before


def test_preview_writes_nothing_and_its_answers_are_reused(arena, endpoint, configure):
    configure()
    video = arena.videos[0]
    arena.queue(video)
    before, tags = arena.contents(), arena.tag_names()
    arena.run("Preview")
    assert arena.contents() == before
    assert arena.tag_names() == tags
    assert any(" found; tags would be added: " in line for line in arena.said("info"))
    calls = endpoint.counters.answered
    arena.run()
    after = arena.contents()
    arena.stash.add_tags(arena.scene(video).id, ["VLM_UpdateMe"])
    arena.run("Update Tagged Videos")
    assert arena.contents() == after
    assert endpoint.counters.answered == calls


def test_a_task_after_its_time_slice_lets_others_go_first(arena, endpoint, configure):
    configure(timeSlice=1)
    endpoint.behaviour.fault, endpoint.behaviour.slots = Fault.HANG, 1
    arena.queue(*arena.videos)
    arena.start()
    time.sleep(5)
    waiting = arena.start("Update Tagged Videos")
    arena.stash.watch(waiting)
    endpoint.behaviour.fault = Fault.NONE
    assert any("queued itself again" in line for line in arena.said("info"))
    jobs = arena.stash.ask("{ jobQueue { id description } }")["jobQueue"] or []
    for job in jobs:
        assert "Tag Videos" in job["description"]
        arena.stash.watch(job["id"])
    for video in arena.videos:
        assert "VLM_Tagged" in arena.scene(video).tags


# What people take off, and other tag lists.


def take_off(arena: Arena, scene: ItemState, tag: str, marker: str) -> None:
    """As a person does it in the browser: the tag off the scene, the marker deleted."""
    (tag_id,) = (
        one["id"]
        for one in arena.stash.ask("{ allTags { id name } }")["allTags"]
        if one["name"] == tag
    )
    change = {"ids": [scene.id], "tag_ids": {"ids": [tag_id], "mode": "REMOVE"}}
    arena.stash.ask(
        "mutation($input: BulkSceneUpdateInput!) { bulkSceneUpdate(input: $input) { id } }",
        {"input": change},
    )
    arena.stash.ask("mutation($id: ID!) { sceneMarkerDestroy(id: $id) }", {"id": marker})


def test_what_a_person_took_off_stays_off_until_they_ask_for_it(arena, configure):
    configure()
    video = arena.videos[0]
    arena.queue(video)
    arena.run()
    whole = arena.content(video)
    take_off(
        arena,
        arena.scene(video),
        next(tag for tag in whole[0] if tag != "VLM_Tagged"),
        arena.scene(video).markers[0].id,
    )
    wanted = arena.content(video)
    for task, queue in (("Update Tagged Videos", "VLM_UpdateMe"), ("Tag Videos", "VLM_TagMe")):
        arena.stash.add_tags(arena.scene(video).id, [queue])
        arena.run(task)
        assert arena.content(video) == wanted
    assert any("stays off because a person took it off: " in line for line in arena.said("info"))
    arena.stash.add_tags(arena.scene(video).id, ["VLM_UpdateMe"])
    arena.run("Bring Back What You Removed")
    assert arena.content(video) == whole


def test_another_tag_list_leaves_what_the_first_one_found(arena, configure):
    video = arena.videos[0]
    configure(tagNames="Foul, Goal")
    arena.queue(video)
    arena.run()
    tags, markers = arena.content(video)
    configure(tagNames="Turnover, Timeout")
    arena.queue(video)
    arena.run()
    after = arena.content(video)
    assert set(tags) <= set(after[0])
    assert set(markers) <= set(after[1])


def test_undo_needs_no_endpoint_and_names_a_lost_journal(arena, configure):
    configure()
    video = arena.videos[0]
    arena.queue(video)
    before = arena.content(video)
    arena.run()
    made = len(arena.scene(video).markers)
    configure(endpoint="gopher://nowhere", tagNames="VLM, VLM")
    arena.run("Undo Last Run")
    assert arena.content(video) == before
    configure()
    arena.run()
    for file in (arena.stash.folder / DATA).glob("haven.sqlite3*"):
        file.unlink()
    arena.run("Remove VLM Tags and Markers")
    assert (
        f"Stash has {made} markers with the tag VLM and 1 scene with tags below VLM"
        in arena.said("info")[-1]
    )


def test_what_a_person_edited_or_merged_stays_so(arena, configure):
    configure()
    video, other = arena.videos
    arena.queue(video, other)
    arena.run()
    scene = arena.scene(video)
    foul, goal = (
        next(m for m in scene.markers if m.primary_tag == tag) for tag in ("Foul", "Goal")
    )
    arena.stash.edit_marker(foul.id, primary_tag_id=arena.stash.tag("Corner kick"))
    arena.stash.edit_marker(
        goal.id, seconds=goal.seconds + 5, end_seconds=(goal.end_seconds or 0) + 5
    )
    ids = {name: arena.stash.tag(name) for name in ("Turnover", "Timeout", "Break")}
    arena.stash.ask(
        "mutation($input: TagUpdateInput!) { tagUpdate(input: $input) { id } }",
        {"input": {"id": ids["Turnover"], "name": "Ball lost"}},
    )
    arena.stash.ask(
        "mutation($input: TagsMergeInput!) { tagsMerge(input: $input) { id } }",
        {"input": {"source": [ids["Timeout"]], "destination": ids["Break"]}},
    )
    wanted = arena.contents()
    for task, queue in (("Update Tagged Videos", "VLM_UpdateMe"), ("Tag Videos", "VLM_TagMe")):
        for one in arena.videos:
            arena.stash.add_tags(arena.scene(one).id, [queue])
        arena.run(task)
        assert arena.contents() == wanted
    assert arena.said("warning", "error") == []


def test_each_of_several_tag_lists_is_undone_alone(arena, configure):
    video = arena.videos[0]
    states = [arena.content(video)]
    for names in ("Foul, Goal", "Turnover, Timeout", "Foul, Goal"):
        configure(tagNames=names)
        arena.queue(video)
        arena.run()
        states.append(arena.content(video))
    assert states[3] == states[2]
    for state in reversed(states[:3]):
        arena.run("Undo Last Run")
        tags, markers = arena.content(video)
        assert (set(tags) - {"VLM_TagMe"}, markers) == (set(state[0]), state[1])


def test_nothing_is_written_once_the_journal_is_gone(arena, endpoint, configure):
    configure()
    video = arena.videos[0]
    arena.queue(video)
    before = arena.content(video)
    endpoint.behaviour.latency_s = 0.3
    job = arena.start()
    while not endpoint.counters.answered:
        time.sleep(0.05)
    for file in (arena.stash.folder / DATA).glob("haven.sqlite3*"):
        file.unlink()
    arena.stash.watch(job)
    assert arena.content(video) == before
    assert "haven.sqlite3" in arena.said("error")[0]
    endpoint.behaviour.latency_s = 0
    arena.run()
    arena.run("Undo Last Run")
    assert arena.content(video) == before


def test_what_came_with_a_merged_scene_is_taken_off_and_put_back(binary, tmp_path, endpoint):
    with RealStash(binary, tmp_path) as stash:
        arena = furnish(stash, short_video(1), short_video(2))
        stash.configure(PLUGIN, {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS)})
        arena.queue(*arena.videos)
        arena.run()
        into, source = map(arena.scene, arena.videos)
        stash.add_marker(source.id, "Interview", 3.0, title="Coach")
        merge = "mutation($input: SceneMergeInput!) { sceneMerge(input: $input) { id } }"
        stash.ask(merge, {"input": {"source": [source.id], "destination": into.id}})
        merged = arena.content(arena.videos[0])
        arena.run("Remove VLM Tags and Markers")
        left = arena.scene(arena.videos[0])
        assert (left.tags, [marker.title for marker in left.markers]) == ((), ["Coach"])
        arena.run("Undo Last Run")
        assert arena.content(arena.videos[0]) == merged
