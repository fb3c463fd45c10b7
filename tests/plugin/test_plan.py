from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.items import ItemKind, ItemRef
from haven.settings.settings import TagNames
from haven.stash.changes import ChangePlan, Owned, OwnedMarker, OwnedTag, Records
from haven.stash.plan import PlanOptions, plan_results
from haven.stash.values import ItemSnapshot, Marker, Tag, tag_key
from tests.plugin.items import info
from vlm_engine import Span, VideoTagInfo

NAMES = TagNames()
SEVENTH = ItemRef(ItemKind.SCENE, "7")
CONTROL = {
    tag_key(name): Tag(str(100 + n), name)
    for n, name in enumerate(("VLM", "VLM_TagMe", "VLM_UpdateMe", "VLM_Tagged"))
}
CONTROL["vlm_errored"] = Tag("104", "VLM_Errored")
VLM, TAG_ME, TAGGED, ERRORED = (
    CONTROL[key] for key in ("vlm", "vlm_tagme", "vlm_tagged", "vlm_errored")
)
FOUL, GOAL, TIMEOUT = Tag("1", "Foul"), Tag("2", "Goal"), Tag("3", "Timeout")
KNOWN = CONTROL | {"foul": FOUL, "goal": GOAL, "timeout": TIMEOUT}
NOTHING_OWNED = Owned()


def scene(*tags, markers=()):
    return ItemSnapshot(SEVENTH, (TAG_ME, *tags), tuple(markers))


def marker(start_s, end_s, *, id="50", tag=FOUL, title="Foul", tags=frozenset({VLM.id})):
    return Marker(id, title, start_s, end_s, tag, tags)


def record(written):
    return OwnedMarker(
        written.id,
        written.title,
        written.start_s,
        written.end_s,
        written.primary.id,
        tuple(sorted(written.tag_ids)),
    )


def owned_of(*markers, tags=()):
    return Owned(
        {written.id: record(written) for written in markers},
        {tag.id: OwnedTag(tag.id, tag.name) for tag in tags},
    )


def plan(on, found, owned=NOTHING_OWNED, known=KNOWN, create_markers=True):
    return plan_results(on, found, owned, known, PlanOptions(NAMES, create_markers))


OURS, OBSOLETE = marker(1, 2), marker(10, 12, id="51")


def summary(change):
    """Names of tags, times of new markers and ids of others, without what is empty."""
    parts = {
        "add": [tag.name for tag in change.add if tag.name != TAGGED.name],
        "remove": [tag.name for tag in change.remove],
        "create": [(one.title, one.start_s, one.end_s) for one in change.create],
        "destroy": [one.id for one in change.destroy],
        "kept": list(change.kept),
    }
    return {name: part for name, part in parts.items() if part}


@pytest.mark.parametrize(
    ("on", "found", "owned", "expected"),
    [
        pytest.param(
            scene(),
            info("Foul", "Goal", Foul=[(1, 2.00049)], Goal=[(0.5, 3)]),
            NOTHING_OWNED,
            {"add": ["Foul", "Goal"], "create": [("Goal", 0.5, 3), ("Foul", 1, 2.0)]},
            id="found is added and marked, in order",
        ),
        pytest.param(
            scene(GOAL, TIMEOUT),
            info("Foul"),
            owned_of(tags=[GOAL]),
            {"add": ["Foul"], "remove": ["Goal"]},
            id="of obsolete tags only the plugin's goes",
        ),
        pytest.param(
            scene(GOAL), info("Goal"), owned_of(tags=[GOAL]), {}, id="a tag found again stays"
        ),
        pytest.param(
            scene(TAGGED),
            info(),
            owned_of(tags=[TAGGED, TAG_ME]),
            {},
            id="control tags are never obsolete",
        ),
        pytest.param(
            scene(markers=[OURS, OBSOLETE]),
            info("Foul", Foul=[(1, 2.0005)]),
            owned_of(OURS, OBSOLETE),
            {"add": ["Foul"], "destroy": ["51"], "kept": ["50"]},
            id="a marker stays while it is found",
        ),
        pytest.param(
            scene(markers=[OURS]),
            info("Foul", Foul=[(1, 2.5)]),
            owned_of(OURS),
            {"add": ["Foul"], "create": [("Foul", 1, 2.5)], "destroy": ["50"]},
            id="a marker with other times is replaced",
        ),
        pytest.param(
            scene(markers=[marker(10, 20, tag=GOAL)]),
            info("Foul", Foul=[(10, 20)]),
            NOTHING_OWNED,
            {"add": ["Foul"], "create": [("Foul", 10, 20)]},
            id="a person's marker of another tag stands for nothing",
        ),
    ],
)
def test_a_plan_adds_what_is_missing_and_removes_the_obsolete(on, found, owned, expected):
    assert summary(plan(on, found, owned)) == expected


