"""Many endpoints as one: which gets the work, and what happens when some of them fail."""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.clients.helpers import (
    KEY,
    ask_all,
    endpoint,
    no_endpoint,
    numbered,
    pool_of,
    present,
    question,
    servers,
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
    ReplyError,
    RequestError,
    ServerError,
    StoreError,
    TimedOutError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)
from vlm_engine.testing import Behaviour, Fault, Profile, SandboxVLM


def free_url():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


async def outcomes(pool, count, model=""):
    asking = (pool.ask(numbered(number, model)) for number in range(count))
    return await asyncio.gather(*asking, return_exceptions=True)


def start(pool, count):
    return [asyncio.ensure_future(pool.ask(numbered(number))) for number in range(count)]


def state(pool, label):
    return pool.stats()[label].state


# Sharing the work.


async def test_every_question_gets_its_own_answer():
    async with servers(Behaviour()) as (vlm,), pool_of(endpoint(vlm, "court")) as pool:
        await ask_all(pool, 40)
        stats = pool.stats()["court"]
    assert (stats.served, stats.failed, stats.in_flight, stats.state) == (40, {}, 0, "working")
    assert stats.prompt_tokens > stats.answer_tokens > 0
    assert stats.seconds > 0


async def test_slots_are_never_exceeded_and_the_first_is_alone():
    behaviour = Behaviour(latency_s=0.02, slots=16)
    async with (
        servers(behaviour, replace(behaviour)) as (one, two),
        pool_of(endpoint(one, max_concurrent=3), endpoint(two, max_concurrent=None)) as pool,
    ):
        assert pool.slots == 4
        first = start(pool, 8)
        await until(lambda: one.counters.requests and two.counters.requests)
        assert (one.counters.in_flight, two.counters.in_flight) == (1, 1)
        await asyncio.gather(*first)
        await ask_all(pool, 40)
        assert (one.counters.in_flight_max, two.counters.in_flight_max) == (3, 1)


@pytest.mark.parametrize(
    ("behaviour", "at_once"),
    [
        (Behaviour(profile=Profile.VLLM), 3),
        (Behaviour(profile=Profile.LM_STUDIO), 3),
        (Behaviour(profile=Profile.LM_STUDIO, loaded=False), 1),
        (Behaviour(), 1),
    ],
    ids=["loads first", "says that it is loaded", "loads when asked", "does not say"],
)
async def test_a_loaded_model_gets_all_its_slots_at_once(behaviour, at_once):
    async with (
        servers(replace(behaviour, latency_s=0.2)) as (server,),
        pool_of(endpoint(server, max_concurrent=3)) as pool,
    ):
        first = start(pool, 6)
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        assert server.counters.in_flight_max == at_once
        await asyncio.gather(*first)


async def test_the_model_limits_what_is_in_flight_everywhere():
    async with (
        servers(Behaviour(latency_s=0.01), Behaviour(latency_s=0.01)) as (one, two),
        pool_of(endpoint(one), endpoint(two), max_concurrent_requests=2) as pool,
    ):
        assert pool.slots == 2
        busiest, asking = 0, asyncio.ensure_future(ask_all(pool, 20))
        while not asking.done():
            busiest = max(busiest, one.counters.in_flight + two.counters.in_flight)
            await asyncio.sleep(0.001)
        await asking
        assert 1 <= busiest <= 2


async def test_the_faster_endpoint_gets_more():
    async with (
        servers(Behaviour(latency_s=0.2), Behaviour(latency_s=0.01)) as (slow, fast),
        pool_of(endpoint(slow, max_concurrent=2), endpoint(fast, max_concurrent=2)) as pool,
    ):
        await ask_all(pool, 40)
        assert fast.counters.answered > 2 * slow.counters.answered


async def test_the_heavier_endpoint_is_first_until_speed_is_known():
    async with (
        servers(Behaviour(), Behaviour(latency_s=0.6)) as (light, heavy),
        pool_of(endpoint(light, "light"), endpoint(heavy, "heavy", weight=3)) as pool,
    ):
        assert (await pool.ask(question())).endpoint == "heavy"
        await ask_all(pool, 12)
        assert (await pool.ask(question())).endpoint == "light"


