"""The rules by which the sandbox's Stash reads and changes its library: compared by hand with a running v0.30.1."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash import RefusedError, SandboxStash
from sandbox.stash_client import Reply, ask
from sandbox.videos import VideoSpec, generate
from vlm_engine.testing.threads import running


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(
        VideoSpec(duration_s=1, seed=1), tmp_path_factory.mktemp("match") / "match.mp4"
    ).path


@pytest.fixture
def stash() -> Iterator[SandboxStash]:
    with running(SandboxStash()) as server:
        yield server


@pytest.fixture
def scenes(stash: SandboxStash, video: Path, tmp_path: Path) -> list[str]:
    """Three scenes without tags."""
    copies = [tmp_path / f"match {number}.mp4" for number in range(3)]
    for copy in copies:
        copy.write_bytes(video.read_bytes())
    return [stash.library.add_scene(copy) for copy in copies]


def names(stash: SandboxStash, criteria: dict[str, Any], **paging: Any) -> list[str]:
    document = "query ($f: FindFilterType, $t: TagFilterType) { findTags(filter: $f, tag_filter: $t) { tags { name } } }"
    reply = ask(stash.url, document, {"t": criteria, "f": paging})
    return [tag["name"] for tag in reply.data["findTags"]["tags"]]


def create_tag(stash: SandboxStash, **fields: Any) -> Reply:
    return ask(
        stash.url,
        "mutation ($i: TagCreateInput!) { tagCreate(input: $i) { name aliases } }",
        {"i": fields},
    )


def equals(value: str) -> dict[str, str]:
    return {"value": value, "modifier": "EQUALS"}


def test_a_tag_is_found_by_like(stash: SandboxStash) -> None:
    for name in ("free throw", "Free-throw", "Goal", "ÄRGER"):
        stash.library.add_tag(name)
    assert names(stash, {"name": equals("FREE_THROW")}) == ["free throw", "Free-throw"]
    assert names(stash, {"name": equals("go%")}) == ["Goal"]
    assert names(stash, {"name": equals("ärger")}) == []
    assert names(stash, {"name": {"value": "free_throw", "modifier": "NOT_EQUALS"}}) == [
        "Goal",
        "ÄRGER",
    ]
    assert names(stash, {"name": {"value": "throw oal", "modifier": "INCLUDES"}}) == [
        "free throw",
        "Free-throw",
        "Goal",
    ]
    assert names(stash, {"name": {"value": "throw oal", "modifier": "EXCLUDES"}}) == ["ÄRGER"]
    assert names(stash, {"name": {"value": "^G", "modifier": "MATCHES_REGEX"}}) == ["Goal"]


def test_a_tag_is_found_by_name_or_alias(stash: SandboxStash) -> None:
    stash.library.add_tag("Free throw", aliases=["Foul shot"])
    stash.library.add_tag("Foul")
    stash.library.add_tag("Goal")
    assert names(stash, {"aliases": equals("foul shot")}) == ["Free throw"]
    assert names(stash, {"name": equals("foul"), "OR": {"aliases": equals("foul%")}}) == [
        "Foul",
        "Free throw",
    ]
    assert names(stash, {"name": equals("f%"), "NOT": {"aliases": equals("foul%")}}) == ["Foul"]
    assert names(stash, {"name": equals("f%"), "AND": {"ignore_auto_tag": True}}) == []
    assert names(stash, {"OR": {"name": equals("goal"), "OR": {"name": equals("foul")}}}) == [
        "Foul",
        "Goal",
    ]


def test_a_filter_takes_one_of_and_or_not(stash: SandboxStash) -> None:
    document = "query ($t: TagFilterType) { findTags(tag_filter: $t) { count } }"
    reply = ask(
        stash.url, document, {"t": {"AND": {"name": equals("a")}, "NOT": {"name": equals("b")}}}
    )
    assert reply.messages == {"findTags": "cannot have AND and NOT in the same filter"}


@pytest.mark.parametrize("name", ["a b", "a_b", "A B", "  a b  "])
def test_a_name_like_another_name_is_refused(stash: SandboxStash, name: str) -> None:
    stash.library.add_tag("a b")
    assert create_tag(stash, name=name).messages == {
        "tagCreate": f"tag with name '{name.strip()}' already exists"
    }


def test_names_and_aliases_must_be_unique_among_both(stash: SandboxStash) -> None:
    stash.library.add_tag("Foul", aliases=["Fault"])
    assert create_tag(stash, name="FAULT").messages == {
        "tagCreate": "name 'FAULT' is used as alias for 'Foul'"
    }
    assert create_tag(stash, name="Goal", aliases=["foul"]).messages == {
        "tagCreate": "tag with name 'foul' already exists"
    }
    assert create_tag(stash, name="  ").messages == {"tagCreate": "tag name must not be blank"}
    assert create_tag(stash, name=" Goal ", aliases=[" Score "]).data == {
        "tagCreate": {"name": "Goal", "aliases": ["Score"]}
    }


def test_a_tag_may_be_written_anew_but_not_as_another(stash: SandboxStash) -> None:
    foul = stash.library.add_tag("foul")
    stash.library.add_tag("Goal")
    update = "mutation ($i: TagUpdateInput!) { tagUpdate(input: $i) { name } }"
    assert ask(stash.url, update, {"i": {"id": foul, "name": "Foul"}}).data == {
        "tagUpdate": {"name": "Foul"}
    }
    assert (
        "already exists"
        in ask(stash.url, update, {"i": {"id": foul, "name": "goal"}}).messages["tagUpdate"]
    )
    assert ask(stash.url, update, {"i": {"id": 77, "name": "x"}}).messages == {
        "tagUpdate": "tag with id 77 not found"
    }


def test_an_update_changes_only_what_is_given(stash: SandboxStash) -> None:
    tag = stash.library.add_tag(
        "Foul", aliases=["Fault"], description="a whistle", ignore_auto_tag=True, parents=["VLM"]
    )
    before = stash.library.snapshot()
    ask(
        stash.url,
        "mutation ($i: TagUpdateInput!) { tagUpdate(input: $i) { id } }",
        {"i": {"id": tag}},
    )
    assert stash.library.snapshot() == before
    ask(
        stash.url,
        "mutation ($i: TagUpdateInput!) { tagUpdate(input: $i) { id } }",
        {"i": {"id": tag, "aliases": []}},
    )
    (foul,) = (state for state in stash.library.snapshot().tags if state.name == "Foul")
    assert (foul.aliases, foul.description, foul.ignore_auto_tag, foul.parents) == (
        (),
        "a whistle",
        True,
        ("VLM",),
    )


def test_tags_may_not_be_their_own_ancestors(stash: SandboxStash) -> None:
    stash.library.add_tag("Foul", parents=["Event"])
    event, foul = stash.library.tag_id("Event"), stash.library.tag_id("Foul")
    update = "mutation ($i: TagUpdateInput!) { tagUpdate(input: $i) { id } }"
    message = 'cannot apply tag "Foul" as a parent of "Event" as it is already a descendant'
    assert ask(stash.url, update, {"i": {"id": event, "parent_ids": [foul]}}).messages == {
        "tagUpdate": message
    }
    assert (
        "already an ancestor"
        in ask(stash.url, update, {"i": {"id": foul, "child_ids": [event]}}).messages["tagUpdate"]
    )


def test_an_unknown_parent_breaks_a_foreign_key_and_no_tag_is_made(stash: SandboxStash) -> None:
    assert (
        "FOREIGN KEY constraint failed"
        in create_tag(stash, name="Foul", parent_ids=["99"]).messages["tagCreate"]
    )
    assert stash.library.snapshot().tags == ()


def test_many_tags_are_changed_or_none(stash: SandboxStash) -> None:
    foul, goal = stash.library.add_tag("Foul"), stash.library.add_tag("Goal")
    vlm = stash.library.add_tag("VLM")
    bulk = "mutation ($i: BulkTagUpdateInput!) { bulkTagUpdate(input: $i) { id } }"
    change = {"ignore_auto_tag": True, "parent_ids": {"ids": [vlm], "mode": "ADD"}}
    assert ask(stash.url, bulk, {"i": {"ids": [foul, 99], **change}}).messages == {
        "bulkTagUpdate": "tag with id 99 not found"
    }
    assert [state.parents for state in stash.library.snapshot().tags] == [(), (), ()]
    ask(stash.url, bulk, {"i": {"ids": [foul, goal], **change}})
    assert [state.parents for state in stash.library.snapshot().tags] == [("VLM",), ("VLM",), ()]


def test_a_marker_s_primary_tag_cannot_be_destroyed_and_another_goes_from_everything(
    stash: SandboxStash, scenes: list[str]
) -> None:
    stash.library.add_marker(scenes[0], "Foul", 0.5, tags=["VLM"])
    stash.library.tag_scene(scenes[0], "VLM", "Game")
    destroy = "mutation ($i: TagDestroyInput!) { tagDestroy(input: $i) }"
    refused = ask(stash.url, destroy, {"i": {"id": stash.library.tag_id("Foul")}})
    assert refused.messages == {
        "tagDestroy": "cannot delete tag used as a primary tag in scene markers"
    }
    assert ask(stash.url, destroy, {"i": {"id": stash.library.tag_id("VLM")}}).data == {
        "tagDestroy": True
    }
    state = stash.library.scene_state(scenes[0])
    assert (state.tags, state.markers[0].tags) == (("Game",), ())
    assert ask(stash.url, destroy, {"i": {"id": 99}}).messages == {
        "tagDestroy": "id 99 does not exist in tags"
    }


@pytest.mark.parametrize(
    ("paging", "expected"),
    [
        ({}, 25),
        ({"per_page": -1}, 30),
        ({"per_page": 0}, 0),
        ({"per_page": 20, "page": 2}, 10),
        ({"per_page": 20, "page": 3}, 0),
    ],
)
def test_pages(stash: SandboxStash, paging: dict[str, int], expected: int) -> None:
    for number in range(30):
        stash.library.add_tag(f"Tag {number}")
    reply = ask(
        stash.url,
        "query ($f: FindFilterType) { findTags(filter: $f) { count tags { id } } }",
        {"f": paging},
    )
    assert (reply.data["findTags"]["count"], len(reply.data["findTags"]["tags"])) == (30, expected)


def test_sorting_is_natural_and_unknown_sorts_are_refused(stash: SandboxStash) -> None:
    for name in ("Set 10", "set 9", "Goal"):
        stash.library.add_tag(name)
    assert names(stash, {}) == ["Goal", "set 9", "Set 10"]
    assert names(stash, {}, sort="id", direction="DESC") == ["Goal", "set 9", "Set 10"]
    refused = ask(stash.url, '{ findTags(filter: {sort: "whistle"}) { count } }')
    assert refused.messages == {"findTags": "invalid sort: whistle"}
    assert "q" in ask(stash.url, '{ findTags(filter: {q: "foul"}) { count } }').messages["findTags"]


def found(stash: SandboxStash, criteria: dict[str, Any]) -> list[str]:
    document = "query ($s: SceneFilterType) { findScenes(scene_filter: $s, filter: {per_page: -1}) { scenes { id } } }"
    return [
        scene["id"]
        for scene in ask(stash.url, document, {"s": criteria}).data["findScenes"]["scenes"]
    ]


def test_scenes_are_found_by_tags_and_their_descendants(
    stash: SandboxStash, scenes: list[str]
) -> None:
    one, two, three = scenes
    stash.library.add_tag("Foul", parents=["Event"])
    stash.library.add_tag("Charge", parents=["Foul"])
    stash.library.tag_scene(one, "Event")
    stash.library.tag_scene(two, "Charge", "Goal")
    event, goal, charge = (stash.library.tag_id(name) for name in ("Event", "Goal", "Charge"))
    assert found(stash, {"tags": {"value": [event], "modifier": "INCLUDES"}}) == [one]
    assert found(stash, {"tags": {"value": [event], "modifier": "INCLUDES", "depth": 1}}) == [one]
    assert found(stash, {"tags": {"value": [event], "modifier": "INCLUDES", "depth": 2}}) == [
        one,
        two,
    ]
    assert found(stash, {"tags": {"value": [event], "modifier": "INCLUDES", "depth": -1}}) == [
        one,
        two,
    ]
    assert found(stash, {"tags": {"value": [event, goal], "modifier": "INCLUDES"}}) == [one, two]
    assert found(stash, {"tags": {"value": [goal, charge], "modifier": "INCLUDES_ALL"}}) == [two]
    assert found(stash, {"tags": {"value": [event, goal], "modifier": "INCLUDES_ALL"}}) == []
    assert found(
        stash, {"tags": {"value": [event, goal], "modifier": "INCLUDES_ALL", "depth": -1}}
    ) == [two]
    assert found(stash, {"tags": {"value": [event], "modifier": "EXCLUDES", "depth": -1}}) == [
        three
    ]
    wanted = {"value": [event], "modifier": "INCLUDES", "depth": -1, "excludes": [goal]}
    assert found(stash, {"tags": wanted}) == [one]
    assert found(stash, {"tags": {"modifier": "IS_NULL"}}) == [three]
    assert found(stash, {"tags": {"modifier": "NOT_NULL"}}) == [one, two]
    assert found(stash, {"tags": {"value": [], "modifier": "INCLUDES"}}) == scenes
    assert found(stash, {"tags": {"value": ["99"], "modifier": "INCLUDES"}}) == []


def test_scenes_are_found_by_path_id_title_and_markers(
    stash: SandboxStash, scenes: list[str]
) -> None:
    stash.library.add_marker(scenes[1], "Foul", 0.5)
    assert found(stash, {"path": {"value": '"match 2"', "modifier": "INCLUDES"}}) == [scenes[2]]
    assert found(stash, {"id": {"value": int(scenes[0]), "modifier": "GREATER_THAN"}}) == scenes[1:]
    assert found(stash, {"has_markers": "true"}) == [scenes[1]]
    assert found(stash, {"title": {"value": "x", "modifier": "IS_NULL"}}) == scenes


def test_ids_must_all_be_there_or_all_data_is_null(stash: SandboxStash, scenes: list[str]) -> None:
    document = "query ($ids: [ID!]) { findScenes(ids: $ids) { count scenes { id } } }"
    assert ask(stash.url, document, {"ids": scenes[::-1]}).data == {
        "findScenes": {"count": 3, "scenes": [{"id": i} for i in scenes[::-1]]}
    }
    stash.library.remove_scene(scenes[1])
    reply = ask(stash.url, document, {"ids": scenes})
    assert (reply.status, reply.body["data"]) == (200, None)
    assert reply.messages == {"findScenes": f"scene with id {scenes[1]} not found"}
    assert (
        "duplicate id found" in ask(stash.url, document, {"ids": ["1", "1"]}).messages["findScenes"]
    )
    assert ask(stash.url, document, {"ids": []}).data["findScenes"]["count"] == 2


def bulk(stash: SandboxStash, ids: list[str], mode: str, *tags: str) -> Reply:
    fields = {"ids": ids, "tag_ids": {"ids": list(tags), "mode": mode}}
    return ask(
        stash.url,
        "mutation ($i: BulkSceneUpdateInput!) { bulkSceneUpdate(input: $i) { id } }",
        {"i": fields},
    )


def test_bulk_updates_add_remove_and_set_tags(stash: SandboxStash, scenes: list[str]) -> None:
    foul, goal, old = (stash.library.add_tag(name) for name in ("Foul", "Goal", "Old"))
    stash.library.tag_scene(scenes[0], "Old")
    bulk(stash, scenes[:2], "ADD", foul, goal, goal)
    assert [stash.library.scene_state(scene).tags for scene in scenes] == [
        ("Foul", "Goal", "Old"),
        ("Foul", "Goal"),
        (),
    ]
    bulk(stash, scenes, "REMOVE", goal, "99")
    assert [stash.library.scene_state(scene).tags for scene in scenes] == [
        ("Foul", "Old"),
        ("Foul",),
        (),
    ]
    bulk(stash, scenes[:1], "SET", old)
    assert stash.library.scene_state(scenes[0]).tags == ("Old",)


def test_a_bulk_update_with_an_unknown_tag_or_scene_changes_nothing(
    stash: SandboxStash, scenes: list[str]
) -> None:
    foul = stash.library.add_tag("Foul")
    before = stash.library.snapshot()
    assert (
        "FOREIGN KEY constraint failed"
        in bulk(stash, scenes, "ADD", foul, "99").messages["bulkSceneUpdate"]
    )
    assert (
        "FOREIGN KEY constraint failed"
        in bulk(stash, [scenes[0], "77"], "ADD", foul).messages["bulkSceneUpdate"]
    )
    assert bulk(stash, [scenes[0], "77"], "REMOVE", foul).messages == {
        "bulkSceneUpdate": "sql: no rows in result set"
    }
    assert stash.library.snapshot() == before


def create_markers(stash: SandboxStash, **markers: dict[str, Any]) -> Reply:
    names_of = ", ".join(f"${name}: SceneMarkerCreateInput!" for name in markers)
    fields = " ".join(f"{name}: sceneMarkerCreate(input: ${name}) {{ id }}" for name in markers)
    return ask(stash.url, f"mutation ({names_of}) {{ {fields} }}", markers)


def test_markers_in_one_document_fail_one_by_one(stash: SandboxStash, scenes: list[str]) -> None:
    foul, vlm = stash.library.add_tag("Foul"), stash.library.add_tag("VLM")
    good = {
        "title": "Foul",
        "seconds": 1,
        "end_seconds": 2,
        "scene_id": scenes[0],
        "primary_tag_id": foul,
        "tag_ids": [foul, vlm],
    }
    reply = create_markers(
        stash,
        good=good,
        backwards={**good, "end_seconds": 0.5},
        lost={**good, "scene_id": "77"},
        nameless={**good, "primary_tag_id": "99"},
        tagless={**good, "tag_ids": ["99"]},
        twice={**good, "tag_ids": [vlm, vlm]},
        late={**good, "seconds": 9999, "end_seconds": None},
    )
    assert reply.status == 200
    assert {name for name, marker in reply.data.items() if marker} == {"good", "late"}
    assert (
        reply.messages["backwards"]
        == "end_seconds (0.500000) must be greater than or equal to seconds (1.000000)"
    )
    for name in ("lost", "nameless", "tagless"):
        assert "FOREIGN KEY constraint failed" in reply.messages[name]
    assert "UNIQUE constraint failed" in reply.messages["twice"]
    markers = stash.library.scene_state(scenes[0]).markers
    assert [(marker.seconds, marker.end_seconds, marker.tags) for marker in markers] == [
        (1, 2, ("VLM",)),
        (9999, None, ("VLM",)),
    ]


def test_a_marker_may_end_when_it_begins(stash: SandboxStash, scenes: list[str]) -> None:
    foul = stash.library.add_tag("Foul")
    moment = {
        "title": " Foul ",
        "seconds": 1.5,
        "end_seconds": 1.5,
        "scene_id": scenes[0],
        "primary_tag_id": foul,
    }
    assert create_markers(stash, a=moment).messages == {}
    assert stash.library.scene_state(scenes[0]).markers[0].title == "Foul"


def update_marker(stash: SandboxStash, **fields: Any) -> Reply:
    return ask(
        stash.url,
        "mutation ($i: SceneMarkerUpdateInput!) { sceneMarkerUpdate(input: $i) { id } }",
        {"i": fields},
    )


def test_a_marker_s_update_changes_only_what_is_given(
    stash: SandboxStash, scenes: list[str]
) -> None:
    marker = stash.library.add_marker(scenes[0], "Foul", 1, 4, title="first", tags=["VLM"])
    before = stash.library.scene_state(scenes[0])
    update_marker(stash, id=marker)
    assert stash.library.scene_state(scenes[0]) == before
    update_marker(
        stash,
        id=marker,
        seconds=2,
        title="second",
        tag_ids=[stash.library.tag_id("Foul"), stash.library.tag_id("Game")],
    )
    (state,) = stash.library.scene_state(scenes[0]).markers
    assert (state.seconds, state.end_seconds, state.title, state.tags) == (
        2,
        4,
        "second",
        ("Game",),
    )
    assert (
        "must be greater"
        in update_marker(stash, id=marker, seconds=5).messages["sceneMarkerUpdate"]
    )
    assert update_marker(stash, id=marker, seconds=5, end_seconds=None).messages == {}
    assert stash.library.scene_state(scenes[0]).markers[0].end_seconds is None
    assert update_marker(stash, id="77").messages == {
        "sceneMarkerUpdate": "scene marker with id 77 not found"
    }
    assert (
        "FOREIGN KEY"
        in update_marker(stash, id=marker, primary_tag_id="99").messages["sceneMarkerUpdate"]
    )


def test_changing_tags_of_many_markers_is_lost_when_their_number_stays(
    stash: SandboxStash, scenes: list[str]
) -> None:
    marker = stash.library.add_marker(scenes[0], "Foul", 1, tags=["VLM"])
    document = (
        "mutation ($i: BulkSceneMarkerUpdateInput!) { bulkSceneMarkerUpdate(input: $i) { id } }"
    )
    game, foul = stash.library.tag_id("Game"), stash.library.tag_id("Foul")
    ask(stash.url, document, {"i": {"ids": [marker], "tag_ids": {"ids": [game], "mode": "SET"}}})
    assert stash.library.scene_state(scenes[0]).markers[0].tags == ("VLM",)
    ask(
        stash.url,
        document,
        {"i": {"ids": [marker], "tag_ids": {"ids": [game, foul], "mode": "ADD"}}},
    )
    assert stash.library.scene_state(scenes[0]).markers[0].tags == ("Game", "VLM")
    refused = ask(stash.url, document, {"i": {"ids": [marker, "77"], "title": "x"}})
    assert refused.messages == {"bulkSceneMarkerUpdate": "sql: no rows in result set"}
    assert stash.library.scene_state(scenes[0]).markers[0].title == "Foul"


def test_markers_are_destroyed_together_or_not_at_all(
    stash: SandboxStash, scenes: list[str]
) -> None:
    one, two = (stash.library.add_marker(scenes[0], "Foul", second) for second in (1, 2))
    document = "mutation ($ids: [ID!]!) { sceneMarkersDestroy(ids: $ids) }"
    reply = ask(stash.url, document, {"ids": [one, "99"]})
    assert (reply.data, reply.messages) == (
        None,
        {"sceneMarkersDestroy": "scene marker with id 99 not found"},
    )
    assert len(stash.library.scene_state(scenes[0]).markers) == 2
    assert ask(stash.url, document, {"ids": [one, two]}).data == {"sceneMarkersDestroy": True}
    assert stash.library.scene_state(scenes[0]).markers == ()


def markers_found(stash: SandboxStash, criteria: dict[str, Any]) -> list[str]:
    document = "query ($m: SceneMarkerFilterType) { findSceneMarkers(scene_marker_filter: $m) { scene_markers { id } } }"
    reply = ask(stash.url, document, {"m": criteria})
    return sorted(marker["id"] for marker in reply.data["findSceneMarkers"]["scene_markers"])


def test_markers_are_found_by_scene_and_by_primary_or_other_tag(
    stash: SandboxStash, scenes: list[str]
) -> None:
    stash.library.add_tag("Charge", parents=["Foul"])
    one = stash.library.add_marker(scenes[0], "Charge", 1, tags=["VLM"])
    two = stash.library.add_marker(scenes[1], "Goal", 1, tags=["Foul"])
    stash.library.tag_scene(scenes[1], "Game")
    foul, vlm, game, goal = (stash.library.tag_id(name) for name in ("Foul", "VLM", "Game", "Goal"))
    assert markers_found(stash, {"scenes": {"value": [scenes[0]], "modifier": "INCLUDES"}}) == [one]
    assert markers_found(stash, {"scenes": {"value": [scenes[0]], "modifier": "EXCLUDES"}}) == [two]
    assert markers_found(stash, {"tags": {"value": [foul], "modifier": "INCLUDES"}}) == [two]
    assert markers_found(
        stash, {"tags": {"value": [foul], "modifier": "INCLUDES", "depth": -1}}
    ) == [one, two]
    assert markers_found(
        stash, {"tags": {"value": [foul, vlm], "modifier": "INCLUDES_ALL", "depth": -1}}
    ) == [one]
    assert markers_found(stash, {"scene_tags": {"value": [game], "modifier": "INCLUDES"}}) == [two]
    assert markers_found(stash, {"tags": {"value": [goal], "modifier": "EXCLUDES"}}) == [one, two]
    assert markers_found(
        stash, {"tags": {"value": [foul], "modifier": "INCLUDES", "depth": -1, "excludes": [goal]}}
    ) == [one]


def test_the_library_refuses_what_the_server_refuses(
    stash: SandboxStash, scenes: list[str]
) -> None:
    stash.library.add_tag("foul")
    with pytest.raises(RefusedError, match="already exists"):
        stash.library.add_tag("FOUL")
    with pytest.raises(RefusedError, match="must be greater"):
        stash.library.add_marker(scenes[0], "Foul ball", 2, 1)
    with pytest.raises(RefusedError, match="scene with id 77 not found"):
        stash.library.scene_state(77)
