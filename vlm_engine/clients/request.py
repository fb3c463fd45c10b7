"""A question as the body of a chat completion, with those fields that its server takes. Pure."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from vlm_engine.clients.features import Feature
from vlm_engine.config.models import ModelConfig
from vlm_engine.prompt import Wording, messages, schema
from vlm_engine.types import Question

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
