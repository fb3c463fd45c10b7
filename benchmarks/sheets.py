"""Several frames in one question: the search as it is, with its scan sent in sheets of four small
pictures.

A sheet of four pictures of the scan's size is one picture of full size: one call, and as many
tokens as the four. How much worse a model judges such a picture differs by model, so it is
simulated for several answers to that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.noisy_model import NoisyModel
from benchmarks.oracle import Numbers, Oracle, Presence, drive
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import VideoSearch
from vlm_engine.types import FrameQuery, Observation, Purpose, Span

FRAMES_PER_SHEET = 4


class BatchedScans(Oracle):
    """Asks ``model``, and about the frames of scans one that errs ``factor`` times as often, four
    frames in a call.
    """

    def __init__(self, model: NoisyModel, factor: float) -> None:
        super().__init__(model.video, model.tags)
        self.bill = model.bill
        self._model, self._on_sheets = model, model.erring(factor)

    def judge(self, numbers: Numbers) -> tuple[Presence, NDArray[np.float64] | None]:
        return self._model.judge(numbers)

    def observe(self, queries: Sequence[FrameQuery]) -> list[Observation]:
        scanned = [query for query in queries if query.purpose is Purpose.SCAN]
        others = [query for query in queries if query.purpose is not Purpose.SCAN]
        on_sheets = dict(
            zip(scanned, self._on_sheets.observe(scanned) if scanned else (), strict=True)
        )
        alone = dict(zip(others, self._model.observe(others) if others else (), strict=True))
        self._count_round(len(scanned), bool(others))
        return [(on_sheets | alone)[query] for query in queries]

    def _count_round(self, scanned: int, others: bool) -> None:
        """Move what the other model was asked onto the one bill; what is asked at once is one
        round.
        """
        extra, bill = self._on_sheets.bill, self.bill
        bill.calls += -(-scanned // FRAMES_PER_SHEET)
        bill.rounds += not others
        bill.image_tokens += extra.image_tokens
        bill.answer_tokens += extra.answer_tokens
        bill.own_cpu_s += extra.own_cpu_s
        extra.image_tokens = extra.answer_tokens = 0
        extra.own_cpu_s = 0.0


def in_sheets(oracle: Oracle, factor: float) -> tuple[Span, ...]:
    """Return the engine's search so. ``oracle`` has to be a ``NoisyModel``."""
    assert isinstance(oracle, NoisyModel)
    return drive(
        VideoSearch(oracle.video, oracle.tags, SearchConfig()), BatchedScans(oracle, factor)
    )
