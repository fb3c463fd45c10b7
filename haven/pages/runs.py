"""Runs as their reports tell them. Imports no package."""

from __future__ import annotations

from itertools import islice

from haven.pages.context import PageContext
from haven.pages.contract import RunArguments, RunList, RunReportValue, RunsArguments
from haven.pages.errors import NotFoundError
from haven.pages.status import summary_of
from haven.report.folder import each_entry, read_report

_ON_A_PAGE = 50


def runs(context: PageContext, arguments: RunsArguments) -> RunList:
    """Return one page of runs, newest first. None where there is no report folder yet."""
    first = arguments.page * _ON_A_PAGE
    found = [*islice(each_entry(context.report_folder), first, first + _ON_A_PAGE + 1)]
    return RunList(tuple(map(summary_of, found[:_ON_A_PAGE])), len(found) > _ON_A_PAGE)


def run(context: PageContext, arguments: RunArguments) -> RunReportValue:
    """Return the report of one run. Raises ``NotFoundError``."""
    report = read_report(context.report_folder, arguments.stem)
    if report is None:
        raise NotFoundError("There is no such run, or its report was removed to make room.")
    return RunReportValue(report)
