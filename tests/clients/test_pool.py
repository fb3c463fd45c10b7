"""Many endpoints as one: who gets the work, and what happens when some of them fail."""

import asyncio
import logging
import socket
from dataclasses import replace

import pytest

from tests.clients.pools import TAGS, endpoint, pool_of, question, run, servers, until
from vlm_engine.clients import EndpointPool
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
from vlm_engine.testing import Behaviour, Fault, Profile
from vlm_engine.types import Form, Question


async def ask_all(pool, count, first=0):
    """Asks ``count`` questions at once and makes sure that each got its own answer."""
    numbers = range(first, first + count)
    answers = await asyncio.gather(*(pool.ask(question(number)) for number in numbers))
    for number, answer in zip(numbers, answers, strict=True):
        assert [tag for tag, verdict in answer.verdicts.items() if verdict.present] == [
            TAGS[number % 4]
        ]
    return answers


def free_url():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_every_question_gets_its_own_answer_from_one_endpoint():
    async def main():
        async with servers(Behaviour()) as (vlm,), pool_of(endpoint(vlm, "court")) as pool:
            await ask_all(pool, 40)
            stats = pool.stats()["court"]
            assert (stats.served, stats.failed, stats.in_flight, stats.state) == (
                40,
                {},
                0,
                "working",
            )
            assert stats.prompt_tokens > stats.answer_tokens > 0
            assert stats.seconds > 0

    run(main)


def test_slots_are_never_exceeded_and_the_first_question_is_alone():
    async def main():
        async with (
            servers(Behaviour(latency_s=0.02, slots=16), Behaviour(latency_s=0.02, slots=16)) as (
                one,
                two,
            ),
            pool_of(endpoint(one, max_concurrent=3), endpoint(two, max_concurrent=None)) as pool,
        ):
            assert pool.slots == 4
            first = [asyncio.ensure_future(pool.ask(question(number))) for number in range(8)]
            await until(lambda: one.counters.requests and two.counters.requests)
            assert (one.counters.in_flight, two.counters.in_flight) == (1, 1)
            await asyncio.gather(*first)
            await ask_all(pool, 40)
            assert (one.counters.in_flight_max, two.counters.in_flight_max) == (3, 1)

    run(main)


@pytest.mark.parametrize(
    ("how", "at_once"),
    [
        (Behaviour(profile=Profile.VLLM), 3),
        (Behaviour(profile=Profile.LM_STUDIO), 3),
        (Behaviour(profile=Profile.LM_STUDIO, loaded=False), 1),
        (Behaviour(), 1),
    ],
    ids=["loads first", "says that it is loaded", "loads when asked", "does not say"],
)
def test_a_server_that_has_its_model_in_memory_gets_all_its_slots_at_once(how, at_once):
    async def main():
        async with (
            servers(replace(how, latency_s=0.2)) as (server,),
            pool_of(endpoint(server, max_concurrent=3)) as pool,
        ):
            first = [asyncio.ensure_future(pool.ask(question(number))) for number in range(6)]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            assert server.counters.in_flight_max == at_once
            await asyncio.gather(*first)

    run(main)


def test_the_model_caps_what_is_in_flight_over_all_endpoints():
    async def main():
        async with (
            servers(Behaviour(latency_s=0.01), Behaviour(latency_s=0.01)) as (one, two),
            pool_of(endpoint(one), endpoint(two), max_concurrent_requests=2) as pool,
        ):
            assert pool.slots == 2
            busiest = 0
            asking = asyncio.ensure_future(ask_all(pool, 20))
            while not asking.done():
                busiest = max(busiest, one.counters.in_flight + two.counters.in_flight)
                await asyncio.sleep(0.001)
            await asking
            assert 1 <= busiest <= 2

    run(main)


def test_the_faster_endpoint_gets_more():
    async def main():
        async with (
            servers(Behaviour(latency_s=0.2), Behaviour(latency_s=0.01)) as (slow, fast),
            pool_of(endpoint(slow, max_concurrent=2), endpoint(fast, max_concurrent=2)) as pool,
        ):
            await ask_all(pool, 40)
            assert fast.counters.answered > 2 * slow.counters.answered

    run(main)


def test_before_anything_is_measured_the_heavier_endpoint_is_asked_first_then_the_faster():
    async def main():
        async with (
            servers(Behaviour(), Behaviour(latency_s=0.6)) as (light, heavy),
            pool_of(endpoint(light, weight=1), endpoint(heavy, weight=3)) as pool,
        ):
            assert (await pool.ask(question())).endpoint == heavy.url.split("/")[2]
            await ask_all(pool, 12)
            assert (await pool.ask(question())).endpoint == light.url.split("/")[2]

    run(main)


