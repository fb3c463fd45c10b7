"""Bare names as an answer: what they say, and how sure the model was of each tag."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.test_reply import body
from vlm_engine.errors import ReplyError
from vlm_engine.reply import read
from vlm_engine.types import Form, Question

TAGS = ("Break-away", "Foul", "Free throw")
WITH_COMMAS = ("Goal, own", "Goal", "Foul, personal, hard")


def ask(content, tags=TAGS, synonyms=None, listed=(), form=Form.NAMES, **rest):
    return read(body(content, **rest), Question(tags, form, b""), synonyms, listed)


def present(content, tags=TAGS, **rest):
    return [tag for tag, verdict in ask(content, tags, **rest).verdicts.items() if verdict.present]


@pytest.mark.parametrize(
    "content",
    [
        "Break-away\nFoul",
        "break-away\r\n  FOUL.\n",
        "- Break-away\n- **Foul**",
        "1. Break-away\n2. Foul.",
        "1) Break-away\n\n2) Foul",
        "• Break-away\n• `Foul`",
        "Break-away, Foul.",
        "Foul; Break-away",
        "Tags: Break-away, Foul",
        "**Tags:**\n- Break-away\n- Foul",
        "<think>Perhaps a Free throw?</think>\n\nBreak-away\nFoul",
        "A referee. No Free throw.</think>Break-away\nFoul<|im_end|>",
        "```\nBreak-away\nFoul\n```",
        "Break-away\nwhistle",
        '["Break-away", "Foul"]',
        '{"tags": ["Break-away", "Foul"]}',
        '{"Break-away": "yes", "Foul": "yes", "Free throw": "no"}',
        "Break-away: yes\nFoul: yes\nFree throw: no",
    ],
)
def test_many_ways_to_name_two_tags(content):
    assert present(content, synonyms={"Foul": ("whistle",)}) == ["Break-away", "Foul"]


@pytest.mark.parametrize(
    "content",
    ["none", "None.", "- none", "**none**", '"none"', "Nothing!", "[]", "No tags", "Tags: none"],
)
def test_none_means_that_no_tag_is_there(content):
    assert present(content) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("Goal, own", ["Goal, own"]),
        ("Goal, own\nFoul, personal, hard", ["Goal, own", "Foul, personal, hard"]),
        ("Goal, Foul, personal, hard.", ["Goal", "Foul, personal, hard"]),
        ("Foul, personal, hard; Goal, own, Goal", list(WITH_COMMAS)),
    ],
)
def test_names_may_have_commas(content, found):
    assert present(content, WITH_COMMAS) == found


@pytest.mark.parametrize(
    "content",
    [
        "I see a Foul.",
        "The picture shows a Foul.\nFoul",
        "Foul\nnone",
        "none, Foul",
        "Foul and Break-away",
        "Corner kick",
        "yes",
        "Foul: yes",
        "",
    ],
)
def test_words_that_are_not_only_names_are_no_answer(content):
    with pytest.raises(ReplyError):
        ask(content)


def test_tags_of_the_list_that_were_not_asked_about_say_nothing():
    listed = (*TAGS, "Corner kick")
    for form in (Form.NAMES, Form.LIST):
        assert present("Corner kick\nFoul", listed=listed, form=form) == ["Foul"]
        assert present("Corner kick", listed=listed, form=form) == []
        assert present('{"tags": ["Corner kick"]}', listed=listed, form=form) == []


@pytest.mark.parametrize(("tag", "said"), [("None", "none"), ("Nothing", "- nothing")])
def test_a_tag_called_none_makes_none_no_answer(tag, said):
    with pytest.raises(ReplyError, match="names a tag, or says that there is none"):
        ask(said, (tag, "Foul"))
    assert present(f"{tag}\nFoul", (tag, "Foul")) == [tag, "Foul"]
    assert present(said, ("Foul",), listed=(tag, "Foul")) == []


def test_bare_names_are_no_verdict_for_each_tag():
    with pytest.raises(ReplyError):
        ask("Foul", form=Form.VERDICTS)


# Confidence. The token stream is written as pairs of text and alternatives.

ENDS = ["<|im_end|>", "</s>", "<eos>", "<end_of_turn>", ""]


def sure(*tokens, tags=TAGS, content=None, **rest):
    said = "".join(entry[0] for entry in tokens) if content is None else content
    verdicts = ask(said, tags, tokens=tokens, **rest).verdicts
    return {tag: verdict.probability for tag, verdict in verdicts.items()}


@pytest.mark.parametrize("end", ENDS)
def test_naming_is_weighed_against_passing_over_and_ending(end):
    found = sure(
        ("F", {"F": 0.6, "Break": 0.2, "none": 0.15, end: 0.05}),
        ("oul", {"oul": 0.9, "ree": 0.1}),
        (end, {end: 0.7, "\n": 0.3}),
        content="Foul",
    )
    named = 0.6 * 0.9
    assert found["Break-away"] == pytest.approx(0.2)
    assert found["Foul"] == pytest.approx(named / (named + 0.6 * 0.1 + 0.2))
    assert found["Free throw"] == pytest.approx(0.3), "passed over where the text ended"


def test_none_passes_all_tags_over():
    found = sure(("none", {"none": 0.8, "Foul": 0.1, "Free": 0.1}), ("<|im_end|>",), content="none")
    assert found["Break-away"] is None or found["Break-away"] == 0
    assert found["Foul"] == pytest.approx(0.1)
    assert found["Free throw"] == pytest.approx(0.1 / 0.9)


def test_the_second_name_is_judged_from_where_the_first_ended():
    found = sure(
        ("Break-away",),
        ("\n", {"\n": 0.5, "</s>": 0.5}),
        ("Foul", {"Foul": 0.8, "Free": 0.2}),
        ("</s>", {"</s>": 0.9, "\n": 0.1}),
        content="Break-away\nFoul",
    )
    assert found == {
        "Break-away": 1.0,
        "Foul": pytest.approx(0.4),
        "Free throw": pytest.approx(0.1),
    }


def test_where_the_end_is_not_in_the_stream_later_tags_are_unknown():
    for tail in ([], [("\n",)]):
        found = sure(("Foul", {"Foul": 0.7, "Free": 0.3}), *tail, content="Foul")
        assert found["Foul"] == pytest.approx(0.7)
        assert found["Free throw"] is None


def test_a_line_break_before_the_end_takes_nothing_away():
    found = sure(
        ("Foul", {"Foul": 0.7, "Free": 0.3}),
        ("\n",),
        ("<eos>", {"<eos>": 0.8, "Free": 0.2}),
        content="Foul",
    )
    assert found["Free throw"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    "tokens",
    [
        [("Foul\n", {"Foul\n": 0.6, "Free": 0.4}), ("Free throw",), ("</s>",)],
        [("\n\nFoul", {"\n\nFoul": 0.6, "\n\nFree": 0.4}), ("\nFree throw",), ("</s>",)],
        [
            ("-", {"-": 0.9, "none": 0.1}),
            (" F",),
            ("oul", {"oul": 2 / 3, "ree": 1 / 3}),
            ("\n- Free throw",),
        ],
        [
            ("1", {"1": 0.9, "none": 0.1}),
            (". ",),
            ("Foul", {"Foul": 2 / 3, "Free": 1 / 3}),
            ("\n2. Free throw",),
        ],
        [("**",), ("Foul", {"Foul": 0.6, "Free": 0.4}), ("**, **Free throw**",), ("</s>",)],
    ],
    ids=["break in the token", "break before", "bullets", "numbers", "ornament"],
)
def test_tokens_may_be_cut_anywhere(tokens):
    content = "".join(entry[0] for entry in tokens).removesuffix("</s>").strip()
    named_first = 0.6 if "none" not in tokens[0][-1] else 0.6 / (0.6 + 0.3 + 0.1)
    assert sure(*tokens, content=content)["Foul"] == pytest.approx(named_first)


def test_a_tag_that_begins_another_is_told_from_it_by_its_end():
    tags = ("Foul", "Foul throw", "Goal")
    found = sure(
        ("Foul",), ("</s>", {"</s>": 0.6, "\n": 0.1, " throw": 0.3}), tags=tags, content="Foul"
    )
    assert found["Foul"] == pytest.approx(0.7)
    longer = sure(
        ("Foul",),
        (" throw", {"</s>": 0.7, " throw": 0.3}),
        ("</s>",),
        tags=tags,
        content="Foul throw",
    )
    assert longer["Foul throw"] == 1.0, "what comes before it says nothing against it"
    assert longer["Foul"] == pytest.approx(0.7), "passed over where the longer one went on"


def test_a_tag_may_begin_like_a_bullet():
    found = sure(
        ("1. Half", {"1. Half": 0.8, "none": 0.2}),
        ("</s>",),
        tags=("1. Half", "Half"),
        content="1. Half",
    )
    assert found["1. Half"] == pytest.approx(0.8)


def test_a_name_that_is_spelled_otherwise_has_no_confidence():
    found = sure(("foul", {"foul": 0.7, "Foul": 0.3}), ("</s>",), content="foul")
    assert found["Foul"] is None


def test_thoughts_in_the_stream_are_passed_over():
    found = sure(
        ("<think>",),
        ("Foul?",),
        ("</think>",),
        ("\n\n",),
        ("Foul", {"Foul": 0.6, "none": 0.4}),
        ("<|im_end|>", {"<|im_end|>": 1.0}),
        content="<think>Foul?</think>\n\nFoul",
    )
    assert found["Foul"] == pytest.approx(0.6)


def test_a_list_that_came_as_bare_names_is_as_sure():
    assert sure(("Foul", {"Foul": 0.6, "none": 0.4}), ("</s>",), content="Foul", form=Form.LIST)[
        "Foul"
    ] == pytest.approx(0.6)


PIECES = st.sampled_from(["\n", "</s>", "", "F", "Br", " ", ", ", "none", "- ", "Foul", "1"])


@given(
    st.lists(st.sampled_from(TAGS), max_size=3, unique=True),
    st.sampled_from(["\n", ", ", "\n- ", ".\n"]),
    st.lists(st.tuples(st.integers(1, 5), st.floats(-9, 0), PIECES), min_size=1),
    st.sampled_from(["", "</s>", "\n<eos>"]),
)
def test_every_confidence_of_bare_names_is_a_probability(names, separator, cuts, end):
    said = separator.join(names) or "none"
    whole, stream, at = said + end, [], 0
    while at < len(whole):
        width, logprob, other = cuts[len(stream) % len(cuts)]
        piece = whole[at : at + width]
        stream.append((piece, {piece: math.exp(logprob), other: 0.3}))
        at += width
    for tag, verdict in ask(said, tokens=stream).verdicts.items():
        assert verdict.present == (tag in names)
        assert verdict.probability is None or 0 <= verdict.probability <= 1
