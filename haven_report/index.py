"""The page that lists all runs."""

from __future__ import annotations

from collections.abc import Sequence

from haven_report.folder import Entry
from haven_report.markup import GENERATOR, badge, counted, document, moment, name, number, took, words


def index_page(entries: Sequence[Entry]) -> str:
    """The whole page; ``entries`` are newest first."""
    rows = "\n".join(f'<li class="card">{_row(entry)}</li>' for entry in entries)
    return document(
        GENERATOR,
        "<h1>What each run did</h1>",
        f'<p class="soft">{counted(len(entries), "run")}, the newest first</p>',
        f'<ul class="runs">\n{rows}\n</ul>',
    )


def _row(entry: Entry) -> str:
    run = entry.summary
    href = f"{entry.stem}.{'html' if entry.has_page else 'json'}"
    scenes = ", ".join(f"{number(count)} {outcome}" for outcome, count in run.outcomes.items()) or "none"
    waiting = f", {number(run.waiting)} still waiting" if run.waiting else ""
    calls = f" · {counted(run.calls, 'call')}" if run.calls else ""
    facts = f"scenes: {words(scenes)}{waiting}{calls} · {took(run.ended - run.started)}"
    told = [facts, words(run.end_line), words(run.error) if run.error != run.end_line else ""]
    return (
        f'<span class="soft">{moment(run.started)}</span>'
        f'<a href="{href}"><b>{name(run.task)}</b></a><span>{badge(run.end)}</span>'
    ) + "".join(f'<span class="told">{line}</span>' for line in told if line)