def test_what_waits_can_be_given_up_and_leaves_nothing_behind():
    async def main():
        async with (
            servers(Behaviour(fault=Fault.HANG)) as (vlm,),
            pool_of(endpoint(vlm, max_concurrent=1)) as pool,
        ):
            asking = [asyncio.ensure_future(pool.ask(question())) for _ in range(50)]
            await until(lambda: vlm.counters.in_flight)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await until(lambda: not vlm.counters.in_flight)
            assert vlm.counters.requests == 1
            vlm.behaviour.fault = Fault.NONE
            await ask_all(pool, 3)

    run(main)


def test_a_refusing_endpoint_costs_nothing_beside_a_healthy_one(caplog):
    async def main():
        async with (
            servers(Behaviour()) as (vlm,),
            pool_of({"base_url": free_url(), "name": "gone"}, endpoint(vlm, "here")) as pool,
        ):
            await ask_all(pool, 20)
            stats = pool.stats()
            assert stats["here"].served == 20
            assert stats["gone"].state == "not working"
            assert stats["gone"].failed == {"UnreachableError": 1}

    run(main)
    (warning,) = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert "gone does not work" in warning and "is the server running at" in warning


def test_what_hangs_at_one_endpoint_is_asked_of_another_and_counts_once():
    async def main():
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
            assert (stats["hanging"].served, stats["healthy"].served, stats["healthy"].copies) == (
                0,
                12,
                1,
            )
            await until(lambda: not hanging.counters.in_flight)
            assert stats["hanging"].failed == {}

    run(main)


def test_an_endpoint_that_hangs_is_left_out_once_time_is_up():
    async def main():
        async with (
            servers(Behaviour(fault=Fault.HANG), Behaviour(latency_s=0.1)) as (hanging, healthy),
            pool_of(
                endpoint(hanging, "hanging"),
                endpoint(healthy, "healthy", max_concurrent=1),
                request_timeout=0.7,
            ) as pool,
        ):
            await ask_all(pool, 12)
            assert pool.stats()["hanging"].failed == {"TimedOutError": 1}
            assert pool.stats()["hanging"].state != "working"
            assert pool.stats()["healthy"].served == 12

    run(main)


def test_busy_is_waited_for_and_loses_nothing():
    async def main():
        busy = Behaviour(fault=Fault.BUSY, fault_requests=3, retry_after_s=0.5)
        async with servers(busy) as (vlm,), pool_of(endpoint(vlm, "court")) as pool:
            await ask_all(pool, 8)
            assert pool.stats()["court"].failed == {"BusyError": 3}
            assert pool.stats()["court"].state == "working"

    run(main)


def test_while_one_is_busy_another_works():
    async def main():
        busy = Behaviour(fault=Fault.BUSY, retry_after_s=60)
        async with (
            servers(busy, Behaviour()) as (full, free),
            pool_of(endpoint(full), endpoint(free)) as pool,
        ):
            await ask_all(pool, 20)
            assert full.counters.requests == 1

    run(main)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.SERVER_ERROR,
        Fault.ERROR_BODY,
        Fault.GARBAGE,
        Fault.HTML,
        Fault.DROP,
        Fault.UNAVAILABLE,
    ],
)
def test_whatever_one_endpoint_does_the_other_answers(fault):
    async def main():
        async with (
            servers(Behaviour(fault=fault), Behaviour()) as (ill, well),
            pool_of(endpoint(ill), endpoint(well)) as pool,
        ):
            await ask_all(pool, 16)
            assert ill.counters.failed
            assert well.counters.answered == 16

    run(main)


def test_a_passing_server_error_is_survived_by_a_single_endpoint():
    async def main():
        behaviour = Behaviour(fault=Fault.SERVER_ERROR, fault_requests=2)
        async with servers(behaviour) as (vlm,), pool_of(endpoint(vlm)) as pool:
            await ask_all(pool, 4)

    run(main)


def test_a_question_that_fails_everywhere_fails_alone():
    async def main():
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
            assert one.counters.failed["server_error"] and two.counters.failed["server_error"], (
                "it went to different endpoints"
            )
            await ask_all(pool, 8)

    run(main)


