"""What endpoints tell of themselves, and what the client makes of it."""

import asyncio
import io
import json
import logging
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from vlm_engine.clients import OpenAIClient, discovery
from vlm_engine.clients.discovery import Capabilities, discover
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    NoVisionError,
    ReplyError,
    RequestError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)
from vlm_engine.testing import Behaviour, Fault, Profile, SandboxVLM, glyphs
from vlm_engine.types import Form, Question

FOLDER = Path(__file__).parent.parent / "data" / "recordings"
TAGS = ("Basketball point", "Foul", "Turnover")
KEY = "sk-of-the-league"


def question(*shown, form=Form.LIST, tags=TAGS, width=410):
    file = io.BytesIO()
    glyphs.picture(shown, width, width * 9 // 16).save(file, "JPEG", quality=90)
    return Question(tags, form, file.getvalue())


@asynccontextmanager
async def client_of(url, *, key="", **model):
    client = OpenAIClient(
        EndpointConfig(base_url=url, api_key=key, name="court"),
        ModelConfig(**{"model_id": "sandbox-vlm", **model}),
    )
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def site(answers):
    """A server that answers each path with its JSON, and nothing else; yields its address and the paths that were asked."""
    asked = []

    async def answer(request):
        asked.append(request.path)
        if request.path not in answers:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response(answers[request.path])

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked
    finally:
        await runner.cleanup()


def found(listing, answers=None, asked=""):
    """What is discovered of a server with these pages."""

    async def fetch(path, payload):
        answer = (answers or {}).get(path)
        return answer(payload) if callable(answer) else answer

    return asyncio.run(discover(listing, asked, fetch))


def listing(*models):
    return {"object": "list", "data": [{"id": "m", "object": "model", **model} for model in models]}


def recorded(server):
    return json.loads((FOLDER / f"{server}.json").read_text("utf-8"))["models"]["body"]


def test_what_the_recorded_servers_told():
    assert found(recorded("llamacpp"), asked="tiny.gguf") == Capabilities(
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


def test_a_recognised_server_is_asked_for_its_own_pages_only():
    async def main():
        async with site({"/v1/models": recorded("vllm")}) as (url, asked), client_of(url) as client:
            await client.discover()
            assert asked == ["/v1/models"]
        props = {
            "total_slots": 6,
            "modalities": {"vision": True},
            "default_generation_settings": {"n_ctx": 2048},
        }
        answers = {"/v1/models": recorded("llamacpp"), "/props": props}
        async with site(answers) as (url, asked), client_of(url) as client:
            told = await client.discover()
            assert (told.slots, told.context_tokens, client.slots) == (6, 2048, 6)
            assert sorted(asked) == ["/props", "/slots", "/v1/models"]

    asyncio.run(main())


def test_a_server_behind_a_longer_path_is_asked_below_that():
    async def main():
        answers = {"/gym/v1/models": recorded("llamacpp"), "/gym/props": {"total_slots": 6}}
        async with (
            site(answers) as (url, asked),
            client_of(url.replace("/v1", "/gym/v1")) as client,
        ):
            assert (await client.discover()).slots == 6
            assert "/gym/slots" in asked

    asyncio.run(main())


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
    told = found(listing({"owned_by": "organization_owner"}), {"/api/v0/models": before})
    assert (told.vision, told.context_tokens, told.loaded) == (True, 4096, True)
    for prefix in ("/get_", "/"):
        answers = {
            f"{prefix}model_info": {"model_path": "m", "has_image_understanding": False},
            f"{prefix}server_info": {
                "model_path": "m",
                "internal_states": [{"effective_max_running_requests_per_dp": 512}],
            },
        }
        told = found(listing({"owned_by": "sglang"}), answers)
        assert (told.vision, told.slots) == (False, discovery.MOST_SLOTS), (
            "more in flight than that gains nothing"
        )


def test_services_that_sell_models_tell_of_each():
    sold = listing(
        {"id": "gpt", "architecture": {"input_modalities": ["text"]}, "context_length": 1000},
        {
            "id": "eye",
            "architecture": {"input_modalities": ["text", "image"]},
            "context_length": 2000,
        },
        {"id": "mist", "capabilities": {"vision": True, "completion_chat": True}},
    )
    told = found(sold, asked="eye")
    assert (told.vision, told.context_tokens, told.sighted) == (True, 2000, ("eye", "mist"))
    assert found(sold, asked="gpt").vision is False
    assert found(sold, asked="a new one") == Capabilities(
        ("gpt", "eye", "mist"), model="a new one", sighted=("eye", "mist")
    )


def test_ollama_tells_of_a_model_when_it_is_shown():
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
def test_without_a_name_the_first_that_is_for_conversation_is_taken(models, expected):
    assert found(listing(*({"id": model} for model in models))).model == expected


def test_without_a_name_the_loaded_model_is_taken_before_others_on_the_disk():
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

    def told(*entries, asked=""):
        models = listing(
            *({"id": entry["key"], "owned_by": "organization_owner"} for entry in entries)
        )
        return found(models, {"/api/v1/models": {"models": [*entries]}}, asked)

    on_disk, blind, embedding = (
        entry("a", loaded=False),
        entry("b", vision=False),
        entry("c", type="embedding"),
    )
    assert told(on_disk, blind, entry("d")).model == "d"
    assert told(blind, on_disk, embedding).model == "a", (
        "one that sees goes before one that is loaded"
    )
    assert told(blind, embedding) == Capabilities(
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
    assert told(on_disk, entry("d"), asked="d@1").slots == 2, (
        "an instance is asked for by its own name"
    )
    assert told(on_disk, asked="a").loaded is False


KEYS = (
    "data models id key name owned_by architecture input_modalities capabilities vision meta n_ctx loaded_instances config"
    " parallel context_length total_slots modalities model_path internal_states aliases status value state type created"
)
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
def test_whatever_the_pages_hold_they_never_fail(models, page, asked):
    answers = dict.fromkeys(
        ["/props", "/slots", "/api/ps", "/api/show", "/api/v1/models", "/get_server_info"], page
    )
    told = found(models, answers, asked)
    assert told.slots is None or 0 < told.slots <= discovery.MOST_SLOTS
    assert told.vision in (None, True, False)
    assert str(told)


def test_an_endpoint_that_is_not_there_tells_nothing_and_is_asked_again():
    async def main():
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

    asyncio.run(main())


def test_many_first_questions_ask_once_what_it_can_do():
    async def main():
        async with (
            site({"/v1/models": recorded("vllm")}) as (url, asked),
            client_of(url, model_id="tiny") as client,
        ):
            errors = await asyncio.gather(
                *(client.ask(question("Foul")) for _ in range(8)), return_exceptions=True
            )
            assert len(errors) == 8
            assert asked.count("/v1/models") == 1

    asyncio.run(main())


def test_one_that_gives_up_waiting_does_not_end_the_finding_out_for_the_others():
    async def main():
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

    asyncio.run(main())


def test_another_model_on_the_same_server_is_discovered_after_an_error():
    async def main():
        how = Behaviour(profile=Profile.LM_STUDIO, models=("whistle-2b",), vision=False)
        async with SandboxVLM(how) as vlm, client_of(vlm.url, model_id="") as client:
            with pytest.raises(NoVisionError, match="cannot see pictures.*says so of 'whistle-2b'"):
                await client.ask(question("Foul"))
            assert vlm.counters.requests == 0
            vlm.behaviour.models, vlm.behaviour.vision = ("referee-7b",), True
            answer = await client.ask(question("Foul"))
            assert (answer.model, answer.verdicts["Foul"].present) == ("referee-7b", True)

    asyncio.run(main())


def test_models_that_see_are_named_where_the_one_asked_does_not():
    entries = [
        {"id": "whistle", "capabilities": {"vision": False}},
        {"id": "referee", "capabilities": {"vision": True}},
    ]

    async def main():
        async with (
            site({"/v1/models": listing(*entries)}) as (url, _),
            client_of(url, model_id="whistle") as client,
        ):
            with pytest.raises(
                NoVisionError,
                match="load one that can .of those it offers, referee., or correct MODEL",
            ):
                await client.ask(question("Foul"))

    asyncio.run(main())


def test_a_key_for_questions_need_not_be_good_for_lists():
    async def answer(request):
        if request.path == "/v1/chat/completions":
            return web.json_response(
                {
                    "choices": [
                        {"finish_reason": "stop", "message": {"content": '{"tags": ["Foul"]}'}}
                    ]
                }
            )
        return web.json_response(
            {"error": {"message": "Missing scopes: api.model.read"}}, status=403
        )

    async def main():
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with client_of(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", key=KEY) as client:
            assert (await client.ask(question("Foul"))).verdicts["Foul"].present
        async with client_of(
            f"http://127.0.0.1:{runner.addresses[0][1]}/v1", key=KEY, model_id=""
        ) as client:
            with pytest.raises(WrongKeyError):
                await client.ask(question("Foul"))
        await runner.cleanup()

    asyncio.run(main())


@pytest.mark.parametrize("profile", [Profile.LM_STUDIO, Profile.OLLAMA])
def test_what_a_server_tells_only_once_the_model_is_loaded_is_learnt_then(profile):
    async def main():
        how = Behaviour(profile=profile, loaded=False, slots=3, context_tokens=2048)
        async with SandboxVLM(how) as vlm, client_of(vlm.url) as client:
            before = await client.discover()
            assert (before.loaded, before.slots, before.context_tokens) == (False, None, None)
            await client.ask(question("Foul"))
            assert (client.capabilities.loaded, client.capabilities.context_tokens) == (True, 2048)
            assert client.slots == (3 if profile is Profile.LM_STUDIO else 1)

    asyncio.run(main())


@pytest.mark.parametrize("loaded", [True, False])
def test_a_question_that_was_cut_off_in_silence_is_not_answered(loaded):
    async def main():
        how = Behaviour(profile=Profile.OLLAMA, context_tokens=300, loaded=loaded)
        async with SandboxVLM(how) as vlm, client_of(vlm.url) as client:
            with pytest.raises(
                RequestError,
                match="court: the question does not fit into its context.*at 300 tokens",
            ):
                await client.ask(question("Foul", width=1024))
            assert vlm.counters.answered == 1, "the server had made something up"
            assert (await client.ask(question("Foul", width=320))).verdicts["Foul"].present

    asyncio.run(main())


@pytest.mark.parametrize(
    "profile", [profile for profile in Profile if profile is not Profile.PLAIN]
)
@pytest.mark.parametrize("form", Form)
def test_thinking_is_turned_off_wherever_it_can_be(profile, form):
    async def main():
        async with (
            SandboxVLM(Behaviour(profile=profile, thinks=True)) as vlm,
            client_of(vlm.url) as client,
        ):
            answer = await client.ask(question("Foul", form=form))
            assert answer.verdicts["Foul"].present
            assert vlm.counters.requests == 1
            assert answer.answer_tokens < 60

    asyncio.run(main())


@pytest.mark.parametrize("profile", Profile)
def test_white_space_without_end_is_asked_for_in_another_form(profile):
    async def main():
        how = Behaviour(profile=profile, fault=Fault.BLANKS)
        async with SandboxVLM(how) as vlm, client_of(vlm.url) as client:
            assert (await client.ask(question("Foul"))).verdicts["Foul"].present
            assert vlm.counters.requests == 2
            vlm.behaviour.fault = Fault.TRUNCATED
            with pytest.raises(ReplyError, match="cut off"):
                await client.ask(question("Foul"))

    asyncio.run(main())


def test_a_proxy_is_recognised_by_its_answers_too():
    async def main():
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

    asyncio.run(main())


def test_what_was_found_is_logged_once_and_a_lack_of_confidence_too(caplog):
    caplog.set_level(logging.INFO, "vlm_engine")

    async def main():
        async with (
            SandboxVLM(Behaviour(profile=Profile.LM_STUDIO)) as vlm,
            client_of(vlm.url) as client,
        ):
            for _ in range(3):
                await client.ask(question("Foul"))
            await client.discover()

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "court: LM Studio, model sandbox-vlm, 4 slots, 32768 tokens of context, sees pictures",
        "court: it does not tell how sure its model is, so its answers have no confidence",
    ]


def test_no_model_at_all_is_a_fault_that_names_the_setting():
    async def main():
        async with (
            site({"/v1/models": {"data": []}}) as (url, _),
            client_of(url, model_id="") as client,
        ):
            with pytest.raises(WrongModelError, match="set MODEL"):
                await client.ask(question("Foul"))

    asyncio.run(main())
