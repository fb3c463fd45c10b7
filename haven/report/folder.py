"""The report folder: writes a run's report, renews the index and removes the oldest reports."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from haven.report.markup import GENERATOR
from haven.report.page import INDEX, index_page, run_page
from haven.report.record import Entry, StoredRun, Summary, cleaned, read_summary, to_json
from haven.report.values import RunReport
from haven.setup.files import remove_left_over, write_whole

_log = logging.getLogger(__name__)
_STEM = re.compile(r"run-\d{8}-\d{6}-\d{3}-[a-z0-9-]{1,40}")
_LONGEST_LINE = 1_000_000
_TRIES = 5


def write_report(
    report: RunReport, folder: Path, *, keep: int = 0, secrets: Iterable[str] = ()
) -> Path | None:
    """Write the run's JSON file and page, remove the oldest runs, and renew the index. Blocking.

    The folder is created if needed; files of other programs in it stay. ``keep``: how many runs
    stay, 0 for all. ``secrets`` are written as ``***``. Returns the page's path. When a file cannot
    be written, logs one warning and returns None: no run fails because of its report.
    """
    clean = cleaned(report, secrets)
    stem = _stem(clean)
    page = folder / f"{stem}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_left_over(folder)
        # The JSON file is written first and removed last: it marks the run's files as ours.
        write_whole(folder / f"{stem}.json", to_json(clean))
        write_whole(page, run_page(clean, f"{stem}.json"))
        _prune(folder, keep, stem)
        _renew_index(folder)
    except OSError as error:
        _log.warning(
            "The report of this run could not be written to %s (%s). The run itself is not"
            " affected. Make the folder writable, free some disk space, or set another one in"
            " REPORT_FOLDER.",
            folder,
            error.strerror or error,
        )
        return None
    return page


def entries(folder: Path) -> tuple[Entry, ...]:
    """Return the runs in the folder, newest first, without files that only look like ours.

    Raises ``OSError``.
    """
    return tuple(_entries(folder))


def each_entry(folder: Path) -> Iterator[Entry]:
    """Yield the runs in the folder, newest first. None if the folder is missing or unreadable."""
    try:
        yield from _entries(folder)
    except FileNotFoundError:  # nothing was reported yet
        return
    except OSError as error:
        _log.debug("The reports in %s cannot be listed: %s", folder, error)


def read_run(folder: Path, stem: str) -> StoredRun | None:
    """Return a run by the name of its files without the ending.

    None for a name that is not one of a run, and for files that are no whole reports of ours.
    """
    path = folder / f"{stem}.json"
    if not _STEM.fullmatch(stem) or _summary(path) is None:
        return None
    try:
        return StoredRun(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_page(folder: Path, stem: str) -> str | None:
    """Return the page of a run by the name of its files. None as for ``read_run``."""
    if not _STEM.fullmatch(stem) or _summary(folder / f"{stem}.json") is None:
        return None
    try:
        return (folder / f"{stem}.html").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _entries(folder: Path) -> Iterator[Entry]:
    names = {path.name for path in folder.iterdir()}
    stems = {name[:-5] for name in names if name.endswith(".json")}
    for stem in sorted(filter(_STEM.fullmatch, stems), reverse=True):
        if summary := _summary(folder / f"{stem}.json"):
            yield Entry(stem, summary, f"{stem}.html" in names)


def _stem(report: RunReport) -> str:
    """Return the name of a run's files without the ending: its start in UTC, and the task."""
    began = datetime.fromtimestamp(report.started, UTC)
    task = re.sub(r"[^a-z0-9]+", "-", report.task.lower()).strip("-")[:40] or "task"
    return f"run-{began:%Y%m%d-%H%M%S}-{began.microsecond // 1000:03}-{task}"


def _summary(path: Path) -> Summary | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return read_summary(file.readline(_LONGEST_LINE))
    except OSError:  # another run has removed it, or it is no file
        return None


def _prune(folder: Path, keep: int, newest: str) -> None:
    """Remove the oldest runs until ``keep`` are left. ``newest`` stays, whatever the clock said."""
    others = [entry.stem for entry in entries(folder) if entry.stem != newest]
    for stem in others[keep - 1 :] if keep else ():
        (folder / f"{stem}.html").unlink(missing_ok=True)
        (folder / f"{stem}.json").unlink(missing_ok=True)


def _renew_index(folder: Path) -> None:
    index = folder / INDEX
    if not _is_ours(index):
        _log.warning(
            "%s was not made by this plugin and stays, so the reports there have no index.",
            index,
        )
        return
    listed, there = None, entries(folder)
    for _ in range(_TRIES):
        if there == listed:
            return
        listed = there
        write_whole(index, index_page(listed))
        # Another run may have written its own index meanwhile: the last one lists all runs.
        there = entries(folder)


def _is_ours(index: Path) -> bool:
    try:
        with index.open(encoding="utf-8", errors="replace") as file:
            return GENERATOR in file.read(4096)
    except FileNotFoundError:
        return True
