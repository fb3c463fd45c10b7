"""A small model that scans for a large one: the engine's own search with two models, and what each
of them is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.oracle import Numbers, Oracle, Presence, drive
from benchmarks.strategies import engine_search
from benchmarks.tokens import SMALL_LIST, RequestStyle
from vlm_engine.search import Costs
from vlm_engine.types import FrameQuery, Observation, Purpose, QuestionCost, QuestionTerms, Span

SCANNER_SHARE = 0.3
"""Cost of a question to the small model, of one to the large model."""


class Pair(Oracle):
    """Asks ``scanner`` about the frames of scans, and ``judge``, whose bill it is, about all
    others.
    """

    def __init__(self, judge: NoisyModel, scanner: NoisyModel) -> None:
        super().__init__(judge.video, judge.tags)
        self.bill = judge.bill
        self._judge, self._scanner = judge, scanner

    def judge(
        self, numbers: Numbers, style: RequestStyle = SMALL_LIST
    ) -> tuple[Presence, NDArray[np.float64] | None]:
        return self._judge.judge(numbers, style)

    def answer(self, queries: Sequence[FrameQuery], purpose: Purpose) -> list[Observation]:
        if purpose is not Purpose.SCAN:
            return self._judge.answer(queries, purpose)
        self.bill.scan_calls += len(queries)
        seen = self._scanner.answer(queries, purpose)
        return [replace(one, scanned=True) for one in seen]


def scanned_by(oracle: Oracle, noise: Noise) -> tuple[Span, ...]:
    """Return the engine's search, scanned by a model with this ``noise``.

    ``oracle`` has to be a ``NoisyModel``.
    """
    assert isinstance(oracle, NoisyModel)
    costs = Costs(scanner=QuestionTerms(cost=QuestionCost().times(SCANNER_SHARE)))
    return drive(engine_search(oracle, costs=costs), Pair(oracle, oracle.another(noise)))
