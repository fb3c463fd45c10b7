"""Tags from the tree of a real Stash: parents, aliases, ignore_auto_tag, renaming and merging."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.stash.conftest import PLUGIN, Arena

OPERATION = "mutation ($id: ID!, $args: Map!) { runPluginOperation(plugin_id: $id, args: $args) }"
CREATE = "mutation ($input: TagCreateInput!) { tagCreate(input: $input) { id } }"
UPDATE = "mutation ($input: TagUpdateInput!) { tagUpdate(input: $input) { id } }"
MERGE = "mutation ($input: TagsMergeInput!) { tagsMerge(input: $input) { id } }"


def called(arena: Arena, op: str, **arguments: Any) -> Any:
    args = {"mode": "pages", "api": 1, "calls": [{"op": op, **arguments}]}
    batch = arena.stash.ask(OPERATION, {"id": PLUGIN, "args": args})["runPluginOperation"]
    (reply,) = batch["replies"]
    assert reply["ok"], reply
    return reply["value"]


def chosen(arena: Arena, **settings: Any) -> None:
    revision = called(arena, "settings")["revision"]
    changes = [{"name": name, "value": json.dumps(value)} for name, value in settings.items()]
    called(arena, "change_settings", revision=revision, changes=changes)


def created(arena: Arena, name: str, **more: Any) -> str:
    reply = arena.stash.ask(CREATE, {"input": {"name": name, **more}})
    return str(reply["tagCreate"]["id"])


def test_the_tree_of_a_real_stash_says_what_to_look_for(arena, configure):
    video = arena.videos[0]
    shown = [tag for tag, spans in video.truth.items() if spans]
    game = created(arena, "Game")
    tags = {
        name: created(arena, name, parent_ids=[game], description=f"{name}.\n\nMore.")
        for name in shown
    }
    created(arena, "Practice", parent_ids=[game], ignore_auto_tag=True, aliases=["Training"])
    configure(tagNames="")
    choices = [{"id": game, "name": "Game", "below": True}]
    chosen(arena, STASH_TAGS=choices, RESPECT_IGNORE_AUTO_TAG=True)
    tree = {tag["name"]: tag for tag in called(arena, "tag_tree")["tags"]}
    assert tree["Practice"]["aliases"] == ["Training"]
    assert {name for name, tag in tree.items() if tag["is_chosen"]} == set(shown)
    arena.queue(video)
    assert arena.run().status == "FINISHED"
    found = arena.scene(video)
    assert set(found.tags) == {*shown, "VLM_Tagged"}
    assert any(f"{shown[0]} ({shown[0]}.)" in line for line in arena.said("info"))

    gone, stays = shown[:2]
    arena.stash.ask(MERGE, {"input": {"source": [tags[gone]], "destination": tags[stays]}})
    chosen(arena, STASH_TAGS=[{"id": tags[gone], "name": gone}])
    (note,) = called(arena, "tag_tree")["notes"]
    assert f"{gone!r}: the tag was merged in Stash into {stays!r}" in note

    arena.stash.ask(UPDATE, {"input": {"id": tags[stays], "name": "Infringement"}})
    chosen(arena, STASH_TAGS=[{"id": tags[stays], "name": stays}])
    results = {one["name"] for one in called(arena, "tag_results")["tags"]}
    assert "Infringement" in results
    assert stays not in results


def test_2_000_tags_of_a_real_stash_are_read_at_once(arena):
    parents = [created(arena, f"Group {number}") for number in range(10)]
    fields = [
        f'c{number}: tagCreate(input: {{name: "Event {number}", description: "What it is.", '
        f'aliases: ["E{number}"], parent_ids: ["{parents[number % 10]}"]}}) {{ id }}'
        for number in range(1990)
    ]
    for first in range(0, len(fields), 200):
        arena.stash.ask(f"mutation {{ {' '.join(fields[first : first + 200])} }}")
    started = time.monotonic()
    assert len(called(arena, "tag_tree")["tags"]) >= 2000
    print(f"the operation took {time.monotonic() - started:.2f} s")
    assert time.monotonic() - started < 10
