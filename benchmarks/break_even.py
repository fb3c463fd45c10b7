"""Ways to ask, and up to where small pictures and lists pay if a model judges them worse.

Only a real model can tell how much worse it does, so this is simulated for several answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from benchmarks.deployments import Deployment
from benchmarks.noisy_model import NoisyModel
from benchmarks.oracle import Oracle
from benchmarks.scores import Results, Summary, f1_for
from benchmarks.strategies import Strategy, searching
from benchmarks.tokens import (
    FULL,
    FULL_LATER,
    FULL_LISTS,
    SMALL,
    SMALL_LIST,
    SMALL_LISTS,
    SMALL_VERDICTS,
    VERDICTS_LATER,
    RequestStyle,
    Styles,
    by_purpose,
)
from vlm_engine.types import Form, Span

FACTORS = (1.0, 1.15, 1.25, 1.5, 2.0)
BLIND_SHARES = (0.05, 0.2)
_EFFORTS = (0.4, 1.0, 2.5, 5.0)
USUAL_WAY = "small pictures, lists"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask: which styles are ``worse``, and whether the usual way is worse alike."""

    styles: Styles
    worse: Callable[[RequestStyle], bool]
    usual_is_worse: bool = True


WAYS: Mapping[str, Way] = {
    USUAL_WAY: Way(SMALL_LISTS, lambda style: True),
    "second looks and edges at full size": Way(FULL_LATER, lambda style: style.side < FULL),
    "everything at full size": Way(FULL_LISTS, lambda style: False),
    "second looks and edges with verdicts": Way(
        VERDICTS_LATER, lambda style: style.form is Form.LIST
    ),
    "everything with verdicts": Way(SMALL_VERDICTS, lambda style: False),
    "scan at 384 px": Way(
        by_purpose(SMALL_LIST, RequestStyle(side=384)), lambda style: style.side < SMALL, False
    ),
    "four frames of the scan in a request": Way(
        by_purpose(SMALL_LIST, RequestStyle(pictures=4)), lambda style: style.pictures > 1, False
    ),
}
SEEING = tuple(WAYS)[:4]
"""Those that are compared where tags are blind in small pictures."""


def errors(factor: float) -> str:
    """Return the name of the results where one way is so many times worse."""
    return f"{factor:g} x"


def blind(share: float) -> str:
    """Return the name of the results where so many tags are blind in small pictures."""
    return f"{share:.0%}" if share else errors(1.0)


def with_effort(effort: float) -> str:
    """Return the name of the usual way with so much effort."""
    return USUAL_WAY if effort == 1 else f"{USUAL_WAY}, effort {effort:g}"


def ways() -> Iterator[tuple[str, float, dict[str, Strategy]]]:
    """Yield the name of each group of results, the share of blind tags in it, and what is run."""
    for factor in FACTORS:
        others: dict[str, Strategy] = {name: _asking_in(way, factor) for name, way in WAYS.items()}
        efforts: dict[str, Strategy] = {
            with_effort(effort): _asking_in(WAYS[USUAL_WAY], factor, effort) for effort in _EFFORTS
        }
        yield errors(factor), 0.0, {**others, **efforts}
    for share in BLIND_SHARES:
        seeing: dict[str, Strategy] = {name: _asking_in(WAYS[name], 1.0) for name in SEEING}
        yield blind(share), share, seeing


def _asking_in(way: Way, factor: float, effort: float = 1.0) -> Strategy:
    """Return the search that asks so; other processes can run it."""
    factors = {style: factor for style in way.styles.values() if way.worse(style)}
    return partial(_asking, styles=way.styles, factors=factors, effort=effort)


def _asking(
    oracle: Oracle, styles: Styles, factors: Mapping[RequestStyle, float], effort: float
) -> tuple[Span, ...]:
    assert isinstance(oracle, NoisyModel)
    oracle.factors = factors
    return searching(oracle, styles, Deployment.GAMING_PC, effort=effort)


def break_even(results: Results, name: str) -> float | None:
    """Return the factor at which this way and the usual one reach the same F1 for the same seconds;
    None where one of them is better throughout.
    """
    margins = [_margin(results, name, factor) for factor in FACTORS]
    for (low, before), (high, after) in pairwise(zip(FACTORS, margins, strict=True)):
        if (before < 0) != (after < 0):
            return low + (high - low) * before / (before - after)
    return None


def _margin(results: Results, name: str, factor: float) -> float:
    """Return the F1 above that of the usual way at the same seconds."""
    other = results[errors(factor), name]
    usual = usual_way(results, factor if WAYS[name].usual_is_worse else 1.0)
    return other.f1 - f1_for(usual, other)


def usual_way(results: Results, factor: float) -> Sequence[Summary]:
    """Return the usual way with little and much effort."""
    return [results[errors(factor), with_effort(effort)] for effort in _EFFORTS]


def is_better(results: Results, name: str) -> bool:
    """Return True if this way is better than the usual one where it errs no more."""
    return _margin(results, name, 1.0) > 0
