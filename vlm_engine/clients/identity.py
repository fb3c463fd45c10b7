"""Which model answers: the one that is asked for, or another that stands in for it."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace

from vlm_engine.types import Answer

_log = logging.getLogger(__name__)


class ModelIdentity:
    """The model of a pool. ``asked`` is its name, "" until one is known: then the first that answers is the one that is asked."""

    def __init__(self, configured: str) -> None:
        self.asked = configured
        self._answers: Counter[str] = (
            Counter()
        )  # by the model that stood in; "" for the one that is asked
        self._warned = False

    @property
    def answering(self) -> str:
        """The model under whose name answers are kept: another than ``asked`` where that one alone has answered so far."""
        (only,) = self._answers if len(self._answers) == 1 else ("",)
        return only or self.asked

    def chosen(self, answer: Answer, model: str) -> Answer:
        """``answer`` of an endpoint for which nobody set a model, and which chose ``model``."""
        self.asked = self.asked or model
        if answer.by_another_model or model in ("", self.asked):
            return answer
        if not self._warned:
            self._warned = True
            _log.warning(
                "No model is set, and the endpoints have different ones: %s has %r, others have %r. All are asked the same "
                "questions. Set MODEL, or model_id of each endpoint.",
                answer.endpoint,
                model,
                self.asked,
            )
        return replace(answer, by_another_model=True)

    def note(self, answer: Answer) -> None:
        """A question was answered."""
        self._answers[answer.model if answer.by_another_model else ""] += 1
