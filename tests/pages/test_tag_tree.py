"""The library's tree of tags, and counts for each tag."""

from __future__ import annotations

from haven.settings.overlay import write_overlay
from sandbox.stash_client import ask
from tests.pages.test_decisions import Case

CREATE = "mutation ($input: TagCreateInput!) { tagCreate(input: $input) { id } }"


def created(pages, name, **more):
    reply = ask(pages.stash.url, CREATE, {"input": {"name": name, **more}})
    return reply.data["tagCreate"]["id"]


def test_the_tree_comes_in_one_request_with_what_is_chosen(pages):
    pages.data_dir.mkdir()
    write_overlay(pages.data_dir, {"TAG_LIST": ["foul", "Goal"]}, 0)
    play, offence = created(pages, "Play"), created(pages, "Offence")
    foul = created(
        pages,
        "Foul",
        parent_ids=[play, offence],
        aliases=["Personal"],
        description="a player hits",
        ignore_auto_tag=True,
    )
    created(pages, "Score", aliases=["Goal"])
    pages.stash.requests.clear()
    tags = {tag["name"]: tag for tag in pages.value("tag_tree")["tags"]}
    assert pages.stash.requests.operations == ["Handshake", "TagTree"]
    assert tags["Foul"] == {
        "id": foul,
        "name": "Foul",
        "aliases": ["Personal"],
        "description": "a player hits",
        "parents": [offence, play],
        "ignore_auto_tag": True,
        "is_chosen": True,
    }
    assert [name for name, tag in tags.items() if tag["is_chosen"]] == ["Foul", "Score"]
    assert [*tags] == ["Foul", "Offence", "Play", "Score"]


def test_counts_tell_what_was_found_and_judged(pages):
    case = Case(pages)
    write_overlay(pages.data_dir, {"TAG_LIST": ["Foul", "Goal", "Turnover"]}, 0)
    case.run()
    case.decide("wrong", 10)
    case.decide("keep", 50)
    case.decide("adjust", 30, tag="Goal")
    counts = {tag.pop("name"): tag for tag in pages.value("tag_results")["tags"]}
    none = {"found": 0, "kept": 0, "wrong": 0, "adjusted": 0, "threshold": 0.5}
    assert counts == {
        "Foul": {**none, "kept": 1, "wrong": 1},
        "Goal": {**none, "adjusted": 1},
        "Turnover": none,
    }
    case.undo()
    case.decide("wrong", 50)
    counts = {tag.pop("name"): tag for tag in pages.value("tag_results")["tags"]}
    assert counts["Foul"] == {**none, "wrong": 2}
    assert counts["Goal"] == {**none, "found": 1}
