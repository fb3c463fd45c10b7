"""*Tag Images* on a real Stash: images in a folder and in a zip, a gallery, and files that only
Stash gets at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox.pictures import LabelledPicture, write_folder, write_zip
from sandbox.real_stash import RealStash
from tests.stash.conftest import MEDIA, TAGS, Arena, furnish, short_video

Configure = Callable[..., None]
CONTROL = {"VLM", "VLM_TagMe", "VLM_UpdateMe", "VLM_Tagged", "VLM_Errored"}


@pytest.fixture(scope="module")
def furnished_with_pictures(
    binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Arena, Sequence[LabelledPicture]]]:
    """Twelve pictures in a folder and eight in a zip, scanned, beside a video."""
    with RealStash(
        binary, tmp_path_factory.mktemp("stash"), config={"create_galleries_from_folders": True}
    ) as stash:
        loose = write_folder(stash.media / f"{MEDIA} in Bildern", 12, TAGS)
        zipped = write_zip(stash.media / "Finale & Ehrung.zip", 8, TAGS, first=100)
        yield furnish(stash, short_video(1)), (*loose, *zipped)


@pytest.fixture
def arena(furnished_with_pictures: tuple[Arena, Sequence[LabelledPicture]]) -> Iterator[Arena]:
    with furnished_with_pictures[0].fresh() as arena:
        yield arena


@pytest.fixture
def pictures(
    furnished_with_pictures: tuple[Arena, Sequence[LabelledPicture]],
) -> Sequence[LabelledPicture]:
    return furnished_with_pictures[1]


def name_of(picture: LabelledPicture) -> str:
    return f"Bild {picture.number:05}"


def queue(arena: Arena, pictures: Sequence[LabelledPicture]) -> None:
    images = arena.stash.images()
    for picture in pictures:
        arena.stash.add_tags(images[name_of(picture)].id, ["VLM_TagMe"], "Image")


def tags(arena: Arena) -> dict[str, set[str]]:
    return {name: set(image.tags) for name, image in arena.stash.images().items()}


def as_tagged(pictures: Sequence[LabelledPicture]) -> dict[str, set[str]]:
    return {name_of(picture): {*picture.tags, "VLM_Tagged"} for picture in pictures}


def test_images_in_a_folder_and_a_zip_are_tagged_and_undone(arena, pictures, endpoint, configure):
    configure()
    queue(arena, pictures)
    for name in (name_of(pictures[0]), name_of(pictures[-1])):
        arena.stash.add_tags(arena.stash.images()[name].id, ["Home game"], "Image")
    before = tags(arena)
    assert len(before) == 20
    job = arena.run("Tag Images")
    assert job.progress[-1:] in ((1,), (1.0,))
    expected = as_tagged(pictures)
    for name in (name_of(pictures[0]), name_of(pictures[-1])):
        expected[name].add("Home game")
    assert tags(arena) == expected
    assert arena.said("warning", "error") == []
    assert "20 images tagged, 0 failed; 20 calls" in arena.said("info")[-1]
    assert len(endpoint.counters.frame_numbers) == 20
    arena.run("Remove VLM Tags and Markers")
    assert tags(arena) == {name: found & {"Home game"} for name, found in before.items()}
    arena.run("Undo Last Run")
    assert tags(arena) == expected
    arena.run("Undo Last Run")
    assert tags(arena) == before
    assert arena.tag_names() <= CONTROL | {"Home game"}


def test_a_queued_zip_gallery_stands_for_its_images(arena, pictures, endpoint, configure):
    configure()
    zipped = [picture for picture in pictures if picture.entry]
    gallery = arena.stash.galleries()["Finale & Ehrung"]
    arena.stash.add_tags(gallery.id, ["VLM_TagMe"], "Gallery")
    arena.run("Preview")
    assert not any(tags(arena).values())
    assert any("8 images looked at: tags would be added: " in line for line in arena.said("info"))
    arena.run("Tag Images")
    found = tags(arena)
    assert {name: found[name] for name in as_tagged(zipped)} == as_tagged(zipped)
    assert not any(found for name, found in found.items() if name not in as_tagged(zipped))
    assert arena.stash.galleries()["Finale & Ehrung"].tags == ("VLM_Tagged",)
    assert "1 of 1 gallery done" in arena.said("info")[-1]
    assert len(endpoint.counters.frame_numbers) == 8
    arena.stash.add_tags(gallery.id, ["VLM_UpdateMe"], "Gallery")
    arena.run("Update Tagged Images")
    assert {name: tags(arena)[name] for name in as_tagged(zipped)} == as_tagged(zipped)
    assert arena.stash.galleries()["Finale & Ehrung"].tags == ("VLM_Tagged",)
    assert len(endpoint.counters.frame_numbers) == 8


def test_pictures_that_only_stash_gets_at_come_from_it(arena, pictures, configure):
    configure(mediaPaths=f"{arena.stash.media} => {arena.stash.folder / 'nowhere'}")
    chosen = (*pictures[:2], *pictures[-2:])
    queue(arena, chosen)
    arena.run("Tag Images")
    found = tags(arena)
    assert {name: found[name] for name in as_tagged(chosen)} == as_tagged(chosen)
    assert sum("Until then Stash is asked for it" in line for line in arena.said("info")) == 1


def test_stopped_and_started_again_it_asks_nothing_twice(arena, pictures, endpoint, configure):
    configure()
    endpoint.behaviour.latency_s, endpoint.behaviour.slots = 0.2, 2
    queue(arena, pictures)
    job = arena.start("Tag Images")
    arena.stash.watch(job, until=lambda _: endpoint.counters.answered >= 6)
    arena.stash.stop_job(job)
    arena.stash.watch(job)
    endpoint.behaviour.latency_s, endpoint.behaviour.slots = 0.0, 4
    arena.run("Tag Images")
    assert tags(arena) == as_tagged(pictures)
    requested: list[Any] = endpoint.counters.frame_numbers
    assert len(requested) - len(set(requested)) <= 4
