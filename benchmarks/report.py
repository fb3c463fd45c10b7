"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from benchmarks.claims import Claim, told_confidences
from benchmarks.filmed import DECODED, MISTAKES, SIMULATED_CUTS, UNDECODED
from benchmarks.footage import BY_EYE, BY_NETWORK, NETWORKS, STRATEGIES, group, mean_f1, over
from benchmarks.scores import Summary
from benchmarks.seen import Seen
from benchmarks.simulated import ALL, DENSE, PAIRED, PLAIN, PLAIN_WIDE, REC, SEARCH, Results

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
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def strategies_table(results: Results, group: str) -> str:
    """Everything about every strategy of one group."""
    return table(
        _COLUMNS,
        [_row(strategy, summary) for (name, strategy), summary in results.items() if name == group],
    )


def _row(strategy: str, summary: Summary) -> list[str]:
    return [
        strategy,
        f"{summary.calls_per_hour:.0f}",
        f"{summary.image_tokens_per_hour / 1000:.0f} k",
        f"{summary.answer_tokens_per_hour / 1000:.1f} k",
        f"{summary.rounds:.1f}",
        f"{summary.f1:.3f}",
        f"{summary.f1_close:.3f}",
        f"{summary.edge_mean_s:.2f} / {summary.edge_median_s:.2f} s",
        f"{summary.short_missed:.0%}",
        f"{summary.tag_f1:.3f}",
        f"{summary.cpu_s_per_hour:.2f} s",
        "–" if summary.peak_mb is None else f"{summary.peak_mb:.0f} MB",
    ]


def f1_table(results: Results, first: str, groups: Sequence[str], strategies: Sequence[str]) -> str:
    """F1 at a temporal IoU of .5, and calls per hour, by group and strategy."""
    rows = [
        [group, *(_brief(results, group, strategy) for strategy in strategies)] for group in groups
    ]
    return table([first, *strategies], rows)


def _brief(results: Results, group: str, strategy: str) -> str:
    summary = results.get((group, strategy))
    return f"{summary.f1:.3f} ({summary.calls_per_hour:.0f})" if summary else "–"


def paired_table(results: Results) -> str:
    """Return the table of the judge's queries, alone and with a model that scans for it."""
    columns = (
        "the judge",
        "its calls / h",
        "the scanner's calls / h",
        "F1 ≥ .5",
        "F1 ≥ .75",
        "short events missed",
        "CPU / h",
    )
    rows = [
        [
            "alone" if strategy == SEARCH else strategy,
            f"{summary.calls_per_hour:.0f}",
            f"{summary.scan_calls_per_hour:.0f}",
            f"{summary.f1:.3f}",
            f"{summary.f1_close:.3f}",
            f"{summary.short_missed:.0%}",
            f"{summary.cpu_s_per_hour:.2f} s",
        ]
        for (group, strategy), summary in results.items()
        if group == PAIRED
    ]
    return table(columns, rows)


def claims_table(claims: Iterable[Claim]) -> str:
    """Each claim, and whether it held."""
    rows = [
        [claim.what, claim.wanted, claim.measured, "yes" if claim.holds else "**no**"]
        for claim in claims
    ]
    return table(["claim", "wanted", "measured", "holds"], rows)


def groups_of(results: Results) -> list[str]:
    """Return the groups in their order, the one of everything left out."""
    return [group for group in dict.fromkeys(group for group, _ in results) if group != ALL]


def footage_table(footage: Results, truth: str, names: Sequence[str]) -> str:
    """F1 by programme and its mean, for each network; and calls."""
    columns = [
        "strategy",
        *(part for network in NETWORKS for part in (f"{network}: {' / '.join(names)}", "mean")),
    ]
    rows = []
    for strategy in STRATEGIES:
        cells = [strategy]
        for network in NETWORKS:
            f1s = [footage[group(truth, network, name), strategy].f1 for name in names]
            cells += [
                " / ".join(f"{f1:.2f}" for f1 in f1s),
                f"{mean_f1(footage, truth, network, strategy):.3f}",
            ]
        together = over(footage, truth, strategy)
        rows.append(
            [
                *cells,
                f"{together.f1_close:.3f}",
                f"{together.calls_per_hour:.0f}",
                f"{together.rounds:.1f}",
            ]
        )
    return table([*columns, "F1 ≥ .75, all", "calls / h", "rounds"], rows)


_BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.01)


def reliability_table(summaries: Mapping[str, Summary]) -> str:
    """Of the spans with such a confidence, how many are right; and how many there are."""
    bins = list(pairwise(_BINS))
    rows = []
    for name, summary in summaries.items():
        counted = [summary.reliability(least, below) for least, below in bins]
        rows.append(
            [name, *(f"{right:.2f} ({count})" if count else "–" for count, right in counted)]
        )
    return table(
        ["confidence", *(f"{least:g} to {min(1, below):g}" for least, below in bins)], rows
    )


def seen_table(seen: Mapping[str, Seen]) -> str:
    """Return the table of events to which a model that never errs said yes twice or more."""
    columns = (
        "videos",
        "events",
        "looked at",
        "two yeses or more",
        "left out",
        "below the threshold",
    )
    rows = [
        [
            name,
            *map(
                str,
                (
                    summary.videos,
                    summary.events,
                    summary.looked_at,
                    summary.confirmed,
                    summary.lost,
                    summary.doubtful,
                ),
            ),
        ]
        for name, summary in seen.items()
    ]
    return table(["of these", *columns], rows)


def footage_report(footage: Results) -> list[str]:
    """Return the part about real footage; one line where there is none."""
    heading = "### Footage of real cameras"
    if not footage:
        return [heading, "Not measured: the folder with the tables was not there."]
    names = list(dict.fromkeys(name.rpartition(", ")[2] for name, _ in footage))
    return [
        heading,
        "F1 ≥ .5 by programme, for two networks; the truth by eye, five tags:",
        footage_table(footage, BY_EYE, names),
        "The truth by the network's own majority, fifteen tags:",
        footage_table(footage, BY_NETWORK, names),
    ]


def report(
    main: Results,
    sensitivity: Results,
    filmed: Results,
    footage: Results,
    seen: Mapping[str, Seen],
    claims: Iterable[Claim],
) -> str:
    """Return the whole text that the page shows, the plot aside."""
    compared = (DENSE, PLAIN, PLAIN_WIDE, REC, SEARCH)
    beside = (DECODED, UNDECODED, SIMULATED_CUTS, DENSE, PLAIN, PLAIN_WIDE, REC)
    strategies = list(dict.fromkeys(strategy for _, strategy in main))
    noises = [group for group in groups_of(main) if group != ALL]
    by_noise = [[name, *(_brief(main, noise, name) for noise in noises)] for name in strategies]
    parts = [
        "### What was promised",
        claims_table(claims),
        *footage_report(footage),
        "### How often a span of such a confidence is right",
        "A span is right if it and a true one share half of the time that both cover. Below .5 it "
        "makes no marker, by default.",
        reliability_table(told_confidences(main, sensitivity, footage)),
        "### A model that never errs",
        "Every look inside an event says yes. Of those that two looks or more saw, none may be "
        "left out:",
        seen_table(seen),
        "### Simulated: all mistakes of the model together",
        strategies_table(main, ALL),
        "F1 ≥ .5 (and calls per hour) by the model's mistakes, missed / invented:",
        table(["strategy", *noises], by_noise),
        "### Simulated: other worlds, other models",
        "F1 ≥ .5 (and calls per hour); 5 / 0.5 % mistakes, where error rates or confidences differ "
        "10 / 2 % too:",
        f1_table(
            sensitivity,
            "setting",
            [name for name in groups_of(sensitivity) if name != PAIRED],
            compared,
        ),
        "### Simulated: a small model scans for a large one",
        f"Over the videos of the first part, with {PAIRED}; its calls, and those of the one that "
        "scans:",
        paired_table(sensitivity),
        "### Real: decoded, and asked through an endpoint",
        strategies_table(filmed, ALL),
        "F1 ≥ .5 (and calls per hour) by the model's mistakes, and by video:",
        f1_table(
            filmed, "mistakes", [name for name in MISTAKES if (name, DECODED) in filmed], beside
        ),
        f1_table(
            filmed, "video", [name for name in groups_of(filmed) if name not in MISTAKES], beside
        ),
    ]
    return "\n\n".join(parts)
