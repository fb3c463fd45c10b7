"""A request's bytes are those of its JSON."""

import base64
import json

import pytest

from vlm_engine.clients.body import encoded
from vlm_engine.config_models import ModelConfig
from vlm_engine.prompt import Wording, messages, schema
from vlm_engine.types import Form, Question

TAGS = ("Basketball point", 'the "Hail Mary"', "Élan \\ \U0001f3c0")


@pytest.mark.parametrize("system", [True, False])
def test_a_request_with_its_picture_is_the_same_as_in_plain_json(system):
    question = Question(TAGS, Form.LIST, bytes(range(256)) * 300)
    wording = Wording.of(ModelConfig(prompt="Look\nclosely.", special_tokens="/no_think"))
    payload = {"messages": messages(question, wording, system=system), "schema": schema(TAGS, Form.LIST), "max_tokens": 99}
    assert encoded(payload) == json.dumps(payload).encode()
    assert base64.b64encode(question.jpeg) in encoded(payload)


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_however_many_pictures_there_are(pictures):
    payload = {"content": [{"url": f"data:image/png;base64,{'A' * number}"} for number in range(pictures)], "stream": False}
    assert encoded(payload) == json.dumps(payload).encode()