def test_a_picture_nobody_can_read_fails_alone_and_at_once():
    async def main():
        async with (
            servers(Behaviour(), Behaviour()) as (one, two),
            pool_of(endpoint(one), endpoint(two)) as pool,
        ):
            with pytest.raises(RequestError, match="cannot read the picture"):
                await pool.ask(Question(TAGS, Form.LIST, b"no picture"))
            assert (one.counters.requests, two.counters.requests) == (1, 1), "another may take it"
            await ask_all(pool, 4)

    run(main)


def test_garbage_from_the_only_endpoint_fails_the_question_and_not_the_endpoint():
    async def main():
        async with (
            servers(Behaviour(fault=Fault.GARBAGE)) as (vlm,),
            pool_of(endpoint(vlm)) as pool,
        ):
            for _ in range(6):
                with pytest.raises(ReplyError):
                    await pool.ask(question())
            vlm.behaviour.fault = Fault.NONE
            await ask_all(pool, 4)

    run(main)


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ({"api_key": "another"}, WrongKeyError, "api_key"),
        ({"models": ("referee-7b",)}, WrongModelError, "it offers referee-7b"),
        ({"vision": False}, NoVisionError, "cannot see pictures"),
    ],
)
def test_what_only_the_user_can_mend_ends_everything_at_once(behaviour, kind, words):
    async def main():
        async with (
            servers(Behaviour(**behaviour)) as (vlm,),
            pool_of(endpoint(vlm, "court"), patience_s=1000) as pool,
        ):
            asking = await asyncio.gather(
                *(pool.ask(question(n)) for n in range(10)), return_exceptions=True
            )
            for error in [
                *asking,
                *await asyncio.gather(pool.ask(question()), return_exceptions=True),
            ]:
                assert isinstance(error, NoEndpointError)
                assert [type(cause) for cause in error.exceptions] == [kind]
                assert words in str(error) and "court" in str(error)
            assert vlm.counters.requests <= 1
            assert pool.stats()["court"].state == "given up"

    run(main)


def test_when_all_are_down_every_cause_is_told():
    async def main():
        async with servers(Behaviour(api_key="x"), Behaviour(fault=Fault.HANG)) as (
            locked,
            hanging,
        ):
            down = [
                endpoint(locked, "locked"),
                endpoint(hanging, "hanging"),
                {"base_url": free_url(), "name": "gone"},
            ]
            async with pool_of(*down, patience_s=0.5, request_timeout=0.3) as pool:
                with pytest.raises(NoEndpointError) as caught:
                    await ask_all(pool, 6)
                causes = {cause.endpoint: type(cause) for cause in caught.value.exceptions}
                assert causes == {
                    "locked": WrongKeyError,
                    "hanging": TimedOutError,
                    "gone": UnreachableError,
                }
                assert all(name in str(caught.value) for name in causes)

    run(main)


def test_a_server_killed_and_started_again_mid_batch_loses_nothing(caplog):
    caplog.set_level(logging.INFO)

    async def main():
        async with (
            servers(Behaviour(latency_s=0.02)) as (vlm,),
            pool_of(endpoint(vlm, "court")) as pool,
        ):
            asking = asyncio.ensure_future(ask_all(pool, 80))
            await until(lambda: vlm.counters.answered >= 10)
            vlm.stop()
            await until(lambda: pool.stats()["court"].state != "working")
            vlm.start()
            await asking
            assert pool.stats()["court"].state == "working"

    run(main)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "does not work" in said[0] and "endpoint court works again" in caplog.messages


def test_after_patience_has_ended_questions_fail_at_once_until_a_probe_succeeds():
    async def main():
        async with (
            servers(Behaviour()) as (vlm,),
            pool_of(endpoint(vlm, "court"), patience_s=0.2) as pool,
        ):
            await ask_all(pool, 4)
            vlm.stop()
            with pytest.raises(NoEndpointError) as caught:
                await pool.ask(question())
            assert "the server" in str(caught.value) and vlm.url in str(caught.value)
            with pytest.raises(NoEndpointError):
                await asyncio.wait_for(pool.ask(question()), 0.1)
            vlm.start()
            await until(lambda: pool.stats()["court"].state != "not working")
            await ask_all(pool, 4)

    run(main)


def test_fallbacks_work_only_while_no_primary_does():
    async def main():
        async with (
            servers(Behaviour(), Behaviour()) as (primary, spare),
            pool_of(
                endpoint(primary, "primary"), endpoint(spare, "spare", is_fallback=True)
            ) as pool,
        ):
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

    run(main)


