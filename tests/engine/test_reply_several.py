"""A chat completion about several pictures as verdicts on each."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.test_reply import body
from vlm_engine.errors import ReplyError
from vlm_engine.reply import read
from vlm_engine.types import Form, Frame, Question

TAGS = ("Point", "Foul", "Break")
UNJUDGED = None


def ask(content, pictures=3, synonyms=None, **rest):
    more = tuple(Frame(float(number), 8, 8, b"") for number in range(1, pictures))
    return read(
        body(content, **rest), Question(TAGS, Form.LIST, b"", time_s=0.0, more=more), synonyms
    )


def present(content, pictures=3, **rest):
    reply = ask(content, pictures, **rest)
    of_each = (reply.verdicts, *reply.more)
    assert all(not verdicts or list(verdicts) == list(TAGS) for verdicts in of_each)
    return [
        [tag for tag in verdicts if verdicts[tag].present] if verdicts else UNJUDGED
        for verdicts in of_each
    ]


FOUND = [["Foul"], [], ["Point", "Break"]]


@pytest.mark.parametrize(
    "content",
    [
        '{"1": ["Foul"], "2": [], "3": ["Point", "Break"]}',
        '```json\n{"1": ["Foul"],\n "2": [],\n "3": ["Break", " POINT"]}\n```',
        '{"Picture 1": ["Foul"], "picture_2": [], "picture-03": ["Point", "Break"]}',
        '{"frame 1": ["Foul"], "frame 2": ["none"], "frame 3": ["Point", "Break", "Referee"]}',
        '{"1": {"tags": ["Foul"]}, '
        '"2": {"tags": []}, "3": {"why": ["a"], "Tags": ["Point", "Break"]}}',
        '{"pictures": {"1": ["Foul"], "2": [], "3": ["Point", "Break"]}}',
        '[["Foul"], [], ["Point", "Break"]]',
        '[{"tags": ["Foul"]}, {"tags": []}, {"tags": ["Point", "Break"]}]',
        '{"Picture 1, at 0:00:12.0": ["Foul"], '
        '"2 (0:00:14.0)": [], "Picture 3 0:00:16.0": ["Point", "Break"]}',
        "Picture 1, at 0:00:12.0: Foul\nPicture 2 (0:00:14.0): none\nPicture 3: Point, Break",
        "Picture 1: Foul.\nPicture 2: none.\nPicture 3: Point, Break",
        "**Picture 1** (at 12 s): Foul\n"
        "**Picture 2** (at 14 s): nothing\n**Picture 3** (at 16 s): Break, Point",
        '<think>{"1": ["Break"]}?</think>{"1": ["Foul"], "2": [], "3": ["Point", "Break"]}',
        '{"3": ["Point", "Break"], "1": ["Foul"], "2": []}',
        '{"1": ["Foul"], "1": ["Foul"], "2": [], "3": ["Point", "Break"], "4": ["Foul"], "0": []}',
    ],
)
def test_many_ways_to_say_it(content):
    assert present(content) == FOUND


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"1": ["Foul"], "3": []}', [["Foul"], UNJUDGED, []]),
        ('{"2": ["Foul"]}', [UNJUDGED, ["Foul"], UNJUDGED]),
        ('{"1": ["Foul"], "2": ["Referee"], "3": "Foul"}', [["Foul"], UNJUDGED, UNJUDGED]),
        ('{"1": ["Foul"], "2": [7], "3": [["Foul"]]}', [["Foul"], UNJUDGED, UNJUDGED]),
        ('{"1": ["Foul"], "2": ["Foul"], "2": []}', [["Foul"], UNJUDGED, UNJUDGED]),
        (
            "Picture 1: Foul\nPicture 2: a player jumps\nPicture 3: Break",
            [["Foul"], UNJUDGED, ["Break"]],
        ),
    ],
)
def test_what_is_said_of_some_pictures_counts_for_these(content, found):
    assert present(content) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"1": ["Foul"], "2": [], "3": ["Poi', [["Foul"], [], UNJUDGED]),
        ('{"1": ["Foul"], "2": ["Break"', [["Foul"], UNJUDGED, UNJUDGED]),
        ('{"1": {"tags": ["Foul"]}, "2": {"tags": ["Foul"]', [["Foul"], UNJUDGED, UNJUDGED]),
    ],
)
def test_what_was_said_before_a_reply_was_cut_off_counts(content, found):
    assert present(content, finish="length") == found


@pytest.mark.parametrize("content", ['{"1": ["Fo', "", '{ "\n\n\n'])
def test_a_reply_cut_off_before_anything_was_said_is_none(content):
    with pytest.raises(ReplyError, match="cut off"):
        ask(content, finish="length")


@pytest.mark.parametrize(
    "content",
    [
        '{"tags": ["Foul"]}',
        '["Foul"]',
        "Foul",
        "1. Foul\n2. Break\n3. Point",
        '[["Foul"], []]',
        '{"Foul": "yes", "Break": "no", "Point": "no"}',
        "I cannot see any pictures.",
        "{}",
    ],
)
def test_what_names_no_picture_by_number_is_not_understood(content):
    with pytest.raises(ReplyError, match="does not answer"):
        ask(content)


def test_nothing_at_all_is_empty():
    with pytest.raises(ReplyError, match="empty"):
        ask("")
    assert present("", reasoning='{"1": ["Foul"], "2": [], "3": []}') == [["Foul"], [], []]


def test_synonyms_count_here_too():
    assert present('{"1": ["whistle"], "2": []}', 2, synonyms={"Foul": ("whistle",)}) == [
        ["Foul"],
        [],
    ]


def test_every_picture_has_its_own_confidences():
    stream = [
        ('{"',),
        ("1",),
        ('":',),
        (' ["', {' ["': 0.9, " []": 0.1}),
        ("Foul", {"Foul": 0.8, "Break": 0.2}),
        ('"],', {'"],': 0.7, '", "': 0.3}),
        (' "',),
        ("2",),
        ('":',),
        (" []", {" []": 0.6, ' ["': 0.4}),
        ("}",),
    ]
    said = "".join(entry[0] for entry in stream)
    reply = ask(said, 2, tokens=stream)
    assert reply.has_tokens
    first, second = reply.verdicts, reply.more[0]
    assert (first["Foul"].present, second["Foul"].present) == (True, False)
    named = 0.9 * 0.8
    assert first["Foul"].probability == pytest.approx(named / (named + 0.1 + 0.9 * 0.2))
    assert first["Break"].probability == pytest.approx(0.3), (
        "passed over where the first list ended"
    )
    each = 0.4 / 3
    assert second["Foul"].probability == pytest.approx(each * 1 / (each * 2 + 0.6))


@given(
    st.lists(st.lists(st.sampled_from(TAGS), max_size=3, unique=True), min_size=2, max_size=5),
    st.integers(0, 200),
    st.booleans(),
)
def test_wherever_a_reply_is_cut_no_picture_gets_anothers_tags(lists, cut, plain):
    whole = {str(n): tags if plain else {"tags": tags} for n, tags in enumerate(lists, 1)}
    said = json.dumps(whole)[:cut]
    try:
        found = present(said, len(lists), finish="length")
    except ReplyError:
        return
    for wanted, tags in zip(lists, found, strict=True):
        assert tags is UNJUDGED or set(tags) == set(wanted)
