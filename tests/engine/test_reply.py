"""A chat completion as verdicts, or the reason why it is none."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_engine.errors import ReplyError
from vlm_engine.reply import read, shortened, was_cut_off
from vlm_engine.types import Form, Question, ServerTimings

TAGS = ("Basketball point", "Foul", "Break-away")
LIST, VERDICTS = Form.LIST, Form.VERDICTS
SYNONYMS = {"Foul": ("personal foul", "whistle"), "Timeout": ("break", "pause")}


def body(content="", *, finish="stop", tokens=None, **message):
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": content, **message},
    }
    if tokens is not None:
        choice["logprobs"] = {"content": [token(*entry) for entry in tokens]}
    return {
        "model": "some-model",
        "choices": [choice],
        "usage": {"prompt_tokens": 144, "completion_tokens": 7},
    }


def token(text, likely=None):
    listed = [
        {"token": other, "logprob": math.log(share) if share else -9999.0}
        for other, share in (likely or {text: 1.0}).items()
    ]
    return {"token": text, "logprob": listed[0]["logprob"], "top_logprobs": listed}


def ask(content, form=LIST, tags=TAGS, synonyms=None, **rest):
    return read(body(content, **rest), Question(tags, form, b""), synonyms)


def present(content, form=LIST, tags=TAGS, **rest):
    verdicts = ask(content, form, tags, **rest).verdicts
    return [tag for tag, verdict in verdicts.items() if verdict.present]


def test_a_list_says_which_tags_are_there_and_which_are_not():
    content = '<think>A whistle.</think>{"tags": ["Foul"]}'
    reply = ask(content)
    assert [verdict.present for verdict in reply.verdicts.values()] == [False, True, False]
    assert all(verdict.probability is None for verdict in reply.verdicts.values())
    assert (reply.model, reply.prompt_tokens, reply.answer_tokens) == ("some-model", 144, 7)
    assert reply.text == content, "as it came"


JUDGED = '{"Basketball point": "no", "Foul": "yes", "Break-away": "no"}'
WAYS = [
    '{"tags": ["Foul"]}',
    '{"tags": ["  foul ", "FOUL", "Foul"]}',
    '{"tags": ["Foul", "Referee"]}',
    '```json\n{"tags": ["Foul"]}\n```',
    '<think>Is it {"tags": ["Break-away"]}? No.</think>\n{"tags": ["Foul"]}',
    'Is it a break? No.</think>{"tags": ["Foul"]}',
    '<|begin_of_box|>{"tags": ["Foul"]}<|end_of_box|>',
    '{"tags": ["Foul"]}<|im_end|>',
    'The picture shows this: {"tags": ["Foul"]}. I am sure.',
    '{"Tags": ["Foul"], "note": "a whistle"}',
    '{"tags": ["Foul"]}\n{"tags": ["Foul"]}',
    '["Foul"]',
    "Foul",
    "- Foul",
    '1. "Foul".',
    "foul, Foul",
    JUDGED,
    "Basketball point: no\nFoul: yes\nBreak-away: no",
    "* **Basketball point**: No.\n* **Foul**: Yes.\n* **Break-away**: No.",
    "Basketball point: no, Foul: yes, Break-away: no",
    "Basketball point - no\nFoul - yes\nBreak-away - no",
    [{"type": "text", "text": '{"tags": '}, {"type": "text", "text": '["Foul"]}'}],
    '{"tags": ["personal foul"]}',
    "Personal Foul.",
    "- whistle",
    '{"tags": ["Foul", "WHISTLE"]}',
]
JUDGEMENTS = [
    JUDGED,
    '{"foul": true, "BREAK-AWAY": false, "basketball  point": "No", "Referee": "yes"}',
    f"```\n{JUDGED}\n```",
    JUDGED.replace("Foul", "whistle"),
]


@pytest.mark.parametrize(
    ("content", "form"),
    [*((content, LIST) for content in WAYS), *((content, VERDICTS) for content in JUDGEMENTS)],
)
def test_many_ways_to_say_foul(content, form):
    assert present(content, form, synonyms=SYNONYMS) == ["Foul"]


@pytest.mark.parametrize(
    ("content", "field"), [("", "reasoning_content"), (None, "reasoning"), ("Foul", "reasoning")]
)
def test_the_answer_may_be_where_thoughts_belong(content, field):
    thought = "Foul" if not content else "Break-away"
    assert present(content, **{field: json.dumps({"tags": [thought]})}) == ["Foul"]


@pytest.mark.parametrize(
    "content", ['{"tags": []}', '{"tags": ["none"]}', "[]", "none", "None.", "No tags"]
)
def test_ways_to_say_nothing(content):
    assert present(content) == []


def test_one_tag_may_be_answered_by_one_word():
    assert present("Yes.", VERDICTS, ("Foul",)) == ["Foul"]
    assert present("no", VERDICTS, ("Foul",)) == []


def test_a_tag_may_contain_what_separates_tags():
    tags = ("Goal, disallowed", "Score: home", "None")
    assert present("Goal, disallowed", tags=tags) == ["Goal, disallowed"]
    assert present("Goal, disallowed: no\nScore: home: yes\nNone: no", tags=tags) == ["Score: home"]
    assert present('{"tags": ["None"]}', tags=tags) == ["None"]


CONTRADICTED = '{"Basketball point": "no", "Break-away": "no", "whistle": "yes", "Foul": "no"}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("<think>Well, a foul, or", "empty"),
        ("A player jumps.", "does not answer"),
        ("Foul, and perhaps a break-away", "does not answer"),
        ("I see no foul: yes or no?", "does not answer"),
        ("{}", "does not answer"),
        ('{"tags": "Foul"}', "does not answer"),
        ('{"absent": ["Foul"]}', "does not answer"),
        ('{"absent": ["Foul"], "tags": ["Br', "does not answer"),
        ("[" * 5000, "does not answer"),
        ('{"tags": ["Referee"]}', "not asked for"),
        ('{"tags": ["pause"]}', "not asked for"),
        ('{"tags": [1]}', "other than names"),
        ('{"Foul": "yes"}', "says nothing about 'Basketball point'"),
        (JUDGED.replace("yes", "maybe"), "neither yes nor no about 'Foul'"),
        (
            "Basketball point: no\nFoul: yes\nfoul: no\nBreak-away: no",
            "both yes and no about 'Foul'",
        ),
        (CONTRADICTED, "both yes and no about 'Foul'"),
        ('{"tags": ["Foul"], "tags": []}', "two things"),
        (
            '{"Foul": "yes", "Foul": "no", "Basketball point": "no", "Break-away": "no"}',
            "two things",
        ),
        ('{"tags": ["Foul"]} or rather {"tags": ["Break-away"]}', "two answers"),
        ('{"tags": []}\n{"tags": ["Foul"]}', "two answers"),
    ],
)
def test_what_could_mean_anything_means_nothing(content, reason):
    with pytest.raises(ReplyError, match=reason):
        ask(content, synonyms=SYNONYMS)


@pytest.mark.parametrize("content", ['{"tags": ["Foul"]}', "Foul", "none", "[]", "yes"])
def test_a_list_is_no_verdict_for_each_tag(content):
    with pytest.raises(ReplyError):
        ask(content, VERDICTS)


CUT_OFF = ("length", "MAX_TOKENS", "model_length")
EMPTY = '{"tags": []}'
ONLY_THOUGHT = "only thought and gave no answer.*instruct variant"


@pytest.mark.parametrize(
    ("content", "finish", "message", "reason"),
    [
        ("", "stop", {"reasoning_content": "It might be Foul: yes"}, ONLY_THOUGHT),
        ("", "length", {"reasoning": "First I look. " * 50}, ONLY_THOUGHT),
        ("<think>The court is", "length", {}, ONLY_THOUGHT),
        (EMPTY, "length", {}, "cut off"),
        (EMPTY, "MAX_TOKENS", {}, "cut off"),
        (EMPTY, "model_length", {}, "cut off"),
        (EMPTY, "content_filter", {}, "withheld the answer"),
        (None, "content_filter", {}, "withheld the answer"),
        (EMPTY, "content_filter: PROHIBITED_CONTENT", {}, "withheld the answer"),
        (EMPTY, "IMAGE_SAFETY", {}, "withheld the answer"),
        (EMPTY, "sensitive", {}, "withheld the answer"),
        (None, "stop", {"refusal": "I cannot help with that."}, "refused to answer"),
    ],
)
def test_a_reply_that_ended_otherwise_is_no_answer(content, finish, message, reason):
    with pytest.raises(ReplyError, match=reason) as caught:
        ask(content, finish=finish, **message)
    assert caught.value.raw == (message.get("refusal") or content or caught.value.raw)
    assert was_cut_off(body(content, finish=finish)) == (finish in CUT_OFF)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        "text",
        {},
        {"choices": []},
        {"choices": "x"},
        {"choices": [None]},
        {"choices": [{}]},
    ],
)
def test_bodies_that_hold_no_reply(odd):
    with pytest.raises(ReplyError):
        read(odd, Question(TAGS, LIST, b""))
    assert not was_cut_off(odd)


def test_what_is_quoted_is_short_and_printable():
    quoted = shortened("\x1b[31mno\x00\n" + "x" * 1000)
    assert quoted.isprintable() and len(quoted) == 200
    assert shortened("a\n b\x07", 10) == "a b"


@given(st.text(max_size=60))
def test_any_text_is_an_answer_or_a_reply_error(content):
    for form in Form:
        with contextlib.suppress(ReplyError):
            assert set(ask(content, form).verdicts) == set(TAGS)


FIELDS = "tags content message finish_reason reasoning token logprob top_logprobs"
KEYS = st.sampled_from([*TAGS, *FIELDS.split()])
LEAVES = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.sampled_from(["", "yes", "no", "Foul", "length", "["])
)


@given(
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    )
)
def test_any_json_is_an_answer_or_a_reply_error(value):
    reply_body = {"message": {"content": value}, "logprobs": {"content": [value]}}
    for reply in (body(json.dumps(value)), value, {"choices": value}, {"choices": [reply_body]}):
        with contextlib.suppress(ReplyError):
            read(reply, Question(TAGS, Form.LIST, b""))


# Confidence. The token stream is written as pairs of text and alternatives.

PAIR = ("Foul", "Goal")


def yes_no(*tokens):
    stream = [('{"Foul": "',), *tokens, ('", "Goal": "',), ("no",), ('"}',)]
    said = "".join(entry[0] for entry in stream)
    return ask(said, Form.VERDICTS, PAIR, tokens=stream).verdicts["Foul"].probability


def test_confidence_is_the_share_of_yes_among_yes_and_no():
    assert yes_no(("yes", {"yes": 0.6, "no": 0.2, "maybe": 0.2})) == pytest.approx(0.75)


def test_prefixes_quotes_spaces_and_cases_count():
    likely = {
        "n": 0.1,
        "no": 0.1,
        "y": 0.2,
        "yes": 0.2,
        ' "Yes': 0.1,
        "No,": 0.1,
        "": 0.1,
        '"': 0.1,
    }
    assert yes_no(("y", likely), ("es",)) == pytest.approx(0.5 / 0.8)


def test_masked_tokens_do_not_count():
    assert yes_no(("yes", {"yes": 0.5, "no": 0})) == pytest.approx(1.0)


def test_without_an_admissible_token_nothing_is_known():
    assert yes_no(("yes", {"R": 0.9, "k": 0.1})) is None
    assert yes_no(("yes", {"": 1.0})) is None


def test_without_a_token_stream_nothing_is_known():
    for logprobs in (
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": [{"logprob": 0}]},
        "yes",
    ):
        reply = body('{"tags": ["Foul"]}')
        reply["choices"][0]["logprobs"] = logprobs
        assert read(reply, Question(TAGS, Form.LIST, b"")).verdicts["Foul"].probability is None


def test_the_token_stream_may_hold_more_than_the_content():
    stream = [
        ("```json\n",),
        ('{"Foul": "',),
        ("yes", {"yes": 0.9, "no": 0.1}),
        ('"}',),
        ("\n```<|im_end|>",),
    ]
    reply = ask('{"Foul":"yes"}', Form.VERDICTS, ("Foul",), tokens=stream)
    assert reply.verdicts["Foul"].probability == pytest.approx(0.9)


def test_a_token_stream_that_says_something_else_tells_nothing():
    stream = [('{"Foul": "',), ("no", {"yes": 0.1, "no": 0.9}), ('"}',)]
    assert (
        ask('{"Foul":"yes"}', Form.VERDICTS, ("Foul",), tokens=stream).verdicts["Foul"].probability
        is None
    )


def listed(*tokens, tags=("Break-away", "Foul", "Free throw")):
    said = "".join(entry[0] for entry in tokens)
    return {
        tag: verdict.probability
        for tag, verdict in ask(said, tags=tags, tokens=tokens).verdicts.items()
    }


def test_a_listed_tag_is_as_sure_as_it_was_not_passed_over():
    sure = listed(
        ('{"tags":',),
        (' ["', {' ["': 0.8, " []}": 0.2}),
        ("F", {"F": 0.75, "Break": 0.25}),
        ("oul", {"oul": 0.9, "ree": 0.1}),
        ('"]}', {'"]}': 0.6, '", "': 0.4}),
    )
    named = 0.8 * 0.75 * 0.9
    assert sure["Foul"] == pytest.approx(named / (named + 0.2 + 0.8 * 0.75 * 0.1))
    assert sure["Break-away"] == pytest.approx(0.8 * 0.25), "passed over where Foul was named"
    assert sure["Free throw"] == pytest.approx(0.4), "passed over where the list ended"


def test_the_second_item_is_judged_from_where_the_first_ended():
    sure = listed(
        ('{"tags": ["',),
        ("Break-away",),
        ('", "', {'", "': 0.5, '"]}': 0.5}),
        ("Foul", {"Foul": 0.8, "Free": 0.2}),
        ('"]}',),
    )
    assert sure["Foul"] == pytest.approx(0.4)


def test_a_tag_whose_token_is_not_listed_has_no_confidence():
    for likely in ({"x": 1.0}, {"x": 0.5, "Free": 0.5}):
        sure = listed(('{"tags": ["',), ("Foul", likely), ('"]}',))
        assert sure["Foul"] is None
        assert sure["Break-away"] is None


def test_tags_that_might_have_followed_share_what_is_open():
    sure = listed(('{"tags": [',), ("]}", {"]}": 0.4, '"': 0.6}))
    for place, tag in enumerate(("Break-away", "Foul", "Free throw")):
        each = 0.6 / 3
        assert sure[tag] == pytest.approx(each / (each * (3 - place) + 0.4))
    sure = listed(
        ('{"tags": ["',),
        ("Goal", {"Goal": 0.5, "F": 0.5}),
        ('"]}',),
        tags=("Foul", "Free throw", "Goal"),
    )
    assert sure["Foul"] == pytest.approx(0.25)
    assert sure["Free throw"] == pytest.approx(0.25 / 0.75)
    assert sure["Goal"] == 1.0, "what comes before it says nothing against it"


@pytest.mark.parametrize(
    "tokens",
    [
        [(' ["Foul', {' ["Foul': 0.6, " []": 0.4}), ('"]}',)],
        [
            (" ",),
            ("[", {"[": 0.6, "[]": 0.4}),
            ('"', {'"': 1.0}),
            ("F",),
            ("o",),
            ("ul",),
            ('"',),
            ("]}",),
        ],
        [
            ("\n[",),
            ('"', {'"': 0.6, "]": 0.4}),
            ("Foul", {"Foul": 0.7, "Fou": 0.3}),
            ('"]',),
            ("}",),
        ],
        [
            (": [", {": [": 0.5, ": []": 0.5}),
            (' "Foul', {' "Foul': 1.2 / 2, " ]": 0.8 / 2}),
            ('" ]}',),
        ],
    ],
    ids=["one token", "split", "two ways to spell", "bracket of the last token"],
)
def test_tokens_may_be_cut_anywhere(tokens):
    first = '{"tags"' if tokens[0][0].startswith(":") else '{"tags":'
    sure = listed((first,), *tokens, tags=("Foul",))["Foul"]
    assert sure == pytest.approx(0.3 if tokens[0][0].startswith(":") else 0.6)


def test_a_tag_that_begins_another_is_told_from_it_by_its_end():
    sure = listed(
        ('{"tags": ["',),
        ("Foul",),
        ('"', {'"': 0.7, " throw": 0.3}),
        ("]}",),
        tags=("Foul", "Foul throw", "Goal"),
    )
    assert sure["Foul"] == pytest.approx(0.7)
    assert sure["Goal"] is not None


def test_names_are_compared_as_json_spells_them():
    tags = ('The "double"', "Coup franc – à 20 m")
    stream = [
        ('{"tags": ["',),
        ('The \\"', {'The \\"': 0.8, "Coup": 0.2}),
        ('double\\"',),
        ('"]}', {'"]}': 0.9, '", "': 0.1}),
    ]
    sure = {
        tag: verdict.probability
        for tag, verdict in ask(
            '{"tags": ["The \\"double\\""]}', tags=tags, tokens=stream
        ).verdicts.items()
    }
    assert sure == {tags[0]: pytest.approx(0.8), tags[1]: pytest.approx(0.1)}


def test_verdicts_may_be_true_and_false():
    stream = [('{"Foul": ',), ("true", {"true": 0.6, "f": 0.1, "false": 0.1, "yes": 0.2}), ("}",)]
    assert ask('{"Foul": true}', Form.VERDICTS, ("Foul",), tokens=stream).verdicts[
        "Foul"
    ].probability == pytest.approx(0.75)


def test_a_synonym_is_as_sure_as_its_tag():
    stream = [('{"whistle": "',), ("yes", {"yes": 0.8, "no": 0.2}), ('"}',)]
    reply = ask(
        '{"whistle": "yes"}', Form.VERDICTS, ("Foul",), {"Foul": ("whistle",)}, tokens=stream
    )
    assert reply.verdicts["Foul"].probability == pytest.approx(0.8)


@pytest.mark.parametrize("named", ["foul", "whistle", "FOUL "])
@pytest.mark.parametrize("others", [("Break-away",), ("Break-away", "Free throw"), ("Free throw",)])
def test_a_tag_spelled_otherwise_has_no_confidence(named, others):
    """The alternatives to another spelling say nothing about the tag."""
    stream = [('{"tags": ["',)]
    for name in (*others[:1], named, *others[1:]):
        stream += [(name, {name: 0.9, "Foul": 0.02}), ('", "', {'", "': 0.9, '"]}': 0.1})]
    stream[-1] = ('"]}', {'"]}': 0.9, '", "': 0.1})
    said = "".join(entry[0] for entry in stream)
    reply = ask(
        said,
        tags=("Foul", "Break-away", "Free throw"),
        synonyms={"Foul": ("whistle",)},
        tokens=stream,
    )
    assert reply.verdicts["Foul"].present
    assert reply.verdicts["Foul"].probability is None
    assert all(reply.verdicts[tag].present for tag in others)


@given(
    st.lists(st.sampled_from([*TAGS, "Free throw"]), max_size=4, unique=True),
    st.lists(
        st.tuples(
            st.integers(1, 5),
            st.floats(-9, 0),
            st.sampled_from(["]", '"]}', '", "', '"', "F", "Br", " ", "Foul"]),
        ),
        min_size=1,
    ),
)
def test_every_confidence_of_a_list_is_a_probability(names, cuts):
    said, stream, at = json.dumps({"tags": names}), [], 0
    while at < len(said):
        width, logprob, other = cuts[len(stream) % len(cuts)]
        stream.append(
            (said[at : at + width], {said[at : at + width]: math.exp(logprob), other: 0.3})
        )
        at += width
    for tag, verdict in ask(said, tags=(*TAGS, "Free throw"), tokens=stream).verdicts.items():
        assert verdict.present == (tag in names)
        assert verdict.probability is None or 0 <= verdict.probability <= 1


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "[",
            "<think>",
            "</think>",
            "<think></think>",
            "<|begin_of_box|>",
            "::",
            ": yes ",
            "- ",
            '{"a":',
            "[0,",
            '["',
        ),
        *(
            '"1": [',
            "Picture 1: ",
            "a, ",
            "\\",
            "<|",
            '"picture 0',
            "Foul - yes\n",
            "```",
            "{}",
            "[0,[0,[0,]",
        ),
    ],
)
def test_a_long_reply_of_nothing_is_refused_at_once(piece, form):
    with pytest.raises(ReplyError):
        ask(piece * (32_000 // len(piece)), form)
    with pytest.raises(ReplyError, match="longer than any answer"):
        ask(piece * (1_000_000 // len(piece)), form)


@pytest.mark.parametrize("wrap", ["{}", "\ufeff{}", "<think>Hm.</think>{}", "Hm.</think>{}"])
def test_a_name_may_be_written_in_either_form_of_unicode(wrap):
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    for tag, said in ((composed, decomposed), (decomposed, composed)):
        assert present(wrap.replace("{}", json.dumps({"tags": [said]})), tags=(tag, "Foul")) == [
            tag
        ]


@pytest.mark.parametrize(
    "odd", [{"finish_reason": "error"}, {"error": {"code": 502, "message": "no"}}, {"error": "no"}]
)
def test_what_a_server_said_before_it_failed_is_no_answer(odd):
    cut = body('{"tags": []}')
    cut["choices"][0] |= odd
    with pytest.raises(ReplyError, match="failed while it answered"):
        read(cut, Question(TAGS, Form.LIST, b""))


def test_contradictions_in_the_thoughts_take_no_answer_away():
    reply_body = body('{"tags": ["Foul"]}')
    text = '<think>{"Foul": "yes", "Foul": "no"}</think>{"tags": ["Foul"]}'
    reply_body["choices"][0]["logprobs"] = {
        "content": [{"token": text, "logprob": -1.0, "top_logprobs": []}]
    }
    assert read(reply_body, Question(TAGS, Form.LIST, b"")).verdicts["Foul"].present


def test_blanks_without_end_between_two_names_tell_nothing():
    def verdict(blanks):
        content = '{"tags": ["Foul",' + " " * blanks + '"Break-away"]}'
        reply = body(content)
        tokens = [[{"token": text, "logprob": -1.0} for text in (char, "]")] for char in content]
        stream = [
            {"token": char, "top_logprobs": listed}
            for char, listed in zip(content, tokens, strict=True)
        ]
        reply["choices"][0]["logprobs"] = {"content": stream}
        return read(reply, Question(TAGS, Form.LIST, b"")).verdicts["Break-away"]

    assert verdict(20).present and verdict(20).probability is not None
    assert verdict(5000).present and verdict(5000).probability is None


LLAMA_CPP = {"cache_n": 100, "prompt_n": 44, "prompt_ms": 250, "predicted_n": 7, "predicted_ms": 90}
OLLAMA = {
    "prompt_eval_count": 44,
    "prompt_eval_duration": 250_000_000,
    "eval_count": 7,
    "eval_duration": 90_000_000,
}


def told(usage=None, **more):
    counts = {"prompt_tokens": 144, "completion_tokens": 7, **(usage or {})}
    return read({**body('{"tags": []}'), "usage": counts, **more}, Question(TAGS, LIST, b""))


def test_tokens_from_the_cache_are_read_where_they_are_told():
    assert told().cached_tokens is None
    assert told({"prompt_tokens_details": None}).cached_tokens is None
    assert told({"prompt_tokens_details": {"cached_tokens": 0}}).cached_tokens == 0
    assert told({"prompt_tokens_details": {"cached_tokens": 90}}).cached_tokens == 90
    assert told(timings=LLAMA_CPP).cached_tokens == 100


def test_times_of_llama_cpp_and_ollama_are_read_in_seconds():
    expected = ServerTimings(0.25, 44, 0.09, 7)
    assert told().timings is None
    assert told(timings=LLAMA_CPP).timings == expected
    assert told(**OLLAMA).timings == told(OLLAMA).timings == expected


@pytest.mark.parametrize("garbage", [-1, math.nan, math.inf, 10**400, "7", True, None, [], {}])
def test_numbers_that_cannot_be_true_are_as_if_not_told(garbage):
    assert told({"prompt_tokens_details": {"cached_tokens": garbage}}).cached_tokens is None
    assert told({"prompt_tokens_details": garbage}, timings=garbage).cached_tokens is None
    for name in set(LLAMA_CPP) - {"cache_n"}:
        assert told(timings={**LLAMA_CPP, name: garbage}).timings is None
