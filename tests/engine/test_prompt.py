"""The question as text and schema."""

import base64
import json

import pytest

from vlm_engine.config.models import ModelConfig
from vlm_engine.prompt import (
    OPENING,
    Wording,
    longest_answer,
    messages,
    schema,
    wording_fingerprint,
)
from vlm_engine.types import Form, Question

TAGS = ("Basketball point", "Foul", "Break-away")
KNOWN_KEYWORDS = {
    "type",
    "properties",
    "items",
    "enum",
    "required",
    "additionalProperties",
    "maxItems",
}


def question(form=Form.LIST, tags=TAGS):
    return Question(tags, form, b"\xff\xd8 a picture")


def test_rules_and_tags_come_first_then_picture_and_question():
    system, user = messages(question(), Wording())
    assert system["role"] == "system"
    assert system["content"].startswith(OPENING)
    assert [tag in system["content"] for tag in TAGS] == [True] * 3
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
    assert not any(tag in user["content"][1]["text"] for tag in TAGS)


def test_the_picture_travels_as_a_jpeg_data_url():
    url = messages(question(), Wording())[1]["content"][0]["image_url"]["url"]
    kind, _, data = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(data) == b"\xff\xd8 a picture"


@pytest.mark.parametrize("form", Form)
def test_the_text_before_the_picture_never_changes(form):
    other = Question(TAGS, form, b"another picture")
    assert messages(question(form), Wording())[0] == messages(other, Wording())[0]


def test_without_a_system_role_the_rules_open_the_users_turn():
    (only,) = messages(question(), Wording(), system=False)
    rules, picture, line = only["content"]
    assert only["role"] == "user"
    assert rules["text"] == messages(question(), Wording())[0]["content"]
    assert (picture["type"], line["type"]) == ("image_url", "text")


def test_without_a_schema_the_words_are_firmer():
    strict = messages(question(), Wording())[0]["content"]
    lenient = messages(question(), Wording(), strict=False)[0]["content"]
    assert lenient.startswith(strict)
    assert "nothing else" in lenient.removeprefix(strict)


def test_no_tag_of_the_list_is_used_as_an_example():
    content = messages(question(), Wording())[0]["content"]
    assert content.count("Foul") == 1


def test_the_user_may_replace_the_opening_and_add_special_tokens():
    model = ModelConfig(prompt="You watch a basketball match.", special_tokens="/no_think")
    system, user = messages(question(), Wording.of(model))
    assert system["content"].startswith("You watch a basketball match.\n")
    assert OPENING not in system["content"]
    assert user["content"][1]["text"].startswith("/no_think ")


def test_a_list_is_an_array_of_the_tags_and_nothing_else():
    wanted = schema(TAGS, Form.LIST)
    assert wanted["properties"]["tags"] == {
        "type": "array",
        "items": {"type": "string", "enum": list(TAGS)},
        "maxItems": 3,
    }
    assert wanted["required"] == ["tags"]


def test_verdicts_are_one_yes_or_no_for_each_tag_in_order():
    wanted = schema(TAGS, Form.VERDICTS)
    assert list(wanted["properties"]) == list(TAGS) == wanted["required"]
    assert all(
        verdict == {"type": "string", "enum": ["yes", "no"]}
        for verdict in wanted["properties"].values()
    )


@pytest.mark.parametrize("form", Form)
def test_schemas_use_only_keywords_that_every_server_knows(form):
    wanted = schema(("Goal",), form)
    used = set(wanted) | {key for inner in wanted["properties"].values() for key in inner}
    assert used <= KNOWN_KEYWORDS
    assert wanted["additionalProperties"] is False


def test_the_longest_answer_fits_into_the_budget():
    tags = tuple(f"Quarter {number} – Überzahl" for number in range(35))
    verdicts = json.dumps(dict.fromkeys(tags, "yes"), ensure_ascii=False)
    assert longest_answer(tags) > len(verdicts.encode()) / 3


def test_the_fingerprint_follows_the_words_and_nothing_else():
    plain = wording_fingerprint(ModelConfig())
    assert len(plain) == 64
    assert plain == wording_fingerprint(
        ModelConfig(tag_list=["Foul"], model_id="other", max_new_tokens=99)
    )
    assert plain != wording_fingerprint(ModelConfig(prompt="You watch football."))
    assert plain != wording_fingerprint(ModelConfig(special_tokens="/no_think"))
