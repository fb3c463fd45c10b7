"""Tags chosen from Stash's tree: which they are, and what the model is told of each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from haven.settings.settings import Settings
from haven.settings.stash_tags import StashTag, TagChoice, choose
from tests.plugin.local_settings import LOCAL, model_of
from vlm_engine.errors import ConfigError

GAME = StashTag("1", "Game")
OFFENCE = StashTag("2", "Offence", parent_ids=("1",))
FOUL = StashTag(
    "3", "Foul", ("Personal foul", "whistle"), "A player is fouled.\nThe referee signals.", ("2",)
)
GOAL = StashTag("4", "Goal", ("whistle",), parent_ids=("1", "2"))
TIMEOUT = StashTag("5", "Timeout", ignore_auto_tag=True, parent_ids=("1",))
TREE = (GAME, OFFENCE, FOUL, GOAL, TIMEOUT)
BELOW_GAME = {"id": "1", "name": "Game", "below": True}


def names(*entries, tree=TREE, listed=(), **more):
    choices = [TagChoice.model_validate(entry) for entry in entries]
    found = choose(choices, tree, {name.casefold(): name for name in listed}, **more)
    return found.names


def chosen(*entries, tree=TREE, listed=(), **more):
    choices = [TagChoice.model_validate(entry) for entry in entries]
    return choose(choices, tree, {name.casefold(): name for name in listed}, **more)


def load(tmp_path, tree=TREE, **settings):
    """The settings of the page, with a tree that Stash has now."""
    (tmp_path / "settings.json").write_text(json.dumps({"revision": 1, "settings": settings}))
    return Settings.load(folder=tmp_path, data_dir=tmp_path, read_tree=lambda: tree)


def test_a_tag_is_chosen_by_id_and_by_name():
    assert names({"id": 3, "name": "Foul"}, "goal") == ("Foul", "Goal")
    assert names({"name": "personal foul"}) == ("Foul",)


def test_everything_below_comes_once_and_without_the_tag():
    assert names(BELOW_GAME) == ("Foul", "Goal", "Offence", "Timeout")
    assert names(BELOW_GAME, {"id": "1"}, {"id": "4"}) == (
        *("Foul", "Game", "Goal", "Offence", "Timeout"),
    )


def test_what_an_entry_leaves_out_is_not_looked_for():
    assert names(BELOW_GAME, {"id": "4", "leave_out": True}) == ("Foul", "Offence", "Timeout")
    below = {"id": "2", "below": True, "leave_out": True}
    assert names(BELOW_GAME, below) == ("Offence", "Timeout")


def test_a_loop_in_the_tree_ends():
    loop = (StashTag("1", "A", parent_ids=("2",)), StashTag("2", "B", parent_ids=("1",)))
    assert names({"id": "1", "below": True}, tree=loop) == ("B",)


def test_ignore_auto_tag_is_respected_on_request():
    found = chosen(BELOW_GAME, respects_ignore=True)
    assert found.names == ("Foul", "Goal", "Offence")
    assert found.notes[0] == "left out, because of Ignore auto tag in Stash: Timeout"


def test_a_tag_that_is_gone_is_named_and_the_rest_goes_on():
    found = chosen({"id": "9", "name": "Dunk"}, {"id": "3"}, {"id": "8", "below": True})
    assert found.names == ("Foul",)
    assert ["'Dunk': Stash has no such tag" in one for one in found.warnings] == [True, False]
    assert "everything below the tag with the id 8" in found.warnings[1]


def test_a_merged_tag_gives_its_place_to_the_other():
    found = chosen({"id": "9", "name": "Personal foul"})
    assert found.names == ("Foul",)
    assert found.warnings == (
        "'Personal foul': the tag was merged in Stash into 'Foul', which takes its place",
    )


def test_an_alias_of_two_tags_does_not_count():
    found = chosen("Foul", "Goal", listed=["Free throw"])
    assert found.synonyms == {"Foul": ("Personal foul",)}
    assert sum("whistle" in note for note in found.notes) == 2


def test_an_alias_that_is_another_tag_does_not_count():
    tree = (StashTag("1", "Foul", ("Goal",)), StashTag("2", "Goal"))
    assert chosen("Foul", {"id": "2"}, tree=tree).synonyms == {}
    assert chosen("Goal", taken={"whistle"}).synonyms == {}


def test_a_tag_of_both_lists_is_asked_about_once():
    found = chosen("Foul", listed=["Personal foul"])
    assert found.names == ("Personal foul",)
    assert found.synonyms == {"Personal foul": ("Foul", "whistle")}


@pytest.mark.parametrize(
    ("description", "meaning"),
    [
        ("  One line,\n two of them.\n\nAnother paragraph.", "One line, two of them."),
        ("A. " + "b" * 290 + " c." + "d" * 90, "A."),
        ("word " * 100, "word " * 59 + "word …"),
        ("", ""),
    ],
)
def test_a_long_description_is_cut_for_the_model(description, meaning):
    found = StashTag("1", "A", description=description).meaning
    assert found == meaning
    assert len(found) <= 302


def test_a_name_that_no_question_can_hold_is_left_out():
    found = chosen({"id": "1"}, {"id": "2"}, tree=(StashTag("1", "x" * 201), StashTag("2", "Y")))
    assert found.names == ("Y",)
    assert "shorten it in Stash" in found.warnings[0]


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"below": True}, "write the name of a tag"),
        ({"id": "twelve"}, "an id of Stash is a number"),
        ({"id": "1", "children": True}, "unknown key"),
        (7, "write settings here"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, entry, fault):
    with pytest.raises(ConfigError, match=r"STASH_TAGS.*" + fault):
        load(tmp_path, STASH_TAGS=[entry])


def test_descriptions_and_aliases_reach_the_model(tmp_path):
    model = model_of(load(tmp_path, STASH_TAGS=["Foul", "Offence"]))
    assert model.tag_list == ("Foul", "Offence")
    assert model.tag_descriptions == {"Foul": "A player is fouled. The referee signals."}
    assert model.synonyms == {"Foul": ("Personal foul", "whistle")}


def test_own_words_come_before_those_of_stash(tmp_path):
    own = {"foul": "a whistle", "Goal": "", "Timeout": "a break"}
    settings = load(
        tmp_path,
        STASH_TAGS=["Foul", "Goal"],
        TAG_DESCRIPTIONS=own,
        TAG_SYNONYMS={"Foul": []},
    )
    assert model_of(settings).tag_descriptions == {"Foul": "a whistle"}
    assert model_of(settings).synonyms == {"Foul": ()}
    tree = (StashTag("4", "Goal", description="in the net"),)
    settings = load(tmp_path, tree, STASH_TAGS=["Goal"], TAG_DESCRIPTIONS={"Goal": ""})
    assert model_of(settings).tag_descriptions == {}


def test_the_example_is_not_mixed_in_and_a_list_is(tmp_path):
    assert load(tmp_path, STASH_TAGS=["Foul"]).tag_list == ("Foul",)
    settings = load(tmp_path, STASH_TAGS=["Foul"], TAG_LIST=["Turnover", "foul"])
    assert settings.tag_list == ("Turnover", "foul")
    assert settings.place_of_tags.count("settings.json") == 2
    assert not settings.tags_are_an_example


def test_a_list_among_a_tasks_arguments_stands_alone(tmp_path):
    load(tmp_path, STASH_TAGS=["Foul"])
    settings = Settings.load(None, {"TAG_LIST": "Goal"}, tmp_path, tmp_path, lambda: TREE)
    assert settings.tag_list == ("Goal",)


def test_settings_follow_a_renamed_tag(tmp_path):
    rules = {"TAG_RULES": {"Foul": {"TagThreshold": 0.7}}, "TAG_DESCRIPTIONS": {"Foul": "x"}}
    load(tmp_path, STASH_TAGS=[BELOW_GAME], **rules)
    after = (GAME, StashTag("3", "Infringement", parent_ids=("1",)))
    settings = load(tmp_path, after, STASH_TAGS=[BELOW_GAME], **rules)
    assert settings.tag_list == ("Infringement",)
    assert settings.engine.rule_of("tags")("Infringement").threshold == 0.7
    assert model_of(settings).tag_descriptions == {"Infringement": "x"}
    again = (GAME, StashTag("3", "Contact", parent_ids=("1",)), StashTag("7", "Foul"))
    settings = load(tmp_path, again, STASH_TAGS=[BELOW_GAME, {"id": "7"}], **rules)
    assert settings.engine.rule_of("tags")("Contact").threshold == 0.5
    assert settings.engine.rule_of("tags")("Foul").threshold == 0.7


def test_tags_that_steer_the_plugin_are_never_looked_for(tmp_path):
    tree = (GAME, StashTag("6", "VLM_TagMe", parent_ids=("1",)), FOUL)
    assert load(tmp_path, tree, STASH_TAGS=[BELOW_GAME, "Foul"]).tag_list == ("Foul",)


def test_nothing_left_to_look_for_is_a_fault_with_the_cause(tmp_path):
    with pytest.raises(ConfigError, match=r"STASH_TAGS: no tag in Stash is left.*'Dunk'"):
        load(tmp_path, STASH_TAGS=["Dunk"])


def test_odd_blanks_in_a_name_are_kept_in_stash(tmp_path):
    settings = load(tmp_path, (StashTag("1", "Free  throw"),), STASH_TAGS=[{"id": "1"}])
    assert settings.tag_list == ("Free throw",)
    assert settings.engine.rule_of("tags")("Free throw").renamed == "Free  throw"


def test_without_stash_single_tags_keep_their_last_names(tmp_path):
    load(tmp_path, STASH_TAGS=[BELOW_GAME, {"id": "3", "name": "Foul"}])
    assert Settings.load(folder=tmp_path, data_dir=tmp_path).tag_list == ("Foul",)


def test_the_example_in_the_docs_means_what_the_page_says(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(STASH_TAGS:.*?)```", page, re.DOTALL)
    (tmp_path / LOCAL).write_text(example, encoding="utf-8")
    settings = Settings.load(folder=tmp_path, data_dir=tmp_path, read_tree=lambda: TREE)
    assert settings.tag_list == ("Foul", "Goal", "Offence")


def test_the_tree_is_read_only_when_it_is_needed(tmp_path):
    Settings.load(folder=tmp_path, data_dir=tmp_path, read_tree=lambda: pytest.fail("asked"))
