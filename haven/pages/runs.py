"""Runs as their reports tell them, and what undoing one of their items would change."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from haven.items import ItemChange, ItemKind, ItemRef, MarkerChange
from haven.pages.context import PageContext
from haven.pages.contract import (
    FailureCause,
    FoundTag,
    ItemChanges,
    RunArguments,
    RunItem,
    RunItemArguments,
    RunList,
    RunPage,
    RunReportValue,
    RunsArguments,
    UndoPreview,
    UndoState,
)
from haven.pages.errors import NotFoundError
from haven.pages.status import summary_of
from haven.report.folder import each_entry, read_page, read_run
from haven.report.record import StoredItem, StoredRun
from haven.stash.errors import JournalError
from haven.stash.journal import Journal

_ON_A_PAGE, _ITEMS_ON_A_PAGE = 50, 100
_MOST_CAUSES, _OF_A_CAUSE = 20, 12
_UNDO: Mapping[bool | None, UndoState] = {True: "possible", False: "undone", None: "none"}
_NO_REPORT = "There is no such run, or its report was removed to make room."


def runs(context: PageContext, arguments: RunsArguments) -> RunList:
    """Return one page of runs, newest first. None where there is no report folder yet."""
    first = arguments.page * _ON_A_PAGE
    found = [*islice(each_entry(context.report_folder), first, first + _ON_A_PAGE + 1)]
    return RunList(tuple(map(summary_of, found[:_ON_A_PAGE])), len(found) > _ON_A_PAGE)


def run(context: PageContext, arguments: RunArguments) -> RunReportValue:
    """Return the report of one run with a page of its items. Raises ``NotFoundError``."""
    stored = read_run(context.report_folder, arguments.stem)
    if stored is None:
        raise NotFoundError(_NO_REPORT)
    changed = _changed_items(context, int(stored.head.get("run_id", 0)))
    first = arguments.page * _ITEMS_ON_A_PAGE
    try:
        items = stored.items(first, _ITEMS_ON_A_PAGE)
        causes = _causes(stored, changed)
    except (ValueError, KeyError) as error:
        raise NotFoundError("The report of this run is damaged.") from error
    return RunReportValue(
        stored.head,
        causes,
        tuple(_item(one, changed) for one in items),
        len(stored),
        first + len(items) < len(stored),
        sum(changed.values()),
    )


def run_page(context: PageContext, arguments: RunArguments) -> RunPage:
    """Return the page of one run, for a tab of its own. Raises ``NotFoundError``."""
    html = read_page(context.report_folder, arguments.stem)
    if html is None:
        raise NotFoundError(_NO_REPORT)
    return RunPage(re.sub(r'<a href="[^"]*">(.*?)</a>', r"\1", html))  # files beside it


def preview_undo(context: PageContext, arguments: RunItemArguments) -> UndoPreview:
    """Return what undoing a run on one item would change, and which later runs that includes.

    Raises ``ItemGoneError`` and the errors of Stash and the journal.
    """
    from haven.settings.settings import TagNames
    from haven.stash.apply import ItemWriter
    from haven.stash.tags import TagCache

    item = ItemRef(ItemKind(arguments.kind), arguments.id)
    with _journal(context) as journal:
        changes = journal.plans_to_undo(arguments.run, [item]) if journal else ()
        if journal is None or not changes:
            raise NotFoundError(f"Nothing of this run is left to undo on {item}.")
        writer = ItemWriter(context.client, TagCache(context.client, TagNames()), journal)
        change = writer.preview_undo(item, [change.number for change in changes])
        later = dict.fromkeys(one.run_id for one in changes if one.run_id != arguments.run)
        found = [journal.runs.find(number) for number in later]
    return UndoPreview(_changes(change), tuple(str(one) for one in found if one))


@contextmanager
def _journal(context: PageContext) -> Iterator[Journal | None]:
    """Open the journal, if there is one yet. Raises ``JournalError``."""
    if not context.store_path.exists():
        yield None
        return
    from haven.pages.evidence import open_journal

    with open_journal(context) as journal:
        yield journal


def _changed_items(context: PageContext, run_id: int) -> Mapping[ItemRef, bool]:
    """Return the items of a run, each with True if it can be undone there; none for a run that
    cannot be undone, and without a journal that can be read: the report can be read all the same.
    """
    if not run_id:
        return {}
    with suppress(JournalError), _journal(context) as journal:
        known = journal.runs.find(run_id) if journal else None
        if journal is None or known is None or not known.can_be_undone:
            return {}
        return journal.changed_items(run_id)
    return {}


def _causes(stored: StoredRun, changed: Mapping[ItemRef, bool]) -> tuple[FailureCause, ...]:
    """Return the causes of failures, the most frequent first."""
    counts: Counter[str] = Counter()
    first: dict[str, list[StoredItem]] = {}
    for one in stored.failed():
        error = str(one.data.get("error", ""))
        counts[error] += 1
        if counts[error] <= _OF_A_CAUSE:
            first.setdefault(error, []).append(one)
    return tuple(
        FailureCause(error, count, tuple(_item(one, changed) for one in first[error]))
        for error, count in counts.most_common(_MOST_CAUSES)
    )


def _item(one: StoredItem, changed: Mapping[ItemRef, bool]) -> RunItem:
    data = one.data
    coverage, change = data.get("coverage", {}), data.get("change", {})
    kind = ItemKind(one.kind)
    return RunItem(
        kind=kind.value,
        id=one.id,
        title=one.title or _file_name(data.get("path", "")),
        outcome=data["outcome"],
        error=data.get("error", ""),
        note=data.get("note", ""),
        tags=_found(data),
        change=_changes(_stored_change(change)),
        calls=int(coverage.get("calls", 0)),
        seconds=float(coverage.get("seconds", 0.0)),
        undo=_UNDO[changed.get(ItemRef(kind, one.id))],
    )


def _found(data: Mapping[str, Any]) -> tuple[FoundTag, ...]:
    spans = data.get("spans", {})
    return (
        *(FoundTag(tag, tuple(map(_span, of_tag))) for tag, of_tag in spans.items()),
        *(FoundTag(tag, ()) for tag in data.get("tags", ())),
    )


def _span(span: Mapping[str, float]) -> tuple[float, float, float | None]:
    return span["start_s"], span["end_s"], span.get("confidence")


def _stored_change(change: Mapping[str, Any]) -> ItemChange:
    def texts(name: str) -> tuple[str, ...]:
        return tuple(change.get(name, ()))

    def markers(name: str) -> tuple[MarkerChange, ...]:
        return tuple(map(_marker, change.get(name, ())))

    return ItemChange(
        texts("tags_added"),
        texts("tags_removed"),
        markers("markers_added"),
        markers("markers_removed"),
        kept_back=texts("kept_back"),
        stays_off=texts("stays_off"),
        left_alone=texts("left_alone"),
    )


def _marker(marker: Mapping[str, Any]) -> MarkerChange:
    return MarkerChange(marker["title"], marker["start_s"], marker.get("end_s"))


def _changes(change: ItemChange) -> ItemChanges:
    return ItemChanges(
        tags_added=change.tags_added,
        tags_removed=change.tags_removed,
        markers_added=_by_title(change.markers_added),
        markers_removed=_by_title(change.markers_removed),
        kept_back=change.kept_back,
        stays_off=change.stays_off,
        left_alone=change.left_alone,
    )


def _by_title(markers: Iterable[MarkerChange]) -> Mapping[str, int]:
    return Counter(marker.title for marker in markers)


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
