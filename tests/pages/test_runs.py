"""Runs as the page lists and opens them."""

from __future__ import annotations

import time

import pytest

from haven.items import ItemChange, ItemKind, ItemRef, MarkerChange
from haven.report import End, ItemGroup, ItemReport, Outcome, RunReport, write_report
from haven.stash.handler import MediaHandler
from haven.stash.transport import StashClient
from tests.plugin.fragile import NAMES
from tests.plugin.items import info
from vlm_engine import Coverage, Span


def write(pages, *scenes, images=(), run_id=1):
    """Write the report of a run with these items. Return its stem."""
    report = RunReport(
        run_id=run_id,
        task="Tag Videos",
        started=1e9,
        ended=1e9 + 60,
        end=End.FINISHED,
        end_line="done",
        scenes=scenes,
        images=images,
    )
    return write_report(report, pages.data_dir / "reports").stem


def scene_of(number, outcome=Outcome.DONE, **fields):
    return ItemReport(ItemKind.SCENE, str(number), f"Game {number}", outcome, **fields)


def reported(pages, *ends):
    """Write a report for each of these end lines, one second after the other."""
    pages.data_dir.mkdir(exist_ok=True)
    for second, line in enumerate(ends):
        report = RunReport(
            run_id=second,
            task="Tag Videos",
            started=1e9 + second,
            ended=2e9,
            end=End.FINISHED,
            end_line=line,
            scenes=(),
            endpoints={},
        )
        write_report(report, pages.data_dir / "reports")


def test_without_reports_there_are_no_runs(pages):
    assert pages.value("runs", page=0) == {"runs": [], "more": False}
    assert pages.value("status")["last_run"] is None


def test_the_newest_run_is_first_and_can_be_opened(pages):
    reported(pages, "1 scene tagged.", "2 scenes tagged.")
    found = pages.value("runs", page=0)["runs"]
    assert [run["end_line"] for run in found] == ["2 scenes tagged.", "1 scene tagged."]
    assert pages.value("status")["last_run"] == found[0]
    value = pages.value("run", stem=found[1]["stem"])
    assert (value["report"]["end_line"], value["items"], value["count"]) == (
        "1 scene tagged.",
        [],
        0,
    )


def test_fifty_runs_are_a_page(pages):
    reported(pages, *map(str, range(51)))
    first, second = (pages.value("runs", page=page) for page in (0, 1))
    assert (len(first["runs"]), first["more"]) == (50, True)
    assert ([run["end_line"] for run in second["runs"]], second["more"]) == (["0"], False)


@pytest.mark.parametrize(
    "stem", ["", "run-20260101-000000-000-tag", "../settings", "/etc/passwd", "settings", "a/b\0"]
)
def test_nothing_but_a_report_can_be_read(pages, stem):
    reported(pages, "1 scene tagged.")
    (pages.data_dir / "settings.json").write_text('{"revision": 0, "settings": {}}')
    (pages.data_dir / "reports" / "settings.json").write_text("{}")
    (pages.data_dir / "reports" / "run-20260101-000000-000-tag.json").write_text("{}")
    assert pages.failure("run", stem=stem)[0] == "not_found"
    assert pages.failure("run_page", stem=stem)[0] == "not_found"


def test_items_say_what_was_found_changed_and_spent(pages):
    change = ItemChange(
        ("Foul",),
        (),
        (MarkerChange("Foul", 1.0, 2.0), MarkerChange("Foul", 5.0, 6.0)),
        kept_back=("the tag 'Goal' stays",),
    )
    pages.data_dir.mkdir()
    spans = {"Foul": (Span("Foul", 1.0, 2.0, 0.9), Span("Foul", 5.0, 6.0))}
    coverage = Coverage(asked=9, answered=9, calls=9, seconds=4.5)
    stem = write(pages, scene_of(12, spans=spans, change=change, coverage=coverage))
    (item,) = pages.value("run", stem=stem)["items"]
    assert item == {
        "kind": "scene",
        "id": "12",
        "title": "Game 12",
        "outcome": "done",
        "error": "",
        "note": "",
        "tags": [{"tag": "Foul", "spans": [[1.0, 2.0, 0.9], [5.0, 6.0, None]]}],
        "change": {
            "tags_added": ["Foul"],
            "tags_removed": [],
            "markers_added": {"Foul": 2},
            "markers_removed": {},
            "kept_back": ["the tag 'Goal' stays"],
            "stays_off": [],
            "left_alone": [],
        },
        "calls": 9,
        "seconds": 4.5,
        "undo": "none",
    }
    (summary,) = pages.value("runs", page=0)["runs"]
    assert (summary["items"], summary["calls"], summary["seconds"]) == ({"done": 1}, 9, 4.5)


