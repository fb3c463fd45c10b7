"""The bytes of a request. What stands around the pictures is the same from frame to frame: it is written once and kept."""

from __future__ import annotations

import json
import os
from functools import lru_cache

from pybase64 import b64encode

from vlm_engine.clients import request
from vlm_engine.clients.request import RequestOptions
from vlm_engine.config import templates
from vlm_engine.config.models import ModelConfig
from vlm_engine.types import Form, Frame, Question

_MARK = os.urandom(30)  # stands for a picture; in base64, no text of a user can hold it
_KEPT = 64


class Bodies:
    """The requests to one model: the very bytes of ``json.dumps`` of ``request.body``."""

    def __init__(self, model: ModelConfig) -> None:
        self._model = model
        self._tells_time = "time" in templates.template_fields(
            model.system_template
        ) | templates.template_fields(model.user_template)
        self._around = lru_cache(_KEPT)(self._written_around)

    def encoded(self, question: Question, name: str, attempt: RequestOptions) -> bytes:
        """The bytes. ``name``: as for ``request.body``."""
        times_s = question.times_s if question.more or self._tells_time else (None,)
        first, *rest = self._around(question.tags, question.form, times_s, name, attempt)
        jpegs = (question.jpeg, *(frame.jpeg for frame in question.more))
        pairs = zip(jpegs, rest, strict=True)
        return b"".join(
            [first, *(part for jpeg, after in pairs for part in (b64encode(jpeg), after))]
        )

    def _written_around(
        self,
        tags: tuple[str, ...],
        form: Form,
        times_s: tuple[float | None, ...],
        name: str,
        attempt: RequestOptions,
    ) -> list[bytes]:
        """What stands before, between and behind the pictures."""
        time_s, *later = times_s
        more = tuple(Frame(later_s or 0.0, 0, 0, _MARK) for later_s in later)
        marked = Question(tags, form, _MARK, time_s=time_s, more=more)
        body = json.dumps(request.body(marked, name, self._model, attempt))
        return body.encode("ascii").split(b64encode(_MARK))
