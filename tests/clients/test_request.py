"""The bytes of a request equal its JSON, though most of them are cached."""

import base64
import itertools
import json

import pytest

from vlm_engine.clients import request
from vlm_engine.clients.request import Bodies, Feature, RequestOptions
from vlm_engine.config.models import ModelConfig
from vlm_engine.types import Form, Frame, Question

TAGS = ("Basketball point", 'the "Hail Mary"', "Élan \\ \U0001f3c0")
ATTEMPTS = [
    RequestOptions(frozenset(Feature), 64),
    RequestOptions(frozenset(Feature), 256),
    RequestOptions(frozenset(), 256),
]
SETTINGS = {
    "plain": {},
    "words of the user's": {"prompt": "Look\nclosely.", "special_tokens": "/no_think"},
    "the time of the frame": {"user_prompt": "{question} This is {time}."},
}


def frames(number: int, start_s: float) -> tuple[Frame, ...]:
    return tuple(
        Frame(start_s + 4 * place, 8, 8, bytes([place]) * 1000) for place in range(1, number)
    )


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("pictures", [1, 3])
def test_a_cached_request_equals_its_plain_json(settings, pictures):
    model = ModelConfig(**settings)
    bodies = Bodies(model)  # one cache for all of them
    for tags, form, time_s, name, attempt in itertools.product(
        (TAGS, TAGS[:2]), Form, (None, 754.5, 758.5), ("", "qwen3-vl"), ATTEMPTS
    ):
        more = frames(pictures, time_s or 0.0)
        question = Question(tags, form, b"\xff%d" % len(name) * 5000, time_s=time_s, more=more)
        body = bodies.encoded(question, name, attempt)
        assert body == json.dumps(request.body(question, name, model, attempt)).encode()
        assert base64.b64encode(question.jpeg) in body
