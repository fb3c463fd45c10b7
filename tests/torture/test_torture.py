"""Tasks killed with SIGKILL at any moment, and run again: nothing is lost or doubled, and all of it
can be undone.

``make torture RUNS=200``. The seed of a run is its number; it chooses the story, what is killed,
and when.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from sandbox.pictures import write_folder, write_zip
from tests.old_journals import as_first_version
from tests.torture import child
from tests.torture.world import (
    SLOTS,
    TAGS,
    Arena,
    Killer,
    State,
    World,
    marker_content,
    small_videos,
)
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

RUNS = int(os.environ.get("HAVEN_TORTURE_RUNS", "1"))
UNDO = "undo_last_run"
QUEUES = {
    "tag_videos": "VLM_TagMe",
    "update_videos": "VLM_UpdateMe",
    "tag_images": "VLM_TagMe",
    "update_images": "VLM_UpdateMe",
}


@dataclass(frozen=True)
class Step:
    """A task, with what a person does before it."""

    mode: str
    before: Callable[[World], None] = lambda _: None
    args: dict[str, str] = field(default_factory=dict)
    while_starting: bool = False
    """Kill it, as a rule, before the first request that changes something."""


def queue_again(tag: str, every: int = 1) -> Callable[[World], None]:
    def act(place: World) -> None:
        library, snapshot = place.stash.library, place.stash.library.snapshot()
        for scene in snapshot.scenes[::every]:
            library.tag_scene(scene.id, tag)
        for image in snapshot.images[::every]:
            library.tag_image(image.id, tag)
        for gallery in snapshot.galleries:
            library.tag_gallery(gallery.id, tag)

    return act


def grow_old(place: World) -> None:
    """Make the journal one of the first version, and queue every scene again."""
    queue_again("VLM_TagMe")(place)
    with closing(sqlite3.connect(place.database)) as db:
        as_first_version(db)
        db.commit()


FEWER, SHARED = {"TAG_LIST": "Foul,Goal"}, {"GALLERY_TAG_SHARE": "0.3"}
STORIES: dict[str, dict[str, tuple[Step, ...]]] = {
    "scenes": {
        "tagging": (Step("tag_videos"),),
        "tagging again": (Step("tag_videos"), Step("tag_videos", queue_again("VLM_TagMe"), FEWER)),
        "updating": (
            Step("tag_videos"),
            Step("update_videos", queue_again("VLM_UpdateMe", 2), FEWER),
        ),
        "removing": (Step("tag_videos"), Step("remove_ours")),
        "migrating": (Step("tag_videos"), Step("tag_videos", grow_old, FEWER, while_starting=True)),
        "previewing": (Step("preview"), Step("tag_videos")),
    },
    "images": {
        "tagging": (Step("tag_images", args=SHARED),),
        "updating": (
            Step("tag_images", args=SHARED),
            Step("update_images", queue_again("VLM_UpdateMe", 2), FEWER),
        ),
        "removing": (Step("tag_images", args=SHARED), Step("remove_ours")),
        "previewing": (Step("preview"), Step("tag_images")),
    },
}


@dataclass(frozen=True)
class Course:
    """An undisturbed story: the state after each step, its requests, and the answered calls in
    all.
    """

    states: tuple[State, ...]
    requests: tuple[int, ...]
    undo_requests: int
    answered: int


class Stage(Arena):
    @cache  # noqa: B019 - one arena for the session
    def undisturbed(self, kind: str, story: str) -> Course:
        answered = self.vlm.counters.answered
        with self.world() as place:
            first, states, requests = place.state(), [], []
            for step in STORIES[kind][story]:
                step.before(place)
                assert place.run(step.mode, **step.args)
                states.append(place.state())
                requests.append(place.requests[-1])
            place.requests.clear()
            place.undo_all()
            assert without_update(place.state()) == first
            return Course(
                tuple(states),
                tuple(requests),
                max(place.requests),
                self.vlm.counters.answered - answered,
            )


@pytest.fixture(scope="module")
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=SLOTS))) as vlm:
        yield vlm


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, vlm: SandboxVLM) -> Callable[[str], Stage]:
    @cache
    def stage(kind: str) -> Stage:
        folder, processes = tmp_path_factory.mktemp(kind), child.context()
        if kind == "scenes":
            return Stage(small_videos(folder), vlm, folder, processes)
        pictures = (
            *write_folder(folder / "loose", 14, TAGS),
            *write_zip(folder / "match.zip", 14, TAGS, first=100),
        )
        return Stage((), vlm, folder, processes, pictures)

    return stage


@pytest.mark.expects_errors  # the servers' library reports clients killed in mid-request
@pytest.mark.parametrize("kind", STORIES)
@pytest.mark.parametrize("seed", range(RUNS))
def test_a_task_killed_at_any_moment_ends_as_if_undisturbed(stages, kind, seed):
    rng, arena = random.Random(seed), stages(kind)
    story = list(STORIES[kind])[(seed + 1) % len(STORIES[kind])]
    course, steps = arena.undisturbed(kind, story), STORIES[kind][story]
    kills = Counter(rng.choices(range(len(steps) + 1), k=rng.randint(1, 4)))
    answered = arena.vlm.counters.answered
    with arena.world() as place:
        first, tags, made_by_hand = place.state(), place.tags(), by_hand(place)
        for number, step in enumerate(steps):
            step.before(place)
            queued = place.state()
            for _ in range(kills[number]):
                jump(place, rng)
                killer = moment(rng, step, course.requests[number])
                if not place.run(step.mode, killer, **step.args):
                    check(place, made_by_hand)
                    check_queue(place, step, queued, course.states[number])
            jump(place, rng)
            assert place.run(step.mode, **step.args)
            assert place.state() == course.states[number]
            check(place, made_by_hand)
        assert arena.vlm.counters.answered - answered <= course.answered + place.kills * SLOTS
        edited = somebody_edits(place, rng) if seed % 4 == 3 else {}
        for _ in range(kills[len(steps)]):
            jump(place, rng)
            place.run(UNDO, Killer(rng.randint(0, course.undo_requests), rng.uniform(0, 0.02)))
            check(place, made_by_hand)
        place.undo_all()
        check(place, made_by_hand)
        assert without_update(place.state()) == {
            key: with_edited(found, edited.get(key)) for key, found in first.items()
        }
        assert story == "migrating" or edited or place.tags() == tags


@pytest.mark.expects_errors
@pytest.mark.parametrize("seed", range(max(1, RUNS // 10)))
def test_of_two_tasks_at_once_one_may_be_killed(stages, seed):
    rng, arena = random.Random(seed), stages("scenes")
    course = arena.undisturbed("scenes", "tagging")
    with arena.world() as place:
        first, tags, made_by_hand = place.state(), place.tags(), by_hand(place)
        both = [place.start("tag_videos"), place.start("tag_videos")]
        rng.shuffle(both)
        place.kill(both[0], Killer(rng.randint(0, course.requests[0]), rng.uniform(0, 0.02)), 0)
        place.ended(both[0])
        assert place.ended(both[1])
        check(place, made_by_hand)
        check_queue(place, STORIES["scenes"]["tagging"][0], first, course.states[0])
        assert place.run("tag_videos")
        assert place.state() == course.states[0]
        check(place, made_by_hand)
        place.undo_all()
        assert place.state() == first
        assert place.tags() == tags


def jump(place: World, rng: random.Random) -> None:
    """Set Stash's clock up to two hours ahead of ours, or behind it, or right."""
    place.stash.library.set_clock(rng.choice([0.0, rng.uniform(-5, 5), rng.uniform(-7200, 7200)]))


