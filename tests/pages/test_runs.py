"""Runs as the page lists and opens them."""

from __future__ import annotations

import pytest

from haven.report import End, RunReport, write_report


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
    report = pages.value("run", stem=found[1]["stem"])["report"]
    assert (report["end_line"], report["scenes"]) == ("1 scene tagged.", [])


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