async def test_auto_slots_start_at_one_and_grow():
    async with (
        servers(Behaviour(latency_s=0.02, slots=64)) as (vlm,),
        pool_of(endpoint(vlm, "court", max_concurrent="auto")) as pool,
    ):
        assert pool.slots == 1
        await ask_all(pool, 40)
        assert vlm.counters.in_flight_max >= 2
        assert pool.slots == pool.stats()["court"].slots


async def test_endpoints_of_the_same_name_get_numbers():
    async with (
        servers(Behaviour(), Behaviour()) as (one, two),
        pool_of(endpoint(one, "court"), endpoint(two, "court")) as pool,
    ):
        await ask_all(pool, 4)
        assert set(pool.stats()) == {"court", "court (2)"}


async def test_a_question_for_a_model_goes_only_where_it_is_served():
    async with (
        servers(Behaviour(models=("small",)), Behaviour(models=("large",))) as (first, second),
        pool_of(
            endpoint(first, "laptop", model_id="small"),
            endpoint(second, "tower", model_id="large"),
        ) as pool,
    ):
        for model, label in (("large", "tower"), ("small", "laptop")):
            answer = await pool.ask(numbered(0, model))
            assert (answer.endpoint, answer.model) == (label, model)
        await asyncio.gather(outcomes(pool, 20), outcomes(pool, 20, "large"))
        assert first.counters.answered + second.counters.answered == 42
        assert second.counters.answered >= 21
        with no_endpoint("no endpoint has the model_id 'medium'; there are: small, large"):
            await pool.ask(numbered(0, "medium"))


async def test_a_model_without_endpoints_fails_only_its_questions():
    async with (
        servers(Behaviour(models=("other",)), Behaviour(models=("large",))) as (first, second),
        pool_of(
            endpoint(first, "laptop", model_id="small"),
            endpoint(second, "tower", model_id="large"),
        ) as pool,
    ):
        assert {type(error) for error in await outcomes(pool, 5, "small")} == {NoEndpointError}
        assert {answer.endpoint for answer in await ask_all(pool, 10)} == {"tower"}


async def test_the_models_name_is_configured_or_discovered():
    async with servers(Behaviour()) as (vlm,):
        gone = {"base_url": free_url()}
        async with pool_of(gone, model_id="referee-7b") as pool:
            assert await pool.model_name() == "referee-7b"
        async with pool_of(gone, endpoint(vlm), model_id="") as pool:
            assert await pool.model_name() == "sandbox-vlm"
        async with pool_of(gone, model_id="") as pool:
            with no_endpoint("is the server running at"):
                await pool.model_name()


def test_without_an_endpoint_the_message_says_what_to_set():
    with pytest.raises(ConfigError, match="ENDPOINTS.*http://localhost:1234/v1"):
        EndpointPool.from_config(ModelConfig())


# Several pools that ask one server.


def pool_on(vlm, shared, max_concurrent):
    endpoints = [endpoint(vlm, max_concurrent=max_concurrent)]
    config = ModelConfig(multiplexer_endpoints=endpoints, model_id="sandbox-vlm")
    return EndpointPool.from_config(config, shared)


@pytest.mark.parametrize(
    ("slots", "is_shared", "most"),
    [((3, 3), True, 3), ((2, 5), True, 5), ((2, 2), False, 4)],
    ids=["the same", "the larger", "of different engines"],
)
async def test_pools_share_the_slots_of_a_server(slots, is_shared, most):
    async with SandboxVLM(Behaviour(slots=8, latency_s=0.02)) as vlm, AsyncExitStack() as stack:
        shared = Servers()
        pools = [pool_on(vlm, shared if is_shared else Servers(), each) for each in slots]
        for pool in pools:
            stack.push_async_callback(pool.aclose)
        await asyncio.gather(*(ask_all(pool, 20) for pool in pools))
        assert vlm.counters.in_flight_max == most


