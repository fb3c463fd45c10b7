"""The rules of the sandbox's Stash for its library: compared by hand with a running v0.30.1."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.stash import RefusedError, SandboxStash
from sandbox.stash_client import Reply, ask

INPUTS = {
    "tagCreate": "TagCreateInput",
    "tagUpdate": "TagUpdateInput",
    "tagDestroy": "TagDestroyInput",
    "bulkTagUpdate": "BulkTagUpdateInput",
    "bulkSceneUpdate": "BulkSceneUpdateInput",
    "sceneMarkerUpdate": "SceneMarkerUpdateInput",
    "bulkSceneMarkerUpdate": "BulkSceneMarkerUpdateInput",
}
FILTERS = {
    "findTags": ("tag_filter: $c", "TagFilterType", "tags { name }"),
    "findScenes": ("scene_filter: $c", "SceneFilterType", "scenes { id }"),
    "findSceneMarkers": (
        "scene_marker_filter: $c",
        "SceneMarkerFilterType",
        "scene_markers { id }",
    ),
}


def change(stash: SandboxStash, field: str, **values: Any) -> Reply:
    """Send a mutation with one input."""
    fields = "" if field == "tagDestroy" else "{ id }"
    document = f"mutation ($i: {INPUTS[field]}!) {{ {field}(input: $i) {fields} }}"
    return ask(stash.url, document, {"i": values})


def find(stash: SandboxStash, field: str, criteria: dict[str, Any], **paging: Any) -> list[str]:
    """Return the names or ids of what is found."""
    argument, kind, fields = FILTERS[field]
    query = f"{field}(filter: $f, {argument}) {{ {fields} }}"
    document = f"query ($c: {kind}, $f: FindFilterType) {{ {query} }}"
    (items,) = ask(stash.url, document, {"c": criteria, "f": paging}).data[field].values()
    return [value for item in items for value in item.values()]


@pytest.fixture
def scenes(stash: SandboxStash) -> list[str]:
    """Three scenes without tags or files."""
    return [stash.library.add_scene() for _ in range(3)]


def test_tags_are_found_by_like_by_alias_and_by_one_operator(stash):
    for name in ("free throw", "Free-throw", "Goal", "ÄRGER"):
        stash.library.add_tag(name)
    stash.library.add_tag("Foul", aliases=["Foul shot"])

    def by(value: str, modifier: str = "EQUALS") -> dict[str, str]:
        return {"value": value, "modifier": modifier}

    for criteria, expected in [
        ({"name": by("FREE_THROW")}, ["free throw", "Free-throw"]),
        ({"name": by("go%")}, ["Goal"]),
        ({"name": by("ärger")}, []),
        ({"name": by("free_throw", "NOT_EQUALS")}, ["Foul", "Goal", "ÄRGER"]),
        ({"name": by("throw oal", "INCLUDES")}, ["free throw", "Free-throw", "Goal"]),
        ({"name": by("throw oal", "EXCLUDES")}, ["Foul", "ÄRGER"]),
        ({"name": by("^G", "MATCHES_REGEX")}, ["Goal"]),
        ({"aliases": by("foul shot")}, ["Foul"]),
        ({"name": by("goal"), "OR": {"aliases": by("foul%")}}, ["Foul", "Goal"]),
        ({"name": by("f%"), "NOT": {"aliases": by("foul%")}}, ["free throw", "Free-throw"]),
        ({"name": by("f%"), "AND": {"ignore_auto_tag": True}}, []),
    ]:
        assert find(stash, "findTags", criteria) == expected, criteria
    both = "AND: {ignore_auto_tag: true}, NOT: {ignore_auto_tag: true}"
    two = f"{{ findTags(tag_filter: {{{both}}}) {{ count }} }}"
    message = "cannot have AND and NOT in the same filter"
    assert ask(stash.url, two).messages == {"findTags": message}


def test_pages_and_the_order_of_names(stash):
    for number in range(30):
        stash.library.add_tag(f"set {number}" if number % 2 else f"Set {number}")
    names = [f"{'set' if number % 2 else 'Set'} {number}" for number in range(30)]
    assert find(stash, "findTags", {}) == names[:25]
    assert find(stash, "findTags", {}, per_page=-1) == names
    assert find(stash, "findTags", {}, per_page=0) == []
    assert find(stash, "findTags", {}, per_page=20, page=2) == names[20:]
    assert find(stash, "findTags", {}, per_page=20, page=3) == []
    refused = ask(stash.url, '{ findTags(filter: {sort: "whistle"}) { count } }')
    assert refused.messages == {"findTags": "invalid sort: whistle"}


def test_scenes_are_found_by_tags_and_their_descendants(stash, scenes):
    one, two, three = scenes
    stash.library.add_tag("Foul", parents=["Event"])
    stash.library.add_tag("Charge", parents=["Foul"])
    stash.library.tag_scene(one, "Event")
    stash.library.tag_scene(two, "Charge", "Goal")
    stash.library.add_marker(two, "Charge", 0.5)
    event, goal, charge = (stash.library.tag_id(name) for name in ("Event", "Goal", "Charge"))
    for modifier, value, more, expected in [
        ("INCLUDES", [event], {}, [one]),
        ("INCLUDES", [event], {"depth": 1}, [one]),
        ("INCLUDES", [event], {"depth": 2}, [one, two]),
        ("INCLUDES", [event, goal], {}, [one, two]),
        ("INCLUDES_ALL", [goal, charge], {}, [two]),
        ("INCLUDES_ALL", [event, goal], {}, []),
        ("INCLUDES_ALL", [event, goal], {"depth": -1}, [two]),
        ("EXCLUDES", [event], {"depth": -1}, [three]),
        ("INCLUDES", [event], {"depth": -1, "excludes": [goal]}, [one]),
        ("IS_NULL", None, {}, [three]),
        ("NOT_NULL", None, {}, [one, two]),
        ("INCLUDES", [], {}, scenes),
        ("INCLUDES", ["99"], {}, []),
    ]:
        criteria = {"tags": {"value": value, "modifier": modifier, **more}}
        assert find(stash, "findScenes", criteria, per_page=-1) == expected, criteria
    after_one = {"id": {"value": int(one), "modifier": "GREATER_THAN"}}
    assert find(stash, "findScenes", after_one) == [two, three]
    assert find(stash, "findScenes", {"has_markers": "true"}) == [two]


def test_markers_are_found_by_scene_and_by_any_tag(stash, scenes):
    stash.library.add_tag("Charge", parents=["Foul"])
    one = stash.library.add_marker(scenes[0], "Charge", 1, tags=["VLM"])
    two = stash.library.add_marker(scenes[1], "Goal", 1, tags=["Foul"])
    stash.library.tag_scene(scenes[1], "Game")
    foul, vlm, game, goal = (stash.library.tag_id(name) for name in ("Foul", "VLM", "Game", "Goal"))
    for field, modifier, value, more, expected in [
        ("scenes", "INCLUDES", scenes[:1], {}, [one]),
        ("scenes", "EXCLUDES", scenes[:1], {}, [two]),
        ("tags", "INCLUDES", [foul], {}, [two]),
        ("tags", "INCLUDES", [foul], {"depth": -1}, [one, two]),
        ("tags", "INCLUDES_ALL", [foul, vlm], {"depth": -1}, [one]),
        ("tags", "INCLUDES", [foul], {"depth": -1, "excludes": [goal]}, [one]),
        ("tags", "EXCLUDES", [goal], {}, [one, two]),  # as Stash does: a primary tag is no tag here
        ("scene_tags", "INCLUDES", [game], {}, [two]),
    ]:
        criteria = {field: {"value": value, "modifier": modifier, **more}}
        assert sorted(find(stash, "findSceneMarkers", criteria)) == expected, criteria


def test_refused_changes_change_nothing(stash, scenes):
    library = stash.library
    library.add_tag("Foul", aliases=["Fault"], parents=["Event"])
    marker = library.add_marker(scenes[0], "Goal", 1, 4)
    foul, event, goal = (library.tag_id(name) for name in ("Foul", "Event", "Goal"))
    library.add_tag("a b")
    add = {"ids": [foul, "99"], "mode": "ADD"}
    before = library.snapshot()
    for field, values, message in [
        ("tagCreate", {"name": "  "}, "tag name must not be blank"),
        *(("tagCreate", {"name": name}, "already exists") for name in ("a b", "a_b", " A B ")),
        ("tagCreate", {"name": "FAULT"}, "name 'FAULT' is used as alias for 'Foul'"),
        ("tagCreate", {"name": "x", "aliases": ["foul"]}, "tag with name 'foul' already exists"),
        ("tagCreate", {"name": "x", "parent_ids": ["99"]}, "FOREIGN KEY constraint failed"),
        ("tagUpdate", {"id": foul, "name": "goal"}, "already exists"),
        ("tagUpdate", {"id": 77, "name": "x"}, "tag with id 77 not found"),
        ("tagUpdate", {"id": event, "parent_ids": [foul]}, "it is already a descendant"),
        ("tagUpdate", {"id": foul, "child_ids": [event]}, "already an ancestor"),
        ("bulkTagUpdate", {"ids": [foul, 99], "ignore_auto_tag": True}, "id 99 not found"),
        ("tagDestroy", {"id": goal}, "cannot delete tag used as a primary tag in scene markers"),
        ("tagDestroy", {"id": 99}, "id 99 does not exist in tags"),
        ("bulkSceneUpdate", {"ids": scenes, "tag_ids": add}, "FOREIGN KEY constraint failed"),
        ("bulkSceneUpdate", {"ids": [scenes[0], "77"]}, "sql: no rows in result set"),
        ("sceneMarkerUpdate", {"id": marker, "seconds": 5}, "must be greater"),
        ("sceneMarkerUpdate", {"id": "77"}, "scene marker with id 77 not found"),
        ("sceneMarkerUpdate", {"id": marker, "primary_tag_id": "99"}, "FOREIGN KEY"),
        ("bulkSceneMarkerUpdate", {"ids": [marker, "77"], "title": "x"}, "sql: no rows"),
    ]:
        assert message in change(stash, field, **values).messages[field], (field, values)
    destroy = "mutation ($ids: [ID!]!) { sceneMarkersDestroy(ids: $ids) }"
    lost = ask(stash.url, destroy, {"ids": [marker, "99"]})
    assert lost.messages == {"sceneMarkersDestroy": "scene marker with id 99 not found"}
    with pytest.raises(RefusedError, match="already exists"):
        library.add_tag("FOUL")
    assert library.snapshot() == before


def test_ids_must_all_be_there_or_there_is_no_data(stash, scenes):
    document = "query ($ids: [ID!]) { findScenes(ids: $ids) { scenes { id } } }"
    found = ask(stash.url, document, {"ids": scenes[::-1]}).data["findScenes"]["scenes"]
    assert [scene["id"] for scene in found] == scenes[::-1]
    stash.library.remove_scene(scenes[1])
    reply = ask(stash.url, document, {"ids": scenes})
    assert (reply.status, reply.body["data"]) == (200, None)
    assert reply.messages == {"findScenes": f"scene with id {scenes[1]} not found"}
    twice = ask(stash.url, document, {"ids": ["1", "1"]})
    assert "duplicate id found" in twice.messages["findScenes"]


def test_an_update_changes_only_what_is_given(stash, scenes):
    library = stash.library
    tag = library.add_tag("Foul", aliases=["Fault"], description="a whistle", parents=["VLM"])
    marker = library.add_marker(scenes[0], "Foul", 1, 4, title="first", tags=["VLM"])
    before = library.snapshot()
    change(stash, "tagUpdate", id=tag)
    change(stash, "sceneMarkerUpdate", id=marker)
    assert library.snapshot() == before
    change(stash, "tagUpdate", id=tag, aliases=[])
    (foul,) = (state for state in library.snapshot().tags if state.name == "Foul")
    assert (foul.aliases, foul.description, foul.parents) == ((), "a whistle", ("VLM",))
    tags = [tag, library.add_tag("Game")]
    change(stash, "sceneMarkerUpdate", id=marker, seconds=2, title="second", tag_ids=tags)
    (state,) = library.scene_state(scenes[0]).markers
    assert (state.seconds, state.end_seconds, state.title) == (2, 4, "second")
    assert state.tags == ("Game",)  # the primary tag is not repeated
    change(stash, "sceneMarkerUpdate", id=marker, seconds=5, end_seconds=None)
    assert library.scene_state(scenes[0]).markers[0].end_seconds is None


def test_bulk_updates_add_remove_and_set_tags(stash, scenes):
    foul, goal, old = (stash.library.add_tag(name) for name in ("Foul", "Goal", "Old"))
    stash.library.tag_scene(scenes[0], "Old")
    for ids, mode, tags, expected in [
        (scenes[:2], "ADD", [foul, goal, goal], [("Foul", "Goal", "Old"), ("Foul", "Goal"), ()]),
        (scenes, "REMOVE", [goal, "99"], [("Foul", "Old"), ("Foul",), ()]),
        (scenes[:1], "SET", [old], [("Old",), ("Foul",), ()]),
    ]:
        change(stash, "bulkSceneUpdate", ids=ids, tag_ids={"ids": tags, "mode": mode})
        assert [stash.library.scene_state(scene).tags for scene in scenes] == expected


def test_bulk_changes_of_a_markers_tags_may_be_lost(stash, scenes):
    """Stash writes nothing if the number of tags stays the same."""
    marker = stash.library.add_marker(scenes[0], "Foul", 1, tags=["VLM"])
    game, foul = stash.library.add_tag("Game"), stash.library.tag_id("Foul")
    for ids, mode, expected in [([game], "SET", ("VLM",)), ([game, foul], "ADD", ("Game", "VLM"))]:
        change(stash, "bulkSceneMarkerUpdate", ids=[marker], tag_ids={"ids": ids, "mode": mode})
        assert stash.library.scene_state(scenes[0]).markers[0].tags == expected


def test_markers_in_one_document_fail_one_by_one(stash, scenes):
    foul, vlm = stash.library.add_tag("Foul"), stash.library.add_tag("VLM")
    good = {
        "title": " Foul ",
        "seconds": 1,
        "end_seconds": 1,
        "scene_id": scenes[0],
        "primary_tag_id": foul,
        "tag_ids": [foul, vlm],
    }
    markers = {
        "good": good,
        "backwards": {**good, "end_seconds": 0.5},
        "lost": {**good, "scene_id": "77"},
        "nameless": {**good, "primary_tag_id": "99"},
        "twice": {**good, "tag_ids": [vlm, vlm]},
        "late": {**good, "seconds": 9999, "end_seconds": None},
    }
    variables = ", ".join(f"${name}: SceneMarkerCreateInput!" for name in markers)
    fields = " ".join(f"{name}: sceneMarkerCreate(input: ${name}) {{ id }}" for name in markers)
    reply = ask(stash.url, f"mutation ({variables}) {{ {fields} }}", markers)
    assert reply.status == 200
    assert {name for name, marker in reply.data.items() if marker} == {"good", "late"}
    message = "end_seconds (0.500000) must be greater than or equal to seconds (1.000000)"
    assert reply.messages["backwards"] == message
    assert "FOREIGN KEY constraint failed" in reply.messages["lost"]
    assert "FOREIGN KEY constraint failed" in reply.messages["nameless"]
    assert "UNIQUE constraint failed" in reply.messages["twice"]
    made = stash.library.scene_state(scenes[0]).markers
    assert [(one.title, one.seconds, one.end_seconds, one.tags) for one in made] == [
        ("Foul", 1, 1, ("VLM",)),
        ("Foul", 9999, None, ("VLM",)),
    ]
    tags = {"id": stash.library.tag_id("VLM")}
    assert change(stash, "tagDestroy", **tags).data == {"tagDestroy": True}
    assert [one.tags for one in stash.library.scene_state(scenes[0]).markers] == [(), ()]
