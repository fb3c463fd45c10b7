"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from benchmarks.break_even import (
    BLIND_SHARES,
    FACTORS,
    SEEING,
    USUAL_WAY,
    WAYS,
    blind,
    break_even,
    errors,
    is_better,
)
from benchmarks.claims import Claim, shares_of, told_confidences
from benchmarks.deployments import RATES, Deployment
from benchmarks.filmed import DECODED, MISTAKES, SIMULATED_CUTS, UNDECODED
from benchmarks.footage import (
    BY_EYE,
    BY_NETWORK,
    NETWORKS,
    STRATEGIES,
    group,
    mean_f1,
    over,
    programmes_in,
)
from benchmarks.scores import Results, Summary
from benchmarks.seen import Seen
from benchmarks.simulated import ALL, ALL_TOLD, PAIRED, Simulated
from benchmarks.strategies import (
    DENSE,
    PLAIN,
    PLAIN_WIDE,
    REC,
    SEARCH,
    frontier,
)
from benchmarks.style_choice import VIDEOS, Choices

_SECONDS = "seconds / h, " + " / ".join(Deployment)
_COLUMNS = (
    "strategy",
    _SECONDS,
    "calls / h",
    "F1 ≥ .5",
    "F1 ≥ .75",
    "edge error, mean / median",
    "short events missed",
    "video-tag F1",
    "rounds",
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
        _seconds(summary),
        f"{summary.calls_per_hour:.0f}",
        f"{summary.f1:.3f}",
        f"{summary.f1_close:.3f}",
        f"{summary.edge_mean_s:.2f} / {summary.edge_median_s:.2f} s",
        f"{summary.short_missed:.0%}",
        f"{summary.tag_f1:.3f}",
        f"{summary.rounds:.1f}",
        f"{summary.cpu_s_per_hour:.2f} s",
        "–" if summary.peak_mb is None else f"{summary.peak_mb:.0f} MB",
    ]


def _seconds(summary: Summary) -> str:
    return " / ".join(f"{seconds:.0f}" for seconds in summary.seconds_per_hour.values())


def f1_table(results: Results, first: str, groups: Sequence[str], strategies: Sequence[str]) -> str:
    """F1 at a temporal IoU of .5, and seconds per hour, by group and strategy."""
    rows = [
        [group, *(_brief(results, group, strategy) for strategy in strategies)] for group in groups
    ]
    return table([first, *strategies], rows)


def _brief(results: Results, group: str, strategy: str) -> str:
    summary = results.get((group, strategy))
    return "–" if summary is None else _f1_and_seconds(summary)


def _f1_and_seconds(summary: Summary) -> str:
    return f"{summary.f1:.3f} ({summary.seconds_per_hour[Deployment.GAMING_PC]:.0f})"


def purposes_table(summaries: Mapping[str, Summary]) -> str:
    """Return the table of what is asked for which purpose, and how long it takes."""
    rows = []
    for name, summary in summaries.items():
        for purpose, usage in summary.usage.items():
            if usage.calls:
                seconds = (rates.seconds(usage) / summary.hours for rates in RATES.values())
                rows.append(
                    [
                        name,
                        purpose,
                        " / ".join(f"{each:.0f}" for each in seconds),
                        f"{usage.calls / summary.hours:.0f}",
                        f"{usage.image_tokens / usage.calls:.0f}",
                        f"{usage.text_tokens / usage.calls:.1f}",
                        f"{usage.answer_tokens / usage.calls:.1f}",
                    ]
                )
    each = ("picture", "uncached text", "answer")
    columns = ("strategy", "purpose", _SECONDS, "calls / h", *(f"tokens, {name}" for name in each))
    return table(columns, rows)


_SLACKS = (0.05, 0.03, 0.02, 0.01, 0.0, -0.005)