def test_failures_come_first_and_are_gathered_by_their_cause(pages):
    pages.data_dir.mkdir()
    lost = 'no "outcome": "done" such file'
    scenes = [scene_of(1), *(scene_of(n, Outcome.FAILED, error=lost) for n in range(2, 20))]
    group = ItemGroup(ItemKind.IMAGE, Outcome.FAILED, error="too large", items=(("7", "Team"),))
    value = pages.value("run", stem=write(pages, *scenes, images=(group,)))
    assert [item["outcome"] for item in value["items"]] == ["failed"] * 19 + ["done"]
    assert [(one["error"], one["count"]) for one in value["causes"]] == [
        (lost, 18),
        ("too large", 1),
    ]
    assert [len(one["items"]) for one in value["causes"]] == [12, 1]


def test_the_full_report_leads_nowhere_else(pages):
    pages.data_dir.mkdir()
    html = pages.value("run_page", stem=write(pages, scene_of(12)))["html"]
    assert "Game 12" in html
    assert "<a " not in html


def test_a_large_folder_and_a_large_run_are_read_within_a_second(pages):
    pages.data_dir.mkdir()
    span = Span("Foul", 1.0, 2.0, 0.9)
    change = ItemChange(("Foul",), (), (MarkerChange("Foul", 1.0, 2.0),) * 10)
    stem = write(pages, scene_of(0, spans={"Foul": (span,) * 10}, change=change))
    folder = pages.data_dir / "reports"
    report = folder / f"{stem}.json"
    head, scene, *end = report.read_text().split("\n")  # one scene in each line
    assert scene.startswith('{"scene_id": "0"')
    scenes = (scene.replace('"0"', f'"{number}"', 1) for number in range(20_000))
    report.write_text("\n".join((head, ",\n".join(scenes), *end)))
    small = f'{head}\n\n], "images": [\n\n]}}\n'
    for number in range(2000):
        day, second = divmod(number, 60)
        (folder / f"run-2026{day:04}-0000{second:02}-000-preview.json").write_text(small)
    for op, arguments in (("runs", {"page": 0}), ("runs", {"page": 39}), ("run", {"stem": stem})):
        started = time.process_time()
        value = pages.value(op, **arguments)
        assert time.process_time() - started < 1, op
        assert len(value.get("runs", value.get("items"))) in {50, 100}
    last = pages.value("run", stem=stem, page=199)
    assert ([item["id"] for item in last["items"]][-1], last["more"]) == ("19999", False)


@pytest.fixture
def handler(pages):
    pages.data_dir.mkdir()
    client = StashClient({"Host": "127.0.0.1", "Port": pages.stash.port})
    with MediaHandler(client, pages.data_dir / "haven.sqlite3", NAMES) as handler:
        handler.prepare()
        yield handler


def tag(handler, *scenes, **spans):
    run_id = handler.start_run("Tag Videos")
    found = info(*spans, **spans)
    handler.apply(run_id, ItemKind.SCENE, dict.fromkeys(scenes, found))
    handler.finish_run(run_id)
    return run_id


def test_what_an_undo_takes_back_is_known_before(pages, handler):
    scenes = [pages.stash.library.add_scene(tags=["VLM_TagMe"]) for _ in range(2)]
    first = tag(handler, *scenes, Foul=[(1, 2)])
    tag(handler, scenes[0], Foul=[(1, 2)], Goal=[(5, 6)])
    stem = write(pages, scene_of(scenes[0]), scene_of(scenes[1]), run_id=first)
    before = pages.stash.library.snapshot()
    value = pages.value("run", stem=stem)
    assert (value["left"], [item["undo"] for item in value["items"]]) == (2, ["possible"] * 2)
    preview = pages.value("preview_undo", run=first, kind="scene", id=scenes[0])
    assert sorted(preview["change"]["tags_removed"]) == ["Foul", "Goal", "VLM_Tagged"]
    assert preview["change"]["tags_added"] == ["VLM_TagMe"]
    assert preview["change"]["markers_removed"] == {"Foul": 1, "Goal": 1}
    assert [line[:19] for line in preview["also"]] == ["Run 2 (Tag Videos, "]
    assert pages.stash.library.snapshot() == before


def test_what_is_undone_says_so(pages, handler):
    scenes = [pages.stash.library.add_scene() for _ in range(2)]
    run_id = tag(handler, *scenes, Foul=[(1, 2)])
    stem = write(pages, scene_of(scenes[0]), scene_of(scenes[1]), run_id=run_id)
    item = ItemRef(ItemKind.SCENE, scenes[1])
    changes = handler.changes_to_undo(run_id, [item])
    handler.undo_changes(handler.start_run("Undo", undoes=run_id), [changes[0].number])
    value = pages.value("run", stem=stem)
    assert (value["left"], [one["undo"] for one in value["items"]]) == (1, ["possible", "undone"])
    failed = pages.failure("preview_undo", run=run_id, kind="scene", id=scenes[1])
    assert failed == ("not_found", f"Nothing of this run is left to undo on scene {scenes[1]}.")
    assert pages.failure("preview_undo", run=99, kind="scene", id="1")[0] == "not_found"
