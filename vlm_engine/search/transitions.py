"""How a tag comes and goes: a chain of four states in continuous time.

    short event <-> OFF <-> LONG event <-> pause within it

Absent and short events have geometric lengths under any two-state chain; real tags mix bursts of seconds with
scenes of minutes that have holes. The chain is reversible, so its generator Q is symmetric after scaling by the square root
of its stationary law, and exp(Q h) has a closed form in four modes: sum over m of exp(w_m h) A_m (Kelly 1979, section 1.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm_engine.search.rates import PAUSE_S, PAUSES_PER_LONG, SHORT_S, Floats, Rates

OFF, SHORT, LONG, PAUSE = range(4)
STATES = 4
SHOWS: NDArray[np.intp] = np.array([0, 1, 1, 0])
"""For each state: whether the tag shows in the picture."""
_LEAST = np.float32(1e-12)


@dataclass(frozen=True, slots=True)
class TransitionModel:
    """The chains of K tags: ``law`` (4, K) in the long run, ``decays_per_s`` (K, 4) and ``modes`` (K, 4, 4 x 4)."""

    law: Floats
    decays_per_s: Floats
    modes: Floats

    def steps(self, elapsed_s: Floats) -> Floats:
        """(n, 4, 4, K): the probability to pass from one state to another in each of n lapses of time."""
        fading = np.exp(elapsed_s[None, :, None] * self.decays_per_s[:, None, :]).astype(np.float32)
        passed = np.maximum(fading @ self.modes.astype(np.float32), _LEAST)
        return np.ascontiguousarray(passed.transpose(1, 2, 0)).reshape(
            len(elapsed_s), STATES, STATES, len(passed)
        )


def chain_of(rates: Rates) -> TransitionModel:
    """The chains that ``rates`` describe."""
    tags = len(rates.short_per_s)
    generator = np.zeros((tags, STATES, STATES))
    generator[:, OFF, SHORT], generator[:, OFF, LONG] = rates.short_per_s, rates.long_per_s
    generator[:, SHORT, OFF], generator[:, LONG, OFF] = 1 / SHORT_S, rates.end_per_s
    generator[:, LONG, PAUSE], generator[:, PAUSE, LONG] = (
        PAUSES_PER_LONG * rates.end_per_s,
        1 / PAUSE_S,
    )
    generator[:, range(STATES), range(STATES)] = -generator.sum(2)
    long_share = rates.long_per_s / rates.end_per_s
    shares = [
        np.ones(tags),
        rates.short_per_s * SHORT_S,
        long_share,
        rates.long_per_s * PAUSES_PER_LONG * PAUSE_S,
    ]
    law = np.stack(shares, 1)
    law /= law.sum(1, keepdims=True)
    root = np.sqrt(law)
    decays, vectors = np.linalg.eigh(root[:, :, None] * generator / root[:, None, :])
    left, right = vectors / root[:, :, None], vectors * root[:, :, None]
    modes = np.einsum("kum,kwm->kmuw", left, right).reshape(tags, STATES, STATES * STATES)
    return TransitionModel(law.T, np.minimum(decays, 0.0), modes)
