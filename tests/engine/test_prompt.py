"""The question as text and schema."""

import base64
import json

import pytest

from vlm_engine.prompt import OPENING, Wording, longest_answer, messages, schema
from vlm_engine.types import Form, Question

TAGS = ("Basketball point", "Foul", "Break-away")
PICTURE = b"\xff\xd8 a picture"


def texts(form=Form.LIST, picture=PICTURE, **options):
    return messages(Question(TAGS, form, picture), Wording(), **options)


@pytest.mark.parametrize("form", Form)
def test_rules_and_tags_come_first_then_picture_and_question(form):
    system, user = texts(form)
    picture, line = user["content"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert system["content"].startswith(OPENING)
    assert [system["content"].count(tag) for tag in TAGS] == [1] * 3, "no tag is an example"
    assert system == texts(form, b"another picture")[0], "a server keeps it in its prefix cache"
    kind, _, data = picture["image_url"]["url"].partition(",")
    assert (picture["type"], kind) == ("image_url", "data:image/jpeg;base64")
    assert base64.b64decode(data) == PICTURE
    assert line["type"] == "text"
    assert not any(tag in line["text"] for tag in TAGS)


def test_without_a_system_role_the_rules_open_the_users_message():
    system, user = texts()
    rules = {"type": "text", "text": system["content"]}
    assert texts(system=False) == [{"role": "user", "content": [rules, *user["content"]]}]


def test_without_a_schema_the_words_are_firmer():
    strict, lenient = texts()[0]["content"], texts(strict=False)[0]["content"]
    assert lenient.startswith(strict)
    assert "nothing else" in lenient.removeprefix(strict)


NAMES = {"type": "array", "items": {"type": "string", "enum": list(TAGS)}, "maxItems": 3}


@pytest.mark.parametrize(
    ("form", "pictures", "properties"),
    [
        (Form.LIST, 1, {"tags": NAMES}),
        (Form.LIST, 2, {"1": NAMES, "2": NAMES}),
        (Form.VERDICTS, 1, {tag: {"type": "string", "enum": ["yes", "no"]} for tag in TAGS}),
    ],
)
def test_schemas_are_flat_and_use_only_what_every_server_knows(form, pictures, properties):
    wanted = schema(TAGS, form, pictures)
    assert list(wanted["properties"]) == list(properties)
    assert wanted == {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def test_the_longest_answer_fits_into_the_budget():
    tags = tuple(f"Quarter {number} – Überzahl" for number in range(35))
    verdicts = json.dumps(dict.fromkeys(tags, "yes"), ensure_ascii=False)
    assert longest_answer(tags) > len(verdicts.encode()) / 3
