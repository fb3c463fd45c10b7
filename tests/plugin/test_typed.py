"""Text that people type into the settings page, a task's arguments and the command line."""

from typing import Any

import pytest

import haven_vlm_config
from tests.plugin.local_settings import LOCAL, load, model_of
from vlm_engine.errors import ConfigError


def refused(page: dict[str, Any], text: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, page)
    return str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [
        "Foul, Goal, Turnover",
        "Foul; Goal; Turnover",
        "Foul;Goal,Turnover;",
        "Foul\nGoal\r\nTurnover\n",
        "- Foul\n- Goal\n- Turnover",
        "Foul\tGoal\tTurnover",
        "Foul，Goal；Turnover",
        '"Foul", "Goal", "Turnover"',
        "“Foul”; 'Goal'; Turnover",
        '["Foul", "Goal", "Turnover"]',
        "Foul:; Goal:; Turnover:",
        "\ufeffFoul\u200b, Go\u00adal\u2060; Turnover\u200b",
    ],
)
def test_every_usual_separator_separates_tags(typed):
    settings = load(page={"tagNames": typed})
    assert settings.tag_list == ("Foul", "Goal", "Turnover")
    assert model_of(settings).tag_descriptions == {}


@pytest.mark.parametrize(
    ("typed", "described"),
    [
        ("Foul: a player hits", {"Foul": "a player hits"}),
        ("Foul: a player hits; Goal: it is in", {"Foul": "a player hits", "Goal": "it is in"}),
        (
            "Foul: a player hits, Goal: it is in; Turnover:",
            {"Foul": "a player hits", "Goal": "it is in", "Turnover": ""},
        ),
        (
            "Foul: hits, pushes or holds; Goal: it is in",
            {"Foul": "hits, pushes or holds", "Goal": "it is in"},
        ),
        (
            "Foul: hits, pushes\nGoal\nTurnover",
            {"Foul": "hits, pushes", "Goal": "", "Turnover": ""},
        ),
        (
            'Foul: "a hit; the referee signals", Goal',
            {"Foul": "a hit; the referee signals", "Goal": ""},
        ),
        ("[Foul: a player hits, Goal]", {"Foul": "a player hits", "Goal": ""}),
        ('{Foul: "a hit; a signal", Goal: }', {"Foul": "a hit; a signal", "Goal": ""}),
        (
            "Goal, Turnover; Foul: hits, pushes",
            {"Goal": "", "Turnover": "", "Foul": "hits, pushes"},
        ),
        (
            'Foul: a hit; Goal: "it is in"; Turnover',
            {"Foul": "a hit", "Goal": "it is in", "Turnover": ""},
        ),
        ('"Foul, hard": a hit', {"Foul, hard": "a hit"}),
        ("Foul：a player hits", {"Foul": "a player hits"}),
        ("16:9, Score 2:1", {"16:9": "", "Score 2:1": ""}),
    ],
)
def test_a_colon_goes_before_a_description(typed, described):
    wording = model_of(load(page={"tagNames": typed}))
    assert {tag: wording.tag_descriptions.get(tag, "") for tag in wording.tag_list} == described


@pytest.mark.parametrize(
    ("typed", "entry"),
    [
        (
            "Foul: a player hits, Goal",
            "'Goal' may be a tag of its own or belong to the description of 'Foul'",
        ),
        ("Foul: a hit; the referee signals", "'the referee signals' may be a tag"),
        ("Foul: a hit Goal: it is in", "'Foul: a hit Goal: it is in' has two colons"),
        (
            "Foul:a hit",
            "'Foul:a hit': separate tags by commas; a colon and a blank go before a description",
        ),
        ("Foul | Goal", "'Foul | Goal': separate tags by commas"),
        ("Foul => Personal foul", "'Foul => Personal foul': separate tags by commas"),
        ("[Foul, Goal", "'[Foul': separate tags by commas"),
        ('"Foul, Goal', "'\"Foul, Goal': a quotation mark is missing"),
        ("{Foul: a: b}", "'{Foul: a: b}' is not written as in the configuration file"),
        ("http://localhost:1234/v1", "'http://localhost:1234/v1' is an address"),
        ("Fo\x07ul, Goal", "'Fo\\x07ul': the character '\\x07' is none that a name has"),
        ("Foul, foul", "tag 'foul' is listed twice"),
    ],
)
def test_ambiguous_text_is_refused_with_the_entry(typed, entry):
    assert refused({"tagNames": typed}).startswith("Tags on the settings page: " + entry)
    assert refused({}, f"TAG_LIST: {typed!r}").startswith(f"{LOCAL}: TAG_LIST: ") or "\n" in typed


def test_a_list_in_the_file_is_separated_by_commas():
    message = refused({}, "TAG_LIST: [Foul; Goal]")
    assert (
        message
        == f"{LOCAL}: TAG_LIST: 'Foul; Goal' is one name; in a list, separate tags by commas: "
        "[Foul, Goal]"
    )


def test_a_description_below_holds_for_tags_named_above():
    text = "TAG_DESCRIPTIONS: {Foul: a player hits, Goal: it is in}"
    wording = model_of(load(text, {"tagNames": "foul; Goal: the ball is in the net"}))
    assert wording.tag_descriptions == {"foul": "a player hits", "Goal": "the ball is in the net"}


