"""The report folder: what is ours in it, how a file gets there whole or not at all, and which go when there are too many."""

from __future__ import annotations

import os
import re
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from haven.report.record import Summary, read_summary
from haven.report.values import RunReport

INDEX = "index.html"
_STEM = re.compile(r"run-\d{8}-\d{6}-\d{3}-[a-z0-9-]{1,40}")
_PART = re.compile(r"\.haven-report-[0-9a-f]{32}\.part")
_LONGEST_LINE = 1_000_000
_LEFT_OVER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A run that is in the folder. Its files are ``stem`` with ``.json`` and, unless ``has_page`` is false, ``.html``."""

    stem: str
    summary: Summary
    has_page: bool


def stem_of(report: RunReport) -> str:
    """The name of a run's files, without the ending: when it began (UTC, so that names sort by time) and the task."""
    began = datetime.fromtimestamp(report.started, UTC)
    task = re.sub(r"[^a-z0-9]+", "-", report.task.lower()).strip("-")[:40] or "task"
    return f"run-{began:%Y%m%d-%H%M%S}-{began.microsecond // 1000:03}-{task}"


def write_whole(path: Path, text: str) -> None:
    """Writes ``text`` so that at any moment, whatever happens, ``path`` is as before or whole. Raises ``OSError``."""
    part = path.with_name(f".haven-report-{uuid.uuid4().hex}.part")
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def entries(folder: Path) -> tuple[Entry, ...]:
    """The runs in the folder, newest first. Files that only look like ours are passed over. Raises ``OSError``."""
    names = {path.name for path in folder.iterdir()}
    stems = sorted(
        (name[:-5] for name in names if name.endswith(".json") and _STEM.fullmatch(name[:-5])),
        reverse=True,
    )
    found = ((stem, _summary(folder / f"{stem}.json")) for stem in stems)
    return tuple(
        Entry(stem, summary, f"{stem}.html" in names) for stem, summary in found if summary
    )


def _summary(path: Path) -> Summary | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return read_summary(file.readline(_LONGEST_LINE))
    except (
        OSError
    ):  # another run took it away just now, or it is no file that the plugin could have written
        return None


def prune(folder: Path, keep: int, newest: str) -> None:
    """Removes the oldest runs until ``keep`` are left; 0 keeps all. ``newest`` stays even where a wrong clock dates it back.

    The page goes first: as long as the JSON file is there, the run can still be told to be ours. Raises ``OSError``.
    """
    others = [entry.stem for entry in entries(folder) if entry.stem != newest]
    for stem in others[keep - 1 :] if keep else ():
        (folder / f"{stem}.html").unlink(missing_ok=True)
        (folder / f"{stem}.json").unlink(missing_ok=True)


def remove_left_over(folder: Path) -> None:
    """Removes what killed runs left half written. Raises ``OSError``."""
    for path in folder.iterdir():
        if _PART.fullmatch(path.name):
            with suppress(FileNotFoundError):  # another run finished it just now
                if time.time() - path.stat().st_mtime > _LEFT_OVER_S:
                    path.unlink()


def may_replace(index: Path, generator: str) -> bool:
    """Whether there is no index yet, or one that carries the mark ``generator``. Raises ``OSError``."""
    try:
        with index.open(encoding="utf-8", errors="replace") as file:
            return generator in file.read(4096)
    except FileNotFoundError:
        return True
