"""Many endpoints as one: which gets the work, and what happens when some of them fail."""

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.clients.helpers import (
    ask_all,
    at,
    free_url,
    no_endpoint,
    numbered,
    outcomes,
    pool_on,
    present,
    question,
    start,
    until,
    warnings,
)
from vlm_engine.clients import EndpointPool
from vlm_engine.clients.member import Servers
from vlm_engine.config.models import ModelConfig
from vlm_engine.errors import (
    ConfigError,
    NoEndpointError,
    NoVisionError,
    RequestError,
    ServerError,
    StoreError,
    TimedOutError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)
from vlm_engine.testing import Behaviour, Fault, Profile, SandboxVLM

# Sharing the work.


async def test_every_question_gets_its_own_answer():
    async with pool_on(Behaviour()) as (pool, _):
        await ask_all(pool, 40)
        stats = pool.stats()["court"]
    assert (stats.served, stats.failed, stats.in_flight, stats.state) == (40, {}, 0, "working")
    assert stats.prompt_tokens > stats.answer_tokens > 0
    assert stats.seconds > 0


async def test_slots_are_never_exceeded_and_the_first_is_alone():
    one, two = (Behaviour(latency_s=0.02, slots=16) for _ in range(2))
    async with pool_on(at(one, max_concurrent=3), at(two, max_concurrent=None)) as (pool, *vlms):
        counters = [vlm.counters for vlm in vlms]
        assert pool.slots == 4
        first = start(pool, 8)
        await until(lambda: all(each.requests for each in counters))
        assert [each.in_flight for each in counters] == [1, 1]
        await asyncio.gather(*first)
        await ask_all(pool, 40)
        assert [each.in_flight_max for each in counters] == [3, 1]


@pytest.mark.parametrize(
    ("behaviour", "at_once"),
    [
        ({"profile": Profile.VLLM}, 3),
        ({"profile": Profile.LM_STUDIO}, 3),
        ({"profile": Profile.LM_STUDIO, "loaded": False}, 1),
        ({}, 1),
    ],
    ids=["loads first", "says that it is loaded", "loads when asked", "does not say"],
)
async def test_a_loaded_model_gets_all_its_slots_at_once(behaviour, at_once):
    server = Behaviour(latency_s=0.2, **behaviour)
    async with pool_on(at(server, max_concurrent=3)) as (pool, vlm):
        first = start(pool, 6)
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        assert vlm.counters.in_flight_max == at_once
        await asyncio.gather(*first)


async def test_the_model_limits_what_is_in_flight_everywhere():
    slow = Behaviour(latency_s=0.01)
    async with pool_on(slow, slow, max_concurrent_requests=2) as (pool, one, two):
        assert pool.slots == 2
        busiest, asking = 0, asyncio.ensure_future(ask_all(pool, 20))
        while not asking.done():
            busiest = max(busiest, one.counters.in_flight + two.counters.in_flight)
            await asyncio.sleep(0.001)
        await asking
    assert 1 <= busiest <= 2


async def test_the_faster_endpoint_gets_more():
    async with pool_on(
        at(Behaviour(latency_s=0.1), max_concurrent=2),
        at(Behaviour(latency_s=0.005), max_concurrent=2),
    ) as (pool, slow, fast):
        await ask_all(pool, 40)
        assert fast.counters.answered > 2 * slow.counters.answered


async def test_auto_slots_start_at_one_and_grow():
    server = Behaviour(latency_s=0.02, slots=64)
    async with pool_on(at(server, max_concurrent="auto")) as (pool, vlm):
        assert pool.slots == 1
        await ask_all(pool, 40)
        assert vlm.counters.in_flight_max >= 2
        assert pool.slots == pool.stats()["court"].slots


async def test_endpoints_of_the_same_name_get_numbers():
    async with pool_on("http://one/v1", "http://two/v1") as (pool,):
        assert set(pool.stats()) == {"court", "court (2)"}


def two_models(on_the_laptop):
    """Return a pool for a small and a large model, with what the first endpoint really serves."""
    return pool_on(
        at(Behaviour(models=(on_the_laptop,)), "laptop", model_id="small"),
        at(Behaviour(models=("large",)), "tower", model_id="large"),
    )


async def test_a_question_for_a_model_goes_only_where_it_is_served():
    async with two_models("small") as (pool, small, large):
        for model, label in (("large", "tower"), ("small", "laptop")):
            answer = await pool.ask(numbered(0, model))
            assert (answer.endpoint, answer.model) == (label, model)
        await asyncio.gather(outcomes(pool, 20), outcomes(pool, 20, "large"))
        assert small.counters.answered + large.counters.answered == 42
        assert large.counters.answered >= 21
        with no_endpoint("no endpoint has the model_id 'medium'; there are: small, large"):
            await pool.ask(numbered(0, "medium"))