def test_cancelling_a_question_frees_its_slot():
    async def main():
        behaviour = Behaviour()
        async with (
            servers(behaviour) as (vlm,),
            pool_of(endpoint(vlm, "court", max_concurrent=1)) as pool,
        ):
            await ask_all(pool, 1)
            behaviour.fault = Fault.HANG
            asking = asyncio.ensure_future(pool.ask(question()))
            await until(lambda: vlm.counters.in_flight)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            behaviour.fault = Fault.NONE
            await ask_all(pool, 4)
            assert vlm.counters.failed == {"hang": 1}
            assert pool.stats()["court"].in_flight == 0

    run(main)


def test_closing_ends_what_is_under_way_and_what_waits():
    async def main():
        async with (
            servers(Behaviour(fault=Fault.HANG)) as (vlm,),
            pool_of(endpoint(vlm), {"base_url": free_url()}) as pool,
        ):
            asking = [asyncio.ensure_future(pool.ask(question())) for _ in range(5)]
            await until(lambda: vlm.counters.in_flight)
            await pool.aclose()
            outcomes = await asyncio.gather(*asking, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [RuntimeError] * 5
            with pytest.raises(RuntimeError, match="closed"):
                await pool.ask(question())

    run(main)


def test_without_an_endpoint_the_message_says_what_to_set():
    with pytest.raises(ConfigError, match="ENDPOINTS.*http://localhost:1234/v1"):
        EndpointPool.from_config(ModelConfig())


def test_the_models_name_is_the_configured_one_or_asked_for():
    async def main():
        async with servers(Behaviour()) as (vlm,):
            async with pool_of({"base_url": free_url()}, model_id="referee-7b") as pool:
                assert await pool.model_name() == "referee-7b"
            async with pool_of({"base_url": free_url()}, endpoint(vlm), model_id="") as pool:
                assert await pool.model_name() == "sandbox-vlm"
            async with pool_of({"base_url": free_url()}, model_id="") as pool:
                with pytest.raises(NoEndpointError) as caught:
                    await pool.model_name()
                assert "is the server running at" in str(caught.value)

    run(main)


def test_the_key_is_in_no_log_error_or_statistic(caplog):
    caplog.set_level(logging.DEBUG)
    key = "sk-the-leagues-own-secret"

    async def main():
        async with (
            servers(Behaviour(api_key="x")) as (vlm,),
            pool_of(endpoint(vlm, api_key=key)) as pool,
        ):
            with pytest.raises(NoEndpointError) as caught:
                await pool.ask(question())
            shown = [
                str(caught.value),
                repr(caught.value),
                repr(caught.value.exceptions),
                str(pool.stats()),
                repr(pool),
            ]
            assert key not in "".join(shown)

    run(main)
    assert "api_key" in caplog.text
    assert key not in caplog.text


def test_endpoints_of_the_same_name_are_told_apart():
    async def main():
        async with (
            servers(Behaviour(), Behaviour()) as (one, two),
            pool_of(endpoint(one, "court"), endpoint(two, "court")) as pool,
        ):
            await ask_all(pool, 4)
            assert set(pool.stats()) == {"court", "court (2)"}

    run(main)


def test_a_slot_takes_the_next_question_only_when_the_answer_is_safe():
    async def main():
        safe, kept = asyncio.Event(), []

        async def keep(answer):
            kept.append(answer)
            await safe.wait()

        async with (
            servers(Behaviour(slots=8)) as (vlm,),
            pool_of(endpoint(vlm, max_concurrent=2)) as pool,
        ):
            asking = [asyncio.create_task(pool.ask(question(number), keep)) for number in range(6)]
            await until(lambda: kept)
            await asyncio.sleep(0.2)  # a slot that is free takes a question at once
            assert vlm.counters.requests <= 2
            assert not any(task.done() for task in asking)
            safe.set()
            answers = await asyncio.gather(*asking)
            assert sorted(map(id, answers)) == sorted(map(id, kept))
            assert vlm.counters.requests == 6

    run(main)


def test_an_answer_that_cannot_be_kept_is_not_given():
    async def keep(_):
        raise StoreError("no room")

    async def main():
        async with servers(Behaviour(slots=4)) as (vlm,), pool_of(endpoint(vlm)) as pool:
            with pytest.raises(StoreError, match="no room"):
                await pool.ask(question(), keep)
            assert await pool.ask(question(1))  # its slot is free again

    run(main)


def test_an_answer_that_has_come_is_kept_although_nobody_waits_for_it_any_more():
    async def main():
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
        assert len(kept) == 1  # by the time the pool is closed

    run(main)