async def test_pools_take_turns_at_a_server():
    order = []

    async def ask(number, pool):
        await pool.ask(question())
        order.append(number)

    async with SandboxVLM(Behaviour(slots=1, latency_s=0.002)) as vlm, AsyncExitStack() as stack:
        shared = Servers()
        pools = [pool_on(vlm, shared, 1) for _ in range(3)]
        for pool in pools:
            stack.push_async_callback(pool.aclose)
        await asyncio.gather(
            *(ask(number, pool) for number, pool in enumerate(pools) for _ in range(10))
        )
    for begin in range(0, 30, 6):
        assert {order[begin + step] for step in range(6)} == {0, 1, 2}, order


async def test_a_closed_pool_leaves_its_slots_to_the_others():
    async with SandboxVLM(Behaviour(slots=1, latency_s=0.2)) as vlm, asyncio.timeout(10):
        shared = Servers()
        first, second = (pool_on(vlm, shared, 1) for _ in range(2))
        (asking,) = start(first, 1)
        await until(lambda: vlm.counters.in_flight)
        (waiting,) = start(second, 1)
        await first.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await asking
        assert present(await waiting)
        await second.aclose()


# Failures.


async def test_a_refusing_endpoint_costs_nothing_beside_a_good_one(caplog):
    async with (
        servers(Behaviour()) as (vlm,),
        pool_of({"base_url": free_url(), "name": "gone"}, endpoint(vlm, "here")) as pool,
    ):
        await ask_all(pool, 20)
        stats = pool.stats()
    assert stats["here"].served == 20
    assert (stats["gone"].state, stats["gone"].failed) == ("not working", {"UnreachableError": 1})
    (warning,) = warnings(caplog)
    assert "gone does not work" in warning and "is the server running at" in warning


async def test_a_hanging_question_is_copied_and_counts_once():
    async with (
        servers(Behaviour(fault=Fault.HANG), Behaviour()) as (hanging, healthy),
        pool_of(
            endpoint(hanging, "hanging", weight=5),
            endpoint(healthy, "healthy"),
            request_timeout=1000,
        ) as pool,
    ):
        await ask_all(pool, 12)
        stats = pool.stats()
        assert [stats["hanging"].served, stats["healthy"].served] == [0, 12]
        assert stats["healthy"].copies == 1
        await until(lambda: not hanging.counters.in_flight)
        assert stats["hanging"].failed == {}


async def test_a_hanging_endpoint_is_left_out_after_the_timeout():
    async with (
        servers(Behaviour(fault=Fault.HANG), Behaviour(latency_s=0.1)) as (hanging, healthy),
        pool_of(
            endpoint(hanging, "hanging"),
            endpoint(healthy, "healthy", max_concurrent=1),
            request_timeout=0.7,
        ) as pool,
    ):
        await ask_all(pool, 12)
        assert pool.stats()["hanging"].failed.keys() == {"TimedOutError"}
        assert state(pool, "hanging") != "working"
        assert pool.stats()["healthy"].served == 12


async def test_a_callers_timeout_limits_each_request():
    async with (
        servers(Behaviour(fault=Fault.HANG)) as (vlm,),
        pool_of(endpoint(vlm, "court"), patience_s=0.1) as pool,
    ):
        with no_endpoint("no answer within 0 s"):
            await pool.ask(question(), timeout_s=0.2)


async def test_a_busy_endpoint_is_waited_for_and_loses_nothing():
    busy = Behaviour(fault=Fault.BUSY, fault_requests=3, retry_after_s=0.5)
    async with servers(busy) as (vlm,), pool_of(endpoint(vlm, "court")) as pool:
        await ask_all(pool, 8)
        assert pool.stats()["court"].failed == {"BusyError": 3}
        assert state(pool, "court") == "working"


