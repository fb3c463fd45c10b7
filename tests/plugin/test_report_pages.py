"""The pages and the JSON file of a run, of scenes and of images."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from haven.report import (
    End,
    ItemChange,
    ItemGroup,
    ItemKind,
    ItemReport,
    MarkerChange,
    Outcome,
    RunReport,
)
from haven.report.markup import STYLE, clock, duration, percent
from haven.report.page import index_page, run_page
from haven.report.record import Entry, Summary, cleaned, read_summary, to_json
from haven.tasks.context import RunRecord
from tools.example_report import CHECK, EXAMPLE
from vlm_engine import Finding, Section, SectionKind, Severity
from vlm_engine.types import Coverage, EndpointStats, Span

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = [
    '<script>alert("Foul")</script>',
    "Foul\"'><img src=x onerror=alert(1)>",
    "</style></title></svg><b>",
    "\u202eגול מהיר",
    "🏀 Basketball point",
    "&lt;Goal&amp;",
    "Corner\x00kick\x1b[31m",
    "half \ud83c of a ball \udcff",
    "F" * 5000,
    "{tag} %s \\u003c",
]


class Page(HTMLParser):
    """A page taken apart; it must be well-formed: every element closed, in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), attrs
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def harmless(text: str) -> Page:
    """Parse a page and check that nothing in it runs or refers to other places."""
    text.encode()
    page = Page(text)
    names = {name for name, _ in page.elements}
    assert names.isdisjoint(
        {"script", "img", "iframe", "link", "object", "embed", "form", "base", "audio", "video"}
    )
    for _, attributes in page.elements:
        assert not [
            name
            for name in attributes
            if name.startswith("on") or name in {"src", "srcset", "action", "style"}
        ]
        assert re.fullmatch(
            r"(index\.html|run-[a-z0-9-]+\.(html|json))?", attributes.get("href", "")
        ), attributes
    style = text[text.index("<style>") : text.index("</style>")]
    assert not re.search(r"url\(|@import|//", style)
    (policy,) = (
        meta["content"]
        for meta in page.of("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    return page


def scene(scene_id: str = "12", **changes: object) -> ItemReport:
    path = "/data/sport/final.mp4"
    plain = ItemReport(ItemKind.SCENE, scene_id, "Final", Outcome.DONE, path, 2400.0)
    return replace(plain, **changes)  # type: ignore[arg-type]


def run(*scenes: ItemReport, **changes: object) -> RunReport:
    began = 1767465000.0
    plain = RunReport(7, "Tag Videos", began, began + 97, End.FINISHED, "1 scene tagged.", scenes)
    return replace(plain, **changes)  # type: ignore[arg-type]


def group(*names: str, kind: ItemKind = ItemKind.IMAGE, **changes: object) -> ItemGroup:
    items = tuple((str(number), name) for number, name in enumerate(names, 1))
    return replace(ItemGroup(kind, Outcome.DONE, items=items), **changes)  # type: ignore[arg-type]


def section_with(text: str) -> Section:
    finding = Finding(Severity.WRONG, text, text, {text: text})
    return Section(SectionKind.ENDPOINT, text, (finding,))


def stats(served: int, failed: dict[str, int], seconds: float | None) -> EndpointStats:
    return EndpointStats("working", 1, 0, served, failed, 0, seconds, 0.0, 0, 0)


FOULS = group("a.jpg", "b.jpg", tags=("Foul", "Goal"), change=ItemChange(("Foul",)))
BLANK = group("c.jpg", change=ItemChange(tags_removed=("Goal",)))
BROKEN = group("d.jpg", outcome=Outcome.FAILED, error="d.jpg: the file is empty")
ALBUM = group("Finale", kind=ItemKind.GALLERY, tags=("Foul",), change=ItemChange(("Foul",)))


def html_of(report: RunReport) -> str:
    return run_page(cleaned(report), "run-20260103-183000-000-tag-videos.json")


def page_of(report: RunReport) -> Page:
    return harmless(html_of(report))


def text_of(report: RunReport) -> str:
    return " ".join(page_of(report).text.split())


def images(*groups: ItemGroup, **changes: object) -> RunReport:
    return run(images=groups, image_coverage=Coverage(4, 3, 1, 3), **changes)


def summary_of(report: RunReport) -> Summary:
    summary = read_summary(to_json(cleaned(report)).partition("\n")[0] + "\n")
    assert summary is not None
    return summary


def index_of(*reports: RunReport) -> Page:
    """The index of these runs; the first one alone still has its page."""
    return harmless(
        index_page(
            [
                Entry(f"run-20260103-18300{n}-000-tag-videos", summary_of(report), n == 0)
                for n, report in enumerate(reports)
            ]
        )
    )


# --- what a page tells ---


@pytest.mark.parametrize(
    ("report", "parts"),
    [
        (
            EXAMPLE,
            (
                "Tag Videos",
                "finished",
                "1 min 37 s",
                "99 %",
                "gaming PC",
                "78 %",
                "2 timed out",
                "Final, second half",
                "358 of 361 frames judged (118 from answers of an earlier run), 3 not judged, 3 of"
                " those unreadable, 240 calls, 86 model seconds.",
                "0.058 / 0.13 / 0.011 s",
                "1:02–1:11.5",
                "0.94",
                "10 added, 2 removed, 6 kept",
                "Tags removed",
                'The marker "Break-away" at 12:31 stays: its title was changed since.',
                "Could not be read: 21:40–22:25.",
                "/data/sport/training.mp4: there is no such file here.",
            ),
        ),
        (
            images(FOULS, BLANK, BROKEN, ALBUM),
            (
                "3 images done",
                "1 image failed",
                "75 % of the pictures judged",
                "3 calls",
                "images that show it",
                "1 gallery",
                "none of the tags",
            ),
        ),
        (
            run(
                scene(
                    outcome=Outcome.PLANNED,
                    change=ItemChange(
                        tags_added=("Foul",),
                        markers_removed=(MarkerChange("Foul", 1.0, 2.0),),
                        markers_kept=2,
                    ),
                )
            ),
            ("Tags would be added", "1 would be removed, 2 kept"),
        ),
        (images(replace(FOULS, outcome=Outcome.PLANNED)), ("would be added", "2 images planned")),
        (
            run(scene(), end=End.BROKEN_OFF, error="gaming PC: no answer.", waiting=3),
            ("broken off", "gaming PC: no answer.", "scenes still waiting"),
        ),
        (
            run(endpoints={"spare": stats(0, {"WrongKeyError": 1}, None)}),
            ("0 %", "1 wrong key"),
        ),
        (
            run(styles=EXAMPLE.styles),
            ("small pictures or full size", "in use: full size", "seen in full size", "15"),
        ),
        (images(replace(FOULS, note="seen as Stash's thumbnail of it"), BLANK), ("thumbnail",)),
        (
            CHECK,
            (
                "Check Set-up",
                "1 of 2 endpoints works",
                "6 ok 2 notes 1 wrong",
                "gaming PC (http://10.0.0.2:8080/v1) 4 ok, 1 note",
                "old server (http://10.0.0.3:1234/v1) wrong 1 ok, 1 wrong",
                "wrong test pictures blind: its answers do not depend on the picture",
                "This machine 1 ok, 1 note",
            ),
        ),
    ],
    ids=[
        "scenes",
        "images",
        "preview",
        "preview of images",
        "broken off",
        "no answers",
        "styles",
        "note",
        "check",
    ],
)
def test_a_page_tells_what_happened(report, parts):
    text = text_of(report)
    assert [part for part in parts if part not in text] == []


def test_items_that_need_a_look_come_first():
    outcomes = {"Opening": Outcome.DONE, "Semi-final": Outcome.FAILED, "Final": Outcome.PARTLY}
    scenes = [scene(title=title, outcome=outcome) for title, outcome in outcomes.items()]
    text = text_of(run(*scenes))
    assert text.index("Semi-final") < text.index("Final ") < text.index("Opening")
    text = text_of(images(FOULS, BROKEN))
    assert text.index("the file is empty") < text.index("a.jpg")


def test_a_bar_is_where_its_span_is_and_shows_the_markers_fate():
    change = ItemChange(
        markers_added=(MarkerChange("Foul", 600.0, 1200.0),),
        markers_removed=(MarkerChange("Turnover", 1800.0),),
    )
    spans = {"Foul": (Span("Foul", 600.0, 1200.0), Span("Foul", 1200.0004, 1800.0))}
    paths = page_of(run(scene(spans=spans, change=change, gaps_s=((0.0, 240.0),)))).of("path")
    drawn = [(path["class"], path["d"]) for path in paths]
    gap = ("gap", "M0 0H1000V10H0z")
    foul = [gap, ("new", "M2500 0H5000V10H2500z"), ("old", "M5000 0H7500V10H5000z")]
    assert drawn == [*foul, gap, ("off", "M7500 7H7500V10H7500z")]


def test_a_marker_without_a_span_has_a_line_too():
    page = page_of(run(scene(change=ItemChange(markers_added=(MarkerChange("Goal", 60.0, 66.0),)))))
    assert "Goal" in page.text
    assert "1:00–1:06" in page.text
    assert [path["class"] for path in page.of("path")] == ["new"]


def test_times_beyond_the_video_and_unknown_lengths_are_drawn():
    late = scene(duration_s=10.0, spans={"Foul": (Span("Foul", 9.0, 12.0),)})
    unknown = scene(duration_s=0.0, spans={"Foul": (Span("Foul", 0.0, 0.0),)})
    paths = page_of(run(late, unknown)).of("path")
    assert [path["d"] for path in paths] == ["M7500 0H10000V10H7500z", "M0 0H0V10H0z"]


def test_a_run_without_scenes_says_so():
    page = page_of(run(end_line="No scene carries the tag VLM_TagMe."))
    assert "No scene carries the tag VLM_TagMe." in page.text
    assert not page.of("details")
    assert not page.of("table")


def test_a_check_has_a_card_for_each_section_and_no_scenes():
    page = page_of(CHECK)
    assert len(page.of("details")) == len(page.of("table")) == 3
    assert "scenes or images" not in page.text
    badges = [each["class"] for each in page.of("span") if "badge" in each.get("class", "")]
    assert badges.count("badge is-wrong") == 2  # the section, and its finding
    assert (badges.count("badge is-ok"), badges.count("badge is-note")) == (6, 2)


def test_the_table_counts_images_and_not_galleries():
    rows = html_of(images(FOULS, BLANK, ALBUM)).split("<tr>")[2:]
    assert [row.split("</bdi>")[0].rpartition(">")[2] for row in rows] == ["Foul", "Goal"]
    cells = [[cell.rpartition(">")[2] for cell in row.split("</td>")[1:4]] for row in rows]
    assert cells == [["2", "2", "0"], ["2", "0", "1"]]


# --- size ---


def test_many_scenes_stay_a_small_page():
    tags = [f"Tag {tag}" for tag in range(8)]
    spans = {
        tag: tuple(Span(tag, 60.0 * n + 1, 60.0 * n + 20, 0.8) for n in range(5)) for tag in tags
    }
    added = tuple(
        MarkerChange(tag, span.start_s, span.end_s) for tag in tags for span in spans[tag]
    )
    change = ItemChange(tags_added=tuple(tags), markers_added=added)
    scenes = [scene(str(number), spans=spans, change=change) for number in range(100)]
    report = cleaned(run(*scenes))
    text = html_of(report)
    page = harmless(text)
    assert len(page.of("details")) == 200
    assert len([attributes for attributes in page.of("details") if "open" in attributes]) == 10
    assert len(text) < 900_000
    assert len(to_json(report)) < 1_200_000


def test_beyond_a_thousand_scenes_a_line_each_is_left():
    page = page_of(run(*(scene(str(number), title=f"Game {number}") for number in range(1003))))
    assert len(page.of("details")) == 1000
    assert "3 scenes more, in brief" in page.text
    assert "Game 1002" in page.text


def test_a_long_timeline_has_an_upper_size():
    spans = tuple(Span("Dribble", second, second + 0.6, 0.9) for second in range(50_000))
    text = html_of(run(scene(duration_s=50_000.0, spans={"Dribble": spans})))
    assert len(text) < 300_000
    assert "49,700 more in the JSON file" in text


def test_a_hundred_thousand_images_stay_a_small_page():
    names = tuple((str(number), f"Bild {number:06}.jpg") for number in range(10_000))
    groups = [replace(FOULS, items=names, tags=(f"Tag {number}",)) for number in range(10)]
    failures = [replace(BROKEN, error=f"Bild {n}: the file is empty") for n in range(2_000)]
    text = html_of(images(*groups, *failures))
    assert len(text) < 400_000
    assert "more, not shown here" in text
    assert len(harmless(text).of("details")) == 300


# --- hostile names and secrets ---


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_gets_out_of_its_place(name):
    def report(text: str) -> RunReport:
        change = ItemChange(
            (text,),
            (text,),
            (MarkerChange(text, 1.0, 2.0),),
            (MarkerChange(text, 5.0),),
            1,
            (text,),
        )
        hostile = scene(
            text, title=text, path=text, spans={text: (Span(text, 1.0, 2.0),)}, error=text
        )
        return run(
            replace(hostile, change=change),
            task=text,
            end_line=text,
            error=f"{text}!",
            endpoints={text: stats(3, {text: 1}, 1.0)},
            images=(
                group(text, tags=(text,), change=change, outcome=Outcome.PARTLY),
                group(text, outcome=Outcome.FAILED, error=text, note=text),
            ),
            checks=(section_with(text),),
        )

    page = page_of(report(name))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in page_of(report("-")).elements}
    visible = re.sub(r"[\x00-\x1f\ud800-\udfff]", "\ufffd", name)
    assert (visible if len(visible) < 200 else visible[:199] + "…") in page.text
    index_of(report(name))


def test_text_from_a_changed_file_is_escaped_in_the_index():
    bad = HOSTILE[0]
    summary = replace(summary_of(run()), end=bad, outcomes={bad: 1})
    assert bad in harmless(index_page([Entry("run-20260103-183000-000-x", summary, False)])).text


def test_text_of_either_direction_stays_within_its_own_place():
    assert "<bdi>\u202eגול</bdi>" in html_of(run(scene(title="\u202eגול")))


def test_numbers_that_are_not_finite_do_no_harm():
    spans = {"Foul": (Span("Foul", math.nan, math.inf),)}
    report = cleaned(run(scene(duration_s=math.nan, seconds=math.inf, spans=spans)))
    page_of(report)
    json.loads(to_json(report), parse_constant=pytest.fail)


def test_no_secret_is_in_a_report():
    key = "sk-free-throw-123456"
    error = (
        f"gaming PC: 401, Bearer abcdefgh12345678 is wrong; {key};"
        " http://coach:whistle@10.0.0.2:1234/v1?apikey=qwertyuiop"
    )
    broken = run(
        scene(error=error),
        error=f"session=MTYzNzk3fCorner; {key}",
        checks=(section_with(error),),
    )
    report = cleaned(broken, [key, ""])
    for text in (run_page(report, "run-1.json"), to_json(report)):
        for secret in (key, "abcdefgh12345678", "whistle", "qwertyuiop", "MTYzNzk3f"):
            assert secret not in text, secret
        assert "10.0.0.2:1234/v1" in text


# --- JSON ---


def test_the_json_file_holds_everything():
    data = json.loads(to_json(EXAMPLE))
    assert data["outcomes"] == {"done": 1, "failed": 1}
    assert (data["endpoints"][0]["name"], data["endpoints"][0]["share"]) == ("gaming PC", 0.775)
    final = data["scenes"][0]
    assert final["spans"]["Foul"][0] == {"start_s": 62.0, "end_s": 71.5, "confidence": 0.94}
    removed = final["change"]["markers_removed"][1]
    assert removed == {"title": "Turnover", "start_s": 1820.0, "end_s": None}
    assert final["coverage"]["unreadable"] == 3
    assert [one["busy_s"] for one in data["endpoints"]] == [58.1, 28.3]
    assert data["endpoints"][0]["cost"]["picture_s"] == 0.13
    noted = replace(BLANK, note="seen as Stash's thumbnail of it")
    groups = json.loads(to_json(cleaned(images(FOULS, noted, ALBUM))))["images"]
    assert [one["images"] for one in groups[:2]] == [
        [["1", "a.jpg"], ["2", "b.jpg"]],
        [["1", "c.jpg"]],
    ]
    changes = {"tags_added": ["Foul"], "tags_removed": [], "kept_back": []}
    assert groups[0]["change"] == changes
    assert [one["note"] for one in groups] == ["", noted.note, ""]
    assert groups[2]["kind"] == "gallery"


def test_the_json_file_holds_what_a_check_found_and_measured():
    checks = json.loads(to_json(cleaned(CHECK)))["checks"]
    assert [(each["kind"], each["works"]) for each in checks] == [
        ("endpoint", True),
        ("endpoint", False),
        ("machine", True),
    ]
    figures = {"slots": 4, "declared": None, "gain": 1.02}
    assert checks[0]["findings"][-1]["figures"] == figures
    assert checks[1]["findings"][1]["text"].startswith("blind: ")


def test_the_first_line_is_enough_for_the_index():
    summary = summary_of(EXAMPLE)
    assert (summary.task, summary.started, summary.calls, summary.outcomes) == (
        "Tag Videos",
        EXAMPLE.started,
        240,
        {"done": 1, "failed": 1},
    )
    summary = summary_of(images(FOULS, BLANK, BROKEN, ALBUM, images_waiting=5))
    assert (summary.images, summary.images_waiting) == ({"done": 3, "failed": 1}, 5)
    summary = summary_of(CHECK)
    assert (summary.endpoints, summary.findings) == (2, {"ok": 6, "note": 2, "wrong": 1})


def test_files_that_know_nothing_of_images_are_still_listed():
    head = json.loads(to_json(run(scene())).partition("\n")[0] + "]}")
    old = {key: value for key, value in head.items() if not key.startswith("image")}
    summary = read_summary(json.dumps(old).removesuffix("]}"))
    assert summary is not None
    assert summary.images == {}


def test_files_that_know_nothing_of_model_seconds_are_still_listed():
    head = json.loads(to_json(EXAMPLE).partition("\n")[0] + "]}")
    del head["coverage"]["seconds"]
    summary = read_summary(json.dumps(head).removesuffix("]}"))
    assert summary is not None
    assert (summary.calls, summary.seconds) == (240, 0.0)


def test_files_that_know_nothing_of_checks_are_still_listed():
    head = json.loads(to_json(EXAMPLE).partition("\n")[0] + "]}")
    del head["checks"]
    summary = read_summary(json.dumps(head).removesuffix("]}"))
    assert summary is not None
    assert (summary.endpoints, summary.findings) == (0, {})


OTHER_LINES = [
    "",
    "{}",
    "[1",
    '{"schema_version": 1',
    '{"program": "other", "schema_version": 1, "s": [',
    "[" * 9999,
]
SPOILT = [
    ("started", 1e300),
    ("ended", math.nan),
    ("started", -1),
    ("started", "Foul"),
    ("outcomes", {"done": math.inf}),
    ("outcomes", 3),
    ("checks", 3),
    ("checks", [{"kind": "endpoint"}]),
    ("checks", [{"kind": "endpoint", "findings": [{"severity": []}]}]),
]


def test_a_line_that_no_run_wrote_is_passed_over():
    assert [line for line in OTHER_LINES if read_summary(line) is not None] == []
    head = json.loads(to_json(EXAMPLE).partition("\n")[0] + "]}")
    for key, value in SPOILT:
        line = json.dumps({**head, key: value, "scenes": []}).removesuffix("]}")
        assert read_summary(line) is None, (key, value)


def test_the_record_keeps_what_a_check_found():
    record = RunRecord("Check Set-up")
    assert record.report("").checks == ()
    record.checks = CHECK.checks
    assert record.report("1 of 2 endpoints works.").checks == CHECK.checks


def test_the_record_groups_images_with_the_same_result():
    record = RunRecord("Tag Images")
    coverage = Coverage(1, 1, 0, 1)
    for number in range(1000):
        tags, note = ("Foul",) if number % 2 else (), "a thumbnail" if number < 2 else ""
        report = ItemReport(ItemKind.IMAGE, str(number), "a.jpg", Outcome.DONE, tags=tags)
        record.add(replace(report, coverage=coverage, note=note))
    record.add(ItemReport(ItemKind.GALLERY, "7", "Finale", Outcome.DONE))
    record.add(scene())
    assert record.count(Outcome.DONE) == 1002
    assert record.count(Outcome.DONE, Outcome.FAILED, kind=ItemKind.IMAGE) == 1000
    report = record.report("1,000 images tagged.")
    assert sorted(len(one.items) for one in report.images) == [1, 1, 1, 499, 499]
    assert report.coverage == Coverage(1000, 1000, 0, 1000)


# --- the index, and numbers as people read them ---


def test_the_index_says_when_what_and_how_it_ended():
    broken = run(scene(), end=End.BROKEN_OFF, error="No answer.", waiting=2)
    page = index_of(broken, EXAMPLE, images(FOULS, BROKEN, images_waiting=5), CHECK)
    text = " ".join(page.text.split())
    for part in (
        "4 runs",
        "Tag Videos",
        "broken off",
        "No answer.",
        "2 still waiting",
        "1 done, 1 failed",
        "240 calls, 86 model seconds",
        "images: 2 done, 1 failed, 5 still waiting",
        "2 endpoints, 6 ok, 2 notes, 1 wrong · 21 s",
    ):
        assert part in text, part
    assert "nothing was queued" not in text
    assert [link["href"] for link in page.of("a")][:2] == [
        "run-20260103-183000-000-tag-videos.html",
        "run-20260103-183001-000-tag-videos.json",
    ]
    assert page.of("time")[0]["datetime"].startswith("2026-01-0")


def test_times_and_shares_as_people_read_them():
    clocks = {0: "0:00", 7.5: "0:07.5", 59.96: "1:00", 3723: "1:02:03", -1: "0:00"}
    durations = {0.4: "0 s", 59.6: "1 min 00 s", 200: "3 min 20 s", 7500: "2 h 05 min"}
    shares = {0: "0 %", 0.001: "under 1 %", 0.5: "50 %", 0.999: "over 99 %", 1: "100 %"}
    assert {time_s: clock(time_s) for time_s in clocks} == clocks
    assert {seconds: duration(seconds) for seconds in durations} == durations
    assert {share: percent(share) for share in shares} == shares


def test_the_style_knows_dark_and_narrow_windows():
    assert "prefers-color-scheme: dark" in STYLE
    assert "max-width: 40rem" in STYLE