def test_a_tag_unknown_to_stash_is_planned_without_an_id():
    change = plan(scene(), info("Free throw", **{"Free throw": [(1, 2)]}))
    assert (change.add[0].name, change.add[0].id) == ("Free throw", "")
    assert change.create[0].tag == change.add[0]


def test_a_tag_in_two_categories_counts_once():
    found = VideoTagInfo(
        100.0,
        {"play": ("Foul",), "pause": ("foul ", "Timeout")},
        {},
        {"play": {"Foul": (Span("Foul", 1, 2),)}, "pause": {"foul": (Span("foul", 1, 2),)}},
    )
    expected = {"add": ["Foul", "Timeout"], "create": [("Foul", 1, 2)]}
    assert summary(plan(scene(), found)) == expected


def test_a_name_and_its_alias_are_one_tag():
    change = plan(scene(), info("Foul", "Infringement"), known=KNOWN | {"infringement": FOUL})
    assert summary(change) == {"add": ["Foul"]}


def test_the_queue_tag_is_released_last_with_errored():
    change = plan(scene(ERRORED, TAGGED), info("Foul"))
    assert change.release == (ERRORED, TAG_ME)
    assert change.queue_tag_id == TAG_ME.id
    assert [tag.name for tag in change.add] == ["Foul"]


@pytest.mark.parametrize(
    "edit",
    [
        {"title": "Foul by the goalkeeper"},
        {"start_s": 10.2},
        {"end_s": 12.01},
        {"end_s": None},
        {"primary": GOAL},
        {"tag_ids": frozenset({VLM.id, GOAL.id})},
        {"tag_ids": frozenset()},
    ],
)
def test_a_marker_of_ours_that_a_person_changed_is_theirs(edit):
    written = marker(10, 12)
    change = plan(scene(markers=[replace(written, **edit)]), info("Timeout"), owned_of(written))
    assert change.destroy == ()


@pytest.mark.parametrize(
    ("start_s", "end_s", "stands"),
    [
        (10, 20, True),
        (5, 15, False),
        (10, 15, True),
        (10, 14.9, False),
        (0, 100, False),
        (9, None, True),
        (21, None, True),
        (8.9, None, False),
        (21.1, None, False),
        (15, 15, True),
    ],
)
def test_a_persons_marker_stands_for_the_event_it_covers(start_s, end_s, stands):
    change = plan(
        scene(markers=[marker(start_s, end_s, title="by hand", tags=frozenset())]),
        info("Foul", Foul=[(10, 20)]),
    )
    assert (change.create == ()) is stands
    assert (change.kept == ("50",)) is stands


times = st.tuples(st.integers(0, 40), st.integers(0, 8)).map(
    lambda pair: (pair[0] / 2, (pair[0] + pair[1]) / 2)
)
tags = st.sampled_from([FOUL, GOAL, TIMEOUT])


@st.composite
def situations(draw):
    """A scene, what of it is ours (some of it changed or gone since), and what was found."""
    spans = draw(st.lists(st.tuples(tags, times), max_size=6))
    found = info(
        *draw(st.lists(st.sampled_from(["Foul", "Goal", "Timeout", "Corner kick"]), unique=True)),
        **{tag.name: tuple(time for other, time in spans if other is tag) for tag, _ in spans},
    )
    made = [
        marker(start, end, id=str(n), tag=tag, title=tag.name)
        for n, (tag, (start, end)) in enumerate(draw(st.lists(st.tuples(tags, times), max_size=6)))
    ]
    owned = [one for one in made if draw(st.booleans())]
    now = [replace(one, title="by hand") if draw(st.booleans()) else one for one in made]
    on = scene(*draw(st.lists(tags, unique=True)), markers=now)
    return on, found, owned_of(*owned, tags=draw(st.lists(tags, unique=True)))