async def test_while_one_is_busy_another_works():
    busy = Behaviour(fault=Fault.BUSY, retry_after_s=60)
    async with (
        servers(busy, Behaviour()) as (full, free),
        pool_of(endpoint(full), endpoint(free)) as pool,
    ):
        await ask_all(pool, 20)
        assert full.counters.requests == 1


@pytest.mark.parametrize(
    "fault", [Fault.SERVER_ERROR, Fault.ERROR_BODY, Fault.GARBAGE, Fault.DROP, Fault.UNAVAILABLE]
)
async def test_whatever_one_endpoint_does_the_other_answers(fault):
    async with (
        servers(Behaviour(fault=fault), Behaviour()) as (ill, well),
        pool_of(endpoint(ill), endpoint(well)) as pool,
    ):
        await ask_all(pool, 16)
        assert ill.counters.failed
        assert well.counters.answered == 16


async def test_a_single_endpoint_survives_a_passing_server_error():
    behaviour = Behaviour(fault=Fault.SERVER_ERROR, fault_requests=2)
    async with servers(behaviour) as (vlm,), pool_of(endpoint(vlm)) as pool:
        await ask_all(pool, 4)


async def test_a_question_that_fails_everywhere_fails_alone():
    both = [Behaviour(), Behaviour()]
    async with (
        servers(*both) as (one, two),
        pool_of(endpoint(one, "one"), endpoint(two, "two")) as pool,
    ):
        await ask_all(pool, 8)
        for behaviour in both:
            behaviour.fault, behaviour.fault_requests = Fault.SERVER_ERROR, 2
        with pytest.raises(ServerError, match="EngineCore"):
            await pool.ask(question())
        for behaviour in both:
            behaviour.fault = Fault.NONE
        assert one.counters.failed["server_error"] and two.counters.failed["server_error"]
        await ask_all(pool, 8)


async def test_an_unreadable_picture_fails_alone_and_at_once():
    async with (
        servers(Behaviour(), Behaviour()) as (one, two),
        pool_of(endpoint(one), endpoint(two)) as pool,
    ):
        with pytest.raises(RequestError, match="cannot read the picture"):
            await pool.ask(question(picture=b"no picture"))
        assert (one.counters.requests, two.counters.requests) == (1, 1), "another may take it"
        await ask_all(pool, 4)


async def test_garbage_of_the_only_endpoint_fails_the_question():
    async with servers(Behaviour(fault=Fault.GARBAGE)) as (vlm,), pool_of(endpoint(vlm)) as pool:
        for _ in range(6):
            with pytest.raises(ReplyError):
                await pool.ask(question())
        vlm.behaviour.fault = Fault.NONE
        await ask_all(pool, 4)


WRONG = [
    ({"api_key": "x"}, WrongKeyError, "api_key"),
    ({"models": ("referee-7b",)}, WrongModelError, "it offers referee-7b"),
    ({"vision": False}, NoVisionError, "cannot see pictures"),
]


@pytest.mark.parametrize(("wrong", "kind", "words"), WRONG)
async def test_what_only_the_user_can_fix_ends_everything_at_once(wrong, kind, words):
    async with (
        servers(Behaviour(**wrong)) as (vlm,),
        pool_of(endpoint(vlm, "court"), patience_s=1000) as pool,
    ):
        for error in await outcomes(pool, 10) + await outcomes(pool, 1):
            assert isinstance(error, NoEndpointError)
            assert [type(cause) for cause in error.exceptions] == [kind]
            assert words in str(error) and "court" in str(error)
        assert vlm.counters.requests <= 1
        assert state(pool, "court") == "given up"


@pytest.mark.parametrize(("wrong", "kind", "words"), WRONG)
async def test_beside_a_wrong_endpoint_a_good_one_does_all_the_work(wrong, kind, words, caplog):
    async with (
        servers(Behaviour(**wrong), Behaviour()) as (odd, good),
        pool_of(endpoint(odd, "cloud", weight=9), endpoint(good, "gaming PC")) as pool,
    ):
        await ask_all(pool, 30)
        stats = pool.stats()
    assert (stats["cloud"].state, stats["cloud"].failed) == ("given up", {kind.__name__: 1})
    assert stats["gaming PC"].served == 30
    (warning,) = warnings(caplog)
    assert "cloud is given up" in warning and words in warning


