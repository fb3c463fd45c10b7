"""Undoing any run, or some items of it, and previews of a run's markers: the tasks as Stash runs
them.
"""

from __future__ import annotations

from tests.end_to_end.conftest import content, texts

UNDO, PREVIEWS = "Undo Last Run", "Make Marker Previews"


def two_runs(theatre):
    """Tag three scenes, and the first of them again. Return the scenes and all contents before."""
    scenes = theatre.queue(0, 1, 2)
    before = theatre.contents()
    theatre.run()
    theatre.stash.library.tag_scene(scenes[0], "VLM_UpdateMe")
    theatre.run("Update Tagged Videos", TAG_LIST="Foul,Goal")
    return scenes, before


def test_one_scene_of_an_older_run_is_undone(theatre):
    theatre.install()
    scenes, before = two_runs(theatre)
    after = theatre.contents()
    job = theatre.run(UNDO, run="1", scenes=f"{scenes[0]},999999")
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert "Run 1 (Tag Videos, " in str(job.output)
    assert "on 1 of 2 items is undone: 1 scene. What later runs did" in str(job.output)
    assert "is undone as well: Run 2 (Update Tagged Videos, " in str(job.output)
    tags, markers = before[0]
    assert theatre.contents() == [(tuple(sorted({*tags, "VLM_UpdateMe"})), markers), *after[1:]]
    assert "is undone already" in str(theatre.run(UNDO, run="1", scenes=scenes[0]).output)
    assert "is undone already" in str(theatre.run(UNDO, run="2").output)
    job = theatre.run(UNDO, run="1")
    assert "is undone: 2 scenes." in str(job.output)
    assert theatre.contents()[1:] == before[1:]
    assert "nothing to undo" in str(theatre.run(UNDO).output)
    assert "cannot be undone" in str(theatre.run(UNDO, run="3").output)


def test_the_last_run_of_named_scenes_is_undone(theatre):
    theatre.install()
    scenes, before = two_runs(theatre)
    job = theatre.run(UNDO, scenes=f"{scenes[0]},{scenes[1]}")
    assert "The last run of each on 2 items is undone: 2 scenes." in str(job.output)
    assert content(theatre.state(scenes[1])) == before[1]
    assert "VLM_UpdateMe" in theatre.state(scenes[0]).tags
    assert "VLM_Tagged" in theatre.state(scenes[0]).tags
    theatre.run(UNDO, scenes=scenes[0])
    assert set(theatre.state(scenes[0]).tags) == {"VLM_TagMe", "VLM_UpdateMe"}
    assert "no run changed these items" in str(theatre.run(UNDO, scenes=scenes[0]).output)
    assert "VLM_Tagged" in theatre.state(scenes[2]).tags


def test_only_the_markers_of_a_run_get_previews(theatre):
    theatre.install()
    scenes = theatre.queue(0, 1)
    library = theatre.stash.library
    library.add_marker(scenes[0], "Interview", 3.0)
    theatre.run()
    assert library.markers_with_previews() == set()
    ours = {one.id for scene in scenes for one in theatre.state(scene).markers} - {"1"}
    deleted = theatre.state(scenes[1]).markers[0].id
    library.remove_marker(deleted)
    job = theatre.run(PREVIEWS)
    assert f"previews of {len(ours) - 1} markers of Run 1 (Tag Videos, " in str(job.output)
    assert library.markers_with_previews() == ours - {deleted}
    theatre.run(UNDO)
    assert "There is no run whose markers" in str(theatre.run(PREVIEWS).output)
    assert "has no marker in Stash" in str(theatre.run(PREVIEWS, run="1").output)
    assert library.markers_with_previews() == set()


def test_a_setting_has_previews_made_after_each_run(theatre):
    theatre.install(MARKER_PREVIEWS=True)
    (scene,) = theatre.queue(0)
    library = theatre.stash.library
    library.add_marker(scene, "Interview", 3.0)
    job = theatre.run("Preview")
    assert library.markers_with_previews() == set()
    job = theatre.run()
    made = {one.id for one in theatre.state(scene).markers} - {"1"}
    assert made
    assert library.markers_with_previews() == made
    assert f"Stash makes previews of {len(made)} marker" in texts(job, "info")
