"""Undoing one scene of a run, and previews of one run's markers, on a real Stash."""

from __future__ import annotations

import time
from pathlib import Path

from tests.stash.conftest import PLUGIN

_TASK = """mutation($id: ID!, $name: String!, $args: Map) {
  runPluginTask(plugin_id: $id, task_name: $name, args_map: $args)
}"""


def start(arena, task, **args):
    variables = {"id": PLUGIN, "name": task, "args": args}
    job = arena.stash.ask(_TASK, variables)["runPluginTask"]
    return arena.stash.watch(str(job))


def files_made(arena) -> dict[str, set[str]]:
    """Return the kinds of generated files by the second of the marker, for each marker's file."""
    made: dict[str, set[str]] = {}
    for path in (arena.stash.folder / "generated" / "markers").rglob("*.*"):
        made.setdefault(f"{path.parent.name}/{path.stem}", set()).add(path.suffix)
    return made


def idle(arena, limit_s=400.0):
    """Wait until Stash's queue of jobs is empty."""
    deadline = time.monotonic() + limit_s
    while arena.stash.ask("{ jobQueue { id } }")["jobQueue"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_one_scene_of_a_run_is_undone(arena, configure):
    configure()
    first, second = arena.videos
    arena.work_by_hand()
    arena.queue(first, second)
    before = arena.content(first)
    arena.run()
    after = arena.content(second)
    assert arena.content(first) != before
    job = start(arena, "Undo Last Run", mode="undo_last_run", run="1", scenes=arena.scene(first).id)
    assert (job.status, job.error) == ("FINISHED", None)
    assert arena.content(first) == before
    assert arena.content(second) == after
    arena.run("Undo Last Run")
    assert arena.content(second)[0] == before[0]
    assert any("is undone: 1 scene." in line for line in arena.said("info"))


def test_previews_are_made_of_the_markers_of_one_run_and_no_other(arena, configure):
    configure()
    first, second = arena.videos
    arena.work_by_hand()
    arena.queue(first)
    arena.run()
    arena.queue(second)
    arena.run()
    start(arena, "Make Marker Previews", mode="marker_previews", run="1")
    idle(arena)
    ours = [marker for marker in arena.scene(first).markers if "VLM" in marker.tags]
    assert ours
    seconds = {int(marker.seconds) for marker in ours}
    made = files_made(arena)
    folders = {Path(name).parent.name for name in made}
    assert {int(Path(name).name) for name in made} == seconds
    assert len(folders) == 1
    kinds = set(map(frozenset, made.values()))
    assert kinds in ({frozenset({".mp4"})}, {frozenset({".mp4", ".jpg", ".webp"})})
