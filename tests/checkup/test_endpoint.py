"""The check of one endpoint over real HTTP: each unsound server is named, and no sound one is."""

from __future__ import annotations

import itertools

import pytest

from tests.checkup.helpers import naming, seeing
from vlm_engine.checkup.diagnosis import Sight
from vlm_engine.checkup.endpoint import check_endpoint
from vlm_engine.checkup.values import Severity
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.testing import UNSOUND, Behaviour, Fault, Profile, SandboxVLM

TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
KEY = "sk-of-the-league"
NAMED = {
    "dropped": ("test pictures", "blind: ", "a question has"),
    "blind": ("test pictures", "blind: ", "do not depend on the picture"),
    "stale": ("test pictures", "stale: ", "an earlier question"),
    "swapping": ("test pictures", "swapped: ", "one question at a time"),
    "gibberish": ("test pictures", "gibberish: ", "load another"),
    "refusing": ("test pictures", "refusing: ", "I'm sorry"),
    "refusal-field": ("test pictures", "refusing: ", "I'm sorry"),
    "filtered": ("test pictures", "refusing: ", "use another model or service"),
    "shrinking": ("picture tokens", "", "shrinking: "),
    "enlarging": ("picture tokens", "", "enlarging: "),
    "thinking": ("thinking", "", "turn its thinking off"),
    "overthinking": ("test pictures", "thinking: ", "turn its thinking off"),
    "wrong-model": ("model", "wrong model: ", "another-vlm answers"),
}


async def checked(behaviour, limit_s=45.0, model=None, **endpoint):
    """Return the check of a server that behaves so, and its counters."""
    async with SandboxVLM(behaviour) as vlm:
        config = EndpointConfig(base_url=vlm.url, **endpoint)
        model = model or ModelConfig(tag_list=TAGS, model_id="sandbox-vlm")
        return await check_endpoint(config, model, limit_s), vlm.counters


def texts(check, what):
    return [each.text for each in check.section.findings if each.what == what]


@pytest.mark.parametrize("name", UNSOUND)
@pytest.mark.parametrize(
    "profile",
    [
        Profile.PLAIN,
        *(
            pytest.param(profile, marks=pytest.mark.thorough)
            for profile in (Profile.LM_STUDIO, Profile.LLAMA_CPP)
        ),
    ],
)
async def test_an_unsound_server_is_named_in_ten_calls(name, profile):
    check, counters = await checked(Behaviour(profile=profile, **UNSOUND[name]))
    what, opening, words = NAMED[name]
    assert any(text.startswith(opening) and words in text for text in texts(check, what))
    assert counters.requests <= 10
    assert all(
        each.severity != Severity.OK for each in check.section.findings if words in each.text
    )


@pytest.mark.parametrize(
    ("profile", "slots", "noise"),
    [
        pytest.param(
            profile,
            slots,
            noise,
            marks=[] if slots == 4 or profile is Profile.PLAIN else pytest.mark.thorough,
        )
        for profile in Profile
        for slots, noise in ((1, 0.0), (4, 0.05), (16, 0.1))
    ],
)
async def test_a_sound_server_is_never_called_anything_else(profile, slots, noise):
    behaviour = Behaviour(
        profile=profile, slots=slots, miss_rate=noise, false_alarm_rate=noise / 5, seed=slots
    )
    check, counters = await checked(behaviour)
    assert check.found.sight is Sight.SOUND
    assert check.section.works
    assert counters.requests <= 10
    named = [each.text for each in check.section.findings if each.severity is Severity.NOTE]
    assert not any(word in text for text in named for *_, word in NAMED.values())


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["sound", *UNSOUND])
async def test_two_hundred_runs_over_noise_speed_and_slots(name):
    noises, waits_s, every = (0.0, 0.05, 0.1), (0.0, 0.01, 0.05), tuple(Profile)
    variety = itertools.islice(itertools.product(noises, waits_s, (1, 2, 4, 16), every), 200)
    for seed, (noise, wait_s, slots, profile) in enumerate(variety):
        behaviour = Behaviour(
            profile=profile,
            slots=max(2, slots) if name == "swapping" else slots,
            latency_s=wait_s,
            miss_rate=noise,
            false_alarm_rate=noise / 5,
            seed=seed,
            **UNSOUND.get(name, {}),
        )
        check, _ = await checked(behaviour, max_concurrent=4)
        if name == "sound":
            assert check.found.sight is Sight.SOUND
        else:
            what, opening, words = NAMED[name]
            assert any(text.startswith(opening) and words in text for text in texts(check, what))


async def test_a_sound_server_has_its_figures():
    behaviour = Behaviour(profile=Profile.LLAMA_CPP, slots=3, context_tokens=8192, api_key=KEY)
    check, _ = await checked(behaviour, api_key=KEY)
    found = {each.what: each for each in check.section.findings}
    assert found["API key"].text == "accepted"
    assert found["requests at once"].text.startswith("3, as it tells; 3 at once bring ")
    assert found["context"].text.startswith("8192 tokens; a question about 4 tags")
    tokens = found["picture tokens"].figures
    assert 180 <= tokens["small"] <= 200
    assert 700 <= tokens["large"] <= 780
    assert found["answer forms"].text == "list, names, verdicts, with a schema"
    assert found["confidence"].figures["logprobs"] is True
    assert {"alone", "call", "picture", "answer_token"} <= found["seconds"].figures.keys()
    assert KEY not in str(check)


