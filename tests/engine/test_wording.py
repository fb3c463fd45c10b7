"""The words of a question as a user sets them: templates, descriptions, synonyms."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_engine.config import templates
from vlm_engine.config.models import EngineConfig, ModelConfig, parse
from vlm_engine.errors import ConfigError
from vlm_engine.prompt import Wording, kept_name, messages, wording_fingerprint
from vlm_engine.types import Form, Question

TAGS = ("Basketball point", "Foul", "Free throw")
SIGNAL = "a player is fouled; the referee signals"


def texts(
    form: Form = Form.LIST,
    time_s: float | None = None,
    *,
    strict: bool = True,
    tags: tuple[str, ...] = (),
    **words: Any,
) -> tuple[str, str]:
    """The text before the picture and the line behind it, in these words."""
    model = ModelConfig(**{"tag_list": TAGS, **words})
    question = Question(tags or model.tag_list, form, b"", time_s=time_s)
    system, user = messages(question, Wording.of(model), strict=strict)
    return system["content"], user["content"][1]["text"]


def fault(**words: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(EngineConfig, {"models": {"vlm": {"tag_list": list(TAGS), **words}}}, "")
    return str(caught.value)


def test_the_words_that_are_built_in_are_still_the_same():
    """A change has everybody's answers asked for again: note it in the changelog."""
    assert wording_fingerprint(ModelConfig()).startswith("5aef67120245")


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"tag_list": ["Foul"], "model_id": "other", "max_new_tokens": 99}, True),
        ({"prompt": "You watch football."}, False),
        ({"special_tokens": "/no_think"}, False),
    ],
)
def test_the_fingerprint_follows_the_words_alone(settings, same):
    plain = wording_fingerprint(ModelConfig())
    assert len(plain) == 64
    assert (wording_fingerprint(ModelConfig(**settings)) == plain) == same


def test_a_template_says_everything_in_its_own_words():
    system, line = texts(
        system_prompt="A match. {tag_count} plays:\n{tags}\n{rules} {{so}}",
        user_prompt="{time} {special_tokens} Which?",
        special_tokens="/no_think",
        time_s=754.46,
    )
    assert system.startswith(
        "A match. 3 plays:\n- Basketball point\n- Foul\n- Free throw\nName the tags"
    )
    assert system.endswith("{so}")
    assert line == "0:12:34.5 /no_think Which?"


def test_the_fields_are_all_filled_in():
    every_field = "; ".join(f"{{{name}}}" for name in templates.FIELDS)
    system, line = texts(
        Form.VERDICTS,
        prompt="A match.",
        special_tokens="/fast",
        system_prompt=every_field,
        user_prompt=every_field,
    )
    for text in (system, line):
        assert text.startswith("A match.; - Basketball point\n- Foul\n- Free throw; 3; ")
        assert text.endswith("?; /fast; 1;"), "a picture by itself has no time"
    assert "; 3; Name the tags" in system and '{"tags": []}' in system
    assert "; 3; Judge each tag" in line
    assert '"name of another": "no"}.; Which tags' in line, "the question does not repeat it"


@pytest.mark.parametrize("form", Form)
def test_a_line_with_the_tags_lists_those_of_the_question(form):
    words = {"system_prompt": "A match.", "user_prompt": "{tag_count}:\n{tags}\n{question}"}
    system, line = texts(form, tags=TAGS[1:], **words)
    assert system == "A match."
    assert line.startswith("2:\n- Foul\n- Free throw\nWhich tags does the picture show?")
    assert "Consider" not in line


def test_a_line_of_your_own_still_says_which_tags_and_which_form():
    words = {"user_prompt": "Well?"}
    assert texts(**words)[1] == "Well?"
    assert texts(tags=TAGS[:1], **words)[1] == "Well?\nConsider only these tags: Basketball point"
    assert texts(Form.NAMES, **words)[1] == (
        "Well?\nAnswer without JSON: one name on each line, or none."
    )
    _, line = texts(Form.VERDICTS, user_prompt="{rules} {format}", tags=TAGS[:1])
    assert line.startswith("Judge each tag by itself")
    assert line.endswith('"no"}.\nConsider only these tags: Basketball point')


