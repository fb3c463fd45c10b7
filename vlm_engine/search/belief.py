"""What to make of the verdicts on one tag: which to believe, which to ask again, which to overrule.

A verdict that both neighbours contradict is either a short event or a mistake. Other frames of the same shot
tell which: one that agrees upholds it; when all that were asked disagree, it is overruled.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vlm_engine.search.ledger import Ledger, Sample
from vlm_engine.types import Cut

_OFFSETS_S = (1.0, -1.0, 0.6, -0.6)
_CUT_MARGIN_S = 0.1
_ENOUGH = 2


@dataclass(frozen=True, slots=True)
class Belief:
    """The verdicts on one tag as they are to be believed, and the times at which to ask before believing all of them."""

    samples: tuple[Sample, ...]
    doubts_s: tuple[float, ...]

    def is_doubted(self, start_s: float, end_s: float) -> bool:
        """Whether a question about something between these times is still open."""
        return any(start_s - abs(_OFFSETS_S[0]) <= time_s <= end_s + abs(_OFFSETS_S[0]) for time_s in self.doubts_s)


def believe(tag: str, ledger: Ledger, cuts: Sequence[Cut], end_s: float, frame_s: float) -> Belief:
    """The belief about one tag. ``frame_s``: two looks nearer than this see the same frame."""
    samples = list(ledger.samples(tag))
    doubts_s: list[float] = []
    for index in range(1, len(samples) - 1):
        if not _is_lonely(samples, index):
            continue
        others_s = [
            time_s
            for time_s in confirming_times(samples[index].time_s, cuts, end_s)
            if ledger.looked(tag, time_s, frame_s) or not ledger.spent(time_s, frame_s)
        ][:_ENOUGH]
        unasked_s = [time_s for time_s in others_s if not ledger.looked(tag, time_s, frame_s)]
        if unasked_s:
            doubts_s.append(unasked_s[0])
        elif others_s:
            samples[index] = replace(samples[index], present=not samples[index].present, probability=None)
    return Belief(tuple(samples), tuple(doubts_s))


def _is_lonely(samples: Sequence[Sample], index: int) -> bool:
    before, here, after = (sample.present for sample in samples[index - 1 : index + 2])
    return before == after != here


def confirming_times(time_s: float, cuts: Sequence[Cut], end_s: float) -> list[float]:
    """Where to look to confirm a verdict at ``time_s``: other frames of the same shot, best first."""
    cuts_s = [cut.time_s for cut in cuts]
    index = bisect_right(cuts_s, time_s)
    first_s = cuts_s[index - 1] + _CUT_MARGIN_S if index else 0.0
    last_s = cuts_s[index] - _CUT_MARGIN_S if index < len(cuts_s) else end_s
    return [time_s + offset for offset in _OFFSETS_S if first_s < time_s + offset < last_s]
