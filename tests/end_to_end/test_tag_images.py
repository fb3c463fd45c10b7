"""*Tag Images* from Stash to Stash: a real process, real HTTP, pictures in folders and in zips."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from sandbox.pictures import LabelledPicture, write_folder, write_zip
from tests.end_to_end.conftest import TAGS, texts, wait_for
from tests.pictures.raws import nef, preview
from vlm_engine.testing import Fault, glyphs

Pictures = Sequence[LabelledPicture]
TASK = "Tag Images"


def as_tagged(images: dict[str, LabelledPicture]) -> dict[str, set[str]]:
    return {image: {*picture.tags, "VLM_Tagged"} for image, picture in images.items()}


def error_of(image: str, log: str) -> str:
    (line,) = [line for line in log.splitlines() if line.startswith(f"Image {image} ")]
    return line


def test_images_in_folders_and_zips_get_their_tags(theatre, pictures):
    vlm = theatre.install()
    vlm.behaviour.latency_s = 0.1  # a second in all: there is progress to be seen
    images = theatre.add(*pictures)
    theatre.stash.requests.clear()
    job = theatre.run(TASK)
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert theatre.image_tags() == as_tagged(images)
    assert re.match(
        r"40 images tagged, 0 failed; 40 calls, [\d.]+ model seconds; ", str(job.output)
    )
    assert job.progress[-1] == 1
    assert list(job.progress) == sorted(job.progress)
    assert len(job.progress) > 3
    assert sorted(vlm.counters.frame_numbers) == sorted(picture.number for picture in pictures)
    assert theatre.stash.requests.mutations["bulkImageUpdate"] <= len(TAGS) + 2
    groups = theatre.reports()[-1]["images"]
    assert sum(len(group["images"]) for group in groups) == 40
    assert {group["outcome"] for group in groups} == {"done"}


def test_other_rules_apply_and_nothing_is_asked_twice(theatre, pictures):
    vlm = theatre.install()
    images = theatre.add(*pictures[:12])
    mine = theatre.add(pictures[12], tags=("VLM_TagMe", "Home game", "Foul"))
    theatre.run(TASK)
    assert {"Home game", "Foul"} <= theatre.image_tags()[next(iter(mine))]
    for image in images:
        theatre.stash.library.tag_image(image, "VLM_UpdateMe")
    rules = {"Foul": {"RenamedTag": "Personal foul"}, "Goal": {"TagThreshold": 1}}
    theatre.install(vlm, TAG_RULES=rules)
    job = theatre.run("Update Tagged Images")
    assert "12 images updated, 0 failed; 0 calls; 12 answers known already" in str(job.output)
    assert vlm.counters.answered == 13
    for image, picture in images.items():
        expected = {"Personal foul" if tag == "Foul" else tag for tag in picture.tags - {"Goal"}}
        assert theatre.image_tags()[image] == {*expected, "VLM_Tagged"}


def test_bad_images_are_marked_and_the_rest_goes_on(theatre, pictures):
    theatre.install()
    broken = write_folder(theatre.folder / "broken", 2, TAGS, first=500)
    good, bad = theatre.add(*pictures[:5]), theatre.add(*broken)
    broken[0].path.write_bytes(broken[0].path.read_bytes()[:200])
    broken[1].path.unlink()
    job = theatre.run(TASK)
    assert job.error is None
    assert "5 images tagged, 2 failed" in str(job.output)
    tags = theatre.image_tags()
    assert {image: tags[image] for image in good} == as_tagged(good)
    assert all(tags[image] == {"VLM_TagMe", "VLM_Errored"} for image in bad)
    for image, picture in bad.items():
        assert f"Bild {picture.number}" in error_of(image, texts(job, "error"))
    groups = theatre.reports()[-1]["images"]
    failed = [group["images"] for group in groups if group["outcome"] == "failed"]
    assert {image for images in failed for image, _ in images} == set(bad)
    # An expected error takes one line, and for Stash's debug level one more that says where.
    about = [text for _, text in job.log if broken[0].path.name in text or "Traceback" in text]
    assert len(about) <= 2


def test_answers_before_the_last_endpoint_died_are_written(theatre, pictures):
    vlm = theatre.endpoint(slots=2, latency_s=0.02)
    theatre.install(vlm, MODEL="sandbox-vlm", ENDPOINT_PATIENCE=0)
    images = theatre.add(*pictures[:20])
    job = theatre.stash.run_task(TASK)
    wait_for(lambda: vlm.counters.answered >= 8 or job.over)
    vlm.stop()
    job.wait(60)
    assert vlm.url in str(job.error)
    assert "not finished and still queued" in texts(job, "warning")
    tags = theatre.image_tags()
    done = {image for image in images if tags[image] == as_tagged(images)[image]}
    assert len(done) >= 8
    assert all(tags[image] == {"VLM_TagMe"} for image in images if image not in done)


def test_useless_answers_end_the_task_and_keep_the_queue(theatre, pictures):
    vlm = theatre.install(theatre.endpoint(fault=Fault.GARBAGE))
    theatre.add(*pictures)
    job = theatre.run(TASK)
    assert "the reply does not answer the question" in str(job.error)
    assert "k42H2" in str(job.error), "the reply itself"
    assert re.search(
        r"0 images tagged, [1-9] failed, .* queued; [1-9] calls(, [\d.]+ model seconds)?;",
        texts(job, "warning"),
    )
    tags = theatre.image_tags().values()
    assert all("VLM_TagMe" in one for one in tags)
    assert sum("VLM_Errored" in one for one in tags) < 10
    vlm.behaviour.fault = Fault.NONE
    assert theatre.run(TASK).error is None
    assert {"VLM_TagMe", "VLM_Errored"}.isdisjoint(set().union(*theatre.image_tags().values()))


# --- where Stash has the files, and where this machine does ---


@pytest.mark.parametrize("is_mapped", [True, False])
def test_files_elsewhere_are_mapped_or_come_from_stash(pictures, elsewhere, is_mapped):
    folder = pictures[0].path.parents[1]
    theatre = elsewhere(folder, "/data/sport")
    theatre.install(PATH_MUTATION={"/data/sport": str(folder)} if is_mapped else {})
    images = theatre.add(*pictures[:3], *pictures[-3:])
    job = theatre.run(TASK)
    assert (job.error, texts(job, "warning", "error")) == (None, "")
    assert theatre.image_tags() == as_tagged(images)
    log = texts(job, "info")
    assert log.count("Until then Stash is asked for it") == (0 if is_mapped else 1)
    assert is_mapped or ("/data/sport" in log and "PATH_MUTATION" in log)


def test_a_damaged_zip_is_read_by_stash_if_it_can(elsewhere, tmp_path):
    """In this machine's copy a name is flagged as UTF-8 and is not; Stash has it as it was."""
    (tmp_path / "whole").mkdir()
    packed = write_zip(tmp_path / "whole" / "final.zip", 3, TAGS)
    data = bytearray(packed[0].path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 9] |= 0x08
    data[data.index(b"Bild", entry)] = 0xFF
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "final.zip").write_bytes(data)
    theatre = elsewhere(tmp_path / "whole", "/data")
    theatre.install(PATH_MUTATION={"/data": str(tmp_path / "damaged")})
    images = theatre.add(*packed)
    job = theatre.run(TASK)
    assert theatre.image_tags() == as_tagged(images), job.log
    assert "final.zip: a zip whose list of contents is cut off or damaged: " in texts(job, "info")


