"""Two test pictures before an endpoint's first question: what leaves it out, and what does not."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
from contextlib import AsyncExitStack

import pytest

from tests.checkup.helpers import naming, seeing
from tests.clients.helpers import completion, no_endpoint
from vlm_engine import VLMEngine
from vlm_engine.checkup.cards import CARD_TAGS
from vlm_engine.checkup.screening import Screening
from vlm_engine.clients.member import Screened
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig
from vlm_engine.errors import NoEndpointError
from vlm_engine.store import AnswerStore
from vlm_engine.testing import Behaviour, Fault, Profile, SandboxVLM, Sight, glyphs

TAGS = ("Foul", "Goal")
DAY_S = 24 * 3600.0


class Endpoints:
    """Sandbox endpoints, and an engine over them."""

    def __init__(self, stack, folder):
        self._stack, self._folder = stack, folder

    async def start(self, **behaviour):
        return await self._stack.enter_async_context(SandboxVLM(Behaviour(**behaviour)))

    def engine(self, *endpoints, checks=True, models=("tags",), **settings):
        written = [
            one if isinstance(one, dict) else {"base_url": one.url, "name": f"server {number}"}
            for number, one in enumerate(endpoints)
        ]
        model = {
            "tag_list": TAGS,
            "model_id": "sandbox-vlm",
            "multiplexer_endpoints": written,
            "endpoint_patience": 5,
            **settings,
        }
        config = EngineConfig(
            models={name: ModelConfig(model_category=name, **model) for name in models},
            check_endpoints=checks,
            store_path=str(self._folder / "a.sqlite"),
        )
        return VLMEngine(config)


@pytest.fixture
async def endpoints(tmp_path):
    async with AsyncExitStack() as stack:
        yield Endpoints(stack, tmp_path)


def pictures(count, first=0):
    """Return JPEGs of fouls, each another one."""
    for number in range(first, first + count):
        written = io.BytesIO()
        glyphs.picture(["Foul"], 320, 180, frame_number=number).save(written, "JPEG", quality=92)
        yield written.getvalue()


async def tagged(engine, count=4, first=0):
    """Tag pictures, and return what was found in each."""
    async with engine:
        results = await asyncio.gather(
            *(engine.process_image(one) for one in pictures(count, first))
        )
    return [result["image_tag_info"]["image_tags"]["tags"] for result in results]


async def test_a_sound_endpoint_is_asked_about_two_cards_a_day(endpoints):
    vlm = await endpoints.start()
    assert await tagged(endpoints.engine(vlm)) == [["Foul"]] * 4
    assert vlm.counters.answered == 4 + 2
    await tagged(endpoints.engine(vlm), first=10)
    assert vlm.counters.answered == 8 + 2


async def test_what_a_server_says_of_itself_is_logged_once(endpoints, caplog):
    caplog.set_level(logging.INFO)
    vlm = await endpoints.start(profile=Profile.LLAMA_CPP, offers_logprobs=False)
    await tagged(endpoints.engine(vlm))
    assert vlm.counters.answered == 4 + 2
    said = [each.getMessage() for each in caplog.records if each.name.startswith("vlm_engine")]
    assert sum("llama.cpp, model sandbox-vlm" in each for each in said) == 1
    assert sum("how sure its model is" in each for each in said) == 1


async def test_a_day_later_it_is_tested_again(endpoints, tmp_path):
    now = [1_000_000.0]
    with AnswerStore(tmp_path / "b.sqlite", clock=lambda: now[0]) as store:
        store.set_screening("http://one/v1 m", "sound")
        now[0] += DAY_S - 1
        assert store.screening("http://one/v1 m", DAY_S) == "sound"
        assert store.screening("http://two/v1 m", DAY_S) is None
        now[0] += 2
        assert store.screening("http://one/v1 m", DAY_S) is None
        store.set_screening("http://one/v1 m", "weak")
        assert store.screening("http://one/v1 m", DAY_S) == "weak"
        now[0] -= 10 * DAY_S  # the clock was put back
        assert store.screening("http://one/v1 m", DAY_S) is None


@pytest.mark.parametrize("sight", [Sight.DROPPED, Sight.BLIND, Sight.STALE])
async def test_an_unsound_endpoint_is_left_out_with_a_warning(endpoints, caplog, sight):
    sound, other = await endpoints.start(latency_s=0.05), await endpoints.start(sight=sight)
    assert await tagged(endpoints.engine(other, sound), 8) == [["Foul"]] * 8
    assert sound.counters.answered == 8 + 2
    assert other.counters.frame_numbers == []
    assert other.counters.answered <= 10
    (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "endpoint server 0 is given up: " in warning.getMessage()
    assert "set CHECK_ENDPOINTS: false" in warning.getMessage()
    await tagged(endpoints.engine(other, sound), 2, first=20)
    assert other.counters.answered > 10  # what was bad is tested at every start


async def test_with_no_other_endpoint_everything_stays_to_be_asked(endpoints):
    blind = await endpoints.start(sight=Sight.BLIND)
    async with endpoints.engine(blind) as engine:
        with pytest.raises(NoEndpointError) as raised:
            await engine.process_image(next(pictures(1)))
    assert "its answers do not depend on the picture" in str(raised.value)
    assert blind.counters.frame_numbers == []


async def test_a_setting_overrides_the_test(endpoints):
    blind = await endpoints.start(sight=Sight.BLIND)
    assert await tagged(endpoints.engine(blind, checks=False)) == [[]] * 4
    assert blind.counters.answered == 4


async def test_one_that_swaps_is_asked_one_question_at_a_time(endpoints, caplog):
    vlm = await endpoints.start(sight=Sight.SWAPPING, slots=4)
    where = {"base_url": vlm.url, "max_concurrent": 4}
    engine = endpoints.engine(where)
    async with engine:
        await engine.process_image(next(pictures(1)))
        vlm.counters.in_flight_max = 0
        results = await asyncio.gather(*(engine.process_image(one) for one in pictures(6, 1)))
        (stats,) = engine.endpoint_stats().values()
    assert all(each["image_tag_info"]["image_tags"]["tags"] == ["Foul"] for each in results)
    assert vlm.counters.in_flight_max == 1
    assert stats.slots == 1
    assert "one question at a time" in caplog.text


@pytest.mark.parametrize("noise", [(0.45, 0.15), (0.6, 0.3)])
async def test_a_weak_endpoint_is_warned_of_and_used(endpoints, caplog, noise):
    missed, invented = noise
    vlm = await endpoints.start(miss_rate=missed, false_alarm_rate=invented, seed=5)
    await tagged(endpoints.engine(vlm))
    assert len(vlm.counters.frame_numbers) == 4


@pytest.mark.parametrize("sight", [Sight.GIBBERISH, Sight.REFUSING])
async def test_answers_that_cannot_be_read_are_warned_of(endpoints, caplog, sight):
    vlm = await endpoints.start(sight=sight)
    with pytest.raises(Exception, match="server 0"):
        await tagged(endpoints.engine(vlm), 1)
    assert f"test pictures: {sight.value}: " in caplog.text


async def test_others_work_while_one_is_tested(endpoints):
    fast = await endpoints.start()
    loading = await endpoints.start(fault=Fault.HANG)
    async with asyncio.timeout(30):
        assert await tagged(endpoints.engine(loading, fast)) == [["Foul"]] * 4
    assert loading.counters.answered == 0


async def test_one_that_is_down_is_left_to_the_pool(endpoints):
    fast, down = await endpoints.start(), await endpoints.start()
    down.stop()
    assert await tagged(endpoints.engine(down, fast)) == [["Foul"]] * 4


async def test_a_fallback_is_tested_when_it_is_needed(endpoints):
    first, spare = await endpoints.start(), await endpoints.start()
    written = [
        {"base_url": first.url, "name": "first"},
        {"base_url": spare.url, "name": "spare", "is_fallback": True},
    ]
    await tagged(endpoints.engine(*written))
    assert spare.counters.requests == 0
    first.stop()
    assert await tagged(endpoints.engine(*written), first=10) == [["Foul"]] * 4
    assert spare.counters.answered == 4 + 2


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.UNAVAILABLE])
async def test_one_that_is_busy_at_first_is_tested_later(endpoints, fault):
    blind = await endpoints.start(
        sight=Sight.BLIND, fault=fault, fault_requests=1, retry_after_s=0.1
    )
    with no_endpoint("do not depend on the picture"):
        await tagged(endpoints.engine(blind), 1)
    assert blind.counters.frame_numbers == []


async def test_one_that_takes_fewer_at_once_than_set_is_used(endpoints):
    vlm = await endpoints.start(profile=Profile.VLLM, slots=1, queue=0, latency_s=0.05)
    async with asyncio.timeout(30):
        found = await tagged(endpoints.engine({"base_url": vlm.url, "max_concurrent": 4}))
    assert found == [["Foul"]] * 4
    assert vlm.counters.answered == 4 + 2


async def test_one_that_is_down_at_first_is_tested_later(endpoints, caplog):
    sound, blind = await endpoints.start(), await endpoints.start(sight=Sight.BLIND)
    blind.stop()
    async with endpoints.engine(blind, sound) as engine:
        await engine.process_image(next(pictures(1)))
        blind.start()
        for picture in pictures(2_000, 1):
            if "server 0 is given up" in caplog.text:
                break
            await engine.process_image(picture)
    assert blind.counters.frame_numbers == []


async def test_a_fallback_takes_over_from_one_that_hangs(endpoints):
    hanging, spare = await endpoints.start(fault=Fault.HANG), await endpoints.start()
    written = [
        {"base_url": hanging.url, "name": "first"},
        {"base_url": spare.url, "name": "spare", "is_fallback": True},
    ]
    async with asyncio.timeout(30):
        found = await tagged(endpoints.engine(*written, request_timeout=0.5))
    assert found == [["Foul"]] * 4


async def test_slots_that_grow_are_tested_with_several_at_once(endpoints, caplog):
    vlm = await endpoints.start(sight=Sight.SWAPPING, profile=Profile.LM_STUDIO, loaded=False)
    await tagged(endpoints.engine(vlm))
    assert "one question at a time" in caplog.text
    other = await endpoints.start(sight=Sight.SWAPPING)
    caplog.clear()
    await tagged(endpoints.engine({"base_url": other.url, "max_concurrent": "auto"}), first=10)
    assert "one question at a time" in caplog.text


async def test_a_server_is_tested_once_for_all_models(endpoints):
    blind = await endpoints.start(sight=Sight.BLIND)
    with pytest.raises(NoEndpointError):
        await tagged(endpoints.engine(blind, models=("offence", "defence")), 1)
    assert blind.counters.frame_numbers == []
    assert blind.counters.answered <= 10


async def screened(server, **model):
    """Return what comes of the test of a server."""
    with AnswerStore(None) as store:
        endpoint = EndpointConfig(base_url=server.url)
        model = ModelConfig(tag_list=TAGS, **model)
        return await Screening(store).screen(model, endpoint, 20.0)


async def test_words_of_the_user_do_not_make_a_server_blind():
    def obeying(request, card):
        is_narrow = "nothing but basketball" in str(request["messages"])
        return naming([] if is_narrow else card.tags)

    async with seeing(obeying) as server:
        outcome = await screened(server, prompt="Name nothing but basketball.")
    assert outcome == Screened()
    assert len(server.received) == 2


async def test_special_tokens_of_the_user_are_sent_in_the_test():
    async with seeing(lambda _, card: naming(card.tags)) as server:
        await screened(server, special_tokens="/no_think", prompt="Name nothing but basketball.")
    assert all("/no_think" in str(request["messages"]) for request in server.received)


async def test_questions_have_the_form_that_is_set(caplog):
    def bare(request, card):
        is_bare = "without JSON" in str(request["messages"][-1])
        return completion("\n".join(sorted(card.tags)) if is_bare else "Shapes, I think.")

    async with seeing(bare) as server:
        assert await screened(server, answer_form="names") == Screened()
        assert caplog.text == ""
        await screened(server)
    assert "wrong form" in caplog.text or "gibberish" in caplog.text


async def test_one_empty_answer_of_two_leaves_doubt():
    answers = itertools.cycle([True, False])
    async with seeing(lambda _, card: naming(card.tags if next(answers) else [])) as server:
        await screened(server)
    assert len(server.received) > 2


async def test_a_model_that_lists_nothing_but_judges_well_is_used(caplog):
    def shy(request, card):
        if "yes" not in str(request["messages"][-1]):
            return naming([])
        verdicts = {tag: "yes" if tag in card.tags else "no" for tag in CARD_TAGS}
        return completion(json.dumps(verdicts))

    async with seeing(shy) as server:
        assert await screened(server) == Screened()
    assert "test pictures: weak: " in caplog.text


async def test_an_engine_may_be_closed_while_a_test_runs(endpoints):
    hanging, before = await endpoints.start(fault=Fault.HANG), asyncio.all_tasks()
    for pauses in range(8):
        async with endpoints.engine(hanging) as engine:
            task = asyncio.create_task(engine.process_image(next(pictures(1))))
            for _ in range(pauses * 50):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
    assert not [each for each in asyncio.all_tasks() - before if "pool" in repr(each)]


async def test_nothing_is_tested_where_nothing_is_asked(endpoints):
    vlm = await endpoints.start()
    await tagged(endpoints.engine(vlm, checks=False))
    await tagged(endpoints.engine(vlm))
    assert vlm.counters.answered == 4
