"""Claims about the search, each beside what was measured in the same run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.filmed import DECODED, SIMULATED_CUTS
from benchmarks.footage import BY_EYE, NETWORKS, TOLD, mean_f1, over
from benchmarks.scores import Summary
from benchmarks.seen import Seen
from benchmarks.simulated import (
    ALL,
    BUDGET,
    BUDGETED,
    CALIBRATED,
    DENSE,
    LIFELIKE,
    LIFELIKE_TOLD,
    MANY_TAGS,
    MORE_EFFORT,
    NO_CUTS,
    PAIRED,
    POOR_CUTS,
    REC,
    SCANNED_HARSH,
    SEARCH,
    SURE_LOOKALIKES,
    SURE_NOES,
    TOO_SURE,
    UNINFORMED,
    USUAL,
    VERDICTS_ONLY,
    Results,
    frontier,
    with_effort,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """``wanted`` and ``measured`` as a reader sees them."""

    what: str
    wanted: str
    measured: str
    holds: bool


def claims(
    main: Results, sensitivity: Results, filmed: Results, footage: Results, seen: Seen
) -> list[Claim]:
    """All claims, in the order of the table.

    ``footage`` is empty, and nothing ``seen``, where that was not measured.
    """
    return [
        *_nothing_lost(seen),
        *_footage(footage),
        *_reliability(main, sensitivity, footage),
        *_prices(main),
        _at_least("F1 for a model without mistakes", 0.98, main["none", SEARCH].f1),
        *_confidences(sensitivity),
        *_budget(main),
        *_robustness(sensitivity),
        *paired_claims(sensitivity),
        _at_most(
            "F1 on decoded videos below that without decoding and with simulated cut hints, by",
            0.03,
            _loss(filmed),
        ),
        _at_most(
            "rounds, on average over all simulated videos", 8.0, main[ALL, SEARCH].rounds, "{:.1f}"
        ),
        _at_most(
            "the search's own CPU seconds per hour of video with 35 tags",
            1.0,
            sensitivity[MANY_TAGS, SEARCH].cpu_s_per_hour,
        ),
    ]


def _nothing_lost(seen: Seen) -> Iterator[Claim]:
    if seen.videos:
        what = (
            "events of which a model that never errs said yes twice or more, left out, of "
            f"{seen.confirmed}"
        )
        yield _at_most(what, 0, seen.lost, "{:.0f}")
        yield _at_most("the same, below the usual threshold", 0, seen.doubtful, "{:.0f}")


def _footage(footage: Results) -> Iterator[Claim]:
    for strategy, least in ((TOLD, 0.79), (SEARCH, 0.75)) if footage else ():
        for network in NETWORKS:
            yield _at_least(
                f"real footage, {network}, {strategy}: mean F1",
                least,
                mean_f1(footage, BY_EYE, network, strategy),
            )
        calls = over(footage, BY_EYE, strategy).calls_per_hour
        yield _at_most(f"real footage, {strategy}: calls per hour", 1400, calls, "{:.0f}")


def _reliability(main: Results, sensitivity: Results, footage: Results) -> Iterator[Claim]:
    for name, summary in told_confidences(main, sensitivity, footage).items():
        count, right = summary.reliability(0.9, 2.0)
        yield _at_least(
            f"{name}: right, of {count} spans with a confidence of .9 or more",
            0.9,
            right if count else 1.0,
        )


def told_confidences(main: Results, sensitivity: Results, footage: Results) -> dict[str, Summary]:
    """Return the results over which confidences are compared with what is right, by name."""
    others = [
        one
        for (_, strategy), summary in sensitivity.items()
        if strategy == SEARCH
        for one in summary.scores
    ]
    on_footage = {
        f"real footage, {name}": over(footage, BY_EYE, name) for name in (SEARCH, TOLD) if footage
    }
    return {
        "simulated": main[ALL, SEARCH],
        "simulated, other worlds": Summary(others),
        **on_footage,
    }


def _prices(main: Results) -> Iterator[Claim]:
    points = [main[ALL, name] for name in (SEARCH, *frontier())]
    for name, slack, most in ((DENSE, 0.01, 0.48), (REC, 0.0, 0.78)):
        other = main[ALL, name]
        calls = calls_for(points, other.f1 - slack)
        what = (
            f"calls at the F1 of {name}" + (f" less {slack:g}" if slack else "") + ", of its calls"
        )
        if calls is None:
            yield Claim(
                what,
                f"≤ {most:.0%}",
                f"{max(point.f1 for point in points):.3f} is the best F1, short of it",
                False,
            )
        else:
            yield _at_most(what, most, calls / other.calls_per_hour, "{:.0%}")


def calls_for(points: Sequence[Summary], f1: float) -> float | None:
    """Call per hour at which a frontier reaches this F1, between its points on a straight line;
    None where it never does.
    """
    by_price = sorted(points, key=lambda point: point.calls_per_hour)
    if by_price[0].f1 >= f1:
        return by_price[0].calls_per_hour
    for below, above in pairwise(by_price):
        if above.f1 >= f1:
            share = (f1 - below.f1) / (above.f1 - below.f1)
            return below.calls_per_hour + share * (above.calls_per_hour - below.calls_per_hour)
    return None


def f1_for(points: Sequence[Summary], calls_per_hour: float) -> float:
    """F1 of a frontier at so many calls, between its points on a straight line; beyond its ends,
    that of the end.
    """
    by_price = sorted(points, key=lambda point: point.calls_per_hour)
    calls, f1 = ([getattr(point, name) for point in by_price] for name in ("calls_per_hour", "f1"))
    return float(np.interp(calls_per_hour, calls, f1))


def _confidences(sensitivity: Results) -> Iterator[Claim]:
    informed = {
        CALIBRATED: 0.04,
        TOO_SURE: 0.04,
        SURE_NOES: 0.04,
        SURE_LOOKALIKES: -0.005,
        UNINFORMED: -0.005,
    }
    compared = [(name, VERDICTS_ONLY, least) for name, least in informed.items()]
    for name, without, least in (*compared, (LIFELIKE_TOLD, LIFELIKE, 0.04)):
        plain = sensitivity[without, SEARCH]
        summaries = [sensitivity[name, strategy] for strategy in (SEARCH, with_effort(MORE_EFFORT))]
        yield _at_least(
            f"{name}: gain in F1 at no more calls",
            least,
            f1_for(summaries, plain.calls_per_hour) - plain.f1,
        )


def _budget(main: Results) -> Iterator[Claim]:
    summary = main[ALL, BUDGETED]
    what = f"a budget of {BUDGET} calls per hour"
    yield _at_most(f"{what}: calls, of it", 1.05, summary.calls_per_hour / BUDGET, "{:.0%}")
    yield _at_least(f"{what}: F1", 0.79, summary.f1)


def _robustness(sensitivity: Results) -> Iterator[Claim]:
    settings = [setting for setting, strategy in sensitivity if strategy == REC]
    losses = {name: sensitivity[name, REC].f1 - sensitivity[name, SEARCH].f1 for name in settings}
    worst = max(losses, key=lambda name: losses[name])
    yield _at_most(
        f"F1 below {REC}'s in the worst setting ({worst}), by", 0.01, losses[worst], "{:+.3f}"
    )
    for name in (POOR_CUTS, NO_CUTS):
        lost = sensitivity[USUAL, SEARCH].f1 - sensitivity[name, SEARCH].f1
        yield _at_most(f"F1 lost with {name}", 0.03, lost, "{:+.3f}")


def paired_claims(results: Results) -> Iterator[Claim]:
    """Return the claims about a small model that scans for a large one: what it saves and keeps."""
    alone, both = results[PAIRED, SEARCH], results[PAIRED, SCANNED_HARSH]
    yield _at_most(
        f"{SCANNED_HARSH}: F1 below the judge's alone, by", 0.01, alone.f1 - both.f1, "{:+.3f}"
    )
    yield _at_most(
        f"{SCANNED_HARSH}: the judge's calls, of those alone",
        0.5,
        both.calls_per_hour / alone.calls_per_hour,
        "{:.0%}",
    )


def _loss(filmed: Results) -> float:
    return filmed[ALL, SIMULATED_CUTS].f1 - filmed[ALL, DECODED].f1


def _at_most(what: str, most: float, measured: float, form: str = "{:.3f}") -> Claim:
    return Claim(
        what, f"≤ {form.replace('+', '').format(most)}", form.format(measured), measured <= most
    )


def _at_least(what: str, least: float, measured: float) -> Claim:
    return Claim(what, f"≥ {least:.3f}", f"{measured:.3f}", measured >= least)