async def test_a_context_that_is_too_small_is_wrong():
    model = ModelConfig(tag_list=[f"Foul {number}" for number in range(300)])
    check, _ = await checked(Behaviour(context_tokens=2048, profile=Profile.VLLM), model=model)
    (text,) = texts(check, "context")
    assert "give the server more context" in text
    assert not check.section.works


async def test_a_long_list_of_tags_fits_if_its_answers_may_be_shorter():
    model = ModelConfig(tag_list=[f"Foul {number}" for number in range(600)])
    check, _ = await checked(Behaviour(context_tokens=8192, profile=Profile.VLLM), model=model)
    assert check.section.works
    assert "a question about 600 tags" in texts(check, "context")[0]


async def test_tags_of_other_scripts_need_more_tokens():
    behaviour = Behaviour(context_tokens=8192, profile=Profile.VLLM)
    needed = []
    for name in ("foul", "犯规犯规"):
        model = ModelConfig(tag_list=[f"{name}{number}" for number in range(200)])
        check, _ = await checked(behaviour, model=model)
        (context,) = (each for each in check.section.findings if each.what == "context")
        needed.append(context.figures["needed_tokens"])
    assert needed[1] > needed[0] + 1000


@pytest.mark.parametrize(
    ("behaviour", "what", "remedy"),
    [
        (Behaviour(api_key=KEY), "reachable", "set api_key of this endpoint"),
        (Behaviour(vision=False), "test pictures", "its model cannot see pictures"),
        (Behaviour(models=("referee:7b",)), "test pictures", "it offers referee:7b"),
        (Behaviour(fault=Fault.SERVER_ERROR), "test pictures", "EngineCore encountered an issue"),
    ],
    ids=["no key", "no vision", "no such model", "server error"],
)
async def test_a_fault_comes_with_its_remedy(behaviour, what, remedy):
    check, _ = await checked(behaviour)
    assert remedy in " ".join(texts(check, what))
    assert not check.section.works


async def test_a_server_that_hangs_is_left_in_time():
    check, _ = await checked(Behaviour(fault=Fault.HANG), limit_s=1.0)
    (text,) = texts(check, "test pictures")
    assert "check again in a minute" in text


async def test_a_slow_server_is_told_from_fewer_questions():
    check, counters = await checked(Behaviour(latency_s=0.4), limit_s=2.5)
    assert "before everything was asked" in texts(check, "time")[0]
    assert 2 <= counters.answered < 10
    assert check.found.sight in {Sight.SOUND, Sight.UNKNOWN}


async def test_a_busy_server_is_waited_for():
    behaviour = Behaviour(fault=Fault.BUSY, fault_requests=2, retry_after_s=0.1)
    check, _ = await checked(behaviour)
    assert check.found.sight is Sight.SOUND


async def test_a_pause_that_is_too_long_is_named():
    check, counters = await checked(Behaviour(fault=Fault.BUSY, retry_after_s=600))
    assert "asks to wait 600 s" in texts(check, "test pictures")[0]
    assert counters.requests == 1


async def test_a_key_in_the_name_of_a_model_is_hidden():
    behaviour = Behaviour(api_key=KEY, models=(f"{KEY}-vlm", f"x{KEY}"), answers_as=KEY)
    check, _ = await checked(behaviour, api_key=KEY, model=ModelConfig(tag_list=TAGS))
    assert check.found.sight is Sight.SOUND
    assert KEY not in str(check.section)


async def test_words_of_the_user_are_named_as_a_possible_reason():
    narrow = "Name nothing but basketball."

    def obeying(request, card):
        return naming([] if card is None or narrow in str(request["messages"]) else card.tags)

    async with seeing(obeying) as server:
        endpoint = EndpointConfig(base_url=server.url)
        for prompt, reason in ((narrow, True), ("", False)):
            model = ModelConfig(tag_list=TAGS, prompt=prompt)
            check = await check_endpoint(endpoint, model)
            assert ("words of yours" in texts(check, "test pictures")[0]) == reason
            assert (check.found.sight is Sight.SOUND) != reason


async def test_a_server_that_takes_no_text_alone_has_no_failure():
    def answer(request, card):
        return naming(card.tags) if card else (400, {"error": "a picture is missing"})

    async with seeing(answer) as server:
        endpoint = EndpointConfig(base_url=server.url)
        check = await check_endpoint(endpoint, ModelConfig(tag_list=TAGS))
    assert check.found.sight is Sight.SOUND
    assert texts(check, "failures") == []


@pytest.mark.parametrize("seed", range(3))
async def test_several_frames_are_told_apart_by_a_model_that_errs(seed):
    model = ModelConfig(tag_list=TAGS, model_id="sandbox-vlm", frames_per_question=8)
    behaviour = Behaviour(miss_rate=0.1, false_alarm_rate=0.02, seed=seed)
    check, _ = await checked(behaviour, model=model)
    assert texts(check, "several frames") == ["it told 8 pictures of one question apart"]


async def test_several_frames_in_a_question_are_tried():
    model = ModelConfig(tag_list=TAGS, model_id="sandbox-vlm", frames_per_question=3)
    check, _ = await checked(Behaviour(), model=model)
    assert texts(check, "several frames") == ["it told 3 pictures of one question apart"]
    check, _ = await checked(Behaviour(most_pictures=1), model=model)
    assert "set frames_per_question to 1" in texts(check, "several frames")[0]
