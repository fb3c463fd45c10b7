"""What becomes of the report folder: whole files only, the oldest go first, and what is not ours stays."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from haven.report import RunReport, write_report
from haven.report.folder import entries, write_whole
from haven.settings.settings import Settings
from tools.example_report import EXAMPLE
from vlm_engine.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
OURS = "Haven VLM Connector reports"
needs_an_ordinary_user = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere"
)


def at(seconds: float, **changes: object) -> RunReport:
    return replace(
        EXAMPLE, started=EXAMPLE.started + seconds, ended=EXAMPLE.ended + seconds, **changes
    )  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_run_leaves_a_page_and_a_json_file_and_the_index(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "not" / "there yet"
    page = write_report(EXAMPLE, folder, keep=5)
    assert page == folder / "run-20260103-183000-000-tag-videos.html"
    assert names(folder) == ["index.html", page.name, page.with_suffix(".json").name]
    assert page.name in (folder / "index.html").read_text(encoding="utf-8")
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["task"] == "Tag Videos"
    assert not warnings(caplog)


def test_a_secret_that_is_named_is_in_none_of_the_files(tmp_path: Path) -> None:
    write_report(at(0, error="the key coach-key-1 is wrong"), tmp_path, secrets=["coach-key-1"])
    for path in tmp_path.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "coach-key-1" not in text
        assert "the key *** is wrong" in text


def test_the_same_run_written_twice_is_there_once(tmp_path: Path) -> None:
    write_report(EXAMPLE, tmp_path)
    write_report(EXAMPLE, tmp_path)
    assert len(names(tmp_path)) == 3


def test_the_index_lists_the_newest_first_whatever_order_they_came_in(tmp_path: Path) -> None:
    for seconds in (60, 0, 90_000, 120):
        write_report(at(seconds), tmp_path)
    began = [entry.summary.started - EXAMPLE.started for entry in entries(tmp_path)]
    assert began == [90_000, 120, 60, 0]
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    places = [index.index(entry.stem) for entry in entries(tmp_path)]
    assert places == sorted(places)


# --- retention ---


def test_the_oldest_go_first(tmp_path: Path) -> None:
    for number in range(6):
        write_report(at(number), tmp_path, keep=3)
    assert [entry.summary.started - EXAMPLE.started for entry in entries(tmp_path)] == [5, 4, 3]
    assert len(names(tmp_path)) == 2 * 3 + 1
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count("<li") == 3


def test_keep_0_keeps_all(tmp_path: Path) -> None:
    for number in range(6):
        write_report(at(number), tmp_path, keep=0)
    assert len(entries(tmp_path)) == 6


def test_keep_1_keeps_the_run_itself_even_where_a_clock_went_back(tmp_path: Path) -> None:
    write_report(at(0), tmp_path, keep=1)
    page = write_report(at(-1_000_000), tmp_path, keep=1)
    assert page is not None
    assert [entry.stem for entry in entries(tmp_path)] == [page.stem]


def test_files_of_other_programs_are_never_touched(tmp_path: Path) -> None:
    theirs = {
        "run-20200101-000000-000-tag-videos.json": '{"program": "other"}\n',
        "run-20200101-000000-000-tag-videos.html": "other",
        "run-20200102-000000-000-goal.html": "a page without its JSON file",
        "run-20200103-000000-000-goal.json": "\udcff broken",
        "run-1.json": "{}",
        "notes.html": "mine",
        ".haven-report-mine.part": "mine",
    }
    for name, text in theirs.items():
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / "run-20200104-000000-000-foul.json").mkdir()
    for number in range(4):
        write_report(at(number), tmp_path, keep=1)
    for name, text in theirs.items():
        assert (tmp_path / name).read_bytes() == text.encode("utf-8", "surrogateescape"), name
    assert len(entries(tmp_path)) == 1


def test_an_index_of_another_program_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "index.html").write_text("<h1>My own page</h1>", encoding="utf-8")
    assert write_report(EXAMPLE, tmp_path)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "<h1>My own page</h1>"
    (said,) = warnings(caplog)
    assert "was not made by this plugin" in said


def test_what_killed_runs_left_half_written_goes_when_it_is_old(tmp_path: Path) -> None:
    old, fresh = (tmp_path / f".haven-report-{digit * 32}.part" for digit in "ab")
    for path in (old, fresh):
        path.write_text("half", encoding="utf-8")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    write_report(EXAMPLE, tmp_path)
    assert not old.exists()
    assert fresh.exists()


# --- when it cannot be ---


def test_a_folder_that_cannot_be_made_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "reports").write_text("a file in the way", encoding="utf-8")
    assert write_report(EXAMPLE, tmp_path / "reports", keep=3) is None
    (said,) = warnings(caplog)
    assert str(tmp_path / "reports") in said
    assert "REPORT_FOLDER" in said


@needs_an_ordinary_user
def test_a_folder_that_is_read_only_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_report(EXAMPLE, tmp_path)
    before = names(tmp_path)
    tmp_path.chmod(0o555)
    try:
        assert write_report(at(60), tmp_path, keep=1) is None
    finally:
        tmp_path.chmod(0o755)
    assert names(tmp_path) == before
    assert len(warnings(caplog)) == 1


@pytest.mark.skipif(os.name != "posix", reason="there is no way here to have writing fail")
def test_a_disk_that_takes_no_more_leaves_what_was_there(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys, logging; from pathlib import Path\n"
        "from tools.example_report import EXAMPLE; from haven.report import write_report\n"
        "from dataclasses import replace\n"
        "logging.basicConfig(format='%(message)s')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"  # a page is larger: writing it fails as on a full disk
        "assert write_report(replace(EXAMPLE, started=EXAMPLE.started + 60), Path(sys.argv[1]), keep=1) is None\n"
    )
    page = write_report(EXAMPLE, tmp_path)
    assert page is not None
    before = page.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert os.strerror(errno.EFBIG) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert page.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


# --- atomic ---


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path, texts = tmp_path / "index.html", ["a" * 300_000, "b" * 200_000]
    write_whole(path, texts[0])
    stop = threading.Event()

    def write() -> None:
        for number in range(60):
            write_whole(path, texts[number % 2])
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stop.is_set():
        assert path.read_text(encoding="utf-8") in texts
    writer.join(30)
    assert names(tmp_path) == ["index.html"]


def test_a_kill_at_any_moment_leaves_whole_files_only(tmp_path: Path) -> None:
    program = (
        "import sys; from dataclasses import replace; from pathlib import Path\n"
        "from tools.example_report import EXAMPLE; from haven.report import write_report\n"
        "print('ready', flush=True)\n"
        "for number in range(int(sys.argv[2]), 100_000):\n"
        "    write_report(replace(EXAMPLE, started=EXAMPLE.started + number), Path(sys.argv[1]), keep=4)\n"
    )
    draw = random.Random(8)
    for round_number in range(6):
        start = str(round_number * 10_000)
        with subprocess.Popen(
            [sys.executable, "-c", program, tmp_path, start], cwd=ROOT, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(draw.uniform(0.02, 0.3))
            writer.send_signal(signal.SIGKILL)
            writer.wait(30)
        for path in tmp_path.glob("*.html"):
            assert path.read_text(encoding="utf-8").endswith("</html>\n"), path
            assert path.name == "index.html" or path.with_suffix(".json").exists(), (
                "nobody would ever remove this page"
            )
        for path in tmp_path.glob("*.json"):
            json.loads(path.read_text(encoding="utf-8"))
    write_report(at(90_000), tmp_path, keep=4)
    runs = [name for name in names(tmp_path) if name.startswith("run-")]
    assert len(entries(tmp_path)) == 4
    assert len(runs) <= 8
    assert OURS in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_runs_that_end_together_are_all_in_the_index(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    threads = [
        threading.Thread(target=write_report, args=(at(number), tmp_path)) for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert index.count("<li") == len(entries(tmp_path)) == 6
    assert not warnings(caplog)


# --- settings ---


def load(folder: Path, text: str) -> Settings:
    (folder / "haven_vlm_config.local.yaml").write_text(text, encoding="utf-8")
    return Settings.load(folder=folder)


def test_where_and_how_many_is_set(tmp_path: Path) -> None:
    plain = load(tmp_path, "")
    assert (plain.report_folder, plain.reports_kept) == (Path("reports"), 100)
    mine = load(tmp_path, f"REPORT_FOLDER: {tmp_path / 'mine'}\nREPORTS_KEPT: 0")
    assert (Path("/data") / mine.report_folder, mine.reports_kept) == (tmp_path / "mine", 0)


@pytest.mark.parametrize(
    "text", ['REPORT_FOLDER: " "', "REPORTS_KEPT: -1", 'REPORT_FOLDER: "a\\0b"']
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition(":")[0]):
        load(tmp_path, text)