def test_files_that_stash_lacks_too_are_named_with_both_reasons(elsewhere, tmp_path):
    files = write_folder(tmp_path / "own", 2, TAGS)
    theatre = elsewhere(tmp_path / "own", "/data/sport")
    theatre.install(PATH_MUTATION={"/data": "/mnt/nas"})
    lost, damaged = theatre.add(*files)
    files[0].path.unlink()
    files[1].path.write_bytes(files[1].path.read_bytes()[:300])
    log = texts(theatre.run(TASK), "error")
    for part in ("/data/sport", "/mnt/nas/sport", "PATH_MUTATION", "Stash does not serve"):
        assert part in error_of(lost, log)
    place = f"/{files[1].path.name}, from Stash: damaged picture: "
    assert place in error_of(damaged, log)


def test_stash_is_not_asked_where_that_is_switched_off(pictures, elsewhere, tmp_path):
    theatre = elsewhere(pictures[0].path.parents[1], "/data/sport")
    theatre.install(IMAGE_FROM_STASH=False, PATH_MUTATION={"/data": "/mnt/nas"})
    (lost,) = theatre.add(pictures[0])
    odd = theatre.stash.library.add_image(jxl(tmp_path / "goal.jxl"), tags=["VLM_TagMe"])
    theatre.stash.library.add_thumbnail(odd, jpeg("Goal"))
    log = texts(theatre.run(TASK), "error")
    for part in ("/data/sport", "/mnt/nas/sport", "PATH_MUTATION"):
        assert part in error_of(lost, log)
    remedy = "goal.jxl: a JPEG XL picture, which is not read; convert it to JPEG or PNG"
    assert error_of(odd, log).endswith(remedy)
    assert theatre.image_tags()[lost] == {"VLM_TagMe", "VLM_Errored"}


# --- galleries ---


