"""The benchmark of images runs from end to end, and its page keeps what is not its own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.images import DOCS, PAGE, Plan, run
from benchmarks.pool_server import Endpoint


def test_the_page_gets_its_table_and_keeps_the_rest(tmp_path: Path) -> None:
    before = (DOCS / PAGE).read_text(encoding="utf-8")
    (tmp_path / PAGE).write_text(before, encoding="utf-8")
    text = run([Plan(60, Endpoint(4, 0.01, numbered=False))], tmp_path)
    after = (tmp_path / PAGE).read_text(encoding="utf-8")
    mark = "<!-- images: made by make bench-images -->"
    assert mark in before
    assert after.partition(mark)[0] == before.partition(mark)[0]
    assert text in after
    tagged, again = [row for row in text.splitlines() if "Tag" in row]
    assert tagged.startswith("| Tag Images | 60 | 4 | 10 ms | ")
    assert again.startswith("| Update Tagged Images | 60 | 4 | 10 ms | ")
