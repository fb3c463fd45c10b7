"""Tasks killed with SIGKILL at any moment, and run again: nothing is lost, nothing is doubled, and all of it can be taken back.

``make torture RUNS=200``. Each run has a seed, which is its number: it chooses the story, what is killed, and when.
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

from tests.old_journals import as_first_version
from tests.torture import child
from tests.torture.world import SLOTS, Arena, Killer, World, content, small_videos
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

RUNS = int(os.environ.get("HAVEN_TORTURE_RUNS", "6"))
UNDO = "undo_last_run"
NOTHING_LEFT = "nothing to undo"
MOST_UNDOINGS = 12
QUEUES = {"tag_videos": "VLM_TagMe", "update_videos": "VLM_UpdateMe"}


@dataclass(frozen=True)
class Step:
    """A task, with what a person does before it."""

    mode: str
    before: Callable[[World], None] = lambda _: None
    args: dict[str, str] = field(default_factory=dict)
    while_starting: bool = False
    """What is of interest happens before the first request that changes something."""


def queue_again(tag: str, every: int = 1) -> Callable[[World], None]:
    def act(place: World) -> None:
        for scene in place.stash.library.snapshot().scenes[::every]:
            place.stash.library.tag_scene(scene.id, tag)

    return act


def grow_old(place: World) -> None:
    """The journal becomes one of the first version, and every scene is queued again."""
    queue_again("VLM_TagMe")(place)
    with closing(sqlite3.connect(place.database)) as db:
        as_first_version(db)
        db.commit()


FEWER = {"TAG_LIST": "Foul,Goal"}
STORIES: dict[str, tuple[Step, ...]] = {
    "tagging": (Step("tag_videos"),),
    "tagging again": (Step("tag_videos"), Step("tag_videos", queue_again("VLM_TagMe"), FEWER)),
    "updating": (Step("tag_videos"), Step("update_videos", queue_again("VLM_UpdateMe", 2), FEWER)),
    "removing": (Step("tag_videos"), Step("remove_ours")),
    "migrating": (Step("tag_videos"), Step("tag_videos", grow_old, FEWER, while_starting=True)),
    "previewing": (Step("preview"), Step("tag_videos")),
}


@dataclass(frozen=True)
class Course:
    """How a story went undisturbed: the scenes after each step, the requests each took, and how many were answered in all."""

    scenes: tuple[dict[str, Any], ...]
    requests: tuple[int, ...]
    undo_requests: int
    answered: int


class Stage(Arena):
    @cache  # noqa: B019 - one arena for the session
    def undisturbed(self, story: str) -> Course:
        answered = self.vlm.counters.answered
        with self.world() as place:
            first, scenes, requests = place.scenes(), [], []
            for step in STORIES[story]:
                step.before(place)
                assert place.run(step.mode, **step.args)
                scenes.append(place.scenes())
                requests.append(place.requests[-1])
            place.requests.clear()
            undo_all(place)
            assert without_update(place.scenes()) == first
            return Course(
                tuple(scenes),
                tuple(requests),
                max(place.requests),
                self.vlm.counters.answered - answered,
            )


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("torture")
    with running(SandboxVLM(Behaviour(slots=SLOTS))) as vlm:
        yield Stage(small_videos(folder), vlm, folder, child.context())


@pytest.mark.expects_errors  # the servers' library tells of clients that were killed in the middle of a request
@pytest.mark.parametrize("seed", range(RUNS))
def test_killed_at_any_moment_and_run_again_it_ends_as_if_undisturbed_and_can_be_undone(
    arena: Stage, seed: int
) -> None:
    rng = random.Random(seed)
    story = list(STORIES)[seed % len(STORIES)]
    course, steps = arena.undisturbed(story), STORIES[story]
    doomed = Counter(rng.choices(range(len(steps) + 1), k=rng.randint(1, 3)))
    answered = arena.vlm.counters.answered
    with arena.world() as place:
        first, tags, made_by_hand = place.scenes(), place.tags(), by_hand(place)
        for number, step in enumerate(steps):
            step.before(place)
            for _ in range(doomed[number]):
                jump(place, rng)
                if not place.run(
                    step.mode, moment(rng, step, course.requests[number]), **step.args
                ):
                    look_around(place, made_by_hand)
                    no_scene_left_the_queue_too_early(place, step, course.scenes[number])
            jump(place, rng)
            assert place.run(step.mode, **step.args)
            assert place.scenes() == course.scenes[number]
            look_around(place, made_by_hand)
        assert arena.vlm.counters.answered - answered <= course.answered + place.kills * SLOTS
        edited = somebody_edits(place, rng) if seed % 4 == 3 else {}
        for _ in range(doomed[len(steps)]):
            jump(place, rng)
            place.run(UNDO, Killer(rng.randint(0, course.undo_requests), rng.uniform(0, 0.02)))
            look_around(place, made_by_hand)
        undo_all(place)
        look_around(place, made_by_hand)
        assert without_update(place.scenes()) == {
            scene: with_edited(found, edited.get(scene)) for scene, found in first.items()
        }
        assert story == "migrating" or edited or place.tags() == tags


@pytest.mark.expects_errors
@pytest.mark.parametrize("seed", range(max(2, RUNS // 10)))
def test_two_tasks_at_once_of_which_one_is_killed_lose_and_double_nothing(
    arena: Stage, seed: int
) -> None:
    rng = random.Random(seed)
    course = arena.undisturbed("tagging")
    with arena.world() as place:
        first, tags, made_by_hand = place.scenes(), place.tags(), by_hand(place)
        both = [place.start("tag_videos"), place.start("tag_videos")]
        rng.shuffle(both)
        place.kill(both[0], Killer(rng.randint(0, course.requests[0]), rng.uniform(0, 0.02)), 0)
        place.ended(both[0])
        assert place.ended(both[1])
        look_around(place, made_by_hand)
        no_scene_left_the_queue_too_early(place, STORIES["tagging"][0], course.scenes[0])
        assert place.run("tag_videos")
        assert place.scenes() == course.scenes[0]
        look_around(place, made_by_hand)
        undo_all(place)
        assert place.scenes() == first
        assert place.tags() == tags


def jump(place: World, rng: random.Random) -> None:
    """Stash's clock is up to two hours ahead of ours, or behind it, or right."""
    place.stash.library.set_clock(rng.choice([0.0, rng.uniform(-5, 5), rng.uniform(-7200, 7200)]))