def test_a_gallery_is_done_after_all_of_its_images(theatre, pictures):
    vlm = theatre.install(GALLERY_TAG_SHARE=0.4)
    library = theatre.stash.library
    (broken,) = write_folder(theatre.folder / "broken", 1, TAGS, first=500)
    images = theatre.add(*pictures[:19], broken, tags=())
    whole = broken.path.read_bytes()
    broken.path.write_bytes(whole[:100])
    others = theatre.add(*pictures[20:24], tags=())
    queued = library.add_gallery("Finale", images=images, tags=["VLM_TagMe"])
    beside = library.add_gallery("Training", images=others)
    job = theatre.run(TASK)
    assert "0 of 1 gallery done, 1 still queued." in str(job.output)
    assert "stays queued: 1 of its 20 images could not be done" in texts(job, "warning")
    assert library.gallery_state(queued).tags == ("VLM_TagMe",)
    broken.path.write_bytes(whole)
    job = theatre.run(TASK)
    assert "1 of 1 gallery done." in str(job.output)
    tags = theatre.image_tags()
    assert {image: tags[image] for image in images} == as_tagged(images)
    assert vlm.counters.answered == 20
    assert all(not tags[image] for image in others)
    has = {tag: sum(tag in picture.tags for picture in images.values()) for tag in TAGS}
    frequent = {tag for tag in TAGS if has[tag] >= 0.4 * 20}
    assert frequent
    assert set(library.gallery_state(queued).tags) == {"VLM_Tagged", *frequent}
    assert library.gallery_state(beside).tags == ()


def test_galleries_can_be_left_alone(theatre, pictures):
    theatre.install(IMAGE_GALLERIES=False)
    images = theatre.add(*pictures[:3], tags=())
    gallery = theatre.stash.library.add_gallery("Finale", images=images, tags=["VLM_TagMe"])
    assert "No image carries the tag VLM_TagMe" in str(theatre.run(TASK).output)
    assert theatre.stash.library.gallery_state(gallery).tags == ("VLM_TagMe",)


def test_a_gallery_gets_a_tag_at_exactly_the_share(theatre, tmp_path):
    theatre.install(GALLERY_TAG_SHARE=0.28, TAG_LIST=["Foul"])
    library = theatre.stash.library
    galleries = {}
    for has in (7, 6):
        images = []
        for number in range(25):
            path = tmp_path / f"{has} {number}.jpg"
            glyphs.picture(["Foul"] if number < has else [], 328, 224, 100 * has + number).save(
                path
            )
            images.append(library.add_image(path))
        galleries[has] = library.add_gallery(f"{has}", images=images, tags=["VLM_TagMe"])
    theatre.run(TASK)
    assert library.gallery_state(galleries[7]).tags == ("Foul", "VLM_Tagged")
    assert library.gallery_state(galleries[6]).tags == ("VLM_Tagged",)


def test_an_empty_gallery_is_done_at_once(theatre):
    theatre.install()
    gallery = theatre.stash.library.add_gallery("Empty", tags=["VLM_TagMe"])
    job = theatre.run(TASK)
    assert str(job.output) == "No image is left to look at. 1 of 1 gallery done."
    assert theatre.stash.library.gallery_state(gallery).tags == ("VLM_Tagged",)


# --- preview, undo, removal ---


def test_a_preview_of_scenes_and_images_writes_nothing(theatre, pictures):
    vlm = theatre.install()
    theatre.queue(0)
    images = theatre.add(*pictures[:10])
    theatre.stash.library.add_gallery("Finale", images=[*images][:2], tags=["VLM_TagMe"])
    before = theatre.stash.library.snapshot()
    job = theatre.run("Preview")
    end = "1 gallery queued: done after the last image. Nothing was written to Stash."
    for part in ("1 scene looked at, 0 failed", "10 images looked at, 0 failed", end):
        assert part in str(job.output)
    assert theatre.stash.library.snapshot() == before
    (line,) = [
        line
        for line in texts(job, "info").splitlines()
        if "10 images looked at: tags would be added: " in line
    ]
    for tag in TAGS:
        assert f"{tag} {sum(tag in picture.tags for picture in images.values())}" in line
    assert (job.progress[-1], list(job.progress)) == (1, sorted(job.progress))
    calls = vlm.counters.answered
    theatre.run(TASK)
    theatre.run("Tag Videos")
    assert vlm.counters.answered == calls


def test_undo_and_removal_take_back_images_and_galleries(theatre, pictures):
    theatre.install(GALLERY_TAG_SHARE=0.1)
    images = theatre.add(*pictures[:10], tags=("Home game",))
    library = theatre.stash.library
    library.add_gallery("Finale", images=images, tags=["VLM_TagMe", "Goal"])
    before = library.snapshot()
    theatre.run(TASK)
    after = library.snapshot()
    job = theatre.run("Remove VLM Tags and Markers")
    assert "10 images, 1 gallery" in str(job.output)
    assert theatre.image_tags() == {image: {"Home game"} for image in images}
    theatre.run("Undo Last Run")
    assert library.snapshot() == after
    job = theatre.run("Undo Last Run")
    assert "is undone: 10 images, 1 gallery." in str(job.output)
    assert library.snapshot().images == before.images
    assert library.snapshot().galleries == before.galleries