async def test_when_all_are_down_the_error_holds_every_cause():
    async with servers(Behaviour(api_key="x"), Behaviour(fault=Fault.HANG)) as (locked, hanging):
        down = [
            endpoint(locked, "locked"),
            endpoint(hanging, "hanging"),
            {"base_url": free_url(), "name": "gone"},
        ]
        async with pool_of(*down, patience_s=0.5, request_timeout=0.3) as pool:
            with pytest.raises(NoEndpointError) as caught:
                await ask_all(pool, 6)
    causes = {cause.endpoint: type(cause) for cause in caught.value.exceptions}
    kinds = {"locked": WrongKeyError, "hanging": TimedOutError, "gone": UnreachableError}
    assert causes == kinds
    assert all(name in str(caught.value) for name in causes)


# Outages.


@pytest.mark.parametrize("count", [1, 2])
async def test_an_outage_in_mid_batch_loses_and_repeats_nothing(count, caplog):
    caplog.set_level(logging.INFO)
    async with (
        servers(*(Behaviour(latency_s=0.02 / number) for number in range(1, count + 1))) as vlms,
        pool_of(*(endpoint(vlm, f"court {n}") for n, vlm in enumerate(vlms))) as pool,
    ):
        asking = asyncio.ensure_future(ask_all(pool, 80))
        await until(lambda: sum(vlm.counters.answered for vlm in vlms) >= 20)
        for vlm in vlms:
            vlm.stop()
        await until(lambda: all(each.state == "not working" for each in pool.stats().values()))
        await until(lambda: "giving up in" in caplog.text)
        for vlm in vlms:
            vlm.start()
        await asking
        numbers = [number for vlm in vlms for number in vlm.counters.frame_numbers]
        assert set(numbers) == set(range(80))
        copies = sum(stats.copies for stats in pool.stats().values())
        assert len(numbers) - 80 <= pool.slots + copies, "only what was in flight is asked again"
        assert all(stats.down_s > 0 for stats in pool.stats().values())
    assert "Waiting for endpoints with" in caplog.text
    assert len(warnings(caplog)) == count
    assert "does not work" in warnings(caplog)[0] and "endpoint court 0 works again" in caplog.text


async def test_after_patience_questions_fail_until_a_probe_succeeds():
    async with (
        servers(Behaviour(latency_s=0.02)) as (vlm,),
        pool_of(endpoint(vlm, "court"), patience_s=0.5) as pool,
    ):
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
        await until(lambda: state(pool, "court") != "not working")
        await ask_all(pool, 4)


async def test_fallbacks_work_only_while_no_primary_does():
    async with (
        servers(Behaviour(), Behaviour()) as (primary, spare),
        pool_of(endpoint(primary, "primary"), endpoint(spare, is_fallback=True)) as pool,
    ):
        await ask_all(pool, 20)
        assert spare.counters.requests == 0
        primary.stop()
        await ask_all(pool, 20)
        assert spare.counters.answered == 20
        primary.start()
        while state(pool, "primary") != "working":
            await ask_all(pool, 1)
            await asyncio.sleep(0.01)
        used = spare.counters.requests
        await ask_all(pool, 20)
        assert spare.counters.requests == used


async def test_a_fallback_helps_when_the_wait_grows_if_that_is_set():
    async with (
        servers(Behaviour(latency_s=0.1), Behaviour()) as (slow, spare),
        pool_of(
            endpoint(slow, "slow", max_concurrent=1),
            endpoint(spare, "spare", is_fallback=True),
            fallback_wait=0.5,
        ) as pool,
    ):
        for _ in range(4):
            await pool.ask(question())
        assert spare.counters.requests == 0
        await ask_all(pool, 40)
        assert spare.counters.answered > 10
        assert slow.counters.answered > 4