async def test_a_model_without_endpoints_fails_only_its_questions():
    async with two_models("other") as (pool, *_):
        assert {type(error) for error in await outcomes(pool, 5, "small")} == {NoEndpointError}
        assert {answer.endpoint for answer in await ask_all(pool, 10)} == {"tower"}


async def test_the_models_name_is_configured_or_discovered():
    gone = free_url()
    async with pool_on(gone, model_id="referee-7b") as (pool,):
        assert await pool.model_name() == "referee-7b"
    async with pool_on(gone, Behaviour(), model_id="") as (pool, _):
        assert await pool.model_name() == "sandbox-vlm"
    async with pool_on(gone, model_id="") as (pool,):
        with no_endpoint("is the server running at"):
            await pool.model_name()


def test_without_an_endpoint_the_message_says_what_to_set():
    with pytest.raises(ConfigError, match="ENDPOINTS.*http://localhost:1234/v1"):
        EndpointPool.from_config(ModelConfig())


# Several pools that ask one server.


@asynccontextmanager
async def pools_on(behaviour, *slots, shared):
    """Start a server; yield it, and pools of it with so many slots each."""
    async with AsyncExitStack() as stack:
        vlm = await stack.enter_async_context(SandboxVLM(behaviour))
        pools = []
        for each in slots:
            config = {"base_url": vlm.url, "max_concurrent": each}
            model = ModelConfig(multiplexer_endpoints=[config], model_id="sandbox-vlm")
            pools.append(EndpointPool.from_config(model, shared or Servers()))
            stack.push_async_callback(pools[-1].aclose)
        async with asyncio.timeout(30):
            yield vlm, *pools


@pytest.mark.parametrize(
    ("slots", "shared", "most"),
    [((3, 3), Servers(), 3), ((2, 5), Servers(), 5), ((2, 2), None, 4)],
    ids=["the same", "the larger", "of different engines"],
)
async def test_pools_share_the_slots_of_a_server(slots, shared, most):
    behaviour = Behaviour(slots=8, latency_s=0.02)
    async with pools_on(behaviour, *slots, shared=shared) as (vlm, *pools):
        await asyncio.gather(*(ask_all(pool, 20) for pool in pools))
    assert vlm.counters.in_flight_max == most


async def test_pools_take_turns_at_a_server():
    order = []

    async def ask(number, pool):
        await pool.ask(question())
        order.append(number)

    behaviour = Behaviour(slots=1, latency_s=0.002)
    async with pools_on(behaviour, 1, 1, 1, shared=Servers()) as (_, *pools):
        asking = (ask(number, pool) for number, pool in enumerate(pools) for _ in range(10))
        await asyncio.gather(*asking)
    for begin in range(0, 30, 6):
        assert set(order[begin : begin + 6]) == {0, 1, 2}, order


async def test_a_closed_pool_leaves_its_slots_to_the_others():
    behaviour = Behaviour(slots=1, latency_s=0.2)
    async with pools_on(behaviour, 1, 1, shared=Servers()) as (vlm, first, second):
        (asking,) = start(first, 1)
        await until(lambda: vlm.counters.in_flight)
        (waiting,) = start(second, 1)
        await first.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await asking
        assert present(await waiting)


# Failures.


async def test_a_refusing_endpoint_costs_nothing_beside_a_good_one(caplog):
    async with pool_on(at(free_url(), "gone"), at(Behaviour(), "here")) as (pool, _):
        await ask_all(pool, 20)
        gone, here = pool.stats().values()
    assert here.served == 20
    assert (gone.state, gone.failed) == ("not working", {"UnreachableError": 1})
    (warning,) = warnings(caplog)
    assert "gone does not work" in warning and "is the server running at" in warning


async def test_a_hanging_question_is_copied_and_counts_once():
    hanging = at(Behaviour(fault=Fault.HANG), "hanging", weight=5)
    async with pool_on(hanging, Behaviour(), request_timeout=1000) as (pool, vlm, _):
        await ask_all(pool, 12)
        hanging, healthy = pool.stats().values()
        assert (hanging.served, healthy.served, healthy.copies) == (0, 12, 1)
        await until(lambda: not vlm.counters.in_flight)
        assert pool.stats()["hanging"].failed == {}


async def test_a_hanging_endpoint_is_left_out_after_the_timeout():
    async with pool_on(
        Behaviour(fault=Fault.HANG),
        at(Behaviour(latency_s=0.1), max_concurrent=1),
        request_timeout=0.7,
    ) as (pool, *_):
        await ask_all(pool, 12)
        hanging, healthy = pool.stats().values()
    assert hanging.failed.keys() == {"TimedOutError"} and hanging.state != "working"
    assert healthy.served == 12