def moment(rng: random.Random, step: Step, requests: int) -> Killer:
    if step.while_starting and rng.random() < 0.7:
        return Killer(
            1, rng.uniform(0, 0.1)
        )  # the handshake was answered: now the journal is opened
    return Killer(rng.randint(0, requests), rng.uniform(0, 0.02))


def undo_all(place: World) -> None:
    for _ in range(MOST_UNDOINGS):
        assert place.run(UNDO)
        if NOTHING_LEFT in place.output:
            return
        assert " is undone: " in place.output
    pytest.fail("there is always something left to undo")


def by_hand(place: World) -> dict[str, Any]:
    """Every marker by its id, and every scene's tags, as people made them."""
    scenes = place.stash.library.snapshot().scenes
    return {
        scene.id: (set(scene.tags) - {"VLM_TagMe", "VLM_Errored"}, set(scene.markers))
        for scene in scenes
    }


def look_around(place: World, made_by_hand: dict[str, Any]) -> None:
    """Whatever the moment: what people made is as it was, and nothing is there twice."""
    for scene in place.stash.library.snapshot().scenes:
        tags, markers = made_by_hand[scene.id]
        assert tags <= set(scene.tags)
        assert markers <= set(scene.markers)
        each = Counter(
            (marker.primary_tag, marker.seconds, marker.end_seconds, marker.title)
            for marker in scene.markers
        )
        assert each.most_common(1)[0][1] == 1, (scene.id, each)


def no_scene_left_the_queue_too_early(place: World, step: Step, expected: dict[str, Any]) -> None:
    queue = QUEUES.get(step.mode)
    for scene in place.stash.library.snapshot().scenes if queue else ():
        assert queue in scene.tags or content(scene) == expected[scene.id]


def somebody_edits(place: World, rng: random.Random) -> dict[str, tuple[Any, ...]]:
    """A person changes one marker of the plugin's, and takes one tag of its off another scene. Returns the marker, by scene."""
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
    (edited,) = (
        own for own in place.stash.library.scene_state(one.id).markers if own.id == marker.id
    )
    return {one.id: (marker.title, edited)}


def is_owned(marker: Any) -> bool:
    return "VLM" in marker.tags and marker.title == marker.primary_tag


def with_edited(found: tuple[Any, ...], edited: tuple[Any, ...] | None) -> tuple[Any, ...]:
    if edited is None:
        return found
    marker = edited[1]
    kept = (
        marker.primary_tag,
        round(marker.seconds, 3),
        round(marker.end_seconds, 3),
        marker.title,
        marker.tags,
    )
    return found[0], tuple(sorted((*found[1], kept)))


def without_update(scenes: dict[str, Any]) -> dict[str, Any]:
    """Without the tag that a person put on for an update: undoing the update puts it back, and nobody takes it off."""
    return {
        scene: (tuple(tag for tag in tags if tag != "VLM_UpdateMe"), markers)
        for scene, (tags, markers) in scenes.items()
    }
