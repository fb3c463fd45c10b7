"""The bytes of a request equal its JSON, though most of them are cached."""

import base64
import json

import pytest

from vlm_engine.clients import request
from vlm_engine.clients.request import Bodies, Feature, RequestOptions
from vlm_engine.config.models import ModelConfig
from vlm_engine.types import Form, Frame, Question

TAGS = ("Basketball point", 'the "Hail Mary"', "Élan \\ \U0001f3c0")
EVERYTHING = RequestOptions(frozenset(Feature), 99)
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
@pytest.mark.parametrize(
    "attempt",
    [EVERYTHING, RequestOptions(frozenset(), 512)],
    ids=["with everything", "with nothing"],
)
def test_a_cached_request_equals_its_plain_json(settings, pictures, attempt):
    model = ModelConfig(**settings)
    bodies = Bodies(model)
    for tags in (TAGS, TAGS[:2]):
        for time_s in (None, 754.5, 758.5):
            for name in ("", "qwen3-vl"):
                more = frames(pictures, time_s or 0.0)
                question = Question(
                    tags, Form.LIST, b"\xff%d" % len(name) * 5000, time_s=time_s, more=more
                )
                body = bodies.encoded(question, name, attempt)
                assert body == json.dumps(request.body(question, name, model, attempt)).encode()
                assert base64.b64encode(question.jpeg) in body


def test_both_forms_and_either_budget_are_told_apart():
    model = ModelConfig()
    bodies = Bodies(model)
    for form in Form:
        for budget in (64, 256):
            question, attempt = (
                Question(TAGS, form, b"\xff\xd8"),
                RequestOptions(frozenset(Feature), budget),
            )
            assert (
                bodies.encoded(question, "", attempt)
                == json.dumps(request.body(question, "", model, attempt)).encode()
            )
