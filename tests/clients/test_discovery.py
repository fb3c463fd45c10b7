"""Discovery: what endpoints say about themselves, and how the client uses it."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.helpers import (
    FOUL,
    KEY,
    Scripted,
    client_of,
    completion,
    jpeg,
    listing,
    present,
    question,
    said,
)
from vlm_engine.clients.discovery import MOST_SLOTS, Capabilities, discover
from vlm_engine.errors import (
    NoVisionError,
    ReplyError,
    RequestError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)
from vlm_engine.testing import Behaviour, Fault, Profile, SandboxVLM
from vlm_engine.types import Form

GOOD = (200, completion(FOUL))
FOLDER = Path(__file__).parent.parent / "data" / "recordings"


def found(models, pages=None, configured=""):
    """Return the capabilities of a server with this list of models and these pages."""

    async def fetch(path, payload):
        answer = (pages or {}).get(path)
        return answer(payload) if callable(answer) else answer

    return asyncio.run(discover(models, configured, fetch))


def recorded(server):
    return json.loads((FOLDER / f"{server}.json").read_text("utf-8"))["models"]["body"]


def test_capabilities_of_the_recorded_servers():
    assert found(recorded("llamacpp"), configured="tiny.gguf") == Capabilities(
        models=("t2/tiny.gguf",),
        context_tokens=2048,
        vision=True,
        model="tiny.gguf",
        sighted=("t2/tiny.gguf",),
        loaded=True,
        server="llama.cpp",
        names=("t2/tiny.gguf",),
    ), "it answers to any name, so what it tells is true of that"
    assert found(recorded("vllm")) == Capabilities(
        models=("tiny",),
        context_tokens=4096,
        model="tiny",
        loaded=True,
        server="vLLM",
        names=("tiny",),
    )
    proxy = found(
        recorded("litellm"), {"/health/readiness": {"status": "healthy", "db": "Not connected"}}
    )
    assert proxy == Capabilities(
        models=("tiny", "dead"),
        finishes_abandoned=True,
        model="tiny",
        server="LiteLLM",
        names=("tiny",),
    )


async def test_a_recognised_server_is_asked_only_for_its_own_pages():
    async with (
        Scripted(pages={"/v1/models": recorded("vllm")}) as server,
        client_of(server.url) as client,
    ):
        await client.discover()
        assert server.paths == ["/v1/models"]


@pytest.mark.parametrize("prefix", ["", "/gym"])
async def test_the_pages_are_below_the_root_of_the_address(prefix):
    props = {
        "total_slots": 6,
        "modalities": {"vision": True},
        "default_generation_settings": {"n_ctx": 2048},
    }
    pages = {f"{prefix}/v1/models": recorded("llamacpp"), f"{prefix}/props": props}
    async with (
        Scripted(pages=pages) as server,
        client_of(server.url.replace("/v1", f"{prefix}/v1")) as client,
    ):
        found = await client.discover()
        assert (found.slots, found.context_tokens, client.slots) == (6, 2048, 6)
        assert sorted(server.paths) == [
            f"{prefix}{path}" for path in ("/props", "/slots", "/v1/models")
        ]


def test_older_and_newer_pages_are_found():
    before = {
        "data": [
            {
                "id": "m",
                "type": "vlm",
                "state": "loaded",
                "loaded_context_length": 4096,
                "max_context_length": 99,
            }
        ]
    }
    capabilities = found(listing({"owned_by": "organization_owner"}), {"/api/v0/models": before})
    assert (capabilities.vision, capabilities.context_tokens, capabilities.loaded) == (
        True,
        4096,
        True,
    )
    for prefix in ("/get_", "/"):
        answers = {
            f"{prefix}model_info": {"model_path": "m", "has_image_understanding": False},
            f"{prefix}server_info": {
                "model_path": "m",
                "internal_states": [{"effective_max_running_requests_per_dp": 512}],
            },
        }
        capabilities = found(listing({"owned_by": "sglang"}), answers)
        assert (capabilities.vision, capabilities.slots) == (False, MOST_SLOTS), (
            "more in flight than that gains nothing"
        )


def test_services_describe_each_of_their_models():
    sold = listing(
        {"id": "gpt", "architecture": {"input_modalities": ["text"]}, "context_length": 1000},
        {
            "id": "eye",
            "architecture": {"input_modalities": ["text", "image"]},
            "context_length": 2000,
        },
        {"id": "mist", "capabilities": {"vision": True, "completion_chat": True}},
    )
    capabilities = found(sold, configured="eye")
    assert (capabilities.vision, capabilities.context_tokens, capabilities.sighted) == (
        True,
        2000,
        ("eye", "mist"),
    )
    assert found(sold, configured="gpt").vision is False
    assert found(sold, configured="a new one") == Capabilities(
        ("gpt", "eye", "mist"), model="a new one", sighted=("eye", "mist")
    )


def test_ollama_describes_a_model_on_its_own_page():
    def show(payload):
        return {
            "capabilities": ["completion", "vision"]
            if payload["model"].startswith("eye")
            else ["completion"]
        }

    models = listing(
        {"id": "words:7b", "owned_by": "library"}, {"id": "eye:latest", "owned_by": "library"}
    )
    answers = {
        "/api/show": show,
        "/api/ps": {"models": [{"name": "words:7b", "context_length": 4096}]},
    }
    assert found(models, answers, "eye").vision is True, "its name without a tag"
    assert found(models, answers, "words:7b") == Capabilities(
        ("words:7b", "eye:latest"),
        None,
        4096,
        False,
        model="words:7b",
        loaded=True,
        server="Ollama",
        names=("words:7b",),
    )
    chosen = found(models, answers)
    assert (chosen.model, chosen.loaded, chosen.sighted) == ("eye:latest", False, ("eye:latest",))
    stranger = listing({"id": "eye", "owned_by": "a guest"})
    assert found(stranger, {"/api/ps": {"models": []}, "/api/show": show}).vision is True


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (("text-embedding-3", "referee-7b", "other"), "referee-7b"),
        (("text-embedding-3",), ""),
        ((), ""),
    ],
)
def test_without_a_model_the_first_for_chat_is_chosen(models, expected):
    assert found(listing(*({"id": model} for model in models))).model == expected


def test_without_a_model_a_loaded_seeing_one_is_chosen():
    def entry(key, *, vision=True, loaded=True, **more):
        instances = (
            [{"id": f"{key}@1", "config": {"context_length": 4096, "parallel": 2}}]
            if loaded
            else []
        )
        return {
            "key": key,
            "type": "llm",
            "capabilities": {"vision": vision},
            "loaded_instances": instances,
            **more,
        }

    def capabilities(*entries, configured=""):
        models = listing(
            *({"id": entry["key"], "owned_by": "organization_owner"} for entry in entries)
        )
        return found(models, {"/api/v1/models": {"models": [*entries]}}, configured)

    on_disk, blind, embedding = (
        entry("a", loaded=False),
        entry("b", vision=False),
        entry("c", type="embedding"),
    )
    assert capabilities(on_disk, blind, entry("d")).model == "d"
    assert capabilities(blind, on_disk, embedding).model == "a", (
        "one that sees goes before one that is loaded"
    )
    assert capabilities(blind, embedding) == Capabilities(
        ("b", "c"),
        2,
        4096,
        False,
        model="b",
        sighted=("c",),
        loaded=True,
        server="LM Studio",
        names=("b", "b@1"),
    )
    assert capabilities(on_disk, entry("d"), configured="d@1").slots == 2, (
        "an instance is asked for by its own name"
    )
    assert capabilities(on_disk, configured="a").loaded is False


KEYS = """data models id key name owned_by architecture input_modalities capabilities vision meta
n_ctx loaded_instances config parallel context_length total_slots modalities model_path type created
internal_states aliases status value state"""
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.sampled_from(["", "image", "m", "llamacpp", "loaded"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JUNK, JUNK, st.sampled_from(["", "m"]))
def test_discovery_never_fails_whatever_the_pages_hold(models, page, configured):
    answers = dict.fromkeys(
        ["/props", "/slots", "/api/ps", "/api/show", "/api/v1/models", "/get_server_info"], page
    )
    capabilities = found(models, answers, configured)
    assert capabilities.slots is None or 0 < capabilities.slots <= MOST_SLOTS
    assert capabilities.vision in (None, True, False)
    assert str(capabilities)


async def test_an_endpoint_that_was_away_is_discovered_again():
    async with (
        SandboxVLM(Behaviour(profile=Profile.LM_STUDIO)) as vlm,
        client_of(vlm.url) as client,
    ):
        vlm.stop()
        assert await client.discover() == Capabilities()
        with pytest.raises(UnreachableError):
            await client.ask(question("Foul"))
        assert client.slots == 1
        vlm.start()
        await client.ask(question("Foul"))
        assert client.slots == 4


async def test_many_first_questions_share_one_discovery():
    async with (
        Scripted(GOOD, {"/v1/models": recorded("vllm")}) as server,
        client_of(server.url, model_id="tiny") as client,
    ):
        await asyncio.gather(*(client.ask(question("Foul")) for _ in range(8)))
        assert server.paths.count("/v1/models") == 1


async def test_a_cancelled_question_does_not_end_the_discovery():
    async with (
        SandboxVLM(Behaviour(profile=Profile.LM_STUDIO)) as vlm,
        client_of(vlm.url) as client,
    ):
        impatient = asyncio.create_task(client.ask(question("Foul")))
        patient = asyncio.create_task(client.ask(question("Foul")))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).verdicts["Foul"].present
        with pytest.raises(asyncio.CancelledError):
            await impatient


async def test_another_model_is_discovered_after_an_error():
    behaviour = Behaviour(profile=Profile.LM_STUDIO, models=("whistle-2b",), vision=False)
    async with SandboxVLM(behaviour) as vlm, client_of(vlm.url, model_id="") as client:
        with pytest.raises(NoVisionError, match="cannot see pictures.*says so of 'whistle-2b'"):
            await client.ask(question("Foul"))
        assert vlm.counters.requests == 0
        vlm.behaviour.models, vlm.behaviour.vision = ("referee-7b",), True
        answer = await client.ask(question("Foul"))
        assert (answer.model, answer.verdicts["Foul"].present) == ("referee-7b", True)


async def test_models_that_see_are_named_if_the_chosen_one_does_not():
    entries = [
        {"id": "whistle", "capabilities": {"vision": False}},
        {"id": "referee", "capabilities": {"vision": True}},
    ]

    async with (
        Scripted(models=entries) as server,
        client_of(server.url, model_id="whistle") as client,
    ):
        with pytest.raises(
            NoVisionError,
            match="load one that can .of those it offers, referee., or correct MODEL",
        ):
            await client.ask(question("Foul"))


async def test_a_key_for_questions_need_not_be_good_for_lists():
    forbidden = (403, said("Missing scopes: api.model.read"))
    async with Scripted(GOOD, {"/v1/models": forbidden}) as server:
        async with client_of(server.url, key=KEY) as client:
            assert present(await client.ask(question("Foul"))) == ["Foul"]
        async with client_of(server.url, key=KEY, model_id="") as client:
            with pytest.raises(WrongKeyError):
                await client.ask(question("Foul"))


@pytest.mark.parametrize("profile", [Profile.LM_STUDIO, Profile.OLLAMA])
async def test_a_server_is_discovered_again_once_its_model_is_loaded(profile):
    behaviour = Behaviour(profile=profile, loaded=False, slots=3, context_tokens=2048)
    async with SandboxVLM(behaviour) as vlm, client_of(vlm.url) as client:
        before = await client.discover()
        assert (before.loaded, before.slots, before.context_tokens) == (False, None, None)
        await client.ask(question("Foul"))
        assert (client.capabilities.loaded, client.capabilities.context_tokens) == (True, 2048)
        assert client.slots == (3 if profile is Profile.LM_STUDIO else 1)


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_silently_cut_off_question_is_not_answered(loaded):
    behaviour = Behaviour(profile=Profile.OLLAMA, context_tokens=300, loaded=loaded)
    async with SandboxVLM(behaviour) as vlm, client_of(vlm.url) as client:
        with pytest.raises(
            RequestError,
            match="court: the question does not fit into its context.*at 300 tokens",
        ):
            await client.ask(question(picture=jpeg(("Foul",), 0, 1024, 576)))
        assert vlm.counters.answered == 1, "the server had made something up"
        assert (
            (await client.ask(question(picture=jpeg(("Foul",), 0, 320, 180))))
            .verdicts["Foul"]
            .present
        )


@pytest.mark.parametrize(
    "profile", [profile for profile in Profile if profile is not Profile.PLAIN]
)
@pytest.mark.parametrize("form", Form)
async def test_thinking_is_switched_off_if_possible(profile, form):
    async with (
        SandboxVLM(Behaviour(profile=profile, thinks=True)) as vlm,
        client_of(vlm.url) as client,
    ):
        answer = await client.ask(question("Foul", form=form))
        assert answer.verdicts["Foul"].present
        assert vlm.counters.requests == 1
        assert answer.answer_tokens < 60


@pytest.mark.parametrize("profile", Profile)
async def test_endless_white_space_is_asked_again_in_another_form(profile):
    behaviour = Behaviour(profile=profile, fault=Fault.BLANKS)
    async with SandboxVLM(behaviour) as vlm, client_of(vlm.url) as client:
        assert (await client.ask(question("Foul"))).verdicts["Foul"].present
        assert vlm.counters.requests == 2
        vlm.behaviour.fault = Fault.TRUNCATED
        with pytest.raises(ReplyError, match="cut off"):
            await client.ask(question("Foul"))


async def test_a_litellm_proxy_is_recognised_by_its_answers_too():
    async with (
        SandboxVLM(Behaviour(profile=Profile.LITELLM)) as vlm,
        client_of(vlm.url) as client,
    ):
        vlm.behaviour.models = ()
        assert not (await client.discover()).finishes_abandoned
        vlm.behaviour.models = ("sandbox-vlm",)
        await client.ask(question("Foul"))
        assert client.capabilities.finishes_abandoned
        assert client.capabilities.server == "LiteLLM"


async def test_capabilities_and_lack_of_confidence_are_logged_once(caplog):
    caplog.set_level(logging.INFO, "vlm_engine")

    async with (
        SandboxVLM(Behaviour(profile=Profile.LM_STUDIO)) as vlm,
        client_of(vlm.url) as client,
    ):
        for _ in range(3):
            await client.ask(question("Foul"))
        await client.discover()
    assert [record.getMessage() for record in caplog.records] == [
        "court: LM Studio, model sandbox-vlm, 4 slots, 32768 tokens of context, sees pictures",
        "court: it does not tell how sure its model is, so its answers have no confidence",
    ]


async def test_a_server_without_models_names_the_setting():
    async with (
        Scripted(models=()) as server,
        client_of(server.url, model_id="") as client,
    ):
        with pytest.raises(WrongModelError, match="set MODEL"):
            await client.ask(question("Foul"))
