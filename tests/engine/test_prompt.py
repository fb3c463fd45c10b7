"""The question as text and schema."""

import base64
import json

import pytest

from vlm_engine.prompt import OPENING, Wording, longest_answer, messages, schema
from vlm_engine.types import Form, Frame, Question

TAGS = ("Basketball point", "Foul", "Break-away")
PICTURE = b"\xff\xd8 a picture"
ALL = Wording(tags=TAGS, descriptions={"Foul": "a player is fouled"})
MORE = (Frame(1.0, 8, 8, PICTURE),)


def texts(form=Form.LIST, picture=PICTURE, **options):
    return messages(Question(TAGS, form, picture), Wording(), **options)


def parts(tags=TAGS, form=Form.LIST, more=(), wording=ALL, **options):
    """Return the text before the pictures, and the line after them."""
    question = Question(tags, form, PICTURE, more=more, time_s=0.0)
    system, user = messages(question, wording, **options)
    return system["content"], user["content"][-1]["text"]


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


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("more", [(), MORE])
@pytest.mark.parametrize("tags", [TAGS, TAGS[:1], TAGS[1:]])
def test_the_text_before_the_picture_is_always_the_same(tags, more, form, strict):
    assert parts(tags, form, more, strict=strict)[0] == parts()[0]


def test_the_usual_line_is_the_bare_question():
    assert parts()[1] == "Which tags does the picture show?"


def test_a_question_about_some_tags_names_the_fewer_of_them():
    question = "\nWhich tags does the picture show?"
    assert parts(TAGS[1:2])[1] == f"Consider only these tags: Foul{question}"
    rest = (TAGS[0], TAGS[2])
    assert parts(rest)[1] == f"Consider all tags but: Foul{question}"


def test_names_with_commas_or_quotes_stand_in_quotes():
    tags = ("Goal, own", 'the "Hail Mary"', "Foul", "A rather long name of some other tag, too")
    line = parts(tags[:3], wording=Wording(tags=tags))[1]
    assert line.startswith('Consider only these tags: "Goal, own", "the \\"Hail Mary\\"", Foul\n')


def test_tags_outside_of_the_models_list_are_listed_themselves():
    system, line = parts(("Foul", "Goal"))
    assert 'Tags:\n- "Foul": a player is fouled\n- Goal\n\n' in system
    assert line == parts()[1]


@pytest.mark.parametrize(
    ("form", "more", "words"),
    [
        (Form.NAMES, (), ["without JSON: one name on each line, or none"]),
        (Form.VERDICTS, (), ["Judge each tag by itself", '"name of another": "no"}']),
        (Form.LIST, MORE, ["each of these 2 pictures", '{"1": ["name of a tag"']),
        (Form.NAMES, MORE, ["each of these 2 pictures", '{"1": ["name of a tag"']),
    ],
)
def test_another_form_is_asked_for_behind_the_picture(form, more, words):
    line = parts(TAGS[:1], form, more)[1]
    assert line.startswith("Consider only these tags: Basketball point\nWhich tags does ")
    assert [word for word in words if word not in line] == []


def test_without_a_schema_the_words_are_firmer():
    strict, lenient = parts()[1], parts(strict=False)[1]
    assert lenient.startswith(strict)
    assert "nothing else" in lenient.removeprefix(strict)
    assert parts(form=Form.NAMES, strict=False) == parts(form=Form.NAMES)


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


def test_bare_names_have_no_schema_unless_pictures_are_numbered():
    assert schema(TAGS, Form.NAMES) is None
    assert schema(TAGS, Form.NAMES, 2) == schema(TAGS, Form.LIST, 2)


def test_the_longest_answer_fits_into_the_budget():
    tags = tuple(f"Quarter {number} – Überzahl" for number in range(35))
    verdicts = json.dumps(dict.fromkeys(tags, "yes"), ensure_ascii=False)
    assert longest_answer(tags) > len(verdicts.encode()) / 3
