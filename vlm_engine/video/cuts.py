"""Cut hints: where the picture probably changes, judged by packet sizes and key frames alone. Pure.

An encoder that detects cuts puts a key frame there, off its regular cadence. Without a key frame,
the packet at a cut is larger than its neighbours, because nothing in it could be predicted. Both
are only hints: a flash or a whip pan looks the same, and a fade leaves no trace.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_REACH = 24  # packets compared with on either side
_BLOCK = 2_048  # packets judged at once, which bounds the memory
_LEAST_STRENGTH = 0.1
_APART = 4  # packets from one hint to the next
_JITTER = 0.05  # of the cadence: encoders that count seconds, not frames, vary by that much
_OFF_CADENCE = 0.8  # strength of a key frame that was not due
# A packet's size over the large ones around it, for strength 0 and 1.
_ORDINARY, _CERTAIN = 1.3, 3.5
# A packet's size over that of a key frame: nothing new in it, and a whole new picture.
_SHALLOW, _WHOLE = 0.08, 0.3


def find_cuts(sizes: NDArray[np.int32], keys: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """Return the packets that seem to begin a shot, ascending, and each hint's strength in [0.1,
    1].

    ``sizes`` and ``keys`` are those of all packets, in decoding order.
    """
    off_cadence = np.zeros(len(keys), np.bool_)
    off_cadence[np.flatnonzero(keys)] = _off_cadence(np.flatnonzero(keys))
    ordinary, whole = np.pad(_latest(sizes, ~keys), _REACH, mode="edge"), _latest(sizes, keys)
    largest = max(1, sizes.max(initial=0))
    found, strengths_found = [np.zeros(0, np.intp)], [np.zeros(0)]
    for start in range(0, len(sizes), _BLOCK):
        first = max(0, start - _APART)
        block = slice(first, start + _BLOCK + _APART)
        around = slice(first, start + _BLOCK + _APART + 2 * _REACH)
        by_size = _by_size(sizes[block], ordinary[around], whole[block])
        strengths = np.where(keys[block], 0.0, by_size)
        strengths = np.where(off_cadence[block], _OFF_CADENCE, strengths)
        ranks = strengths + sizes[block] / (1000.0 * largest)  # of equal strength, the largest
        peaks = np.flatnonzero(_peaks(ranks) & (strengths >= _LEAST_STRENGTH))
        inside = peaks[(peaks >= start - first) & (peaks < start - first + _BLOCK)]
        found.append(inside + first)
        strengths_found.append(strengths[inside])
    return np.concatenate(found), np.concatenate(strengths_found)


def find_key_cuts(numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
    """Return which key frames seem to begin a shot, judged by key frames alone, and the strengths.

    ``numbers`` are their numbers among all frames, ascending.
    """
    found = np.flatnonzero(_off_cadence(numbers))
    return found, np.full(len(found), _OFF_CADENCE)


def _peaks(ranks: Floats) -> NDArray[np.bool_]:
    """Mark the highest value in each neighbourhood, the earliest of equal ones."""
    is_peak = np.ones(len(ranks), np.bool_)
    for apart in range(1, _APART + 1):
        is_peak[apart:] &= ranks[apart:] > ranks[:-apart]
        is_peak[:-apart] &= ranks[:-apart] >= ranks[apart:]
    return is_peak


def _off_cadence(numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Mark the key frames that were not due; none where there are too few to tell a cadence.

    A key frame is due one cadence after the one before, or after any earlier one, since some
    encoders count on through a key frame at a cut. The cadence is the longest interval, if it comes
    back: a cut can only shorten one. It is exact, unless more intervals come near it than meet it.
    """
    off_cadence = np.zeros(len(numbers), np.bool_)
    if len(numbers) < 3:
        return off_cadence
    intervals = np.diff(numbers)
    cadence = int(intervals.max())
    jitter = round(_JITTER * cadence)
    exact, near = (intervals >= cadence - 1).sum(), (intervals >= cadence - jitter).sum()
    if near < 2:
        off_cadence[1:] = True
        return off_cadence
    slack = 1 if 2 <= exact >= near / 2 else max(1, jitter)
    due = numbers[1:] - cadence
    off_cadence[1:] = numbers[np.searchsorted(numbers, due - slack)] > due + slack
    return off_cadence


def _by_size(
    sizes: NDArray[np.int32], around: NDArray[np.int32], whole: NDArray[np.int32]
) -> Floats:
    """Return strengths by size alone. Key frames are large everywhere, so theirs mean nothing.

    ``around``: the sizes of ordinary packets, from _REACH before the first of ``sizes`` to _REACH
    after the last; ``whole``: that of the key frame before each. A packet is compared with the 90th
    percentile of those around it.
    """
    others = np.delete(sliding_window_view(around, 2 * _REACH + 1), _REACH, axis=1)
    level: Floats = np.percentile(others, 90, axis=1)
    excess = _log_scale(sizes / np.maximum(level, 1), _ORDINARY, _CERTAIN)
    depth = _log_scale(sizes / np.maximum(whole, 1), _SHALLOW, _WHOLE)
    return np.minimum(excess, depth)


def _latest(sizes: NDArray[np.int32], chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return for each packet the size of the latest chosen one, or else of the first."""
    numbers = np.arange(len(sizes), dtype=np.int32)
    return sizes[np.maximum.accumulate(np.where(chosen, numbers, np.int32(chosen.argmax())))]


def _log_scale(values: Floats, low: float, high: float) -> Floats:
    """Return 0 at ``low``, 1 at ``high`` and above, logarithmic between."""
    scaled: Floats = np.log(np.maximum(values, low) / low) / np.log(high / low)
    return np.minimum(scaled, 1.0)
