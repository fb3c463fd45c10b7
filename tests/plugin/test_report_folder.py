"""The report folder: whole files only, the oldest go first, and files of others stay."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from haven.report import RunReport, write_report
from haven.report.folder import entries
from haven.settings.settings import Settings
from haven.setup.files import write_whole
from tools.example_report import CHECK, EXAMPLE
from vlm_engine.checkup.values import Section, SectionKind, note
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


def test_a_run_leaves_a_page_and_a_json_file_and_the_index(tmp_path, caplog):
    folder = tmp_path / "not" / "there yet"
    page = write_report(EXAMPLE, folder, keep=5)
    assert page == folder / "run-20260103-183000-000-tag-videos.html"
    assert names(folder) == ["index.html", page.name, page.with_suffix(".json").name]
    assert page.name in (folder / "index.html").read_text(encoding="utf-8")
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["task"] == "Tag Videos"
    assert not warnings(caplog)


def test_no_file_holds_a_secret(tmp_path):
    text = "the key coach-key-1 is wrong"
    section = Section(SectionKind.ENDPOINT, "gaming PC", (note("API key", text, reply=text),))
    for report in (at(0, error=text), replace(CHECK, checks=(section,), end_line=text)):
        write_report(report, tmp_path, secrets=["coach-key-1"])
    assert len(names(tmp_path)) == 5
    for path in tmp_path.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "coach-key-1" not in text
        assert "the key *** is wrong" in text


def began(folder: Path) -> list[float]:
    return [entry.summary.started - EXAMPLE.started for entry in entries(folder)]


def test_the_index_lists_each_run_once_the_newest_first(tmp_path):
    for seconds in (60, 0, 90_000, 120, 60):
        write_report(at(seconds), tmp_path)
    assert began(tmp_path) == [90_000, 120, 60, 0]
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    places = [index.index(entry.stem) for entry in entries(tmp_path)]
    assert places == sorted(places)


# --- retention ---


@pytest.mark.parametrize(
    ("keep", "starts", "left"),
    [
        (3, range(6), [5, 4, 3]),
        (0, range(4), [3, 2, 1, 0]),
        (1, [0, -1_000_000], [-1_000_000]),  # the run itself stays also when a clock went back
    ],
)
def test_the_oldest_go_first(tmp_path, keep, starts, left):
    for seconds in starts:
        write_report(at(seconds), tmp_path, keep=keep)
    assert began(tmp_path) == left
    assert len(names(tmp_path)) == 2 * len(left) + 1
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert index.count("<li") == len(left)


def test_files_of_other_programs_are_never_touched(tmp_path):
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
    for number in range(2):
        write_report(at(number), tmp_path, keep=1)
    for name, text in theirs.items():
        assert (tmp_path / name).read_bytes() == text.encode("utf-8", "surrogateescape"), name
    assert len(entries(tmp_path)) == 1


def test_an_index_of_another_program_stays(tmp_path, caplog):
    (tmp_path / "index.html").write_text("<h1>My own page</h1>", encoding="utf-8")
    assert write_report(EXAMPLE, tmp_path)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "<h1>My own page</h1>"
    (said,) = warnings(caplog)
    assert "was not made by this plugin" in said


def test_old_partial_files_of_killed_runs_are_removed(tmp_path):
    old, fresh = (tmp_path / f".haven-report-{digit * 32}.part" for digit in "ab")
    for path in (old, fresh):
        path.write_text("half", encoding="utf-8")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    write_report(EXAMPLE, tmp_path)
    assert not old.exists()
    assert fresh.exists()


# --- when it cannot be ---


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path, caplog):
    (tmp_path / "reports").write_text("a file in the way", encoding="utf-8")
    assert write_report(EXAMPLE, tmp_path / "reports", keep=3) is None
    (said,) = warnings(caplog)
    assert str(tmp_path / "reports") in said
    assert "REPORT_FOLDER" in said


@needs_an_ordinary_user
def test_a_folder_that_is_read_only_costs_one_warning(tmp_path, caplog):
    write_report(EXAMPLE, tmp_path)
    before = names(tmp_path)
    tmp_path.chmod(0o555)
    try:
        assert write_report(at(60), tmp_path, keep=1) is None
    finally:
        tmp_path.chmod(0o755)
    assert names(tmp_path) == before
    assert len(warnings(caplog)) == 1


@pytest.mark.skipif(os.name != "posix", reason="a write cannot be made to fail there")
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, caplog):
    import resource

    page = write_report(EXAMPLE, tmp_path)
    assert page is not None
    before = page.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # a page is larger
    try:
        assert write_report(at(60), tmp_path, keep=1) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    (warning,) = warnings(caplog)
    assert os.strerror(errno.EFBIG) in warning
    assert page.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


# --- atomic ---


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, texts = tmp_path / "index.html", ["a" * 300_000, "b" * 200_000]
    write_whole(path, texts[0])
    stop = threading.Event()

    def write() -> None:
        for number in range(30):
            write_whole(path, texts[number % 2])
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    for_a_moment = [PermissionError] if os.name == "nt" else []  # while the file is replaced
    while not stop.is_set():
        with contextlib.suppress(*for_a_moment):
            assert path.read_text(encoding="utf-8") in texts
    writer.join(30)
    assert names(tmp_path) == ["index.html"]


def test_a_kill_at_any_moment_leaves_whole_files_only(tmp_path):
    program = (
        "import sys; from dataclasses import replace; from pathlib import Path\n"
        "from tools.example_report import EXAMPLE; from haven.report import write_report\n"
        "print('ready', flush=True)\n"
        "for number in range(int(sys.argv[2]), 100_000):\n"
        "    run = replace(EXAMPLE, started=EXAMPLE.started + number)\n"
        "    write_report(run, Path(sys.argv[1]), keep=4)\n"
    )
    for round_number, pause_s in enumerate((0.03, 0.2)):
        start = str(round_number * 10_000)
        with subprocess.Popen(
            [sys.executable, "-c", program, tmp_path, start], cwd=ROOT, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(pause_s)
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
    assert 1 <= len(entries(tmp_path)) <= 4
    assert len(runs) <= 8
    assert OURS in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_runs_that_end_together_are_all_in_the_index(tmp_path, caplog):
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


def test_the_folder_and_the_number_of_reports_are_settings(tmp_path):
    def load(text: str) -> Settings:
        (tmp_path / "haven_vlm_config.local.yaml").write_text(text, encoding="utf-8")
        return Settings.load(folder=tmp_path)

    plain = load("")
    assert (plain.report_folder, plain.reports_kept) == (Path("reports"), 100)
    changed = load(f"REPORT_FOLDER: {tmp_path / 'mine'}\nREPORTS_KEPT: 0")
    assert (changed.report_folder, changed.reports_kept) == (tmp_path / "mine", 0)
    for wrong in ('REPORT_FOLDER: " "', "REPORTS_KEPT: -1", 'REPORT_FOLDER: "a\\0b"'):
        with pytest.raises(ConfigError, match=wrong.partition(":")[0]):
            load(wrong)
