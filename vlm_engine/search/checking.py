"""Where a smaller model scans: what is worth showing to the judge, and what the scanner itself should look at again.

What fools the scanner for a whole shot, the judge sees through with one look, so a look of the judge's is worth the doubt
about all frames of the scene. It goes to the very frame that the scanner saw: no other tells more about that verdict.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vlm_engine.search.candidates import Candidate, IsFree, most_doubtful, other_frame
from vlm_engine.search.evidence import scene_starts
from vlm_engine.search.posterior import Posterior
from vlm_engine.search.rates import JUDGE, SCANNER, Floats
from vlm_engine.search.stopping import Prices
from vlm_engine.types import Purpose


def checks(
    belief: Posterior, end_s: float, prices: Prices, is_free: IsFree, is_free_for_judge: IsFree
) -> Iterator[Candidate]:
    """For every frame with doubtful verdicts the one question that gains most beyond its price, if any does."""
    evidence, cuts_s = belief.evidence, belief.clock.cuts_s
    judged_s = evidence.times_s[evidence.observers != SCANNER]
    gain = _by_scene(belief.gain(JUDGE), evidence.shots)
    by_judge, by_scanner = gain.sum(1), belief.gain(SCANNER).sum(1)
    for row in np.flatnonzero((by_judge >= prices.judge) | (by_scanner >= prices.scanner)):
        time_s = float(evidence.times_s[row])
        beside_s = other_frame(time_s, evidence.times_s, cuts_s, end_s, is_free)
        if beside_s is not None and by_scanner[row] - prices.scanner > max(
            0.0, by_judge[row] - prices.judge
        ):
            yield Candidate(beside_s, float(by_scanner[row]), Purpose.SCAN, ())
        elif by_judge[row] >= prices.judge:
            if evidence.observers[row] != SCANNER:
                look_s = other_frame(time_s, judged_s, cuts_s, end_s, is_free_for_judge)
            else:
                look_s = time_s if is_free_for_judge(time_s) else None
            if look_s is not None:
                yield Candidate(
                    look_s, float(by_judge[row]), Purpose.SECOND_LOOK, most_doubtful(gain[row])
                )


def _by_scene(gain: Floats, shots: NDArray[np.intp]) -> Floats:
    """(n, K): all that could be gained in a scene, at the one frame of it where most could."""
    firsts = scene_starts(shots)
    best = np.array([np.argmax(part) for part in np.split(gain.sum(1), firsts[1:])]) + firsts
    gathered = np.zeros_like(gain)
    gathered[best] = np.add.reduceat(gain, firsts, axis=0)
    return gathered
