"""What the pages and the JSON file of a run hold."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import haven.report
from haven.report import End, ItemChange, MarkerChange, Outcome, RunReport, SceneReport
from haven.report.cleaning import cleaned
from haven.report.folder import Entry
from haven.report.index import index_page
from haven.report.markup import clock, percent, took
from haven.report.page import run_page
from haven.report.record import read_summary, to_json
from tools.example_report import EXAMPLE
from vlm_engine.types import Coverage, Span

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
    """Takes a page apart and sees that it refers to nothing but files beside it, and that nothing in it runs."""
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


def scene(scene_id: str = "12", **changes: object) -> SceneReport:
    plain = SceneReport(scene_id, "Final", "/data/sport/final.mp4", 2400.0, Outcome.DONE)
    return replace(plain, **changes)  # type: ignore[arg-type]


def run(*scenes: SceneReport, **changes: object) -> RunReport:
    plain = RunReport(
        7, "Tag Videos", 1767465000.0, 1767465097.0, End.FINISHED, "1 scene tagged.", scenes
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def page_of(report: RunReport) -> Page:
    return harmless(run_page(cleaned(report), "run-20260103-183000-000-tag-videos.json"))


def test_the_public_names_are_these() -> None:
    assert set(haven.report.__all__) == {
        "End",
        "ImageGroup",
        "ImageReport",
        "ItemChange",
        "ItemKind",
        "MarkerChange",
        "Outcome",
        "RunReport",
        "SceneReport",
        "write_report",
    }


# --- what a page tells ---


def test_a_run_tells_what_was_found_and_asked_and_changed() -> None:
    text = page_of(EXAMPLE).text
    for said in (
        "Tag Videos",
        "finished",
        "1 min 37 s",
        "99 %",
        "gaming PC",
        "78 %",
        "2 timed out",
        "Final, second half",
        "358 of 361 frames judged (118 from answers of an earlier run), 3 not judged, 3 of those unreadable, 240 calls.",
        "1:02–1:11.5",
        "0.94",
        "10 added, 2 removed, 6 kept",
        "Tags removed",
        'The marker "Break-away" at 12:31 stays: its title was changed since.',
        "Could not be read: 21:40–22:25.",
        "/data/sport/training.mp4: there is no such file here.",
    ):
        assert said in text, said


def test_scenes_that_need_a_look_come_first() -> None:
    titles = ["Opening", "Semi-final", "Final"]
    outcomes = [Outcome.DONE, Outcome.FAILED, Outcome.PARTLY]
    scenes = [
        scene(str(number), title=titles[number], outcome=outcomes[number]) for number in range(3)
    ]
    text = page_of(run(*scenes)).text
    assert text.index("Semi-final") < text.index("Final ") < text.index("Opening")


def test_a_bar_is_where_its_span_is_and_shows_what_became_of_the_marker() -> None:
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


def test_a_marker_without_a_span_has_a_line_too() -> None:
    page = page_of(run(scene(change=ItemChange(markers_added=(MarkerChange("Goal", 60.0, 66.0),)))))
    assert "Goal" in page.text
    assert "1:00–1:06" in page.text
    assert [path["class"] for path in page.of("path")] == ["new"]


def test_times_beyond_the_video_and_videos_of_unknown_length_are_drawn() -> None:
    late = scene(duration_s=10.0, spans={"Foul": (Span("Foul", 9.0, 12.0),)})
    unknown = scene(duration_s=0.0, spans={"Foul": (Span("Foul", 0.0, 0.0),)})
    paths = page_of(run(late, unknown)).of("path")
    assert [path["d"] for path in paths] == ["M7500 0H10000V10H7500z", "M0 0H0V10H0z"]


def test_preview_says_would() -> None:
    change = ItemChange(
        tags_added=("Foul",), markers_removed=(MarkerChange("Foul", 1.0, 2.0),), markers_kept=2
    )
    text = page_of(run(scene(outcome=Outcome.PLANNED, change=change), task="Preview")).text
    assert "Tags would be added" in text
    assert "1 would be removed, 2 kept" in text


def test_a_run_that_was_broken_off_says_why_and_what_waits() -> None:
    text = page_of(
        run(scene(), end=End.BROKEN_OFF, error="gaming PC: nobody answers.", waiting=3)
    ).text
    assert "broken off" in text
    assert "gaming PC: nobody answers." in text
    assert "scenes still waiting" in text


def test_a_run_without_scenes_says_so() -> None:
    page = page_of(run(end_line="No scene carries the tag VLM_TagMe."))
    assert "No scene carries the tag VLM_TagMe." in page.text
    assert not page.of("details")
    assert not page.of("table")


def test_endpoints_that_did_nothing_are_told_without_shares() -> None:
    text = page_of(
        run(endpoints={"spare": {"served": 0, "failed": {"WrongKeyError": 1}, "seconds": None}})
    ).text
    assert "0 %" in text
    assert "1 wrong key" in text


# --- size ---


def test_five_hundred_scenes_stay_a_page_that_a_browser_opens() -> None:
    def one(number: int) -> SceneReport:
        tags = [f"Tag {tag}" for tag in range(8)]
        spans = {
            tag: tuple(Span(tag, 60.0 * n + number % 50, 60.0 * n + 20, 0.8) for n in range(5))
            for tag in tags
        }
        added = tuple(
            MarkerChange(tag, span.start_s, span.end_s) for tag in tags for span in spans[tag]
        )
        change = ItemChange(tags_added=tuple(tags), markers_added=added)
        return scene(
            str(number),
            title=f"Game {number}",
            spans=spans,
            coverage=Coverage(900, 900, 0, 850),
            change=change,
        )

    report = cleaned(run(*(one(number) for number in range(500))))
    text = run_page(report, "run-20260103-183000-000-tag-videos.json")
    page = harmless(text)
    assert len(page.of("details")) == 1000
    assert len([attributes for attributes in page.of("details") if "open" in attributes]) == 10
    assert len(text) < 4_500_000
    assert len(to_json(report)) < 6_000_000


def test_beyond_a_thousand_scenes_a_line_each_is_left() -> None:
    page = page_of(run(*(scene(str(number), title=f"Game {number}") for number in range(1003))))
    assert len(page.of("details")) == 1000
    assert "3 scenes more, in brief" in page.text
    assert "Game 1002" in page.text


def test_a_long_timeline_has_an_upper_size() -> None:
    spans = tuple(Span("Basketball point", second, second + 0.6, 0.9) for second in range(50_000))
    text = run_page(
        cleaned(run(scene(duration_s=50_000.0, spans={"Basketball point": spans}))), "run-1.json"
    )
    assert len(text) < 300_000
    assert "49,700 more in the JSON file" in text


# --- hostile names ---


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_gets_out_of_its_place(name: str) -> None:
    change = ItemChange(
        (name,), (name,), (MarkerChange(name, 1.0, 2.0),), (MarkerChange(name, 5.0),), 1, (name,)
    )
    hostile = scene(
        name,
        title=name,
        path=name,
        spans={name: (Span(name, 1.0, 2.0),)},
        error=name,
        change=change,
    )
    endpoints = {name: {"served": 3, "failed": {name: 1}, "seconds": 1.0}}
    report = run(hostile, task=name, end_line=name, error=f"{name}!", endpoints=endpoints)
    plain = page_of(
        run(
            scene(
                title="-",
                spans={"-": (Span("-", 1.0, 2.0),)},
                error="-",
                change=replace(change, kept_back=("-",)),
            )
        )
    )
    page = page_of(report)
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | {
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    shown = re.sub(r"[\x00-\x1f\ud800-\udfff]", "\ufffd", name)
    assert (shown if len(shown) < 200 else shown[:199] + "…") in page.text
    summary = read_summary(to_json(cleaned(report)).partition("\n")[0])
    assert summary is not None
    harmless(index_page([Entry("run-20260103-183000-000-tag-videos", summary, True)]))


def test_what_comes_back_from_a_changed_file_is_escaped_in_the_index() -> None:
    summary = read_summary(to_json(run()).partition("\n")[0])
    assert summary is not None
    bad = HOSTILE[0]
    page = index_page(
        [Entry("run-20260103-183000-000-x", replace(summary, end=bad, outcomes={bad: 1}), False)]
    )
    assert bad in harmless(page).text


def test_text_of_either_direction_stays_within_its_own_place() -> None:
    page = run_page(cleaned(run(scene(title="\u202eגול"))), "run-1.json")
    assert "<bdi>\u202eגול</bdi>" in page


def test_numbers_that_are_none_are_shown_as_nothing() -> None:
    odd = scene(
        duration_s=math.nan, seconds=math.inf, spans={"Foul": (Span("Foul", math.nan, math.inf),)}
    )
    report = cleaned(run(odd))
    harmless(run_page(report, "run-1.json"))
    json.loads(to_json(report), parse_constant=pytest.fail)


# --- secrets ---


def test_no_secret_is_in_a_report() -> None:
    key = "sk-free-throw-123456"
    told = f"gaming PC: 401, Bearer abcdefgh12345678 is wrong; {key}; http://coach:whistle@10.0.0.2:1234/v1?apikey=qwertyuiop"
    endpoints = {
        "gaming PC": {
            "served": 1,
            "api_key": key,
            "cookie": "session=timeout-timeout",
            "failed": {},
        }
    }
    report = cleaned(
        run(scene(error=told), error=f"session=MTYzNzk3fCorner; {key}", endpoints=endpoints),
        [key, ""],
    )
    for text in (run_page(report, "run-1.json"), to_json(report)):
        for secret in (
            key,
            "abcdefgh12345678",
            "whistle",
            "qwertyuiop",
            "MTYzNzk3f",
            "timeout-timeout",
        ):
            assert secret not in text, secret
        assert "10.0.0.2:1234/v1" in text


# --- JSON ---


def test_the_json_file_holds_everything() -> None:
    data = json.loads(to_json(EXAMPLE))
    assert data["outcomes"] == {"done": 1, "failed": 1}
    assert data["endpoints"][0]["name"] == "gaming PC"
    assert data["endpoints"][0]["share"] == 0.775
    final = data["scenes"][0]
    assert final["spans"]["Foul"][0] == {"start_s": 62.0, "end_s": 71.5, "confidence": 0.94}
    assert final["change"]["markers_removed"][1] == {
        "title": "Turnover",
        "start_s": 1820.0,
        "end_s": None,
    }
    assert final["coverage"]["unreadable"] == 3


def test_the_first_line_is_enough_for_the_index() -> None:
    text = to_json(EXAMPLE)
    summary = read_summary(text.partition("\n")[0] + "\n")
    assert summary is not None
    assert (summary.task, summary.started, summary.calls, summary.outcomes) == (
        "Tag Videos",
        EXAMPLE.started,
        240,
        {"done": 1, "failed": 1},
    )
    assert json.loads(to_json(run()))["scenes"] == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[1",
        '{"schema_version": 1',
        '{"program": "other", "schema_version": 1, "s": [',
        "[" * 9999,
    ],
)
def test_a_line_of_another_program_is_nothing(line: str) -> None:
    assert read_summary(line) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("started", 1e300),
        ("ended", math.nan),
        ("started", -1),
        ("started", "Foul"),
        ("outcomes", {"done": math.inf}),
        ("outcomes", 3),
    ],
)
def test_a_line_that_somebody_spoilt_is_nothing(key: str, value: object) -> None:
    head = json.loads(to_json(EXAMPLE))
    line = json.dumps(
        {name: entry for name, entry in head.items() if name != "scenes"} | {key: value}
    )
    assert read_summary(line.removesuffix("}") + ', "scenes": [') is None


# --- numbers as people read them ---


def test_times_and_shares_as_people_read_them() -> None:
    assert [clock(time_s) for time_s in (0, 7.5, 59.96, 3723, -1)] == [
        "0:00",
        "0:07.5",
        "1:00",
        "1:02:03",
        "0:00",
    ]
    assert [took(seconds) for seconds in (0.4, 59.6, 200, 7500)] == [
        "0 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert [percent(share) for share in (0, 0.001, 0.5, 0.999, 1)] == [
        "0 %",
        "under 1 %",
        "50 %",
        "over 99 %",
        "100 %",
    ]


def test_the_index_says_when_what_and_how_it_ended() -> None:
    broken = to_json(
        run(scene(), end=End.BROKEN_OFF, error="Nobody answers.", waiting=2)
    ).partition("\n")[0]
    summaries = [read_summary(line) for line in (broken, to_json(EXAMPLE).partition("\n")[0])]
    entries = [
        Entry(f"run-20260103-18300{n}-000-tag-videos", summary, n == 0)
        for n, summary in enumerate(summaries)
        if summary
    ]
    page = harmless(index_page(entries))
    for said in (
        "2 runs",
        "Tag Videos",
        "broken off",
        "Nobody answers.",
        "2 still waiting",
        "1 done, 1 failed",
        "240 calls",
    ):
        assert said in page.text, said
    assert [link["href"] for link in page.of("a")] == [
        "run-20260103-183000-000-tag-videos.html",
        "run-20260103-183001-000-tag-videos.json",
    ]
    assert page.of("time")[0]["datetime"].startswith("2026-01-0")


def test_the_style_knows_dark_and_narrow_windows() -> None:
    style = (Path(haven.report.__file__).parent / "style.py").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in style
    assert "max-width: 40rem" in style
