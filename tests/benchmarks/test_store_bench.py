"""The benchmark of the store runs from end to end, and its re-runs are what they are said to be."""

from __future__ import annotations

import pytest

from benchmarks.store import DOCS, PAGE, PER_VIDEO, Costs, claims, run
from benchmarks.store_rerun import Rerun


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page after a quick run."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / PAGE).write_text((DOCS / PAGE).read_text(encoding="utf-8"), encoding="utf-8")
    run(2 * PER_VIDEO, 40.0, folder)
    return (folder / PAGE).read_text(encoding="utf-8")


def rows_of(page: str, heading: str) -> list[list[str]]:
    table = page.partition(f"### {heading}\n\n")[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()[2:]
        if line.startswith("|")
    ]


def test_the_page_gets_its_tables_and_keeps_the_rest(page: str) -> None:
    mark = "<!-- store: made by make bench-store -->"
    before = (DOCS / PAGE).read_text(encoding="utf-8")
    assert mark in before
    assert page.partition(mark)[0] == before.partition(mark)[0]
    assert page.endswith("<!-- end of store -->\n")
    assert rows_of(page, "The file")[0] == ["answers", "1,800"]
    assert len(rows_of(page, "What was promised")) == 5


def test_every_kind_of_rule_changes_what_is_found_and_asks_nothing(page: str) -> None:
    first, *again = rows_of(page, "The same video again")
    assert int(first[1]) > 5
    assert [row[0] for row in again] == [
        "thresholds",
        "gaps",
        "shortest markers",
        "required durations",
        "names",
    ]
    assert {row[1] for row in again} == {"0"}
    spans = {row[0]: int(row[3]) for row in (first, *again)}
    assert spans["names"] < spans[first[0]]
    assert spans["shortest markers"] < spans[first[0]]


def test_a_claim_that_does_not_hold_is_said_not_to() -> None:
    costs = Costs(1000, 1_100_000, 1.0, [0.3] * 5, 1.0, [0.03] * 50)
    reruns = [Rerun("", 900, 60.0, 5), Rerun("gaps", 3, 1.5, 4)]
    assert [claim.holds for claim in claims(costs, reruns, 7200)] == [False] * 5
    better = Costs(1000, 900_000, 1.0, [0.1] * 5, 1.0, [0.01] * 50)
    assert [
        claim.holds for claim in claims(better, [reruns[0], Rerun("gaps", 0, 0.5, 4)], 7200)
    ] == [True] * 5
