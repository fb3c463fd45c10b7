"""Measure the search beside other ways to look: what is found, in how many seconds of a model's
time (``make bench-search``).

One run in four parts: simulated videos, for statistics; real footage, as two real networks saw it;
a model that never errs; and generated videos, decoded and asked through an endpoint on loopback.
Writes tables and a plot into the docs. ``--quick`` shows that everything works; its figures mean
nothing.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import footage, seen, style_choice
from benchmarks.claims import claims, paired_claims
from benchmarks.filmed import MISTAKES, Film, Mistakes, film_all, films
from benchmarks.plot import frontier_plot
from benchmarks.report import claims_table, paired_table, report
from benchmarks.scores import Results
from benchmarks.simulated import ALL, ALL_TOLD, Plan, Simulated, simulate, simulate_pairs
from benchmarks.strategies import SEARCH, YARDSTICKS, frontier

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, PLOT = "benchmarks.md", "search-frontier.svg"
_SEEN_VIDEOS, _TAG_LISTS = 4, 12
_PART = re.compile(
    r"(<!-- search: made by make bench-search -->\n).*?(<!-- end of search -->)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Extent:
    """Size of a run."""

    plan: Plan
    films: tuple[Film, ...]
    mistakes: Mapping[str, Mistakes]
    footage: Path = footage.TABLES
    programmes: int | None = None
    seen_videos: int = _SEEN_VIDEOS
    tag_lists: int = _TAG_LISTS


def full(processes: int, seeds: Sequence[int], folder: Path, seen_videos: int) -> Extent:
    """Return the size of the run that the docs show."""
    plan = Plan(seeds=tuple(seeds), processes=processes)
    return Extent(plan, films(), MISTAKES, footage=folder, seen_videos=seen_videos)


def quick() -> Extent:
    """Return the same in under a minute: one seed, few and short videos."""
    plan = Plan(
        seeds=(21,),
        shot_medians_s=(12.0,),
        coincidences=(0.6,),
        duration_s=300.0,
        sensitivity_videos=1,
        processes=2,
    )
    first = films(60.0)[0]
    small = replace(first, spec=replace(first.spec, width=320, height=180))
    some = {name: MISTAKES[name] for name in ("none", "5 / 0.5 %")}
    return Extent(plan, (small,), some, programmes=1, seen_videos=0, tag_lists=1)


def run(extent: Extent, docs: Path) -> str:
    """Measure, puts tables and plot into the folder ``docs``, which holds the page, and returns the
    text.
    """
    begun_s = time.monotonic()
    processes = extent.plan.processes
    names = footage.programmes(extent.footage)[: extent.programmes]
    real = footage.measure(extent.footage, names, processes)
    perfect = seen.count(extent.seen_videos, extent.plan.seeds[0], processes)
    chosen = style_choice.measure(extent.tag_lists, extent.plan.seeds[0], processes)
    simulated = simulate(extent.plan)
    with tempfile.TemporaryDirectory() as folder:
        filmed = film_all(Path(folder), extent.films, extent.mistakes)
    promised = claims(simulated, chosen, filmed, real, perfect.get("all", seen.Seen()))
    text = report(simulated, chosen, filmed, real, perfect, promised)
    (docs / PLOT).write_text(_plot(simulated), encoding="utf-8")
    picture = f"![Model seconds per hour of video against F1]({PLOT})"
    text = f"{picture}\n\n{text}\n\n{_extent(extent, simulated.main, begun_s)}"
    page = docs / PAGE
    page.write_text(
        _PART.sub(lambda part: f"{part[1]}{text}\n{part[2]}", page.read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    return text


def _plot(simulated: Simulated) -> str:
    main, calibrated = simulated.main, simulated.calibrated
    return frontier_plot(
        [main[ALL, name] for name in frontier()],
        [calibrated[ALL_TOLD, name] for name in frontier()],
        {name: main[ALL, name] for name in YARDSTICKS},
    )


def _extent(extent: Extent, main: Results, begun_s: float) -> str:
    seeds = ", ".join(map(str, extent.plan.seeds))
    hours = main[ALL, SEARCH].hours
    minutes = (time.monotonic() - begun_s) / 60
    return (
        f"{hours:.0f} simulated video-hours (seeds {seeds}) and {len(extent.films)} real videos, "
        f"in {minutes:.0f} minutes."
    )


def main() -> None:
    """Measure, prints the tables and puts them on the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--quick", action="store_true", help="one seed and short videos; the figures mean nothing"
    )
    options.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=Plan().seeds,
        help="of the simulation; those shown tuned nothing",
    )
    options.add_argument(
        "--docs", type=Path, default=DOCS, help="the folder whose benchmarks.md is written"
    )
    options.add_argument(
        "--pairs",
        action="store_true",
        help="only a small model that scans for a large one; writes nothing",
    )
    options.add_argument("--processes", type=int, default=2, help="how many simulate at once")
    options.add_argument(
        "--footage", type=Path, default=footage.TABLES, help="a folder with tables of real footage"
    )
    options.add_argument(
        "--seen-videos",
        type=int,
        default=_SEEN_VIDEOS,
        help="of each kind, for a model that never errs",
    )
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    measured = (
        quick()
        if given.quick
        else full(given.processes, given.seeds, given.footage, given.seen_videos)
    )
    if given.pairs:
        pairs = simulate_pairs(measured.plan)
        sys.stdout.write(f"{paired_table(pairs)}\n\n{claims_table(paired_claims(pairs))}\n")
        return
    sys.stdout.write(run(measured, given.docs) + "\n")


if __name__ == "__main__":
    main()
