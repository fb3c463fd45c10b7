"""Evidence that a model misses tags in one style of question which it sees in another. Pure.

The same frame is asked about in both styles. Where the tag shows, each style misses it or not; both
err at similar rates unless one of them cannot see it. How much better the data fit a tag that one
style mostly misses is a Bayes factor (Kass and Raftery, *Bayes factors*, 1995): the likelihood of
the pairs under that assumption, divided by their likelihood if both styles miss alike. Only pairs
that tell the styles apart lean to one side, as in the test of McNemar (*Note on the sampling error
of the difference between correlated proportions*, 1947), but pairs that agree tell how often the
model errs anyway.

A Bayes factor may be looked at after every video: if both styles are alike, it ever exceeds 1 / a
with a probability of at most a (Ville, *Étude critique de la notion de collectif*, 1939). So early
or frequent decisions cost no correctness.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm_engine.store import PairCounts, TagPairs

Floats = NDArray[np.float64]

ENOUGH = math.log(20)
"""The log Bayes factor from which on one style counts as blind."""
ALIKE = 0.0
"""The log Bayes factor below which both styles count as alike."""
_ENOUGH_SEEN = 30
"""Frames in which the other style saw a tag that leave nothing more to learn about it."""
_TAG_ALIKE = -3.0

_ERRORS = np.linspace(0.01, 0.85, 43)
_BLIND = np.linspace(0.25, 0.95, 15)
"""Shares that a blind style misses. What is missed less is worth no larger picture."""
_ERROR_PRIOR, _ERROR_FRAMES = 0.15, 20.0
_TAG_FRAMES = 12.0
_UNSTEADY = 0.05
"""The share of tags that a model sees now and then, whatever the style."""
_LEAST_ERROR, _MOST_ERROR = 0.05, 0.4
_SIDES = np.linspace(0.57, 0.95, 20)
"""Shares of the differing pairs on one side, from where one style errs 1.3 times as often."""
_BLIND_SHARES = (0.05, 0.2, 0.5, 1.0)
"""Shares of the tags that may be blind."""
_PRIORS = (0.45, 0.4, 0.15)
"""Of the ways in which a style may be worse: one tag is blind; a share of the tags is; it errs more
often here and there.
"""


@dataclass(frozen=True, slots=True)
class Weight:
    """Log Bayes factors that the usual style is blind: for some tag of the list, and by tag."""

    overall: float
    by_tag: Mapping[str, float]


def weigh(pairs: Mapping[str, TagPairs], *, everywhere: bool) -> Weight:
    """Return how surely the usual style is blind for some of the tags.

    Where a tag is expected, all pairs count, against the model's rate of errors there. Elsewhere,
    and only if ``everywhere`` is set, just the differing pairs do: what the other style sees there
    may be its own error.
    """
    if not pairs:
        return Weight(0.0, {})
    expected = _columns([one.expected for one in pairs.values()])
    unexpected = _columns([one.unexpected for one in pairs.values()])
    by_tag = _blindness(*expected)
    usual, other = expected[1].sum(), expected[2].sum()
    if everywhere:
        by_tag += _one_sidedness(unexpected[1], unexpected[2])
        usual, other = usual + unexpected[1].sum(), other + unexpected[2].sum()
    together = float(_one_sidedness(np.array([usual]), np.array([other]))[0])
    ways = np.array([_one_blind(by_tag), _some_blind(by_tag), together]) + np.log(_PRIORS)
    return Weight(float(_log_sum(ways[None])[0]), dict(zip(pairs, by_tag.tolist(), strict=True)))


def open_tags(pairs: Mapping[str, TagPairs], weight: Weight) -> tuple[str, ...]:
    """Return the tags about which more pairs would tell something."""
    return tuple(
        tag
        for tag, one in pairs.items()
        if weight.by_tag[tag] > _TAG_ALIKE
        and one.expected.both + one.expected.only_other < _ENOUGH_SEEN
    )


def _columns(counts: Sequence[PairCounts]) -> tuple[Floats, Floats, Floats]:
    """Return, by tag, the frames that both styles saw, only the usual, only the other."""
    rows = [(one.both, one.only_usual, one.only_other) for one in counts]
    both, usual, other = np.array(rows, dtype=np.float64).T
    return both, usual, other


def _blindness(both: Floats, usual: Floats, other: Floats) -> Floats:
    """Return the log Bayes factor of each tag: the usual style misses a share in ``_BLIND``,
    against the rate at which the model errs anyway.

    That rate is learnt from what the other style misses, over all tags, and from each tag's pairs.
    """
    misses, seen = usual.sum(), usual.sum() + both.sum()
    rate = (misses + _ERROR_PRIOR * _ERROR_FRAMES) / (seen + _ERROR_FRAMES)
    rate = min(max(rate, _LEAST_ERROR), _MOST_ERROR)
    usually = _beta(_ERRORS, rate * _TAG_FRAMES, (1 - rate) * _TAG_FRAMES)
    prior = np.log((1 - _UNSTEADY) * np.exp(usually) + _UNSTEADY / len(_ERRORS))
    alike = _log_likelihood(both, usual, other, _ERRORS, _ERRORS) + prior
    missed, errors = (grid.ravel() for grid in np.meshgrid(_BLIND, _ERRORS, indexing="ij"))
    blind = _log_likelihood(both, usual, other, missed, errors)
    blind += np.tile(prior, len(_BLIND)) - math.log(len(_BLIND))
    return _log_sum(blind) - _log_sum(alike)


def _log_likelihood(
    both: Floats, usual: Floats, other: Floats, misses: Floats, errors: Floats
) -> Floats:
    """Return (tags x hypotheses): how probable the pairs are of which at least one style saw the
    tag, if the usual style misses the share ``misses`` and the other ``errors``.
    """
    seen = np.log1p(-misses * errors)
    return (
        np.outer(both, np.log1p(-misses) + np.log1p(-errors) - seen)
        + np.outer(usual, np.log1p(-misses) + np.log(errors) - seen)
        + np.outer(other, np.log(misses) + np.log1p(-errors) - seen)
    )


def _one_sidedness(usual: Floats, other: Floats) -> Floats:
    """Return log Bayes factors: a share of the differing pairs in ``_SIDES`` has only the other
    style see the tag, against one half.
    """
    sides = np.outer(other, np.log(2 * _SIDES)) + np.outer(usual, np.log(2 - 2 * _SIDES))
    return _log_sum(sides) - math.log(len(_SIDES))


def _one_blind(by_tag: Floats) -> float:
    """Return the log Bayes factor that one of the tags is blind, any of them."""
    return float(_log_sum(by_tag[None])[0]) - math.log(len(by_tag))


def _some_blind(by_tag: Floats) -> float:
    """Return the log Bayes factor that a share of the tags is blind, any of ``_BLIND_SHARES``."""
    shares = np.array(_BLIND_SHARES)
    with np.errstate(divide="ignore"):
        alike = np.log1p(-shares)
    of_share = np.logaddexp(alike[:, None], np.log(shares)[:, None] + by_tag).sum(1)
    return float(_log_sum(of_share[None])[0]) - math.log(len(shares))


def _beta(grid: Floats, a: float, b: float) -> Floats:
    """Return the logarithms of weights like the beta distribution's, which add up to 1."""
    logs = (a - 1) * np.log(grid) + (b - 1) * np.log1p(-grid)
    return np.asarray(logs - _log_sum(logs[None]), dtype=np.float64)


def _log_sum(logs: Floats) -> Floats:
    """Return the logarithm of the sum of each row, given as logarithms."""
    most = logs.max(axis=1)
    return np.asarray(most + np.log(np.exp(logs - most[:, None]).sum(axis=1)), dtype=np.float64)
