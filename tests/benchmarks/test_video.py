"""The benchmark of reading videos runs from end to end, on small files, and judges hints as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import video

MARKERS = "before\n<!-- video: made by make bench-video -->\nold\n<!-- end of video -->\nafter\n"


def test_a_quick_run_writes_its_tables_where_the_page_has_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(MARKERS, encoding="utf-8")
    video.main(["--quick", "--page", str(page)])
    text = page.read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() in text
    assert text.startswith("before\n<!-- video")
    assert text.endswith("<!-- end of video -->\nafter\n")
    assert "old" not in text
    assert text.count("**h264, 320 × 180") == 2
    assert "Edges, h264: " in text
    assert text.count("| this reader, key frames |") == 2
    assert text.count("| OpenCV, a seek for each |") == 2
    assert [text.count(f"| {container} |") for container in ("mp4", "mkv", "ts")] == [2, 2, 2]
    assert "| hints of this reader |" in text


def test_a_page_without_room_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="no place"):
        video._show("tables", page)


@pytest.mark.parametrize(
    ("hints", "met"),
    [
        ([], 0),
        ([1.0, 5.0], 2),
        ([1.09, 4.91], 2),
        ([1.11, 4.89], 0),
        ([0.95, 1.0, 1.05], 1),
        ([0.2, 1.0, 3.0, 9.0], 1),
    ],
)
def test_a_cut_is_met_by_one_hint_near_it(hints: list[float], met: int) -> None:
    assert video._pairs(hints, (1.0, 5.0)) == met