def moment(rng: random.Random, step: Step, requests: int) -> Killer:
    if step.while_starting and rng.random() < 0.7:
        return Killer(
            1, rng.uniform(0, 0.1)
        )  # the handshake was answered: now the journal is opened
    return Killer(rng.randint(0, requests), rng.uniform(0, 0.02))


def by_hand(place: World) -> dict[str, Any]:
    """Return the tags and markers of every item as people made them."""
    return {
        key: (set(item.tags) - {"VLM_TagMe", "VLM_Errored"}, set(item.markers))
        for key, item in place.items().items()
    }


def check(place: World, made_by_hand: dict[str, Any]) -> None:
    """Check that people's work is as it was, and that nothing is there twice."""
    for key, item in place.items().items():
        tags, markers = made_by_hand[key]
        assert tags <= set(item.tags)
        assert markers <= set(item.markers)
        each = Counter(
            (marker.primary_tag, marker.seconds, marker.end_seconds, marker.title)
            for marker in item.markers
        )
        assert set(each.values()) <= {1}, (key, each)


def check_queue(place: World, step: Step, queued: State, expected: State) -> None:
    """Check that what left the queue has its results, and a gallery only once all of its images
    have.
    """
    queue, state = QUEUES.get(step.mode), place.state()
    for key in (key for key, (tags, _) in queued.items() if queue in tags):
        assert queue in state[key][0] or state[key] == expected[key], key
        if key.startswith("gallery ") and queue not in state[key][0]:
            assert state == expected


def somebody_edits(place: World, rng: random.Random) -> dict[str, tuple[Any, ...]]:
    """A person edits one marker of the plugin and removes a tag from another scene. Return the
    marker.
    """
    scenes = [
        scene
        for scene in place.stash.library.snapshot().scenes
        if any(is_owned(marker) for marker in scene.markers)
    ]
    if len(scenes) < 2:
        return {}
    one, other = rng.sample(scenes, 2)
    marker = rng.choice([marker for marker in one.markers if is_owned(marker)])
    place.stash.library.edit_marker(marker.id, title="my own words")
    place.stash.library.untag_scene(other.id, "VLM_Tagged")
    markers = place.stash.library.scene_state(one.id).markers
    (edited,) = (found for found in markers if found.id == marker.id)
    return {f"scene {one.id}": marker_content(edited)}


def is_owned(marker: Any) -> bool:
    return "VLM" in marker.tags and marker.title == marker.primary_tag


def with_edited(found: tuple[Any, ...], edited: tuple[Any, ...] | None) -> tuple[Any, ...]:
    return found if edited is None else (found[0], tuple(sorted((*found[1], edited))))


def without_update(state: State) -> State:
    """Leave out the tag that a person added for an update: undoing the update puts it back."""
    return {
        key: (tuple(tag for tag in tags if tag != "VLM_UpdateMe"), markers)
        for key, (tags, markers) in state.items()
    }