def shares_table(simulated: Simulated) -> str:
    """Return the table of the share of dense sampling's seconds at F1s near its own."""
    dense = simulated.main[ALL, DENSE]
    names = list(frontier())
    frontiers = {
        "no confidences": [simulated.main[ALL, name] for name in names],
        "calibrated confidences": [simulated.calibrated[ALL_TOLD, name] for name in names],
    }
    rows = []
    for slack in _SLACKS:
        cells = [f"{dense.f1 - slack:.3f} ({-slack:+g})" if slack else f"{dense.f1:.3f}"]
        for points in frontiers.values():
            shares = shares_of(points, dense, slack)
            cells.append(" / ".join(f"{share:.0%}" for share in shares.values()) if shares else "–")
        rows.append(cells)
    deployments = " / ".join(Deployment)
    return table(["F1 ≥ .5", *(f"{name}: {deployments}" for name in frontiers)], rows)


def ways_table(results: Results) -> str:
    """Return the table of ways to ask, where what makes them cheaper makes the model err more."""
    rows = [
        [
            name,
            *(_brief(results, errors(factor), name) for factor in FACTORS),
            _verdict(results, name),
        ]
        for name in WAYS
    ]
    return table(["asked", *map(errors, FACTORS), "break-even"], rows)


def _verdict(results: Results, name: str) -> str:
    if name == USUAL_WAY:
        return ""
    factor = break_even(results, name)
    better = is_better(results, name)
    if factor is None:
        return "always better" if better else "never better"
    return f"better {'below' if better else 'above'} {factor:.2f} x"


def blind_table(results: Results) -> str:
    """Return the table of ways to ask where some tags are hard to see in small pictures."""
    shares = (0.0, *BLIND_SHARES)
    rows = [[name, *(_brief(results, blind(share), name) for share in shares)] for name in SEEING]
    return table(["asked", *(f"{share:.0%} of the tags" for share in shares)], rows)


def paired_table(results: Results) -> str:
    """Return the table of the judge's queries, alone and with a model that scans for it."""
    columns = (
        "the judge",
        f"its {_SECONDS}",
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
            _seconds(summary),
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
    """F1 by programme and its mean, for each network; and seconds."""
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
                _seconds(together),
                f"{together.calls_per_hour:.0f}",
                f"{together.rounds:.1f}",
            ]
        )
    return table([*columns, "F1 ≥ .75, all", _SECONDS, "calls / h", "rounds"], rows)


def choices_table(chosen: Mapping[float, Choices]) -> str:
    """Return the table of the sizes that evidence chooses, and what that gains."""
    rows = [
        [
            f"{share:.0%}",
            str(len(result.lists)),
            " / ".join(f"{result.chosen_after(count):.0%}" for count in range(1, VIDEOS + 1)),
            f"{result.compared_s:.0f} s",
            *(_f1_and_seconds(one) for one in (result.small, result.then, result.full)),
        ]
        for share, result in chosen.items()
    ]
    columns = (
        "tags hard to see",
        "lists",
        "full pictures after " + " / ".join(map(str, range(1, VIDEOS + 1))),
        "comparisons, seconds / h",
        "small pictures",
        "the pictures chosen",
        "full pictures",
    )
    return table(columns, rows)


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
    names = programmes_in(footage)
    return [
        heading,
        "F1 ≥ .5 by programme, for two networks; the truth by eye, five tags:",
        footage_table(footage, BY_EYE, names),
        "The truth by the network's own majority, fifteen tags:",
        footage_table(footage, BY_NETWORK, names),
    ]


