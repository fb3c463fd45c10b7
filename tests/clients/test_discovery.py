"""Discovery: what endpoints say about themselves, and how the client uses it."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.helpers import (
    GOOD,
    KEY,
    Scripted,
    client_of,
    client_on,
    jpeg,
    listing,
    present,
    question,
    said,
)
from vlm_engine.clients.discovery import MOST_SLOTS, Capabilities, discover
from vlm_engine.errors import (
    NoVisionError,
    RequestError,
    UnreachableError,
    WrongKeyError,
)
from vlm_engine.testing import Behaviour, Profile
from vlm_engine.types import Form

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
    vllm = found(recorded("vllm"))
    assert (vllm.model, vllm.context_tokens, vllm.loaded, vllm.server) == (
        "tiny",
        4096,
        True,
        "vLLM",
    )
    readiness = {"/health/readiness": {"status": "healthy", "db": "Not connected"}}
    proxy = found(recorded("litellm"), readiness)
    assert (proxy.models, proxy.finishes_abandoned, proxy.server) == (
        ("tiny", "dead"),
        True,
        "LiteLLM",
    )


@pytest.mark.parametrize("prefix", ["", "/gym"])
async def test_the_pages_are_below_the_root_of_the_address(prefix):
    props = {"total_slots": 6, "default_generation_settings": {"n_ctx": 2048}}
    pages = {f"{prefix}/v1/models": recorded("llamacpp"), f"{prefix}/props": props}
    async with (
        Scripted(pages=pages) as server,
        client_of(server.url.replace("/v1", f"{prefix}/v1")) as client,
    ):
        found = await client.discover()
        assert (found.slots, found.context_tokens, client.slots) == (6, 2048, 6)
    paths = [f"{prefix}{path}" for path in ("/props", "/slots", "/v1/models")]
    assert sorted(server.paths) == paths


def test_the_page_of_older_lm_studios_is_found():
    entry = {"id": "m", "type": "vlm", "state": "loaded", "loaded_context_length": 4096}
    pages = {"/api/v0/models": {"data": [{**entry, "max_context_length": 99}]}}
    capabilities = found(listing({"owned_by": "organization_owner"}), pages)
    assert (capabilities.vision, capabilities.context_tokens, capabilities.loaded) == (
        True,
        4096,
        True,
    )


@pytest.mark.parametrize("prefix", ["/get_", "/"])
def test_older_and_newer_pages_of_sglang_are_found(prefix):
    running = [{"effective_max_running_requests_per_dp": 512}]
    pages = {
        f"{prefix}model_info": {"model_path": "m", "has_image_understanding": False},
        f"{prefix}server_info": {"model_path": "m", "internal_states": running},
    }
    capabilities = found(listing({"owned_by": "sglang"}), pages)
    assert (capabilities.vision, capabilities.slots) == (False, MOST_SLOTS)


def test_services_describe_each_of_their_models():
    sold = listing(
        {"id": "gpt", "architecture": {"input_modalities": ["text"]}},
        {
            "id": "eye",
            "architecture": {"input_modalities": ["text", "image"]},
            "context_length": 2000,
        },
        {"id": "mist", "capabilities": {"vision": True, "completion_chat": True}},
    )
    eye = found(sold, configured="eye")
    assert (eye.vision, eye.context_tokens, eye.sighted) == (True, 2000, ("eye", "mist"))
    assert found(sold, configured="gpt").vision is False
    assert found(sold, configured="a new one") == Capabilities(
        ("gpt", "eye", "mist"), model="a new one", sighted=("eye", "mist"), blind=("gpt",)
    )


def test_ollama_describes_a_model_on_its_own_page():
    def show(payload):
        seeing = payload["model"].startswith("eye")
        return {"capabilities": ["completion", *(["vision"] if seeing else [])]}

    names = ("words:7b", "eye:latest")
    models = listing(*({"id": name, "owned_by": "library"} for name in names))
    running = {"models": [{"name": "words:7b", "context_length": 4096}]}
    pages = {"/api/show": show, "/api/ps": running}
    assert found(models, pages, "eye").vision is True, "its name without a tag"
    words = found(models, pages, "words:7b")
    assert (words.vision, words.context_tokens, words.loaded) == (False, 4096, True)
    chosen = found(models, pages)
    assert (chosen.model, chosen.loaded, chosen.sighted) == ("eye:latest", False, ("eye:latest",))
    stranger = listing({"id": "eye", "owned_by": "a guest"})
    assert found(stranger, {"/api/ps": {"models": []}, "/api/show": show}).vision is True


def test_without_a_model_a_loaded_seeing_one_is_chosen():
    def entry(key, *, vision=True, loaded=True, type="llm"):
        instance = {"id": f"{key}@1", "config": {"context_length": 4096, "parallel": 2}}
        return {
            "key": key,
            "type": type,
            "capabilities": {"vision": vision},
            "loaded_instances": [instance] if loaded else [],
        }

    def capabilities(*entries, configured=""):
        ids = ({"id": entry["key"], "owned_by": "organization_owner"} for entry in entries)
        return found(listing(*ids), {"/api/v1/models": {"models": [*entries]}}, configured)

    on_disk, blind = entry("a", loaded=False), entry("b", vision=False)
    embedding, loaded = entry("c", type="embedding"), entry("d")
    assert capabilities(on_disk, blind, loaded).model == "d"
    assert capabilities(blind, on_disk, embedding).model == "a", "to see counts more"
    assert capabilities(blind, embedding).model == "b"
    instance = capabilities(on_disk, loaded, configured="d@1")
    assert (instance.slots, instance.context_tokens, instance.server) == (2, 4096, "LM Studio")
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
    async with client_on(Behaviour(profile=Profile.LM_STUDIO)) as (client, vlm):
        vlm.stop()
        assert await client.discover() == Capabilities()
        with pytest.raises(UnreachableError):
            await client.ask(question("Foul"))
        assert client.slots == 1
        vlm.start()
        await client.ask(question("Foul"))
        assert client.slots == 4


async def test_first_questions_share_one_discovery_of_the_right_pages():
    server = Scripted(GOOD, {"/v1/models": recorded("vllm")})
    async with client_on(server, model_id="tiny") as (client, _):
        await asyncio.gather(*(client.ask(question("Foul")) for _ in range(8)))
    assert [path for path in server.paths if "chat" not in path] == ["/v1/models"]


async def test_a_cancelled_question_does_not_end_the_discovery():
    async with client_on(Behaviour(profile=Profile.LM_STUDIO)) as (client, _):
        impatient = asyncio.create_task(client.ask(question("Foul")))
        patient = asyncio.create_task(client.ask(question("Foul")))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).verdicts["Foul"].present
        with pytest.raises(asyncio.CancelledError):
            await impatient


async def test_another_model_is_discovered_after_an_error():
    behaviour = Behaviour(profile=Profile.LM_STUDIO, models=("whistle-2b",), vision=False)
    async with client_on(behaviour, model_id="") as (client, vlm):
        with pytest.raises(NoVisionError, match="cannot see pictures.*says so of 'whistle-2b'"):
            await client.ask(question("Foul"))
        assert vlm.counters.requests == 0
        vlm.behaviour.models, vlm.behaviour.vision = ("referee-7b",), True
        answer = await client.ask(question("Foul"))
        assert (answer.model, answer.verdicts["Foul"].present) == ("referee-7b", True)


async def test_models_that_see_are_named_if_the_chosen_one_does_not():
    models = [
        {"id": name, "capabilities": {"vision": name == "referee"}}
        for name in ("whistle", "referee")
    ]
    async with client_on(Scripted(models=models), model_id="whistle") as (client, _):
        with pytest.raises(NoVisionError, match="of those it offers, referee., or correct MODEL"):
            await client.ask(question("Foul"))


async def test_a_key_for_questions_need_not_be_good_for_lists():
    forbidden = (403, said("Missing scopes: api.model.read"))
    async with Scripted(GOOD, {"/v1/models": forbidden}) as server:
        async with client_of(server.url, key=KEY) as client:
            assert present(await client.ask(question("Foul"))) == ["Foul"]
        async with client_of(server.url, key=KEY, model_id="") as client:
            with pytest.raises(WrongKeyError):
                await client.ask(question("Foul"))


async def test_a_server_is_discovered_once_for_all_who_wait():
    async with client_on(Scripted(GOOD), model_id="") as (client, server):
        asked = [client.ask(question("Foul")), *(client.model_name() for _ in range(3))]
        _, *names = await asyncio.gather(*asked)
        assert names == ["sandbox-vlm"] * 3
        assert server.paths.count("/v1/models") == 1


@pytest.mark.parametrize("profile", [Profile.LM_STUDIO, Profile.OLLAMA])
async def test_a_server_is_discovered_again_once_its_model_is_loaded(profile):
    behaviour = Behaviour(profile=profile, loaded=False, slots=3, context_tokens=2048)
    async with client_on(behaviour) as (client, _):
        before = await client.discover()
        assert (before.loaded, before.slots, before.context_tokens) == (False, None, None)
        await client.ask(question("Foul"))
        assert (client.capabilities.loaded, client.capabilities.context_tokens) == (True, 2048)
        assert client.slots == (3 if profile is Profile.LM_STUDIO else 1)


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_silently_cut_off_question_is_not_answered(loaded):
    behaviour = Behaviour(profile=Profile.OLLAMA, context_tokens=300, loaded=loaded)
    async with client_on(behaviour) as (client, vlm):
        with pytest.raises(
            RequestError,
            match="court: the question does not fit into its context.*at 300 tokens",
        ):
            await client.ask(question(picture=jpeg(("Foul",), 0, 1024, 576)))
        assert vlm.counters.answered == 1, "the server had made something up"
        small = question(picture=jpeg(("Foul",), 0, 320, 180))
        assert present(await client.ask(small)) == ["Foul"]


@pytest.mark.parametrize(
    "profile", [profile for profile in Profile if profile is not Profile.PLAIN]
)
@pytest.mark.parametrize("form", Form)
async def test_thinking_is_switched_off_if_possible(profile, form):
    async with client_on(Behaviour(profile=profile, thinks=True)) as (client, vlm):
        answer = await client.ask(question("Foul", form=form))
        assert answer.verdicts["Foul"].present
        assert vlm.counters.requests == 1
        assert answer.answer_tokens < 60


async def test_a_litellm_proxy_is_recognised_by_its_answers_too():
    async with client_on(Behaviour(profile=Profile.LITELLM, models=())) as (client, vlm):
        assert not (await client.discover()).finishes_abandoned
        vlm.behaviour.models = ("sandbox-vlm",)
        await client.ask(question("Foul"))
        found = client.capabilities
    assert (found.finishes_abandoned, found.server) == (True, "LiteLLM")


async def test_capabilities_and_lack_of_confidence_are_logged_once(caplog):
    caplog.set_level(logging.INFO, "vlm_engine")

    async with client_on(Behaviour(profile=Profile.LM_STUDIO)) as (client, _):
        for _ in range(3):
            await client.ask(question("Foul"))
        await client.discover()
    assert [record.getMessage() for record in caplog.records] == [
        "court: LM Studio, model sandbox-vlm, 4 slots, 32768 tokens of context, sees pictures",
        "court: it does not tell how sure its model is, so its answers have no confidence",
    ]
