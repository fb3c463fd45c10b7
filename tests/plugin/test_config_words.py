"""The settings that shape a question: tags, what they mean, and the words around them."""

import pytest

import haven_vlm_config
from tests.plugin.local_settings import load, model_of

SIGNAL = "a player is fouled; the referee signals"


@pytest.mark.parametrize(
    "text",
    [
        f"TAG_LIST: [Goal, Foul: {SIGNAL}]",
        f"TAG_LIST: {{Goal: , Foul: {SIGNAL}}}",
        f"TAG_LIST: [Goal, foul]\nTAG_DESCRIPTIONS: {{Foul: {SIGNAL}}}",
        f"TAG_LIST: [Goal, Foul: something else]\nTAG_DESCRIPTIONS: {{Foul: {SIGNAL}}}",
        f"TAG_LIST: [Goal, Foul: something else]\nTAG_DESCRIPTIONS: {{foul: {SIGNAL}}}",
    ],
)
def test_tags_are_described_in_the_list_or_apart(text):
    settings = load(text)
    assert [tag.casefold() for tag in settings.tag_list] == ["goal", "foul"]
    assert model_of(settings).tag_list == settings.tag_list
    assert model_of(settings).tag_descriptions == {settings.tag_list[1]: SIGNAL}


def test_descriptions_hold_for_tags_chosen_elsewhere(caplog):
    text = f"TAG_LIST: [Goal, Foul: {SIGNAL}]\nTAG_SYNONYMS: {{Foul: whistle, Goal: [score]}}"
    wording = model_of(load(text, {"tagNames": "Foul, Timeout"}))
    assert wording.tag_list == ("Foul", "Timeout")
    assert wording.tag_descriptions == {"Foul": SIGNAL}
    assert wording.synonyms == {"Foul": ("whistle",)}
    assert not caplog.messages


def test_descriptions_of_unknown_tags_are_named(caplog):
    text = f"""
TAG_LIST: [Goal: the ball is in, Foul]
TAG_DESCRIPTIONS: {{Fuol: {SIGNAL}, goal: it is in}}
TAG_SYNONYMS: {{Gaol: score, " foul ": whistle}}
"""
    assert model_of(load(text)).synonyms == {"Foul": ("whistle",)}
    named = [
        "There are descriptions of tags that are not looked for: Fuol",
        "There are synonyms of tags that are not looked for: Gaol",
    ]
    assert caplog.messages == named
    load(text, {"tagNames": "Foul"})
    assert caplog.messages == named * 2, "Goal is no slip: it is only not chosen there"


def test_the_words_of_a_question_reach_the_engine():
    text = f"""
TAG_LIST: [Foul: {SIGNAL}]
TAG_SYNONYMS: {{Foul: [whistle]}}
PROMPT: A match.
SYSTEM_PROMPT: "{{opening}} {{tags}}"
USER_PROMPT: "{{special_tokens}} Which?"
SPECIAL_TOKENS: /no_think
"""
    model = model_of(load(text))
    assert (model.prompt, model.system_prompt, model.user_prompt) == (
        "A match.",
        "{opening} {tags}",
        "{special_tokens} Which?",
    )
    assert (model.tag_descriptions, model.synonyms) == ({"Foul": SIGNAL}, {"Foul": ("whistle",)})


def test_layers_above_an_engine_configuration_change_its_words(monkeypatch):
    words = {"tag_list": {"Goal": "it is in"}, "prompt": "Football.", "special_tokens": "/no_think"}
    model = {"api_base_url": "http://nas:7045", **words}
    monkeypatch.setattr(haven_vlm_config, "VLM_ENGINE_CONFIG", {"models": {"referee": model}})
    settings = load("PROMPT: Handball.\nTAG_SYNONYMS: {Goal: score}")
    model = settings.engine.models["referee"]
    assert model.tag_descriptions == model_of(settings).tag_descriptions == {"Goal": "it is in"}
    assert (model.prompt, model.special_tokens) == (
        model_of(settings).prompt,
        model_of(settings).special_tokens,
    )
    assert (model.prompt, model.special_tokens) == ("Handball.", "/no_think")
    assert model.synonyms == {"Goal": ("score",)}
