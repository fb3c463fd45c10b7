"""Image tasks killed with SIGKILL at any moment, and run again: nothing is lost or asked twice, and all of it can be taken back.

The same as ``test_torture`` shows for scenes; ``make torture`` runs both.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from sandbox.pictures import LabelledPicture, write_folder, write_zip
from tests.torture import child
from tests.torture.world import SLOTS, TAGS, Killer, World, world
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

RUNS = int(os.environ.get("HAVEN_TORTURE_RUNS", "4"))
UNDO = "undo_last_run"
MOST_UNDOINGS = 12
Tags = dict[str, frozenset[str]]


@dataclass(frozen=True)
class Step:
    """A task, with what a person does before it."""

    mode: str
    before: Callable[[World], None] = lambda _: None
    args: dict[str, str] = field(default_factory=dict)


def to_update(place: World) -> None:
    """Every second image and the gallery are to be gone over again."""
    for image in place.stash.library.snapshot().images[::2]:
        place.stash.library.tag_image(image.id, "VLM_UpdateMe")
    for gallery in place.stash.library.snapshot().galleries:
        place.stash.library.tag_gallery(gallery.id, "VLM_UpdateMe")


SHARED = {"GALLERY_TAG_SHARE": "0.3"}
STORIES: dict[str, tuple[Step, ...]] = {
    "tagging": (Step("tag_images", args=SHARED),),
    "updating": (
        Step("tag_images", args=SHARED),
        Step("update_images", to_update, {"TAG_LIST": "Foul,Goal"}),
    ),
    "removing": (Step("tag_images", args=SHARED), Step("remove_ours")),
    "previewing": (Step("preview"), Step("tag_images")),
}


@dataclass(frozen=True)
class Course:
    """How a story went undisturbed: the tags after each step, the requests that each took, and how many were answered in all."""

    tags: tuple[Tags, ...]
    requests: tuple[int, ...]
    undo_requests: int
    answered: int


@dataclass(frozen=True, eq=False)
class Arena:
    pictures: Sequence[LabelledPicture]
    vlm: SandboxVLM
    folder: Path
    processes: ForkServerContext

    @contextmanager
    def world(self) -> Iterator[World]:
        with world(
            (), self.vlm, Path(tempfile.mkdtemp(dir=self.folder)) / "stash", self.processes
        ) as place:
            furnish(place, self.pictures)
            yield place

    @cache  # noqa: B019 - one arena for the session
    def undisturbed(self, story: str) -> Course:
        answered = self.vlm.counters.answered
        with self.world() as place:
            first, tags, requests = tags_of(place), [], []
            for step in STORIES[story]:
                step.before(place)
                assert place.run(step.mode, **step.args)
                tags.append(tags_of(place))
                requests.append(place.requests[-1])
            place.requests.clear()
            undo_all(place)
            assert without_update(tags_of(place)) == first
            return Course(
                tuple(tags),
                tuple(requests),
                max(place.requests),
                self.vlm.counters.answered - answered,
            )


def furnish(place: World, pictures: Sequence[LabelledPicture]) -> None:
    """Images in line by themselves and by way of a gallery, or both; people have tagged some, also as the plugin will."""
    library, ids = place.stash.library, []
    for number, picture in enumerate(pictures):
        in_line = () if picture.entry and number % 3 else ("VLM_TagMe",)
        by_hand = ("Home game", *sorted(picture.tags)[:1]) if number % 4 == 0 else ()
        failed = ("VLM_Errored",) if number % 5 == 0 else ()
        ids.append(
            library.add_image(picture.path, entry=picture.entry, tags=[*in_line, *by_hand, *failed])
        )
    in_zip = [image for image, picture in zip(ids, pictures, strict=True) if picture.entry]
    library.add_gallery("Finale", images=in_zip, tags=["VLM_TagMe", "Home game"])


def tags_of(place: World) -> Tags:
    """Every image's and gallery's tags."""
    found = place.stash.library.snapshot()
    items = [
        *(("image", item) for item in found.images),
        *(("gallery", item) for item in found.galleries),
    ]
    return {f"{kind} {item.id}": frozenset(item.tags) for kind, item in items}


def without_update(tags: Tags) -> Tags:
    """Without the tag that a person put on for an update: undoing the update puts it back, and nobody takes it off."""
    return {item: own - {"VLM_UpdateMe"} for item, own in tags.items()}


def undo_all(place: World) -> None:
    for _ in range(MOST_UNDOINGS):
        assert place.run(UNDO)
        if "nothing to undo" in place.output:
            return
        assert " is undone: " in place.output
    pytest.fail("there is always something left to undo")


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("torture of images")
    pictures = (
        *write_folder(folder / "loose", 14, TAGS),
        *write_zip(folder / "match.zip", 14, TAGS, first=100),
    )
    with running(SandboxVLM(Behaviour(slots=SLOTS))) as vlm:
        yield Arena(pictures, vlm, folder, child.context())


@pytest.mark.expects_errors  # the servers' library tells of clients that were killed in the middle of a request
@pytest.mark.parametrize("seed", range(RUNS))
def test_killed_at_any_moment_and_run_again_it_ends_as_if_undisturbed_and_can_be_undone(
    arena: Arena, seed: int
) -> None:
    rng = random.Random(seed)
    story = list(STORIES)[seed % len(STORIES)]
    course, steps = arena.undisturbed(story), STORIES[story]
    doomed = Counter(rng.choices(range(len(steps) + 1), k=rng.randint(1, 4)))
    answered = arena.vlm.counters.answered
    with arena.world() as place:
        first, new = tags_of(place), place.tags()
        by_hand = {item: tags - {"VLM_TagMe", "VLM_Errored"} for item, tags in first.items()}
        for number, step in enumerate(steps):
            step.before(place)
            in_line = tags_of(place)
            for _ in range(doomed[number]):
                killer = Killer(rng.randint(0, course.requests[number]), rng.uniform(0, 0.02))
                if not place.run(step.mode, killer, **step.args):
                    what_people_made_is_there(place, by_hand)
                    nothing_left_the_queue_too_early(place, step, in_line, course.tags[number])
            assert place.run(step.mode, **step.args)
            assert tags_of(place) == course.tags[number]
        assert arena.vlm.counters.answered - answered <= course.answered + place.kills * SLOTS
        for _ in range(doomed[len(steps)]):
            place.run(UNDO, Killer(rng.randint(0, course.undo_requests), rng.uniform(0, 0.02)))
            what_people_made_is_there(place, by_hand)
        undo_all(place)
        assert without_update(tags_of(place)) == first
        assert place.tags() == new


def what_people_made_is_there(place: World, by_hand: Tags) -> None:
    for item, tags in tags_of(place).items():
        assert by_hand[item] <= tags, item


def nothing_left_the_queue_too_early(
    place: World, step: Step, in_line: Tags, expected: Tags
) -> None:
    """What has left the line is as it is to be; a gallery has only when all that is in it is."""
    queue = {"tag_images": "VLM_TagMe", "update_images": "VLM_UpdateMe"}.get(step.mode, "")
    tags = tags_of(place)
    for item in (item for item, own in in_line.items() if queue in own):
        assert queue in tags[item] or tags[item] == expected[item], item
    (gallery,) = (item for item in tags if item.startswith("gallery "))
    if queue in in_line[gallery] - tags[gallery]:
        assert tags == expected
