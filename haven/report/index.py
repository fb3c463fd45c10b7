"""The page that lists all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from haven.report.folder import Entry
from haven.report.markup import (
    GENERATOR,
    badge,
    counted,
    document,
    moment,
    name,
    number,
    took,
    words,
)


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
    parts = [
        _outcomes("scenes", run.outcomes, run.waiting),
        _outcomes("images", run.images, run.images_waiting),
    ]
    parts = [part for part in parts if part] or ["nothing was in line"]
    parts += [counted(run.calls, "call")] if run.calls else []
    facts = " · ".join([*parts, took(run.ended - run.started)])
    told = [facts, words(run.end_line), words(run.error) if run.error != run.end_line else ""]
    return (
        f'<span class="soft">{moment(run.started)}</span>'
        f'<a href="{href}"><b>{name(run.task)}</b></a><span>{badge(run.end)}</span>'
    ) + "".join(f'<span class="told">{line}</span>' for line in told if line)


def _outcomes(kind: str, outcomes: Mapping[str, int], waiting: int) -> str:
    parts = [f"{number(count)} {outcome}" for outcome, count in outcomes.items()]
    parts += [f"{number(waiting)} still waiting"] if waiting else []
    return f"{kind}: {words(', '.join(parts))}" if parts else ""
