"""The benchmark of the pool as Markdown: what was promised, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.pool_scenes import ENGINE, POOL, Run
from benchmarks.report import table

_MOST_EXTRA = 0.10
_MOST_CPU_MS = 1.5
_MOST_GROWTH_MB = 10.0

Claim = tuple[str, str, str, bool]


def claims(three: Sequence[Run], twelve: Sequence[Run], memory: Sequence[Run]) -> Iterator[Claim]:
    """(what, wanted, measured, whether it holds), for this pool alone."""
    for name, runs in (("three", three), ("twelve", twelve)):
        for run in (run for run in runs if run.client == POOL):
            most = run.scene.most
            if most is not None:
                what = f"{name} endpoints, {run.scene.name}: makespan over the ideal"
                yield what, f"≤ {most:.2f}", f"{run.over_ideal:.3f}", run.over_ideal <= most
    pool_runs = [run for run in (*three, *twelve) if run.client == POOL]
    if pool_runs:
        lost = sum(
            run.outcome.lost + run.outcome.undone - run.scene.unanswerable for run in pool_runs
        )
        yield "lost, poison pictures aside", "0", str(lost), lost == 0
        extra = max(run.extra for run in pool_runs)
        yield (
            "asked twice without need, in the worst scene",
            f"≤ {_MOST_EXTRA:.0%}",
            f"{extra:.1%}",
            extra <= _MOST_EXTRA,
        )
        cpu_ms = max(run.cpu_ms for run in pool_runs if run.scene.name == "healthy")
        yield (
            "client CPU per request",
            f"≤ {_MOST_CPU_MS} ms",
            f"{cpu_ms:.2f} ms",
            cpu_ms <= _MOST_CPU_MS,
        )
    yield from _growth(memory)


def _growth(memory: Sequence[Run]) -> Iterator[Claim]:
    engine = sorted(
        (run for run in memory if run.client == ENGINE), key=lambda run: run.scene.questions
    )
    if engine:
        grown = engine[-1].outcome.peak_mb - engine[0].outcome.peak_mb
        what = (
            f"peak memory, {engine[-1].scene.questions:,} questions above "
            f"{engine[0].scene.questions}"
        )
        yield what, f"≤ {_MOST_GROWTH_MB:.0f} MB", f"{grown:+.0f} MB", grown <= _MOST_GROWTH_MB


def _claims_table(claims: Iterator[Claim]) -> str:
    rows = [
        [what, wanted, measured, "yes" if holds else "**no**"]
        for what, wanted, measured, holds in claims
    ]
    return table(["claim", "wanted", "measured", "holds"], rows)


def _scenes_table(runs: Sequence[Run]) -> str:
    scenes = list(dict.fromkeys(run.scene.name for run in runs))
    rows = [
        [
            "ideal",
            *(
                f"{next(run for run in runs if run.scene.name == name).scene.ideal_s:.1f}"
                for name in scenes
            ),
            "",
        ]
    ]
    for client in dict.fromkeys(run.client for run in runs):
        by_scene = {run.scene.name: run for run in runs if run.client == client}
        healthy = by_scene.get("healthy")
        rows.append(
            [
                client.name,
                *(_cell(by_scene.get(name)) for name in scenes),
                f"{healthy.cpu_ms:.1f}" if healthy else "–",
            ]
        )
    return table(["client", *scenes, "CPU ms"], rows)


def _cell(run: Run | None) -> str:
    if run is None:
        return "–"
    outcome = run.outcome
    lost = outcome.lost - run.scene.unanswerable if run.client == POOL else outcome.lost
    words = [f"{outcome.wall_s:.1f}"]
    words += [f"{lost} lost"] if lost else []
    words += [f"{outcome.undone} undone"] if outcome.undone else []
    words += [f"{run.extra:.1%} twice"] if run.extra > 0 else []
    return ", ".join(words)


def _memory_table(runs: Sequence[Run]) -> str:
    columns = ["client", "questions", "peak memory", "seconds", "CPU ms per question"]
    rows = [
        [
            run.client.name,
            f"{run.scene.questions:,}",
            f"{run.outcome.peak_mb:.0f} MB",
            f"{run.outcome.wall_s:.1f}",
            f"{run.cpu_ms:.2f}",
        ]
        for run in runs
    ]
    return table(columns, rows)


def report(three: Sequence[Run], twelve: Sequence[Run], memory: Sequence[Run]) -> str:
    """Return the whole text that the page shows."""
    parts = ["### What was promised", _claims_table(claims(three, twelve, memory))]
    for name, runs in (("Three", three), ("Twelve", twelve)):
        if runs:
            parts += [f"### {name} endpoints: seconds until the last answer", _scenes_table(runs)]
    parts += ["### Memory", _memory_table(memory)]
    return "\n\n".join(parts)
