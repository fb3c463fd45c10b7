"""The scene's tab in a browser, with the plugin's operations in the sandbox Stash behind it."""

from __future__ import annotations

from tests.ui.programs import chromium, node


def test_what_a_run_found_is_corrected_from_the_scene_s_tab(theatre):
    path = chromium()
    theatre.install()
    (scene,) = theatre.queue(0)
    theatre.run()
    node("--test", "real", CHROMIUM=path, STASH=theatre.stash.url, SCENE=scene)
