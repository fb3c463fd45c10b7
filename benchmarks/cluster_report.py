"""The page of the benchmark of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from benchmarks.claims import Claim
from benchmarks.cluster_parts import ALONE, MANY_ROWS, REPORTS, TASKS, TOGETHER, Cost
from benchmarks.cluster_plan import Costs, Result
from benchmarks.cluster_scenes import Costly, Finished, Took
from benchmarks.report import claims_table, table

_ROWS = 16
_HOPS = 3
_TASK_MS = 20.0
_OVER_IDEAL = 1.1
_ROLES = ("caller", "scheduler", "workers")
Divided = Mapping[int, tuple[float, float]]
"""Seconds of a report and of a turn, by the number of engines that want slots."""


def costs_of(parts: Mapping[str, Cost], divided: Divided) -> Costs:
    """Return the costs that the plans are calculated with.

    Calls: those of 16 at once, as in a cluster with much to do. A hop: what a call takes beside the
    processors, for each of its three ways.
    """
    alone, together, rows = parts[ALONE], parts[TOGETHER], parts[MANY_ROWS]
    answer_s = max(0.0, (rows["caller"] - alone["caller"]) / (_ROWS - 1))
    least, most = min(divided), max(divided)
    return Costs(
        scheduler_task_s=parts[TASKS]["scheduler"],
        scheduler_call_s=together["scheduler"],
        scheduler_report_s=parts[REPORTS]["scheduler"],
        engine_s=(divided[most][0] - divided[least][0]) / (most - least) if most > least else 0.0,
        caller_task_s=parts[TASKS]["caller"],
        caller_call_s=max(0.0, together["caller"] - answer_s),
        caller_answer_s=answer_s,
        hop_s=max(0.0, alone["wall_s"] - alone["caller"] - alone["scheduler"]) / _HOPS,
    )


def claims(
    finished: Sequence[Finished], costly: Sequence[Costly], planned: Sequence[Result]
) -> Iterator[Claim]:
    """Return the claims, each beside what was measured."""
    for one in finished:
        if one.scene.workers and one.scene.is_undisturbed:
            what, over = f"{one.scene.name}: makespan over the ideal", one.over_ideal
            yield Claim(what, f"≤ {_OVER_IDEAL:.2f}", f"{over:.3f}", over <= _OVER_IDEAL)
    alone, *clusters = costly
    for costs in clusters:
        ms = 1000 * (median(costs.known.each_s) - median(alone.known.each_s))
        what = f"{_workers(costs.workers)}: a task about a known video beside one process"
        yield Claim(what, f"≤ {_TASK_MS:.0f} ms more", f"{ms:.1f} ms more", ms <= _TASK_MS)
    most = max(each.peak for each in planned)
    twice = sum(count != 1 for each in planned for count in each.done)
    slots = max(each.plan.slots for each in planned)
    yield Claim("on paper: videos that were not done exactly once", "0", str(twice), twice == 0)
    yield Claim(
        "on paper: most questions at once at an endpoint", f"≤ {slots}", str(most), most <= slots
    )


def report(
    finished: Sequence[Finished],
    costly: Sequence[Costly],
    parts: Mapping[str, Cost],
    divided: Divided,
    planned: Sequence[Result],
) -> str:
    """Return the whole text that the page shows."""
    sections = [
        "### What was promised",
        claims_table(claims(finished, costly, planned)),
        "### Makespan",
        _makespans(finished),
        "### Throughput",
        _throughput(costly),
        "### Overhead",
        _overhead(costly),
        "### What the parts cost",
        _parts(parts),
        _division(divided),
        "### On paper",
        _planned(planned),
        *_limits(planned),
    ]
    return "\n\n".join(sections)


def _makespans(finished: Sequence[Finished]) -> str:
    rows = [
        [
            one.scene.name,
            f"{one.ideal_s:.1f} s",
            f"{one.makespan_s:.1f} s",
            f"{one.over_ideal:.3f}",
            f"{one.answers:,}",
        ]
        for one in finished
    ]
    return table(["", "ideal", "it took", "over the ideal", "answers"], rows)


def _throughput(costly: Sequence[Costly]) -> str:
    alone = costly[0]
    rows = [
        [
            _workers(one.workers),
            f"{one.videos / one.first.wall_s:.2f}",
            f"{one.answers / one.first.wall_s:.0f}",
            f"{one.first.cpu_of_all_s / one.videos:.2f} s",
            *(f"{one.first.cpu_s.get(role, 0.0) / one.videos:.2f} s" for role in _ROLES),
            f"{one.first.cpu_of_all_s / alone.first.cpu_of_all_s:.2f}",
        ]
        for one in costly
    ]
    columns = ["", "videos / s", "questions / s", "CPU per video"]
    return table([*columns, *(f"of that {role}" for role in _ROLES), "beside one process"], rows)


def _overhead(costly: Sequence[Costly]) -> str:
    rows = [
        [
            _workers(one.workers),
            f"{1000 * median(one.known.each_s):.1f} ms",
            f"{1000 * one.known.cpu_of_all_s / len(one.known.each_s):.1f} ms",
            *_each_picture(one.pictures, one.pictures_count),
            *_each_picture(one.known_pictures, one.pictures_count),
        ]
        for one in costly
    ]
    columns = ["", "a known video", "CPU", "a picture", "CPU", "a known picture", "CPU"]
    return table(columns, rows)


def _each_picture(took: Took, count: int) -> tuple[str, str]:
    return f"{1000 * took.wall_s / count:.2f} ms", f"{1000 * took.cpu_of_all_s / count:.2f} ms"


def _parts(parts: Mapping[str, Cost]) -> str:
    rows = [
        [
            name,
            f"{1000 * part['wall_s']:.2f} ms",
            *(f"{1000 * part[role]:.2f} ms" for role in _ROLES),
        ]
        for name, part in parts.items()
    ]
    return table(["each", "time", *(f"CPU of {role}" for role in _ROLES)], rows)


def _division(divided: Divided) -> str:
    rows = [
        [f"{engines:,}", f"{1e6 * report_s:.0f} µs", f"{1e6 * turn_s:.0f} µs"]
        for engines, (report_s, turn_s) in divided.items()
    ]
    return table(["engines that want the slots of an endpoint", "a report", "a turn"], rows)


def _planned(planned: Sequence[Result]) -> str:
    columns = [
        "workers",
        "endpoints",
        "",
        "videos",
        "answers / s possible",
        "ideal",
        "over the ideal",
        "answers / s",
        "scheduler busy",
        "caller busy",
        "reports / answer",
        "store calls / answer",
        "workers lost",
        "asked again",
    ]
    rows = [
        [
            f"{one.plan.workers:,}",
            f"{one.plan.endpoints:,}",
            one.plan.name,
            f"{one.plan.videos:,}",
            f"{one.possible_per_s:,.0f}",
            f"{one.ideal_s:,.0f} s",
            f"{one.over_ideal:.3f}",
            f"{one.per_s:,.0f}",
            f"{one.scheduler_s / one.makespan_s:.0%}",
            f"{one.caller_s / one.makespan_s:.0%}",
            f"{one.reports / one.stored:.2f}",
            f"{one.calls / one.stored:.2f}",
            f"{one.lost:,}",
            f"{one.sent - one.needed:,}",
        ]
        for one in planned
    ]
    return table(columns, rows)


def _limits(planned: Sequence[Result]) -> Iterator[str]:
    """Say how much one scheduler and one caller carry, as the busiest plan shows."""
    busiest = max(planned, key=lambda one: one.per_s)
    scheduler = busiest.stored / busiest.scheduler_s if busiest.scheduler_s else float("inf")
    caller = busiest.stored / busiest.caller_s if busiest.caller_s else float("inf")
    yield (
        f"The busiest plan gets {busiest.per_s:,.0f} answers per second. With what an answer costs "
        f"in it, one scheduler would carry {scheduler:,.0f} of them per second, and one caller "
        f"{caller:,.0f}."
    )


def _workers(count: int) -> str:
    return {0: "one process", 1: "1 worker"}.get(count, f"{count} workers")