def report(
    simulated: Simulated,
    chosen: Mapping[float, Choices],
    filmed: Results,
    footage: Results,
    seen: Mapping[str, Seen],
    claims: Iterable[Claim],
) -> str:
    """Return the whole text that the page shows, the plot aside."""
    parts = [
        "### What was promised",
        claims_table(claims),
        *footage_report(footage),
        "### How often a span of such a confidence is right",
        "A span is right if it and a true one share half of the time that both cover. Below .5 it "
        "makes no marker, by default.",
        reliability_table(told_confidences(simulated, footage)),
        "### A model that never errs",
        "Every look inside an event says yes. Of those that two looks or more saw, none may be "
        "left out:",
        seen_table(seen),
        *_simulated_report(simulated),
        *_asking_report(simulated.ways, chosen),
        *_others_report(simulated),
        *_filmed_report(filmed),
    ]
    return "\n\n".join(parts)


def _simulated_report(simulated: Simulated) -> list[str]:
    main = simulated.main
    noises = [noise for noise in groups_of(main) if noise != ALL]
    strategies = list(dict.fromkeys(strategy for _, strategy in main))
    by_noise = [[name, *(_brief(main, noise, name) for noise in noises)] for name in strategies]
    return [
        "### Simulated: all mistakes of the model together",
        strategies_table(main, ALL),
        "Seconds by purpose:",
        purposes_table({name: main[ALL, name] for name in (DENSE, REC, SEARCH)}),
        f"Seconds of the search at F1s near that of {DENSE}, as shares of its seconds:",
        shares_table(simulated),
        "The search where the model tells calibrated confidences:",
        strategies_table(simulated.calibrated, ALL_TOLD),
        f"F1 ≥ .5 (and seconds per hour on a {Deployment.GAMING_PC}) by the model's mistakes, "
        "missed / invented:",
        table(["strategy", *noises], by_noise),
    ]


def _asking_report(results: Results, chosen: Mapping[float, Choices]) -> list[str]:
    return [
        "### Simulated: small pictures and short answers",
        f"F1 ≥ .5 (and seconds per hour on a {Deployment.GAMING_PC}), over models that make "
        "mistakes. The columns tell how many times as often the model errs where it is asked for "
        "lists, or with small pictures, than otherwise; for the last two rows, where four "
        "pictures are sent together or the picture is smaller still. The last column compares "
        f"with *{USUAL_WAY}* at the same seconds.",
        ways_table(results),
        "The same where some tags are hard to see in small pictures: the model misses six in ten "
        "of what shows of them there, and not in full pictures.",
        blind_table(results),
        f"The engine compares both sizes on some frames of each video. After {VIDEOS} videos of "
        f"one list, for how many lists it uses full pictures, and F1 ≥ .5 (and seconds per hour on "
        f"a {Deployment.GAMING_PC}) in one more video:",
        choices_table(chosen),
    ]


def _others_report(simulated: Simulated) -> list[str]:
    compared = (DENSE, PLAIN, PLAIN_WIDE, REC, SEARCH)
    worlds = simulated.worlds
    return [
        "### Simulated: other worlds, other models",
        f"F1 ≥ .5 (and seconds per hour on a {Deployment.GAMING_PC}); 5 / 0.5 % mistakes, where "
        "error rates or confidences differ 10 / 2 % too:",
        f1_table(worlds, "setting", groups_of(worlds), compared),
        "### Simulated: a small model scans for a large one",
        f"Over the videos of the first part, with {PAIRED}; its calls, and those of the one that "
        "scans:",
        paired_table(simulated.paired),
    ]


def _filmed_report(filmed: Results) -> list[str]:
    beside = (DECODED, UNDECODED, SIMULATED_CUTS, DENSE, PLAIN, PLAIN_WIDE, REC)
    mistakes = [name for name in MISTAKES if (name, DECODED) in filmed]
    films = [name for name in groups_of(filmed) if name not in MISTAKES]
    return [
        "### Real: decoded, and asked through an endpoint",
        strategies_table(filmed, ALL),
        f"F1 ≥ .5 (and seconds per hour on a {Deployment.GAMING_PC}) by the model's mistakes, and "
        "by video:",
        f1_table(filmed, "mistakes", mistakes, beside),
        f1_table(filmed, "video", films, beside),
    ]
