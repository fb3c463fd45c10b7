"""What the page and the JSON file of a run tell of images: counts and groups, however many there are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from haven.report import ImageGroup, ImageReport, ItemChange, ItemKind, Outcome
from haven.report.cleaning import cleaned
from haven.report.folder import Entry
from haven.report.index import index_page
from haven.report.page import run_page
from haven.report.record import read_summary, to_json
from haven.tasks.run_record import RunRecord
from tests.plugin.test_report_page import HOSTILE, Page, harmless, run, scene
from vlm_engine.types import Coverage

FOULS = ImageGroup(
    ItemKind.IMAGE,
    Outcome.DONE,
    ("Foul", "Goal"),
    ItemChange(("Foul",)),
    "",
    (("1", "a.jpg"), ("2", "b.jpg")),
)
BLANK = ImageGroup(
    ItemKind.IMAGE, Outcome.DONE, (), ItemChange(tags_removed=("Goal",)), "", (("3", "c.jpg"),)
)
BROKEN = ImageGroup(
    ItemKind.IMAGE, Outcome.FAILED, (), ItemChange(), "d.jpg: the file is empty", (("4", "d.jpg"),)
)
ALBUM = ImageGroup(
    ItemKind.GALLERY, Outcome.DONE, ("Foul",), ItemChange(("Foul",)), "", (("7", "Finale"),)
)


def page_of(*groups: ImageGroup, **changes: object) -> Page:
    report = run(images=groups, image_coverage=Coverage(4, 3, 1, 3), **changes)
    return harmless(run_page(cleaned(report), "run-20260103-183000-000-tag-images.json"))


def test_what_was_found_is_counted_by_tags_and_told_by_groups_with_trouble_first() -> None:
    text = page_of(FOULS, BLANK, BROKEN, ALBUM).text
    for said in (
        "3 images done",
        "1 image failed",
        "75 % of the pictures judged",
        "3 calls",
        "images that show it",
        "1 gallery",
    ):
        assert said in " ".join(text.split()), said
    assert text.index("the file is empty") < text.index("a.jpg")
    assert "none of the tags" in text


def test_the_table_counts_images_and_not_galleries() -> None:
    page = page_of(FOULS, BLANK, ALBUM)
    rows = run_page(cleaned(run(images=(FOULS, BLANK, ALBUM))), "run-1.json").split("<tr>")[2:]
    assert [row.split("</bdi>")[0].rpartition(">")[2] for row in rows] == ["Foul", "Goal"]
    assert [cell.rpartition(">")[2] for cell in rows[0].split("</td>")[1:4]] == ["2", "2", "0"]
    assert [cell.rpartition(">")[2] for cell in rows[1].split("</td>")[1:4]] == ["2", "0", "1"]
    assert "1 gallery" in page.text


def test_what_else_is_to_be_known_of_an_image_is_told_on_the_page_and_in_the_file() -> None:
    seen = replace(
        FOULS, note="seen as Stash's thumbnail of it: a JPEG XL picture, which is not read"
    )
    assert seen.note in " ".join(page_of(seen, BLANK).text.split())
    groups = json.loads(to_json(run(images=(seen, BLANK))))["images"]
    assert [group["note"] for group in groups] == [seen.note, ""]
    record = RunRecord("Tag Images")
    for image_id, note in (("1", seen.note), ("2", seen.note), ("3", "")):
        record.add(ImageReport(image_id, "a.jpg", Outcome.DONE, note=note))
    assert [(group.note, len(group.images)) for group in record.report("").images] == [
        (seen.note, 2),
        ("", 1),
    ]


def test_a_preview_says_would() -> None:
    text = page_of(replace(FOULS, outcome=Outcome.PLANNED)).text
    assert "would be added" in text
    assert "2 images planned" in " ".join(text.split())


def test_a_hundred_thousand_images_stay_a_page_that_a_browser_opens() -> None:
    names = tuple((str(number), f"Bild {number:06}.jpg") for number in range(10_000))
    groups = [replace(FOULS, images=names, tags=(f"Tag {number}",)) for number in range(10)]
    failures = [
        replace(BROKEN, error=f"Bild {number}: the file is empty") for number in range(2_000)
    ]
    text = run_page(cleaned(run(images=(*groups, *failures))), "run-1.json")
    assert len(text) < 400_000
    page = harmless(text)
    assert "and 9,800 more" in page.text or "more, not shown here" in page.text
    assert len(page.of("details")) == 300


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_gets_out_of_its_place(name: str) -> None:
    change = ItemChange((name,), (name,), kept_back=(name,))
    groups = [
        ImageGroup(ItemKind.IMAGE, Outcome.PARTLY, (name,), change, "", ((name, name),)),
        ImageGroup(ItemKind.IMAGE, Outcome.FAILED, (), ItemChange(), name, ((name, ""),)),
    ]
    plain = page_of(
        replace(
            FOULS,
            outcome=Outcome.PARTLY,
            change=replace(FOULS.change, tags_removed=("-",), kept_back=("-",)),
        ),
        BROKEN,
    )
    page = page_of(*groups)
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}


def test_the_json_file_holds_every_image_and_its_first_line_the_counts() -> None:
    report = cleaned(run(scene(), images=(FOULS, BLANK, BROKEN, ALBUM), images_waiting=5))
    text = to_json(report)
    data = json.loads(text)
    assert len(data["scenes"]) == 1
    assert [group["images"] for group in data["images"]][:2] == [
        [["1", "a.jpg"], ["2", "b.jpg"]],
        [["3", "c.jpg"]],
    ]
    assert data["images"][0]["change"] == {
        "tags_added": ["Foul"],
        "tags_removed": [],
        "kept_back": [],
    }
    assert data["images"][3]["kind"] == "gallery"
    summary = read_summary(text.partition("\n")[0])
    assert summary is not None
    assert (summary.images, summary.images_waiting) == ({"done": 3, "failed": 1}, 5)
    listed = harmless(index_page([Entry("run-20260103-183000-000-tag-images", summary, True)])).text
    assert "scenes: 1 done · images: 3 done, 1 failed, 5 still waiting" in " ".join(listed.split())


def test_files_that_know_nothing_of_images_are_still_listed() -> None:
    head = json.loads(to_json(cleaned(run(scene()))).partition("\n")[0] + "]}")
    old = {key: value for key, value in head.items() if not key.startswith("image")}
    summary = read_summary(json.dumps(old).removesuffix("]}"))
    assert summary is not None
    assert summary.images == {}


def test_a_record_keeps_alike_images_together_and_counts_every_kind_by_itself() -> None:
    record = RunRecord("Tag Images")
    for number in range(1000):
        shown = ("Foul",) if number % 2 else ()
        record.add(
            ImageReport(
                str(number),
                f"{number}.jpg",
                Outcome.DONE,
                tags=shown,
                coverage=Coverage(1, 1, 0, 1),
            )
        )
    record.add(ImageReport("7", "Finale", Outcome.DONE, ItemKind.GALLERY))
    record.add(scene())
    assert record.count(Outcome.DONE) == 1002
    assert record.count(Outcome.DONE, Outcome.FAILED, kind=ItemKind.IMAGE) == 1000
    report = record.report("1,000 images tagged.")
    assert sorted(len(group.images) for group in report.images) == [1, 500, 500]
    assert report.coverage == Coverage(1000, 1000, 0, 1000)
