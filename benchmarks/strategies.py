"""The strategies that the benchmark compares, by name: the search, and the yardsticks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.oracle import Oracle, drive
from benchmarks.tokens import AS_IT_WAS, SMALL_LISTS, Styles
from benchmarks.upstream import upstream
from benchmarks.yardsticks import dense, plain, rec
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import ONE_MODEL, Costs, VideoSearch
from vlm_engine.types import Span

_DEFAULTS = SearchConfig()
Strategy = Callable[[Oracle], tuple[Span, ...]]

SEARCH, BUDGETED = "search", "search, at most 450 calls per hour"
REC, DENSE = "REC", "dense 2 s + HMM"
PLAIN, PLAIN_WIDE = "dense 2 s, read plainly", "dense 4 s, read plainly"
BUDGET = 450

EFFORTS = (0.25, 0.4, 0.6, 0.8, 1.6, 2.5)
MORE_EFFORT, HASTY = 1.6, 0.25
AS_BEFORE = "search, second looks and edges at full size, with verdicts"
AS_BEFORE_HASTY = f"{AS_BEFORE}, effort {HASTY:g}"

YARDSTICKS: Mapping[str, Strategy] = {
    DENSE: partial(dense, interval_s=2.0),
    "dense 4 s + HMM": partial(dense, interval_s=4.0),
    PLAIN: partial(plain, interval_s=2.0),
    PLAIN_WIDE: partial(plain, interval_s=4.0),
    REC: rec,
    "upstream, 8 s, as documented": partial(upstream, interval_s=8.0),
    "upstream, 80 s, as shipped": partial(upstream, interval_s=80.0, as_coded=True),
}


def engine_search(
    oracle: Oracle, config: SearchConfig = _DEFAULTS, costs: Costs = ONE_MODEL
) -> VideoSearch:
    """Return the engine's own search over the video of ``oracle``."""
    return VideoSearch(oracle.video, oracle.tags, config, costs)


def searching(oracle: Oracle, styles: Styles = SMALL_LISTS, **settings: float) -> tuple[Span, ...]:
    """Return what the engine's search finds that asks in these styles."""
    oracle.styles = styles
    return drive(engine_search(oracle, SearchConfig.model_validate(settings)), oracle)


def with_effort(effort: float) -> str:
    """Return the name of the search that looks so hard."""
    return SEARCH if effort == 1 else f"{SEARCH}, effort {effort:g}"


def frontier() -> dict[str, Strategy]:
    """Return the search by default, and with less and more effort."""
    return {with_effort(effort): partial(searching, effort=effort) for effort in (1.0, *EFFORTS)}


def as_it_was() -> dict[str, Strategy]:
    """Return the search that sends full pictures with second looks and edges, and asks for verdicts
    there.
    """
    return {
        name: partial(searching, styles=AS_IT_WAS, effort=effort)
        for name, effort in ((AS_BEFORE, 1.0), (AS_BEFORE_HASTY, HASTY))
    }
