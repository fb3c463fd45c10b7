"""The scene's tab in a browser, with the plugin's operations in the sandbox Stash behind it."""

from __future__ import annotations

from tests.ui.programs import chromium, node


def test_scenes_are_tagged_and_corrected_from_their_tabs(theatre):
    path = chromium()
    theatre.install()
    (scene,) = theatre.queue(0)
    theatre.run()
    new = theatre.stash.library.add_scene(theatre.videos[1].path, title="Finale")
    waiting = theatre.queue(2)
    scenes = {"SCENE": scene, "NEW_SCENE": new}
    node("--test", "real", CHROMIUM=path, STASH=theatre.stash.url, **scenes)
    assert "VLM_Tagged" in theatre.state(new).tags
    assert [theatre.state(one).markers for one in waiting] == [()]