async def test_a_callers_timeout_limits_each_request():
    async with pool_on(Behaviour(fault=Fault.HANG), patience_s=0.1) as (pool, _):
        with no_endpoint("no answer within 0 s"):
            await pool.ask(question(), timeout_s=0.2)


@pytest.mark.parametrize(
    ("fault", "failed"), [(Fault.BUSY, {"BusyError": 2}), (Fault.SERVER_ERROR, {"ServerError": 2})]
)
async def test_a_passing_fault_of_the_only_endpoint_loses_nothing(fault, failed):
    server = Behaviour(fault=fault, fault_requests=2, retry_after_s=0.5)
    async with pool_on(server) as (pool, _):
        await ask_all(pool, 8)
        stats = pool.stats()["court"]
    assert (stats.failed, stats.state) == (failed, "working")


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.UNAVAILABLE])
async def test_whatever_one_endpoint_does_the_other_answers(fault):
    async with pool_on(Behaviour(fault=fault), Behaviour()) as (pool, ill, well):
        await ask_all(pool, 16)
        assert ill.counters.failed
        assert well.counters.answered == 16


async def test_a_question_that_fails_everywhere_fails_alone():
    async with pool_on(Behaviour(), Behaviour()) as (pool, *vlms):
        await ask_all(pool, 8)
        for vlm in vlms:
            vlm.behaviour.fault, vlm.behaviour.fault_requests = Fault.SERVER_ERROR, 2
        with pytest.raises(ServerError, match="EngineCore"):
            await pool.ask(question())
        for vlm in vlms:
            vlm.behaviour.fault = Fault.NONE
            assert vlm.counters.failed["server_error"]
        await ask_all(pool, 8)


async def test_an_unreadable_picture_fails_alone_and_at_once():
    async with pool_on(Behaviour(), Behaviour()) as (pool, *vlms):
        with pytest.raises(RequestError, match="cannot read the picture"):
            await pool.ask(question(picture=b"no picture"))
        assert [vlm.counters.requests for vlm in vlms] == [1, 1], "another may take it"
        await ask_all(pool, 4)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"api_key": "x"}, WrongKeyError, "api_key"),
        ({"models": ("referee-7b",)}, WrongModelError, "it offers referee-7b"),
        ({"vision": False}, NoVisionError, "cannot see pictures"),
    ],
)
async def test_what_only_the_user_can_fix_ends_everything_at_once(wrong, kind, words):
    async with pool_on(Behaviour(**wrong), patience_s=1000) as (pool, vlm):
        for error in await outcomes(pool, 10) + await outcomes(pool, 1):
            assert isinstance(error, NoEndpointError)
            assert [type(cause) for cause in error.exceptions] == [kind]
            assert words in str(error) and "court" in str(error)
        assert vlm.counters.requests <= 1
        assert pool.stats()["court"].state == "given up"


async def test_when_all_are_down_the_error_holds_every_cause():
    async with pool_on(
        at(Behaviour(api_key="x"), "locked"),
        at(Behaviour(fault=Fault.HANG), "hanging"),
        at(free_url(), "gone"),
        patience_s=0.5,
        request_timeout=0.3,
    ) as (pool, *_):
        with pytest.raises(NoEndpointError) as caught:
            await ask_all(pool, 6)
    causes = {cause.endpoint: type(cause) for cause in caught.value.exceptions}
    kinds = {"locked": WrongKeyError, "hanging": TimedOutError, "gone": UnreachableError}
    assert causes == kinds
    assert all(name in str(caught.value) for name in causes)


# Outages.


async def test_an_outage_in_mid_batch_loses_and_repeats_nothing(caplog):
    caplog.set_level(logging.INFO)
    courts = [at(Behaviour(latency_s=latency_s)) for latency_s in (0.02, 0.01)]
    async with pool_on(*courts) as (pool, *vlms):
        asking = asyncio.ensure_future(ask_all(pool, 80))
        await until(lambda: sum(vlm.counters.answered for vlm in vlms) >= 20)
        for vlm in vlms:
            vlm.stop()
        await until(lambda: all(each.state == "not working" for each in pool.stats().values()))
        await until(lambda: "giving up in" in caplog.text)
        for vlm in vlms:
            vlm.start()
        await asking
        stats = pool.stats().values()
    numbers = [number for vlm in vlms for number in vlm.counters.frame_numbers]
    assert set(numbers) == set(range(80))
    extra = len(numbers) - 80
    assert extra <= pool.slots + sum(each.copies for each in stats), "only those in flight"
    assert all(each.down_s > 0 for each in stats)
    assert "Waiting for endpoints with" in caplog.text
    assert all("does not work" in warning for warning in warnings(caplog))
    assert len(warnings(caplog)) == 2 and "works again" in caplog.text


