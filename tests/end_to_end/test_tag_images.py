"""*Tag Images* from Stash to Stash: a real process, real HTTP, real pictures in folders and in zips."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox.pictures import LabelledPicture, write_folder, write_zip
from sandbox.stash import Job
from sandbox.videos import LabelledVideo
from tests.end_to_end.conftest import TAGS, Theatre
from tests.pictures.raws import nef, preview
from vlm_engine.testing import Behaviour, Fault, glyphs

Address = Callable[..., dict[str, Any]]
CONTROL = {"VLM_TagMe", "VLM_UpdateMe", "VLM_Tagged", "VLM_Errored"}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledPicture, ...]:
    """24 of a folder and 16 of a zip, whose names need quoting."""
    place = tmp_path_factory.mktemp("images")
    return (
        *write_folder(place / "Fotos & Fouls", 24, TAGS),
        *write_zip(place / "Spiel „Finale“.zip", 16, TAGS, first=100),
    )


def run(theatre: Theatre, task: str = "Tag Images", **args: str) -> Job:
    return theatre.stash.run_task(task, args).wait(90)


def texts(job: Job, *levels: str) -> str:
    return "\n".join(text for level, text in job.log if level in levels)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def as_tagged(images: dict[str, LabelledPicture]) -> dict[str, set[str]]:
    return {image: {*picture.tags, "VLM_Tagged"} for image, picture in images.items()}


def report_of(theatre: Theatre) -> dict[str, Any]:
    """The report of the last run."""
    folder = theatre.stash.config_folder / "haven_vlm_connector" / "reports"
    return json.loads(max(folder.glob("*.json")).read_text(encoding="utf-8"))


def test_images_in_folders_and_zips_get_their_tags_with_few_writes(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    vlm = theatre.endpoint(
        Behaviour(slots=4, latency_s=0.1)
    )  # a second in all: there is progress to be seen
    theatre.install(address(vlm))
    images = theatre.add(*pictures)
    theatre.stash.requests.clear()
    job = run(theatre)
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert theatre.image_tags() == as_tagged(images)
    assert str(job.output).startswith("40 images tagged, 0 failed; 40 calls; ")
    assert job.progress[-1] == 1
    assert list(job.progress) == sorted(job.progress)
    assert len(job.progress) > 3
    assert sorted(vlm.counters.frame_numbers) == sorted(picture.number for picture in pictures)
    assert theatre.stash.requests.mutations["bulkImageUpdate"] <= len(TAGS) + 2
    groups = report_of(theatre)["images"]
    assert sum(len(group["images"]) for group in groups) == 40
    assert {group["outcome"] for group in groups} == {"done"}


def test_rules_rename_and_raise_the_threshold_and_nothing_is_asked_twice(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    images = theatre.add(*pictures[:12])
    mine = theatre.add(pictures[12], tags=("VLM_TagMe", "Home game", "Foul"))
    run(theatre)
    assert {"Home game", "Foul"} <= theatre.image_tags()[next(iter(mine))]
    for image in images:
        theatre.stash.library.tag_image(image, "VLM_UpdateMe")
    theatre.install(
        address(vlm),
        TAG_RULES={"Foul": {"RenamedTag": "Personal foul"}, "Goal": {"TagThreshold": 1}},
    )
    job = run(theatre, "Update Tagged Images")
    assert "12 images updated, 0 failed; 0 calls; 12 answers known already" in str(job.output)
    assert vlm.counters.answered == 13
    for image, picture in images.items():
        expected = {"Personal foul" if tag == "Foul" else tag for tag in picture.tags - {"Goal"}}
        assert theatre.image_tags()[image] == {*expected, "VLM_Tagged"}


def test_an_image_that_cannot_be_read_is_marked_and_the_rest_goes_on(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address, tmp_path: Path
) -> None:
    theatre.install(address(theatre.endpoint()))
    broken = write_folder(tmp_path / "broken", 2, TAGS, first=500)
    good, bad = theatre.add(*pictures[:5]), theatre.add(*broken)
    broken[0].path.write_bytes(broken[0].path.read_bytes()[:200])
    broken[1].path.unlink()
    job = run(theatre)
    assert job.error is None
    assert "5 images tagged, 2 failed" in str(job.output)
    tags = theatre.image_tags()
    assert {image: tags[image] for image in good} == as_tagged(good)
    assert all(tags[image] == {"VLM_TagMe", "VLM_Errored"} for image in bad)
    for image, picture in bad.items():
        (line,) = [line for line in texts(job, "error").splitlines() if f"Image {image} " in line]
        assert f"Bild {picture.number}" in line
    failed = [group for group in report_of(theatre)["images"] if group["outcome"] == "failed"]
    assert {image for group in failed for image, _ in group["images"]} == set(bad)
    again = run(theatre)
    assert "0 images tagged, 2 failed" in str(again.output)


@pytest.mark.parametrize("model", ["sandbox-vlm", ""])
def test_no_endpoint_ends_the_task_and_everything_stays_queued(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address, model: str
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm), MODEL=model, ENDPOINT_PATIENCE=0)
    images = theatre.add(*pictures[:5])
    vlm.stop()
    job = run(theatre)
    assert vlm.url in str(job.error)
    assert "5 not finished and still queued" in texts(job, "warning")
    assert theatre.image_tags() == {image: {"VLM_TagMe"} for image in images}


def test_what_was_answered_before_the_last_endpoint_died_is_written(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(slots=2, latency_s=0.02))
    theatre.install(address(vlm, max_concurrent=2), MODEL="sandbox-vlm", ENDPOINT_PATIENCE=0)
    images = theatre.add(*pictures[:20])
    job = theatre.stash.run_task("Tag Images")
    wait_for(lambda: vlm.counters.answered >= 8 or job.over)
    vlm.stop()
    job.wait(60)
    assert job.error
    tags = theatre.image_tags()
    done = {image for image in images if tags[image] == as_tagged(images)[image]}
    assert len(done) >= 8
    assert all(tags[image] == {"VLM_TagMe"} for image in images if image not in done)


# Where Stash sees the files, and where this machine does.


def test_paths_are_mapped_also_those_of_zips(
    pictures: Sequence[LabelledPicture], address: Address, elsewhere: Callable[..., Theatre]
) -> None:
    place = elsewhere(pictures[0].path.parents[1], "/data/sport")
    place.install(
        address(place.endpoint()), PATH_MUTATION={"/data/sport": str(pictures[0].path.parents[1])}
    )
    images = place.add(pictures[0], pictures[-1])
    job = run(place)
    assert texts(job, "warning", "error") == ""
    assert "Stash is asked" not in texts(job, "info")
    assert place.image_tags() == as_tagged(images)


def test_what_cannot_be_read_here_comes_from_stash_and_the_log_says_so_once(
    pictures: Sequence[LabelledPicture], address: Address, elsewhere: Callable[..., Theatre]
) -> None:
    place = elsewhere(pictures[0].path.parents[1], "/data/sport")
    place.install(address(place.endpoint()))
    images = place.add(*pictures[:3], *pictures[-3:])
    job = run(place)
    assert job.error is None
    assert place.image_tags() == as_tagged(images)
    assert texts(job, "info").count("Until then Stash is asked for it") == 1
    assert "/data/sport" in texts(job, "info") and "PATH_MUTATION" in texts(job, "info")


def test_a_damaged_zip_is_read_by_stash_where_that_can(
    address: Address, elsewhere: Callable[..., Theatre], tmp_path: Path
) -> None:
    """Stash has the zip as it was; in the copy that this machine has, a name is flagged as UTF-8 that is none."""
    (tmp_path / "whole").mkdir()
    packed = write_zip(tmp_path / "whole" / "final.zip", 3, TAGS)
    content = bytearray(packed[0].path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 9] |= 0x08
    content[content.index(b"Bild", entry)] = 0xFF
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "final.zip").write_bytes(content)
    place = elsewhere(tmp_path / "whole", "/data")
    place.install(address(place.endpoint()), PATH_MUTATION={"/data": str(tmp_path / "damaged")})
    images = place.add(*packed)
    job = run(place)
    assert place.image_tags() == as_tagged(images), job.log
    assert "final.zip: a zip whose list of contents is cut off or damaged: " in texts(job, "info")


def test_where_stash_has_it_no_more_than_this_machine_both_are_told(
    pictures: Sequence[LabelledPicture], address: Address, elsewhere: Callable[..., Theatre]
) -> None:
    place = elsewhere(pictures[0].path.parents[1], "/data/sport")
    place.install(address(place.endpoint()), PATH_MUTATION={"/data": "/mnt/nas"})
    lost, damaged = place.add(*pictures[:2])
    kept = [one.path.read_bytes() for one in pictures[:2]]
    try:
        pictures[0].path.unlink()
        pictures[1].path.write_bytes(kept[1][:300])
        said = texts(run(place), "error").splitlines()
    finally:
        for one, content in zip(pictures, kept, strict=False):
            one.path.write_bytes(content)
    (of_lost,) = [line for line in said if line.startswith(f"Image {lost} ")]
    (of_damaged,) = [line for line in said if line.startswith(f"Image {damaged} ")]
    for part in ("/data/sport", "/mnt/nas/sport", "PATH_MUTATION", "Stash does not serve"):
        assert part in of_lost
    assert f"/{pictures[1].path.name}, from Stash: damaged picture: " in of_damaged


def test_where_stash_is_not_to_be_asked_the_log_names_both_paths_and_the_setting(
    pictures: Sequence[LabelledPicture], address: Address, elsewhere: Callable[..., Theatre]
) -> None:
    place = elsewhere(pictures[0].path.parents[1], "/data/sport")
    place.install(
        address(place.endpoint()), IMAGE_FROM_STASH=False, PATH_MUTATION={"/data": "/mnt/nas"}
    )
    (image,) = place.add(pictures[0])
    said = texts(run(place), "error")
    for part in ("/data/sport", "/mnt/nas/sport", "PATH_MUTATION"):
        assert part in said
    assert place.image_tags()[image] == {"VLM_TagMe", "VLM_Errored"}


# Galleries.


def test_a_gallery_in_line_stands_for_its_images_and_leaves_the_line_after_them(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()), GALLERY_TAG_SHARE=0.4)
    images = theatre.add(*pictures[:20], tags=())
    others = theatre.add(*pictures[20:24], tags=())
    queued = theatre.stash.library.add_gallery("Finale", images=images, tags=["VLM_TagMe"])
    beside = theatre.stash.library.add_gallery("Training", images=others)
    job = run(theatre)
    assert texts(job, "warning", "error") == ""
    assert "20 images tagged" in str(job.output)
    assert "1 of 1 gallery done" in str(job.output)
    tags = theatre.image_tags()
    assert {image: tags[image] for image in images} == as_tagged(images)
    assert all(not tags[image] for image in others)
    frequent = {
        tag for tag in TAGS if sum(tag in picture.tags for picture in images.values()) >= 0.4 * 20
    }
    assert frequent
    assert set(theatre.stash.library.gallery_state(queued).tags) == {"VLM_Tagged", *frequent}
    assert theatre.stash.library.gallery_state(beside).tags == ()


def test_a_gallery_stays_in_line_while_one_of_its_images_cannot_be_done(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address, tmp_path: Path
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    (broken,) = write_folder(tmp_path / "broken", 1, TAGS, first=500)
    content = broken.path.read_bytes()
    images = theatre.add(*pictures[:3], broken, tags=())
    gallery = theatre.stash.library.add_gallery("Finale", images=images, tags=["VLM_TagMe"])
    broken.path.write_bytes(content[:100])
    job = run(theatre)
    assert "stays queued: 1 of its 4 images could not be done" in texts(job, "warning")
    assert theatre.stash.library.gallery_state(gallery).tags == ("VLM_TagMe",)
    broken.path.write_bytes(content)
    job = run(theatre)
    assert theatre.stash.library.gallery_state(gallery).tags == ("VLM_Tagged",)
    assert theatre.image_tags() == as_tagged(images)
    assert vlm.counters.answered == 4


def test_galleries_can_be_left_alone(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()), IMAGE_GALLERIES=False)
    images = theatre.add(*pictures[:3], tags=())
    gallery = theatre.stash.library.add_gallery("Finale", images=images, tags=["VLM_TagMe"])
    assert "No image carries the tag VLM_TagMe" in str(run(theatre).output)
    assert theatre.stash.library.gallery_state(gallery).tags == ("VLM_TagMe",)


@pytest.mark.parametrize(("has", "share", "is_given"), [(7, 0.28, True), (6, 0.28, False)])
def test_a_gallery_gets_what_exactly_the_wanted_share_of_its_images_has(
    theatre: Theatre, address: Address, tmp_path: Path, has: int, share: float, is_given: bool
) -> None:
    theatre.install(address(theatre.endpoint()), GALLERY_TAG_SHARE=share, TAG_LIST=["Foul"])
    shown = [
        glyphs.picture(["Foul"] if number < has else [], 328, 224, number) for number in range(25)
    ]
    for number, picture in enumerate(shown):
        picture.save(tmp_path / f"{number}.jpg")
    images = [theatre.stash.library.add_image(tmp_path / f"{number}.jpg") for number in range(25)]
    gallery = theatre.stash.library.add_gallery("Finale", images=images, tags=["VLM_TagMe"])
    run(theatre)
    assert theatre.stash.library.gallery_state(gallery).tags == (
        ("Foul", "VLM_Tagged") if is_given else ("VLM_Tagged",)
    )


def test_a_gallery_without_images_leaves_the_line_also_when_nothing_else_is_in_it(
    theatre: Theatre, address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    gallery = theatre.stash.library.add_gallery("Empty", tags=["VLM_TagMe"])
    job = run(theatre)
    assert str(job.output) == "No image is left to look at. 1 of 1 gallery done."
    assert theatre.stash.library.gallery_state(gallery).tags == ("VLM_Tagged",)


# Preview, undo, removal.


def test_a_preview_tells_of_scenes_and_images_writes_nothing_and_spares_questions(
    theatre: Theatre,
    videos: Sequence[LabelledVideo],
    pictures: Sequence[LabelledPicture],
    address: Address,
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    theatre.queue(videos[0])
    images = theatre.add(*pictures[:10])
    theatre.stash.library.add_gallery("Finale", images=[*images][:2], tags=["VLM_TagMe"])
    before = theatre.stash.library.snapshot()
    job = run(theatre, "Preview")
    assert "1 gallery queued: done after the last image. Nothing was written to Stash." in str(
        job.output
    )
    assert theatre.stash.library.snapshot() == before
    assert "1 scene looked at, 0 failed" in str(job.output)
    assert "10 images looked at, 0 failed" in str(job.output)
    told = next(
        line
        for line in texts(job, "info").splitlines()
        if "10 images looked at: tags would be added: " in line
    )
    for tag in TAGS:
        assert f"{tag} {sum(tag in picture.tags for picture in images.values())}" in told
    assert (job.progress[-1], list(job.progress)) == (1, sorted(job.progress))
    calls = vlm.counters.answered
    run(theatre)
    run(theatre, "Tag Videos")
    assert vlm.counters.answered == calls


def test_undo_and_removal_take_back_images_and_galleries(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()), GALLERY_TAG_SHARE=0.1)
    images = theatre.add(*pictures[:10], tags=("Home game",))
    theatre.stash.library.add_gallery("Finale", images=images, tags=["VLM_TagMe", "Goal"])
    before = theatre.stash.library.snapshot()
    run(theatre)
    after = theatre.stash.library.snapshot()
    job = run(theatre, "Remove VLM Tags and Markers")
    assert "10 images, 1 gallery" in str(job.output)
    assert theatre.image_tags() == {image: {"Home game"} for image in images}
    job = run(theatre, "Undo Last Run")
    assert theatre.stash.library.snapshot() == after
    job = run(theatre, "Undo Last Run")
    assert "is undone: 10 images, 1 gallery." in str(job.output)
    assert theatre.stash.library.snapshot().images == before.images
    assert theatre.stash.library.snapshot().galleries == before.galleries


# Kills and turns.


def test_a_run_killed_and_started_again_asks_nothing_twice(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(slots=4, latency_s=0.02))
    theatre.install(address(vlm))
    images = theatre.add(*pictures)
    for answered in (10, 25):
        job = theatre.stash.run_task("Tag Images")
        wait_for(lambda least=answered, job=job: vlm.counters.answered >= least or job.over)
        job.stop()
        job.wait()
        tags = theatre.image_tags()
        assert all(
            tags[image] == {"VLM_TagMe"} or tags[image] == as_tagged(images)[image]
            for image in images
        )
    job = run(theatre)
    assert job.error is None
    assert theatre.image_tags() == as_tagged(images)
    asked = vlm.counters.frame_numbers
    assert len(asked) - len(set(asked)) <= 2 * 4  # what was under way at each kill


def test_a_task_whose_turn_is_over_goes_on_behind_the_others_and_galleries_wait_for_its_end(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(slots=2, latency_s=0.03))
    theatre.install(address(vlm, max_concurrent=2), TIME_SLICE=0.002)
    images = theatre.add(*pictures, tags=())
    gallery = theatre.stash.library.add_gallery("Finale", images=images, tags=["VLM_TagMe"])
    before = theatre.stash.library.snapshot()
    theatre.stash.run_task("Tag Images")
    theatre.stash.run_task("Update Tagged Images")
    first = theatre.stash.plugins.queue.jobs[0].wait(60)
    assert "queued itself again" in str(first.output)
    assert theatre.stash.library.gallery_state(gallery).tags == ("VLM_TagMe",)
    jobs = theatre.stash.plugins.queue.jobs
    jobs[1].wait(60)
    last = jobs[2].wait(90)
    assert "0 failed" in str(last.output)
    assert theatre.image_tags() == as_tagged(images)
    assert theatre.stash.library.gallery_state(gallery).tags == ("VLM_Tagged",)
    assert len(vlm.counters.frame_numbers) <= 40 + 2
    run(theatre, "Undo Last Run")  # all turns are one run
    assert theatre.stash.library.snapshot().images == before.images


def test_a_model_that_answers_nothing_ends_the_task_after_a_handful_and_all_stay_queued(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(slots=4, fault=Fault.GARBAGE))
    theatre.install(address(vlm))
    theatre.add(*pictures)
    job = run(theatre)
    assert "the reply does not answer the question" in str(job.error)
    assert "k42H2" in str(job.error), "in its own words"
    assert re.search(
        r"0 images tagged, [1-9] failed, .* queued; [1-9] calls;", texts(job, "warning")
    )
    tags = theatre.image_tags().values()
    assert all("VLM_TagMe" in own for own in tags)
    assert sum("VLM_Errored" in own for own in tags) < 10
    vlm.behaviour.fault = Fault.NONE
    assert run(theatre).error is None
    assert {"VLM_TagMe", "VLM_Errored"}.isdisjoint(set().union(*theatre.image_tags().values()))


# What is not read here, and what Stash shows of it.


def jxl(path: Path) -> Path:
    """A picture that nothing here decodes."""
    path.write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n" + path.name.encode() * 20)
    return path


def shown(*tags: str) -> bytes:
    written = io.BytesIO()
    glyphs.picture(tags, 640, 360, 7).save(written, "JPEG", quality=85)
    return written.getvalue()


def test_what_only_stash_can_show_is_tagged_as_its_thumbnail_and_the_log_and_the_report_say_so(
    theatre: Theatre, pictures: Sequence[LabelledPicture], address: Address, tmp_path: Path
) -> None:
    theatre.install(address(theatre.endpoint()))
    library = theatre.stash.library
    usual = theatre.add(*pictures[:2])
    goal = library.add_image(jxl(tmp_path / "goal.jxl"), title="goal.jxl", tags=["VLM_TagMe"])
    library.add_thumbnail(goal, shown("Goal"))
    (tmp_path / "foul.nef").write_bytes(nef(preview((160, 120))))
    foul = library.add_image(tmp_path / "foul.nef", title="foul.nef", tags=["VLM_TagMe"])
    library.add_thumbnail(foul, shown("Foul"))
    job = run(theatre)
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    tags = theatre.image_tags()
    assert (tags[goal], tags[foul]) == ({"Goal", "VLM_Tagged"}, {"Foul", "VLM_Tagged"})
    log = texts(job, "info")
    assert (
        f"Image {goal} (goal.jxl) was seen as Stash's thumbnail of it: a JPEG XL picture, which is not read."
        in log
    )
    assert (
        f"Image {foul} (foul.nef) was seen as Stash's thumbnail of it: a camera raw file with no more than"
        in log
    )
    notes = {
        image: group["note"]
        for group in report_of(theatre)["images"]
        for image, _ in group["images"]
    }
    assert all(notes[image] == "" for image in usual)
    assert all(
        notes[image].startswith("seen as Stash's thumbnail of it: ") for image in (goal, foul)
    )


def test_what_stash_cannot_show_either_is_named_with_the_remedy(
    theatre: Theatre, address: Address, tmp_path: Path
) -> None:
    theatre.install(address(theatre.endpoint()))
    library = theatre.stash.library
    lost = library.add_image(jxl(tmp_path / "goal.jxl"), title="goal.jxl", tags=["VLM_TagMe"])
    (tmp_path / "foul.nef").write_bytes(nef(preview((160, 120)), size=(640, 480)))
    small = library.add_image(tmp_path / "foul.nef", title="foul.nef", tags=["VLM_TagMe"])
    library.add_thumbnail(small, preview((100, 75)))
    job = run(theatre)
    said = texts(job, "error").splitlines()
    for image, name in ((lost, "goal.jxl"), (small, "foul.nef")):
        (line,) = [line for line in said if line.startswith(f"Image {image} ")]
        assert f"{tmp_path / name}: " in line
        assert line.endswith("; convert it to JPEG or PNG. Nor does Stash show it")
        assert theatre.image_tags()[image] == {"VLM_TagMe", "VLM_Errored"}


def test_stash_is_not_asked_for_thumbnails_where_it_is_not_to_be_asked(
    theatre: Theatre, address: Address, tmp_path: Path
) -> None:
    theatre.install(address(theatre.endpoint()), IMAGE_FROM_STASH=False)
    image = theatre.stash.library.add_image(jxl(tmp_path / "goal.jxl"), tags=["VLM_TagMe"])
    theatre.stash.library.add_thumbnail(image, shown("Goal"))
    said = texts(run(theatre), "error")
    assert said.endswith(
        "goal.jxl: a JPEG XL picture, which is not read; convert it to JPEG or PNG"
    )


def test_an_error_that_is_expected_takes_one_line_of_the_log(
    theatre: Theatre, address: Address, tmp_path: Path
) -> None:
    theatre.install(address(theatre.endpoint()))
    (broken,) = write_folder(tmp_path / "broken", 1, TAGS, first=500)
    (image,) = theatre.add(broken)
    broken.path.write_bytes(broken.path.read_bytes()[:200])
    job = run(theatre)
    about = [
        text
        for _, text in job.log
        if broken.path.name in text or "Traceback" in text or 'File "' in text
    ]
    assert [text for text in about if text.startswith(f"Image {image} ")] != []
    assert len(about) <= 2, (
        about
    )  # for Stash's debug level, one more that says where it was found out
