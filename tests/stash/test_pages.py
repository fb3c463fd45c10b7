"""The plugin's page and the scene's tab in Stash's own pages, where the binary has them."""

from __future__ import annotations

from tests.stash.conftest import TAGS
from tests.ui.programs import chromium, node

_UPDATE = "mutation($input: TagUpdateInput!) { tagUpdate(input: $input) { id } }"


def test_a_first_visit_ends_at_a_corrected_scene(arena, pages, endpoint):
    path = chromium()
    game = arena.stash.tag("Game")
    for tag in TAGS:
        change = {"id": arena.stash.tag(tag), "parent_ids": [game]}
        arena.stash.ask(_UPDATE, {"input": change})
    node(
        "--test",
        "visit",
        CHROMIUM=path,
        STASH=pages,
        PAGES=pages,
        ENDPOINT=endpoint.url,
        SCENE=arena.scene(arena.videos[0]).id,
    )


def test_tasks_start_from_stash_s_own_lists(arena, pages, endpoint, configure):
    path = chromium()
    configure()
    node("--test", "lists", CHROMIUM=path, STASH=pages)