# Cancelling, closing, keeping.


async def test_cancelled_questions_leave_nothing_behind():
    async with (
        servers(Behaviour(fault=Fault.HANG)) as (vlm,),
        pool_of(endpoint(vlm, max_concurrent=1)) as pool,
    ):
        asking = start(pool, 50)
        await until(lambda: vlm.counters.in_flight)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await until(lambda: not vlm.counters.in_flight)
        assert vlm.counters.requests == 1
        vlm.behaviour.fault = Fault.NONE
        await ask_all(pool, 3)


async def test_cancelling_a_question_frees_its_slot():
    behaviour = Behaviour()
    async with (
        servers(behaviour) as (vlm,),
        pool_of(endpoint(vlm, "court", max_concurrent=1)) as pool,
    ):
        await ask_all(pool, 1)
        behaviour.fault = Fault.HANG
        (asking,) = start(pool, 1)
        await until(lambda: vlm.counters.in_flight)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        behaviour.fault = Fault.NONE
        await ask_all(pool, 4)
        assert vlm.counters.failed == {"hang": 1}
        assert pool.stats()["court"].in_flight == 0


async def test_closing_ends_what_is_in_flight_and_what_waits():
    async with (
        servers(Behaviour(fault=Fault.HANG)) as (vlm,),
        pool_of(endpoint(vlm), {"base_url": free_url()}) as pool,
    ):
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

    async with (
        servers(Behaviour(slots=8)) as (vlm,),
        pool_of(endpoint(vlm, max_concurrent=2)) as pool,
    ):
        asking = asyncio.ensure_future(ask_all(pool, 6, keep=keep))
        await until(lambda: kept)
        await asyncio.sleep(0.2)  # a free slot would take a question at once
        assert vlm.counters.requests <= 2 and not asking.done()
        stored.set()
        assert sorted(map(id, await asking)) == sorted(map(id, kept))
        assert vlm.counters.requests == 6


async def test_an_answer_that_cannot_be_kept_is_not_given():
    async def keep(_):
        raise StoreError("no room")

    async with servers(Behaviour(slots=4)) as (vlm,), pool_of(endpoint(vlm)) as pool:
        with pytest.raises(StoreError, match="no room"):
            await pool.ask(question(), keep)
        assert await pool.ask(question())  # its slot is free again


async def test_an_answer_is_kept_even_if_its_caller_is_gone():
    begun, kept = asyncio.Event(), []

    async def keep(answer):
        begun.set()
        await asyncio.sleep(0.05)
        kept.append(answer)

    async with servers(Behaviour(slots=4)) as (vlm,), pool_of(endpoint(vlm)) as pool:
        asking = asyncio.create_task(pool.ask(question(), keep))
        await begun.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert len(kept) == 1, "by the time the pool is closed"


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.HANG])
async def test_the_key_is_in_no_log_error_or_statistic(fault, caplog):
    caplog.set_level(logging.DEBUG)
    key = KEY if fault is not Fault.NONE else "another"
    async with (
        servers(Behaviour(api_key=key, fault=fault, retry_after_s=0.5)) as (vlm,),
        pool_of(endpoint(vlm, "court", api_key=KEY), patience_s=0.3) as pool,
    ):
        asking = start(pool, 3)
        await asyncio.wait(asking, timeout=1.5)
        for task in asking:
            task.cancel()
        errors = await asyncio.gather(*asking, return_exceptions=True)
        related = [
            each
            for error in errors
            if isinstance(error, BaseException)
            for each in (
                error,
                error.__cause__,
                error.__context__,
                *getattr(error, "exceptions", ()),
            )
        ]
        texts = [f"{each} {each!r} {getattr(each, 'args', ())!r}" for each in related]
        texts += [str(pool.stats()), repr(pool), repr(pool._members), repr(pool._endpoints)]
    assert KEY not in caplog.text + "".join(texts)
