"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.claims import Claim
from benchmarks.filmed import DECODED, MISTAKES, SIMULATED_CUTS, UNDECODED
from benchmarks.scores import Summary
from benchmarks.simulated import ALL, DENSE, PAIRED, REC, SEARCH, Results

_COLUMNS = (
    "strategy",
    "calls / h",
    "image tokens / h",
    "answer tokens / h",
    "rounds",
    "F1 ≥ .5",
    "F1 ≥ .75",
    "edge error, mean / median",
    "short events missed",
    "video-tag F1",
    "CPU / h",
    "peak memory",
)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def strategies_table(results: Results, group: str) -> str:
    """Everything about every strategy of one group."""
    return table(_COLUMNS, [_row(strategy, own) for (name, strategy), own in results.items() if name == group])


def _row(strategy: str, own: Summary) -> list[str]:
    return [
        strategy,
        f"{own.calls_per_hour:.0f}",
        f"{own.image_tokens_per_hour / 1000:.0f} k",
        f"{own.answer_tokens_per_hour / 1000:.1f} k",
        f"{own.rounds:.1f}",
        f"{own.f1:.3f}",
        f"{own.f1_close:.3f}",
        f"{own.edge_mean_s:.2f} / {own.edge_median_s:.2f} s",
        f"{own.short_missed:.0%}",
        f"{own.tag_f1:.3f}",
        f"{own.cpu_s_per_hour:.2f} s",
        "–" if own.peak_mb is None else f"{own.peak_mb:.0f} MB",
    ]


def f1_table(results: Results, first: str, groups: Sequence[str], strategies: Sequence[str]) -> str:
    """F1 at a temporal IoU of .5, and calls per hour, by group and strategy."""
    rows = [[group, *(_brief(results, group, strategy) for strategy in strategies)] for group in groups]
    return table([first, *strategies], rows)


def _brief(results: Results, group: str, strategy: str) -> str:
    own = results.get((group, strategy))
    return f"{own.f1:.3f} ({own.calls_per_hour:.0f})" if own else "–"


def paired_table(results: Results) -> str:
    """What a judge is asked, alone and with one that scans for it."""
    columns = ("the judge", "its calls / h", "the scanner's calls / h", "F1 ≥ .5", "F1 ≥ .75", "short events missed", "CPU / h")
    rows = [
        [
            "alone" if strategy == SEARCH else strategy,
            f"{own.calls_per_hour:.0f}",
            f"{own.scan_calls_per_hour:.0f}",
            f"{own.f1:.3f}",
            f"{own.f1_close:.3f}",
            f"{own.short_missed:.0%}",
            f"{own.cpu_s_per_hour:.2f} s",
        ]
        for (group, strategy), own in results.items()
        if group == PAIRED
    ]
    return table(columns, rows)


def claims_table(claims: Iterable[Claim]) -> str:
    """Each claim, and whether it held."""
    rows = [[claim.what, claim.wanted, claim.measured, "yes" if claim.holds else "**no**"] for claim in claims]
    return table(["claim", "wanted", "measured", "holds"], rows)


def groups_of(results: Results) -> list[str]:
    """The groups in their order, the one of everything left out."""
    return [group for group in dict.fromkeys(group for group, _ in results) if group != ALL]


def report(main: Results, sensitivity: Results, filmed: Results, claims: Iterable[Claim]) -> str:
    """The whole text that the page shows, the plot aside."""
    compared = (DENSE, REC, SEARCH)
    beside = (DECODED, UNDECODED, SIMULATED_CUTS, DENSE, REC)
    strategies = list(dict.fromkeys(strategy for _, strategy in main))
    noises = [group for group in groups_of(main) if group != ALL]
    by_noise = [[name, *(_brief(main, noise, name) for noise in noises)] for name in strategies]
    parts = [
        "### What was promised",
        claims_table(claims),
        "### Simulated: all mistakes of the model together",
        strategies_table(main, ALL),
        "F1 ≥ .5 (and calls per hour) by the model's mistakes, missed / invented:",
        table(["strategy", *noises], by_noise),
        "### Simulated: other worlds, other models",
        "F1 ≥ .5 (and calls per hour); 5 / 0.5 % mistakes, where error rates or confidences differ 10 / 2 % too:",
        f1_table(sensitivity, "setting", [name for name in groups_of(sensitivity) if name != PAIRED], compared),
        "### Simulated: a small model scans for a large one",
        f"Over the videos of the first part, with {PAIRED}; its calls, and those of the one that scans:",
        paired_table(sensitivity),
        "### Real: decoded, and asked through an endpoint",
        strategies_table(filmed, ALL),
        "F1 ≥ .5 (and calls per hour) by the model's mistakes, and by video:",
        f1_table(filmed, "mistakes", [name for name in MISTAKES if (name, DECODED) in filmed], beside),
        f1_table(filmed, "video", [name for name in groups_of(filmed) if name not in MISTAKES], beside),
    ]
    return "\n\n".join(parts)