def test_without_a_schema_the_words_ask_for_json():
    words = {"system_prompt": "{tags}"}
    system, line = texts(strict=False, **words)
    assert system == texts(**words)[0] == "- Basketball point\n- Foul\n- Free throw"
    assert texts(**words)[1] == "Which tags does the picture show?"
    assert 'show? Answer in JSON: {"tags": [' in line
    assert line.endswith(
        "Write that one JSON object and nothing else: no explanation, no other text."
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"system_prompt": "{tagz}"},
            "models.vlm.system_prompt: {tagz} is no field; did you mean {tags}? (Write {{ or }}",
        ),
        (
            {"user_prompt": "{whistle}"},
            "models.vlm.user_prompt: {whistle} is no field; there are {opening}, {tags}, ",
        ),
        ({"user_prompt": "{}"}, "models.vlm.user_prompt: {} is no field"),
        (
            {"user_prompt": '{"tags": []}'},
            'models.vlm.user_prompt: {"tags"} is no field; did you mean {tags}?',
        ),
        (
            {"user_prompt": "{tags!r}"},
            "models.vlm.user_prompt: {tags} takes nothing behind its name",
        ),
        ({"system_prompt": "{tags} }"}, "models.vlm.system_prompt: a brace stands alone in it"),
        ({"system_prompt": "Name what you see."}, "models.vlm: system_prompt: {tags} is missing"),
        (
            {"system_prompt": "{tags}", "prompt": "A match."},
            "models.vlm: prompt: nothing is made of it, because neither",
        ),
        ({"user_prompt": "?", "special_tokens": "/no_think"}, "has {special_tokens}"),
        (
            {"tag_descriptions": {"Fowl": "x"}},
            "models.vlm.tag_descriptions: 'Fowl' is not in tag_list; did you mean 'Foul'?",
        ),
        ({"tag_descriptions": ["Foul"]}, "models.vlm.tag_descriptions: write what each tag means"),
        (
            {"tag_list": [{"Foul": "x"}], "tag_descriptions": ["Foul"]},
            "models.vlm.tag_descriptions: write what each tag means",
        ),
        (
            {"tag_descriptions": {"Foul": "x" * 1001}},
            "the description of 'Foul' has more than 1000 characters",
        ),
        ({"synonyms": {"Fowl": ["x"]}}, "models.vlm.synonyms: 'Fowl' is not in tag_list"),
        (
            {"synonyms": {"Foul": ["free throw"]}},
            "models.vlm.synonyms: 'free throw' means 'Free throw' already, so it cannot",
        ),
        (
            {"synonyms": {"Foul": ["shot"], "Free throw": "Shot"}},
            "'Shot' means 'Foul' already, so it cannot mean 'Free throw'",
        ),
        (
            {"synonyms": {"Foul": None}},
            "models.vlm.synonyms: 'Foul' has no list of other names; write it like",
        ),
        ({"synonyms": {"Foul": 7}}, "models.vlm.synonyms: 'Foul' has no list of other names"),
        (
            {"synonyms": {"Foul": [""]}},
            "models.vlm.synonyms: a tag is a name of 1 to 200 characters",
        ),
        ({"tag_list": {"Foul": 3}}, "models.vlm.tag_descriptions: write what each tag means"),
        ({"tag_list": [{"Foul": "x"}, "foul"]}, "models.vlm.tag_list: tag 'foul' is listed twice"),
    ],
)
def test_what_is_wrong_is_named_when_it_is_loaded(words, message):
    assert message in fault(**words)


@pytest.mark.parametrize(
    "words",
    [
        {"tag_descriptions": {"foul": f"  {SIGNAL.replace('; ', ';  ')}"}},
        {"tag_list": {"Basketball point": None, "Foul": SIGNAL, "Free throw": None}},
        {
            "tag_list": ["Basketball point", {"Foul": SIGNAL}, {"Free throw": "x"}],
            "tag_descriptions": {"free  Throw": ""},
        },
        {"tag_list": ["Basketball point", {"Foul": SIGNAL}, "Free throw"]},
        {
            "tag_list": ["Basketball point", {"Foul": "a free kick"}, "Free throw"],
            "tag_descriptions": {"Foul": SIGNAL},
        },
    ],
    ids=["apart", "mapping", "other case", "some", "both"],
)
def test_a_tag_may_be_described(words):
    model = ModelConfig(**{"tag_list": TAGS, **words})
    assert (model.tag_list, model.tag_descriptions) == (TAGS, {"Foul": SIGNAL})
    system, _ = texts(**words)
    assert f'- Basketball point\n- "Foul": {SIGNAL}\n- Free throw\n' in system
    assert "only what is in the quotes is its name" in system


def test_without_the_described_tag_nothing_is_said_of_quotes():
    model = ModelConfig(tag_list=TAGS, tag_descriptions={"Foul": SIGNAL})
    system, _ = messages(Question(("Goal", "Free throw"), Form.LIST, b""), Wording.of(model))
    assert "quotes" not in system["content"]


def test_answers_about_a_described_tag_are_kept_apart():
    plain, described = (
        ModelConfig(tag_list=TAGS),
        ModelConfig(tag_list=TAGS, tag_descriptions={"Foul": SIGNAL}),
    )
    assert kept_name(plain, "Foul") == "Foul"
    assert kept_name(described, "Free throw") == "Free throw"
    assert kept_name(described, "Foul").startswith("Foul\n")
    assert kept_name(described, "Foul") != kept_name(
        ModelConfig(tag_list=TAGS, tag_descriptions={"Foul": "x"}), "Foul"
    )
    assert wording_fingerprint(plain) == wording_fingerprint(described)


def test_two_templates_that_say_the_same_are_still_two():
    one = ModelConfig(system_prompt="{tags} {tag_count}")
    other = ModelConfig(system_prompt="{tags} 2")
    assert wording_fingerprint(one) != wording_fingerprint(other)


def test_other_tags_leave_out_the_words_about_the_rest():
    model = ModelConfig(
        tag_list=TAGS, tag_descriptions={"Foul": SIGNAL}, synonyms={"Free throw": ["penalty"]}
    )
    assert ModelConfig(**model.about(["free throw", "Goal"])).synonyms == {
        "free throw": ("penalty",)
    }
    assert ModelConfig(**model.about(["free throw", "Goal"])).tag_descriptions == {}
