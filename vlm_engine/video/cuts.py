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
_ORDINARY, _CERTAIN = (
    1.3,
    3.5,
)  # a packet's size over the large ones around it, for strength 0 and 1
_SHALLOW, _WHOLE = (
    0.08,
    0.3,
)  # a packet's size over that of a key frame: nothing new in it, and a whole new picture


def find_cuts(sizes: NDArray[np.int32], keys: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """The packets that seem to begin a shot, ascending, and the strength of each hint, in [0.1, 1].

    ``sizes`` and ``keys`` are those of all packets, in the order of decoding.
    """
    undue = _undue_packets(keys)
    ordinary, whole = np.pad(_latest(sizes, ~keys), _REACH, mode="edge"), _latest(sizes, keys)
    largest = max(1, sizes.max(initial=0))
    found, told = [np.zeros(0, np.intp)], [np.zeros(0)]
    for start in range(0, len(sizes), _BLOCK):
        first = max(0, start - _APART)
        block, around = (
            slice(first, start + _BLOCK + _APART),
            slice(first, start + _BLOCK + _APART + 2 * _REACH),
        )
        by_size = np.where(keys[block], 0.0, _by_size(sizes[block], ordinary[around], whole[block]))
        strengths = np.where(undue[block], _OFF_CADENCE, by_size)
        ranks = strengths + sizes[block] / (1000.0 * largest)  # of equally sure ones, the largest
        peaks = np.flatnonzero(_are_peaks(ranks) & (strengths >= _LEAST_STRENGTH))
        own = peaks[(peaks >= start - first) & (peaks < start - first + _BLOCK)]
        found.append(own + first)
        told.append(strengths[own])
    return np.concatenate(found), np.concatenate(told)


def _are_peaks(ranks: Floats) -> NDArray[np.bool_]:
    """Which are the highest among those near them, the earliest of equal ones."""
    is_peak = np.ones(len(ranks), np.bool_)
    for apart in range(1, _APART + 1):
        is_peak[apart:] &= ranks[apart:] > ranks[:-apart]
        is_peak[:-apart] &= ranks[:-apart] >= ranks[apart:]
    return is_peak


def find_key_cuts(where: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
    """The same from key frames alone: which of them seem to begin a shot.

    ``where``: the number of each key frame among all frames, ascending.
    """
    found = np.flatnonzero(_undue(where))
    return found, np.full(len(found), _OFF_CADENCE)


def _undue_packets(keys: NDArray[np.bool_]) -> NDArray[np.bool_]:
    undue = np.zeros(len(keys), np.bool_)
    where = np.flatnonzero(keys)
    undue[where[_undue(where)]] = True
    return undue


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


def _by_size(
    sizes: NDArray[np.int32], around: NDArray[np.int32], whole: NDArray[np.int32]
) -> Floats:
    """Strengths by size alone. Means something only for packets that are no key frames: those are large wherever they stand.

    ``around``: the sizes of ordinary packets, from _REACH before the first of ``sizes`` to _REACH after the last;
    ``whole``: that of the key frame before each.
    """
    excess = _scaled(sizes / np.maximum(_level(around), 1), _ORDINARY, _CERTAIN)
    depth = _scaled(sizes / np.maximum(whole, 1), _SHALLOW, _WHOLE)
    return np.minimum(excess, depth)


def _latest(sizes: NDArray[np.int32], chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    """For every packet the size of the latest chosen one up to it; that of the first chosen one for those before it."""
    numbers = np.arange(len(sizes), dtype=np.int32)
    return sizes[np.maximum.accumulate(np.where(chosen, numbers, np.int32(chosen.argmax())))]


def _level(around: NDArray[np.int32]) -> Floats:
    """How large the larger packets around each one are, itself left out: the 90th percentile."""
    others = np.delete(sliding_window_view(around, 2 * _REACH + 1), _REACH, axis=1)
    level: Floats = np.percentile(others, 90, axis=1)
    return level


def _scaled(values: Floats, low: float, high: float) -> Floats:
    """0 at ``low``, 1 at ``high``, logarithmic between."""
    scaled: Floats = np.log(np.maximum(values, low) / low) / np.log(high / low)
    return np.minimum(scaled, 1.0)
