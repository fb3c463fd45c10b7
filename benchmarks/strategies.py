"""The strategies that the benchmark compares, by name: the search, and the yardsticks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.deployments import RATES, Deployment
from benchmarks.oracle import Oracle, drive
from benchmarks.tokens import SMALL_LISTS, Styles
from benchmarks.upstream import upstream
from benchmarks.yardsticks import dense, plain, rec
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import ONE_MODEL, Costs, VideoSearch
from vlm_engine.types import Purpose, QuestionCost, QuestionStyle, QuestionTerms, Span

_DEFAULTS = SearchConfig()
Strategy = Callable[[Oracle], tuple[Span, ...]]

SEARCH = "search"
REC, DENSE = "REC", "dense 2 s + HMM"
PLAIN, PLAIN_WIDE = "dense 2 s, read plainly", "dense 4 s, read plainly"
BUDGET, BUDGET_S = 450, 180
BUDGETED = f"search, at most {BUDGET} calls per hour"
BUDGETED_S = f"search, at most {BUDGET_S} model seconds per hour"

EFFORTS = (0.12, 0.25, 0.4, 0.6, 1.6, 2.5)
MORE_EFFORT = 1.6

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


def searching(
    oracle: Oracle,
    styles: Styles = SMALL_LISTS,
    deployment: Deployment = Deployment.GAMING_PC,
    **settings: float,
) -> tuple[Span, ...]:
    """Return what the engine's search finds that asks in these styles.

    It knows what questions cost on the ``deployment``.
    """
    oracle.styles = styles
    config = SearchConfig.model_validate(settings)
    return drive(engine_search(oracle, config, _costs(oracle, deployment)), oracle)


def _costs(oracle: Oracle, deployment: Deployment) -> Costs:
    """Return the costs of the later questions; an engine asks all of them in one style."""
    rates, style = RATES[deployment], oracle.styles[Purpose.EDGE]
    picture_s = rates.image_token_s * oracle.counts.picture(style.side)
    cost = QuestionCost(rates.call_s, picture_s, rates.text_token_s, rates.answer_token_s)
    return Costs(QuestionTerms(QuestionStyle(style.form), cost))


def with_effort(effort: float) -> str:
    """Return the name of the search that looks so hard."""
    return SEARCH if effort == 1 else f"{SEARCH}, effort {effort:g}"


def frontier() -> dict[str, Strategy]:
    """Return the search by default, and with less and more effort."""
    return {with_effort(effort): partial(searching, effort=effort) for effort in (1.0, *EFFORTS)}


def on_deployments() -> dict[str, Strategy]:
    """Return the search that knows what questions cost on a deployment other than a gaming PC."""
    return {
        f"{SEARCH}, with the costs of a {deployment}": partial(searching, deployment=deployment)
        for deployment in (Deployment.LAPTOP, Deployment.SERVER)
    }