async def test_after_patience_questions_fail_until_a_probe_succeeds():
    async with pool_on(Behaviour(latency_s=0.02), patience_s=0.5) as (pool, vlm):
        asking = start(pool, 60)
        await until(lambda: vlm.counters.answered >= 10)
        vlm.stop()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        failed = [error for error in ended if isinstance(error, BaseException)]
        assert len(ended) - len(failed) == pool.stats()["court"].served >= 9
        assert {type(error) for error in failed} == {NoEndpointError}
        assert all(vlm.url in str(error) for error in failed)
        with no_endpoint():
            await asyncio.wait_for(pool.ask(question()), 0.1)
        vlm.start()
        await until(lambda: pool.stats()["court"].state != "not working")
        await ask_all(pool, 4)


async def test_fallbacks_work_only_while_no_primary_does():
    primary = at(Behaviour(), "primary")
    async with pool_on(primary, at(Behaviour(), is_fallback=True)) as (pool, primary, spare):
        await ask_all(pool, 20)
        assert spare.counters.requests == 0
        primary.stop()
        await ask_all(pool, 20)
        assert spare.counters.answered == 20
        primary.start()
        while pool.stats()["primary"].state != "working":
            await ask_all(pool, 1)
            await asyncio.sleep(0.01)
        used = spare.counters.requests
        await ask_all(pool, 20)
        assert spare.counters.requests == used


async def test_a_fallback_helps_when_the_wait_grows_if_that_is_set():
    slow = at(Behaviour(latency_s=0.1), max_concurrent=1)
    spare = at(Behaviour(), is_fallback=True)
    async with pool_on(slow, spare, fallback_wait=0.3) as (pool, slow, spare):
        await pool.ask(question())
        assert spare.counters.requests == 0
        await ask_all(pool, 30)
        assert spare.counters.answered > 10


# Cancelling, closing, keeping.


async def test_cancelling_a_question_frees_its_slot():
    async with pool_on(at(Behaviour(), max_concurrent=1)) as (pool, vlm):
        await ask_all(pool, 1)
        vlm.behaviour.fault = Fault.HANG
        asking = start(pool, 5)  # one in flight, four queued
        await until(lambda: vlm.counters.in_flight)
        for task in asking:
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(each) for each in ended} == {asyncio.CancelledError}
        vlm.behaviour.fault = Fault.NONE
        await ask_all(pool, 4)
        assert vlm.counters.failed == {"hang": 1}
        assert pool.stats()["court"].in_flight == 0


async def test_closing_ends_what_is_in_flight_and_what_waits():
    async with pool_on(Behaviour(fault=Fault.HANG), free_url()) as (pool, vlm):
        asking = start(pool, 5)
        await until(lambda: vlm.counters.in_flight)
        await pool.aclose()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(outcome) for outcome in ended] == [RuntimeError] * 5
        with pytest.raises(RuntimeError, match="closed"):
            await pool.ask(question())


async def test_a_slot_is_free_only_when_its_answer_is_stored():
    stored, kept = asyncio.Event(), []

    async def keep(answer):
        kept.append(answer)
        await stored.wait()

    async with pool_on(at(Behaviour(slots=8), max_concurrent=2)) as (pool, vlm):
        asking = asyncio.ensure_future(ask_all(pool, 6, keep=keep))
        await until(lambda: kept)
        await asyncio.sleep(0.1)  # a free slot would take a question at once
        assert vlm.counters.requests <= 2 and not asking.done()
        stored.set()
        assert sorted(map(id, await asking)) == sorted(map(id, kept))


async def test_an_answer_that_cannot_be_kept_is_not_given():
    async def keep(_):
        raise StoreError("no room")

    async with pool_on(at(Behaviour(), max_concurrent=1)) as (pool, _):
        with pytest.raises(StoreError, match="no room"):
            await pool.ask(question(), keep)
        assert await pool.ask(question())  # its slot is free again


async def test_an_answer_is_kept_even_if_its_caller_is_gone():
    begun, kept = asyncio.Event(), []

    async def keep(answer):
        begun.set()
        await asyncio.sleep(0.05)
        kept.append(answer)

    async with pool_on(Behaviour()) as (pool, _):
        asking = asyncio.create_task(pool.ask(question(), keep))
        await begun.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert len(kept) == 1, "by the time the pool is closed"
