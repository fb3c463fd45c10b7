"""The one call at the end of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from haven.report.cleaning import cleaned
from haven.report.folder import (
    INDEX,
    entries,
    may_replace,
    prune,
    remove_left_over,
    stem_of,
    write_whole,
)
from haven.report.index import index_page
from haven.report.markup import GENERATOR
from haven.report.page import run_page
from haven.report.record import to_json
from haven.report.values import RunReport

_log = logging.getLogger(__name__)
_TRIES = 5


def write_report(
    report: RunReport, folder: Path, *, keep: int = 0, secrets: Iterable[str] = ()
) -> Path | None:
    """Writes the run's JSON file and page, removes the oldest runs beyond ``keep`` (0 keeps all), and renews the index.

    ``folder`` is made if need be; files of other programs in it are never touched. ``secrets`` are shown as ``***``. Blocking.
    Returns the page. Where something cannot be written, says so in one warning and returns None: no run fails by its report.
    """
    shown = cleaned(report, secrets)
    stem = stem_of(shown)
    page = folder / f"{stem}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_left_over(folder)
        # The JSON file is first in and last out: by it a run is known to be ours, whatever moment a kill comes at.
        write_whole(folder / f"{stem}.json", to_json(shown))
        write_whole(page, run_page(shown, f"{stem}.json"))
        prune(folder, keep, stem)
        _renew_index(folder)
    except OSError as error:
        _log.warning(
            "The report of this run could not be written to %s (%s); the run itself is not concerned. See that the folder"
            " can be written and its disk is not full, or name another one in REPORT_FOLDER.",
            folder,
            error.strerror or error,
        )
        return None
    return page


def _renew_index(folder: Path) -> None:
    index = folder / INDEX
    if not may_replace(index, GENERATOR):
        _log.warning(
            "%s was not made by this plugin and stays; so the reports in that folder have no index.",
            index,
        )
        return
    listed, there = None, entries(folder)
    for _ in range(_TRIES):
        if there == listed:
            return
        listed = there
        write_whole(index, index_page(listed))
        # Another run may have come in between with an index of its own: whoever is last sees all.
        there = entries(folder)
