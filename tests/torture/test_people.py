"""People delete, relabel, move and add between runs with tag lists that change, under clocks that
jump, and some runs are killed.

Whatever the order: what a person removed is not there, what they made is there as they made it, and
so is what other lists found.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from sandbox.stash import ItemState, MarkerState
from tests.torture.test_torture import jump
from tests.torture.world import TAGS, Arena, Killer, World, arena_of_scenes

RUNS = max(1, int(os.environ.get("HAVEN_TORTURE_RUNS", "1")) // 4)
SCENES = 3
ROUNDS = 4
REQUESTS = 60
LISTS = (TAGS, TAGS[:2], TAGS[2:], TAGS[1:3])
Event = tuple[str, str, float, float]


@dataclass
class Deeds:
    """Edits by people: the events and tags that they removed, by scene, and what they made, as
    it is to stay.
    """

    off_events: list[Event] = field(default_factory=list)
    off_tags: set[tuple[str, str]] = field(default_factory=set)
    markers: dict[str, MarkerState] = field(default_factory=dict)
    tags: set[tuple[str, str]] = field(default_factory=set)

    def take_stock(self, place: World) -> None:
        """Note what is there before the first run."""
        for scene in place.stash.library.snapshot().scenes:
            self.markers |= {marker.id: marker for marker in scene.markers}
            self.tags |= {(scene.id, tag) for tag in scene.tags if not tag.startswith("VLM_")}

    def act(self, place: World, rng: random.Random) -> None:
        """Something happens to each scene."""
        for scene in place.stash.library.snapshot().scenes:
            made = [marker for marker in scene.markers if marker.id not in self.markers]
            for one in rng.sample(made, min(len(made), rng.randint(0, 2))):
                self._touch(place, rng, scene.id, one)
            removable = sorted(
                tag for tag in scene.tags if tag in TAGS and (scene.id, tag) not in self.tags
            )
            if removable and rng.random() < 0.5:
                tag = rng.choice(removable)
                place.stash.library.untag_scene(scene.id, tag)
                self.off_tags.add((scene.id, tag))
            if rng.random() < 0.4:
                self._add(place, rng, scene)

    def _touch(self, place: World, rng: random.Random, scene: str, one: MarkerState) -> None:
        library = place.stash.library
        self.off_events.append(
            (scene, one.primary_tag, one.seconds, one.end_seconds or one.seconds)
        )
        moved = {"seconds": one.seconds + 40, "end_seconds": (one.end_seconds or one.seconds) + 40}
        edits = [None, {"primary_tag": "Corner kick"}, moved, {"title": "in my own words"}]
        edit = rng.choice(edits)
        if edit is None:
            library.remove_marker(one.id)
            return
        library.edit_marker(one.id, **edit)
        self._keep(place, scene, one.id)

    def _keep(self, place: World, scene: str, marker: str) -> None:
        """Note that this marker is to stay as it is now."""
        markers = place.stash.library.scene_state(scene).markers
        self.markers |= {one.id: one for one in markers if one.id == marker}

    def _add(self, place: World, rng: random.Random, scene: ItemState) -> None:
        library, tag = place.stash.library, rng.choice([*TAGS, "Last season"])
        start_s = rng.choice([0.5, 2.0, 300.0])
        new = library.add_marker(scene.id, tag, start_s, start_s + 1, title="by hand", tags=["VLM"])
        self._keep(place, scene.id, new)
        if (scene.id, tag) not in self.off_tags and tag not in scene.tags:
            library.tag_scene(scene.id, tag)
            self.tags.add((scene.id, tag))

    def check(self, place: World) -> None:
        """Everything of it holds, and nothing is there twice."""
        for scene in place.stash.library.snapshot().scenes:
            there = {marker.id: marker for marker in scene.markers}
            assert {tag for owner, tag in self.off_tags if owner == scene.id}.isdisjoint(scene.tags)
            assert {tag for owner, tag in self.tags if owner == scene.id} <= set(scene.tags)
            made = [marker for marker in scene.markers if marker.id not in self.markers]
            for owner, tag, start_s, end_s in self.off_events:
                assert owner != scene.id or not [
                    one for one in made if one.primary_tag == tag and _overlap(one, start_s, end_s)
                ]
            each = Counter((one.primary_tag, one.seconds, one.end_seconds) for one in made)
            assert not each or each.most_common(1)[0][1] == 1
            assert all(there[key] == marker for key, marker in self.markers.items() if key in there)
        every = {
            marker.id for scene in place.stash.library.snapshot().scenes for marker in scene.markers
        }
        assert self.markers.keys() <= every


def _overlap(one: MarkerState, start_s: float, end_s: float) -> bool:
    return max(one.seconds, start_s) < min(one.end_seconds or one.seconds, end_s)


def of_other_lists(place: World, looked_for: Sequence[str]) -> set[tuple[object, ...]]:
    """Return the tags and markers of tags that are not looked for."""
    found = set()
    for scene in place.stash.library.snapshot().scenes:
        found |= {(scene.id, tag) for tag in scene.tags if tag in TAGS and tag not in looked_for}
        others = [one for one in scene.markers if one.primary_tag not in looked_for]
        found |= {
            (scene.id, one.primary_tag, one.seconds, one.end_seconds, one.title) for one in others
        }
    return found


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with arena_of_scenes(tmp_path_factory.mktemp("people"), SCENES) as arena:
        yield arena


@pytest.mark.expects_errors  # the servers' library reports clients killed in mid-request
@pytest.mark.parametrize("seed", range(RUNS))
def test_what_people_and_other_lists_did_holds_in_every_run(arena, seed):
    rng, deeds = random.Random(seed), Deeds()
    with arena.world() as place:
        deeds.take_stock(place)
        for _ in range(ROUNDS):
            looked_for = rng.choice(LISTS)
            mode, queue = rng.choice(
                [("tag_videos", "VLM_TagMe"), ("update_videos", "VLM_UpdateMe")]
            )
            for scene in place.stash.library.snapshot().scenes:
                place.stash.library.tag_scene(scene.id, queue)
            others = of_other_lists(place, looked_for)
            killer = (
                Killer(rng.randint(0, REQUESTS), rng.uniform(0, 0.02))
                if rng.random() < 0.4
                else None
            )
            for run in [killer, None] if killer else [None]:
                jump(place, rng)
                place.run(mode, run, TAG_LIST=",".join(looked_for))
                deeds.check(place)
                assert others <= of_other_lists(place, looked_for)
            deeds.act(place, rng)
        jump(place, rng)
        assert place.run("remove_ours")
        deeds.check(place)
        for scene in place.stash.library.snapshot().scenes:
            assert {marker.id for marker in scene.markers} <= deeds.markers.keys()
            assert {tag for tag in scene.tags if tag in TAGS} <= {
                tag for owner, tag in deeds.tags if owner == scene.id
            }