@given(situations())
def test_only_untouched_things_of_the_plugin_are_removed(situation):
    on, found, owned = situation
    change = plan(on, found, owned)
    now = {one.id: one for one in on.markers}
    assert all(one.id in owned.markers and now[one.id].title != "by hand" for one in change.destroy)
    assert {tag.id for tag in change.remove} <= owned.tag_ids
    assert not {tag.id for tag in change.add} & on.tag_ids
    assert not {one.id for one in change.destroy} & set(change.kept)


@given(situations())
def test_a_plan_survives_the_journal(situation):
    change = plan(*situation)
    assert ChangePlan.from_json(change.to_json()) == change


@given(situations())
def test_a_scene_that_was_written_needs_nothing_more(situation):
    on, found, owned = situation
    change = plan(on, found, owned)
    known = KNOWN | {"corner kick": Tag("4", "Corner kick")}
    written = [
        marker(m.start_s, m.end_s, id=f"new{n}", tag=known[tag_key(m.title)], title=m.title)
        for n, m in enumerate(change.create)
    ]
    gone = {one.id for one in change.destroy}
    removed = {tag.id for tag in (*change.remove, *change.release)}
    after = ItemSnapshot(
        on.ref,
        tuple(tag for tag in on.tags if tag.id not in removed)
        + tuple(known[tag_key(tag.name)] for tag in change.add),
        tuple(one for one in on.markers if one.id not in gone) + tuple(written),
    )
    untouched = [
        one
        for one in on.markers
        if one.id in owned.markers and one.title != "by hand" and one.id not in gone
    ]
    added = [known[tag_key(tag.name)] for tag in change.add]
    again = plan(after, found, owned_of(*written, *untouched, tags=added), known)
    assert not (again.add or again.create or again.destroy or again.remove or again.release)


# What people took off, and other tag lists.

LIST = {"Foul": "Foul", "Goal": "Goal"}


@st.composite
def removals(draw):
    """A situation in which a person has taken off some more, and a list that concerns only some
    of the tags.
    """
    on, found, owned = draw(situations())
    gone = [
        record(marker(start, end, id=f"gone{n}", tag=tag, title=tag.name))
        for n, (tag, (start, end)) in enumerate(draw(st.lists(st.tuples(tags, times), max_size=4)))
    ]
    off = [
        OwnedTag(tag.id, tag.name)
        for tag in draw(st.lists(tags, unique=True))
        if tag.id not in on.tag_ids
    ]
    return on, found, replace(owned, removed=Records(tuple(off), tuple(gone)))


def overlap(one, other):
    return max(one.start_s, other.start_s) < min(one.end_s, other.end_s)


@given(removals())
def test_nothing_that_a_person_removed_is_added_again(situation):
    on, found, owned = situation
    change = plan(on, found, owned)
    assert not {tag.id for tag in change.add} & {tag.id for tag in owned.removed.tags}
    for wanted in change.create:
        gone = [one for one in owned.removed.markers if one.primary_id == wanted.tag.id]
        assert not [one for one in gone if overlap(one, wanted)]


@given(removals())
def test_who_asks_gets_the_plan_of_one_who_took_nothing_off(situation):
    on, found, owned = situation
    change = plan_results(on, found, owned, KNOWN, PlanOptions(NAMES, bring_back=True))
    assert replace(change, brings_back=False) == plan(on, found, replace(owned, removed=Records()))


@given(removals())
def test_a_list_removes_only_its_own_tags_and_names_the_rest(situation):
    on, found, owned = situation
    listed = plan_results(on, found, owned, KNOWN, PlanOptions(NAMES, tag_list=LIST))
    every = plan(on, found, owned)
    named = {tag_key(name) for name in (*LIST, *found.tags["sport"], *found.spans["sport"])}
    assert set(listed.remove) == {tag for tag in every.remove if tag_key(tag.name) in named}
    assert set(listed.destroy) == {one for one in every.destroy if tag_key(one.title) in named}
    left = {tag.name for tag in every.remove if tag not in listed.remove}
    assert left == {name for name in listed.left_alone if " marker" not in name}
    assert (listed.create, listed.add) == (every.create, every.add)
