"""Where the picture probably changes, judged by packet sizes and key frames alone. Pure.

An encoder that detects cuts puts a key frame where one is, off its regular cadence. Where none stands, the
packet at a cut is large against its neighbours, because nothing in it could be predicted. Both are hints: a
flash or a whip pan looks the same, and a fade leaves no trace.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_REACH = 24  # packets looked at on either side
_BLOCK = 2_048  # packets judged at once, which bounds the memory
_LEAST_STRENGTH = 0.1
_APART = 4  # packets from one hint to the next
_JITTER = 0.05  # of the cadence: encoders that count seconds, not frames, vary by that much
_OFF_CADENCE = 0.8  # strength of a key frame where none was due
_ORDINARY, _CERTAIN = 1.3, 3.5  # a packet's size over the large ones around it, for strength 0 and 1
_SHALLOW, _WHOLE = 0.08, 0.3  # a packet's size over that of a key frame: nothing new in it, and a whole new picture


def find_cuts(sizes: NDArray[np.int32], keys: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """The packets that seem to begin a shot, ascending, and the strength of each hint, in [0.1, 1].

    ``sizes`` and ``keys`` are those of all packets, in the order of decoding.
    """
    strengths = np.maximum(_by_size(sizes, keys), _by_cadence(keys))
    ranks = strengths + sizes / (1000.0 * max(1, sizes.max(initial=0)))  # of equally sure ones, the largest
    is_peak = np.ones(len(ranks), np.bool_)
    for apart in range(1, _APART + 1):  # one shift at a time, which needs no room for all windows at once
        is_peak[apart:] &= ranks[apart:] > ranks[:-apart]
        is_peak[:-apart] &= ranks[:-apart] >= ranks[apart:]
    found = np.flatnonzero(is_peak & (strengths >= _LEAST_STRENGTH))
    return found, strengths[found]


def find_key_cuts(where: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
    """The same from key frames alone: which of them seem to begin a shot.

    ``where``: the number of each key frame among all frames, ascending.
    """
    found = np.flatnonzero(_undue(where))
    return found, np.full(len(found), _OFF_CADENCE)


def _by_cadence(keys: NDArray[np.bool_]) -> Floats:
    strengths = np.zeros(len(keys))
    where = np.flatnonzero(keys)
    strengths[where[_undue(where)]] = _OFF_CADENCE
    return strengths


def _undue(where: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which key frames stand where no cadence put them; none where there are too few to tell."""
    undue = np.zeros(len(where), np.bool_)
    if len(where) > 2:
        undue[1:] = ~_regular(where)
    return undue


def _regular(where: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which key frames but the first were due: one cadence after the key frame before, or after any earlier one,
    since some encoders count on through a key frame that a cut called for.

    The cadence is the longest interval, if it comes back: a cut can only shorten one. It is exact, unless more
    intervals come near it than meet it.
    """
    intervals = np.diff(where)
    cadence = int(intervals.max())
    jitter = round(_JITTER * cadence)
    exact, near = (intervals >= cadence - 1).sum(), (intervals >= cadence - jitter).sum()
    if near < 2:
        return np.zeros(len(intervals), np.bool_)
    slack = 1 if 2 <= exact >= near / 2 else max(1, jitter)
    due = where[1:] - cadence
    regular: NDArray[np.bool_] = where[np.searchsorted(where, due - slack)] <= due + slack
    return regular


def _by_size(sizes: NDArray[np.int32], keys: NDArray[np.bool_]) -> Floats:
    """Only for packets that are no key frames: those are large wherever they stand."""
    if keys.all():
        return np.zeros(len(sizes))
    numbers = np.arange(len(sizes))
    ordinary = sizes[_latest(numbers, ~keys)]
    excess = _scaled(sizes / np.maximum(_level(ordinary), 1), _ORDINARY, _CERTAIN)
    depth = _scaled(sizes / np.maximum(sizes[_latest(numbers, keys)], 1), _SHALLOW, _WHOLE)
    return np.where(keys, 0.0, np.minimum(excess, depth))


def _latest(numbers: NDArray[np.intp], chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For every packet the number of the latest chosen one up to it; the first chosen one for those before it."""
    return np.maximum.accumulate(np.where(chosen, numbers, chosen.argmax()))


def _level(sizes: NDArray[np.int32]) -> Floats:
    """How large the larger packets around each one are, itself left out: the 90th percentile."""
    padded = np.pad(sizes, _REACH, mode="edge")
    blocks = (padded[start : start + _BLOCK + 2 * _REACH] for start in range(0, len(sizes), _BLOCK))
    windows = (np.delete(sliding_window_view(block, 2 * _REACH + 1), _REACH, axis=1) for block in blocks)
    return np.concatenate([np.percentile(window, 90, axis=1) for window in windows])


def _scaled(values: Floats, low: float, high: float) -> Floats:
    """0 at ``low``, 1 at ``high``, logarithmic between."""
    scaled: Floats = np.log(np.maximum(values, low) / low) / np.log(high / low)
    return np.minimum(scaled, 1.0)