@pytest.mark.parametrize(
    "typed",
    [
        "http://a/v1; http://b:7045/v1",
        "http://a/v1,http://b:7045",
        "http://a/v1 http://b:7045/v1/",
        "http://a/v1\nb:7045",
        '"http://a/v1"; "http://b:7045"',
        "['http://a', {base_url: 'http://b:7045', weight: 2}]",
    ],
)
def test_every_usual_separator_separates_addresses(typed):
    addresses = [
        endpoint.base_url for endpoint in model_of(load(page={"endpoint": typed})).endpoints()
    ]
    assert addresses == ["http://a/v1", "http://b:7045/v1"]


@pytest.mark.parametrize(
    "typed", ["http://a/v1|http://b/v1", "http://a/v1http://b/v1", "http://a/v1;/v1", "a and b"]
)
def test_what_is_no_list_of_addresses_is_refused(typed):
    message = refused({"endpoint": typed})
    assert message.startswith("Endpoint on the settings page: ")
    assert "http://localhost:1234/v1" in message


def test_paths_are_separated_by_commas_where_that_is_plain():
    pairs = (("/data", "/mnt/nas"), ("/pics", "/mnt/pics"))
    assert load(page={"mediaPaths": "/data => /mnt/nas, /pics => /mnt/pics"}).path_mutation == pairs
    assert load(page={"mediaPaths": "{/data: /mnt/nas, /pics: /mnt/pics}"}).path_mutation == pairs
    assert load(page={"mediaPaths": "/data => /mnt/a, b"}).path_mutation == (
        ("/data", "/mnt/a, b"),
    )
    message = refused({"mediaPaths": "/data => /mnt/nas /pics => /mnt/pics"})
    assert message.startswith(
        "Paths on the settings page: '/data => /mnt/nas /pics => /mnt/pics': write /data => "
        "/mnt/nas"
    )


def test_a_key_is_taken_as_people_copy_it():
    for typed in (
        " sk-of-page\n",
        "Bearer sk-of-page",
        "Authorization: Bearer sk-of-page",
        '"sk-of-page"',
    ):
        assert model_of(load(page={"endpointKey": typed})).endpoints()[0].key() == "sk-of-page"
    message = refused({"endpointKey": "sk-of-page sk-of-another"})
    assert message.startswith(
        "API key on the settings page: there is a blank or a line break in it"
    )
    assert "sk-of" not in message


@pytest.mark.parametrize(
    ("stored", "markers"),
    [(True, False), ("on", False), ("true", False), ("false", True), ("0", True)],
)
def test_on_and_off_may_be_stored_as_text(stored, markers):
    assert load(page={"tagsOnly": stored}).create_markers is markers
    assert refused({"tagsOnly": "maybe"}).startswith("Tags only, no markers on the settings page: ")


def test_a_key_in_an_address_is_refused_with_a_remedy():
    for typed in ("http://nas/v1?api_key=whistle", "http://me:whistle@nas/v1"):
        assert "a key apart from it, as the API key (api_key)" in refused({"endpoint": typed})
    for typed in ("<http://nas/v1>", "(http://nas/v1)", "\u200bhttp://nas/v1\ufeff"):
        assert model_of(load(page={"endpoint": typed})).endpoints()[0].base_url == "http://nas/v1"


def test_two_names_of_models_are_refused():
    message = refused({"endpointModel": "vision-8b, vision-30b"})
    assert message.startswith(
        "Model on the settings page: 'vision-8b, vision-30b' is more than one name"
    )


def test_a_fault_between_settings_names_where_each_was_set():
    message = refused({"tagNames": "Foul, vlm"})
    assert message.startswith(
        "Tags on the settings page: 'vlm' is the name that VLM_BASE_TAG_NAME has"
    )
    message = refused({"tagNames": "Foul, Goal"}, "TAG_SYNONYMS: {Foul: goal}")
    assert message.startswith(f"{LOCAL}: TAG_SYNONYMS: 'goal' means 'Goal' already")
    with pytest.raises(ConfigError, match="^task arguments: TAG_LIST: 'VLM_TagMe' is the name"):
        load("", {"tagNames": "Foul"}, {"TAG_LIST": "VLM_TagMe"})


def test_tags_are_an_example_only_if_nobody_set_them(monkeypatch):
    assert load().tags_are_an_example
    assert not load(page={"tagNames": ", ".join(haven_vlm_config.TAG_LIST)}).tags_are_an_example
    monkeypatch.setattr(haven_vlm_config, "TAG_LIST", ["Goal"])
    assert not load().tags_are_an_example


@pytest.mark.parametrize(
    "typed",
    [
        "http://me:whistle@nas/v1",
        "me:whistle@nas",
        "http://nas/v1?api_key=whistle",
        "http://me:whistle@nas:0",
    ],
)
def test_no_password_in_an_address_is_shown(typed):
    message = refused({"endpoint": typed})
    assert message.startswith("Endpoint on the settings page: ")
    assert "whistle" not in message
