"""A question as the body of a chat completion, with those fields that its server takes. Pure."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Set
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from pybase64 import b64encode

from vlm_engine.config import templates
from vlm_engine.config.models import ModelConfig
from vlm_engine.prompt import Wording, messages, schema
from vlm_engine.types import Form, Frame, Question


class Feature(Enum):
    """A part of a request that can be left out. The order is that in which they are given up on a vague complaint."""

    TEMPLATE = "chat_template_kwargs"
    REASONING = "reasoning_effort"
    SEED = "seed"
    LOGPROBS = "logprobs"
    SCHEMA = "response_format"
    MAX_TOKENS = "max_tokens"
    TEMPERATURE = "temperature"
    SYSTEM = "the system role"
    SEVERAL = "several pictures"


_COMPLAINTS = {
    Feature.TEMPLATE: r"chat_?template|enable_thinking",
    Feature.LOGPROBS: r"log_?probs",
    Feature.SCHEMA: r"response_format|json_?schema|structured|grammar|schema|guided|json_object|peg-native|parser",
    Feature.REASONING: r"reasoning|thinking|\bthink\b",
    Feature.SEED: r"\bseed\b",
    Feature.MAX_TOKENS: r"max_completion_tokens|max_tokens\W+(is|are) (not|un)",
    Feature.TEMPERATURE: r"temperature",
    Feature.SYSTEM: r"system\W+(role|message|prompt|instruction)|role\W+system|roles must alternate|developer instruction"
    r"|\bonly\b.{0,60}\broles? (are|is) (supported|allowed)",
    Feature.SEVERAL: r"(at most|maximum of|only|up to|more than) (\d+|one|a single) (image|picture)"
    r"|(too many|multiple|number of) images|images? per (prompt|request|message)",
}
_VAGUE = (
    r"(unknown|unrecogni[sz]ed|unexpected|unsupported|extra|additional|unpermitted) ?\w* ?"
    r"(field|param|argument|input|propert|key|option)|not permitted"
    r"|(requested|these|given) param|param\w*.{0,40}(not|un)\W?(supported|available|allowed)"
)
_ORDER = {feature: rank for rank, feature in enumerate(Feature)}


def blamed(status: int, complaint: str, carried: Set[Feature]) -> Feature | None:
    """Which of the ``carried`` features the complaint is about, as far as that can be told; None if about none."""
    if status not in (400, 403, 404, 422, 500, 501):
        return None
    for feature, pattern in _COMPLAINTS.items():
        if feature in carried and re.search(pattern, complaint, re.IGNORECASE):
            return feature
    if status != 500 and re.search(_VAGUE, complaint, re.IGNORECASE):
        optional = carried - {
            Feature.MAX_TOKENS,
            Feature.TEMPERATURE,
            Feature.SYSTEM,
            Feature.SEVERAL,
        }
        return min(optional, key=_ORDER.__getitem__, default=None)
    return None


SEED = 1
TOP_LOGPROBS = 10


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How a question is put: the features that the request carries, and the tokens that the answer may take."""

    features: frozenset[Feature]
    budget: int


def body(
    question: Question, name: str, model: ModelConfig, attempt: RequestOptions
) -> dict[str, Any]:
    """The body. ``name``: the model, as the endpoint calls it; "" leaves it to the endpoint."""
    carried = attempt.features
    strict = Feature.SCHEMA in carried
    tokens = "max_tokens" if Feature.MAX_TOKENS in carried else "max_completion_tokens"
    written: dict[str, Any] = {
        "messages": messages(
            question, Wording.of(model), system=Feature.SYSTEM in carried, strict=strict
        ),
        "stream": False,
        tokens: attempt.budget,
    }
    if name:
        written["model"] = name
    if strict:
        form = {
            "name": "answer",
            "strict": True,
            "schema": schema(question.tags, question.form, len(question.times_s)),
        }
        written["response_format"] = {"type": "json_schema", "json_schema": form}
    return written | _optional(carried, model.temperature)


def _optional(carried: Set[Feature], temperature: float) -> dict[str, Any]:
    fields: dict[Feature, dict[str, Any]] = {
        Feature.TEMPERATURE: {"temperature": temperature},
        Feature.SEED: {"seed": SEED},
        Feature.LOGPROBS: {"logprobs": True, "top_logprobs": TOP_LOGPROBS},
        Feature.REASONING: {"reasoning_effort": "none"},
        Feature.TEMPLATE: {"chat_template_kwargs": {"enable_thinking": False}},
    }
    return {
        name: value
        for feature, pairs in fields.items()
        if feature in carried
        for name, value in pairs.items()
    }


_MARK = os.urandom(30)  # stands for a picture; in base64, no text of a user can hold it
_KEPT = 64


class Bodies:
    """The requests to one model: the very bytes of ``json.dumps`` of ``body``."""

    def __init__(self, model: ModelConfig) -> None:
        self._model = model
        self._tells_time = "time" in templates.template_fields(
            model.system_template
        ) | templates.template_fields(model.user_template)
        self._around = lru_cache(_KEPT)(self._written_around)

    def encoded(self, question: Question, name: str, attempt: RequestOptions) -> bytes:
        """The bytes. ``name``: as for ``body``."""
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
        text = json.dumps(body(marked, name, self._model, attempt))
        return text.encode("ascii").split(b64encode(_MARK))