# --- kills and time slices ---


@pytest.mark.thorough  # tests/torture kills tasks at random moments
def test_a_killed_run_asks_nothing_twice(theatre, pictures):
    vlm = theatre.install()
    vlm.behaviour.latency_s = 0.02
    images = theatre.add(*pictures)
    job = theatre.stash.run_task(TASK)
    wait_for(lambda: vlm.counters.answered >= 15 or job.over)
    job.stop()
    job.wait()
    tags, done = theatre.image_tags(), as_tagged(images)
    assert all(tags[image] in ({"VLM_TagMe"}, done[image]) for image in images)
    assert theatre.run(TASK).error is None
    assert theatre.image_tags() == done
    frames = vlm.counters.frame_numbers
    assert len(frames) - len(set(frames)) <= 4  # what was under way at the kill


def test_galleries_wait_for_the_last_time_slice(theatre, pictures):
    vlm = theatre.endpoint(slots=2, latency_s=0.03)
    theatre.install({"base_url": vlm.url, "max_concurrent": 2}, TIME_SLICE=0.002)
    library = theatre.stash.library
    images = theatre.add(*pictures, tags=())
    gallery = library.add_gallery("Finale", images=images, tags=["VLM_TagMe"])
    before = library.snapshot()
    theatre.stash.run_task(TASK)
    theatre.stash.run_task("Update Tagged Images")
    first = theatre.stash.plugins.queue.jobs[0].wait(60)
    assert "queued itself again" in str(first.output)
    assert library.gallery_state(gallery).tags == ("VLM_TagMe",)
    jobs = theatre.stash.plugins.queue.jobs
    jobs[1].wait(60)
    last = jobs[2].wait(90)
    assert "0 failed" in str(last.output)
    assert theatre.image_tags() == as_tagged(images)
    assert library.gallery_state(gallery).tags == ("VLM_Tagged",)
    assert len(vlm.counters.frame_numbers) <= 40 + 2
    theatre.run("Undo Last Run")  # all time slices are one run
    assert library.snapshot().images == before.images


# --- what is not read here, and what Stash shows of it ---


def jxl(path: Path) -> Path:
    """A picture that nothing here decodes."""
    path.write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n" + path.name.encode() * 20)
    return path


def jpeg(*tags: str) -> bytes:
    written = io.BytesIO()
    glyphs.picture(tags, 640, 360, 7).save(written, "JPEG", quality=85)
    return written.getvalue()


def test_what_only_stash_can_show_is_tagged_by_its_thumbnail(theatre, pictures):
    theatre.install()
    library, folder = theatre.stash.library, theatre.folder

    def add(path: Path, thumbnail: bytes = b"") -> str:
        image = library.add_image(path, title=path.name, tags=["VLM_TagMe"])
        if thumbnail:
            library.add_thumbnail(image, thumbnail)
        return image

    def raw(name: str, **size: tuple[int, int]) -> Path:
        (folder / name).write_bytes(nef(preview((160, 120)), **size))
        return folder / name

    usual = theatre.add(*pictures[:2])
    goal = add(jxl(folder / "goal.jxl"), jpeg("Goal"))
    foul = add(raw("foul.nef"), jpeg("Foul"))
    lost = add(jxl(folder / "lost.jxl"))
    small = add(raw("small.nef", size=(640, 480)), preview((100, 75)))
    job = theatre.run(TASK)
    tags = theatre.image_tags()
    assert (tags[goal], tags[foul]) == ({"Goal", "VLM_Tagged"}, {"Foul", "VLM_Tagged"})
    log = texts(job, "info")
    seen = "was seen as Stash's thumbnail of it:"
    assert f"Image {goal} (goal.jxl) {seen} a JPEG XL picture, which is not read." in log
    assert f"Image {foul} (foul.nef) {seen} a camera raw file with no more than" in log
    notes = {
        image: group["note"]
        for group in theatre.reports()[-1]["images"]
        for image, _ in group["images"]
    }
    assert all(notes[image] == "" for image in usual)
    assert all(notes[image].startswith("seen as Stash's thumbnail") for image in (goal, foul))
    for image, name in ((lost, "lost.jxl"), (small, "small.nef")):
        line = error_of(image, texts(job, "error"))
        assert f"{folder / name}: " in line
        assert line.endswith("; convert it to JPEG or PNG. Nor does Stash show it")
        assert tags[image] == {"VLM_TagMe", "VLM_Errored"}
