"""The plugin's page in a browser, with the plugin's operations in the sandbox Stash behind it."""

from __future__ import annotations

from tests.end_to_end.conftest import TAGS
from tests.ui.programs import chromium, node


def test_a_first_visit_ends_at_a_corrected_scene(theatre):
    path = chromium()
    theatre.install({"base_url": "http://127.0.0.1:9/v1"})
    library = theatre.stash.library
    library.add_tag("Game")
    for tag in TAGS:
        library.add_tag(tag, parents=["Game"])
    (scene,) = theatre.queue(0)
    node(
        "--test",
        "visit",
        CHROMIUM=path,
        STASH=theatre.stash.url,
        ENDPOINT=theatre.endpoint().url,
        SCENE=scene,
    )
