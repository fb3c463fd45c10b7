"""What a request may carry, and which part of it a server's complaint is about.

No two servers take the same fields. Each endpoint is asked with all of them at first; a field that it
complains about is left out from then on.
"""

from __future__ import annotations

import re
from collections.abc import Set
from enum import Enum


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
