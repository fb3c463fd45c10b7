"""Longer troubles: all endpoints away and back, keys that are wrong, several models, secrets."""

import asyncio
import logging

import pytest

from tests.clients.pools import TAGS, endpoint, pool_of, question, run, servers, until
from vlm_engine.errors import NoEndpointError, WrongKeyError, WrongModelError
from vlm_engine.testing import Behaviour, Fault

KEY = "sk-the-leagues-own-secret"


def states(pool):
    return {stats.state for stats in pool.stats().values()}


def test_all_endpoints_away_in_mid_batch_and_back_lose_and_repeat_nothing(caplog):
    caplog.set_level(logging.INFO)

    async def main():
        async with (
            servers(Behaviour(latency_s=0.02), Behaviour(latency_s=0.01)) as vlms,
            pool_of(*(endpoint(vlm, f"court {n}") for n, vlm in enumerate(vlms))) as pool,
        ):
            asking = [asyncio.ensure_future(pool.ask(question(number))) for number in range(80)]
            await until(lambda: sum(vlm.counters.answered for vlm in vlms) >= 20)
            for vlm in vlms:
                vlm.stop()
            await until(lambda: states(pool) == {"not working"})
            told = [task.result() for task in asking if task.done()]
            assert 0 < len(told) < 80
            await until(lambda: "giving up in" in caplog.text)
            for vlm in vlms:
                vlm.start()
            answers = await asyncio.gather(*asking)
            for number, answer in enumerate(answers):
                assert [tag for tag, verdict in answer.verdicts.items() if verdict.present] == [
                    TAGS[number % 4]
                ]
            numbers = [number for vlm in vlms for number in vlm.counters.frame_numbers]
            assert set(numbers) == set(range(80))
            copies = sum(stats.copies for stats in pool.stats().values())
            assert len(numbers) - 80 <= pool.slots + copies, (
                "only what was under way is asked again"
            )
            assert all(stats.down_s > 0 for stats in pool.stats().values())

    run(main)
    assert "Waiting for endpoints with" in caplog.text


def test_when_patience_ends_everything_unanswered_fails_and_what_was_answered_stays():
    async def main():
        async with (
            servers(Behaviour(latency_s=0.02)) as (vlm,),
            pool_of(endpoint(vlm, "court"), endpoint_patience=0.5) as pool,
        ):
            asking = [asyncio.ensure_future(pool.ask(question(number))) for number in range(60)]
            await until(lambda: vlm.counters.answered >= 10)
            vlm.stop()
            ended = await asyncio.gather(*asking, return_exceptions=True)
            failed = [error for error in ended if isinstance(error, BaseException)]
            assert len(ended) - len(failed) == pool.stats()["court"].served >= 9
            assert {type(error) for error in failed} == {NoEndpointError}
            assert all(
                "is the server running at" in str(error) or "crash" in str(error)
                for error in failed
            )

    run(main)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"api_key": "x"}, WrongKeyError, "api_key"),
        ({"models": ("referee-7b",)}, WrongModelError, "model_id"),
    ],
)
def test_what_is_wrong_with_one_of_two_is_told_and_the_other_does_all_the_work(
    wrong, kind, words, caplog
):
    async def main():
        async with (
            servers(Behaviour(**wrong), Behaviour()) as (odd, good),
            pool_of(endpoint(odd, "cloud", weight=9), endpoint(good, "gaming PC")) as pool,
        ):
            await asyncio.gather(*(pool.ask(question(number)) for number in range(30)))
            stats = pool.stats()
            assert (stats["cloud"].state, stats["cloud"].failed) == ("given up", {kind.__name__: 1})
            assert stats["gaming PC"].served == 30

    run(main)
    (warning,) = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert "cloud is given up" in warning and words in warning


def test_wrong_on_both_ends_everything_without_waiting():
    async def main():
        async with (
            servers(Behaviour(api_key="x"), Behaviour(models=("referee-7b",))) as (one, two),
            pool_of(
                endpoint(one, "cloud"), endpoint(two, "laptop"), endpoint_patience=1000
            ) as pool,
        ):
            ended = await asyncio.gather(
                *(pool.ask(question(number)) for number in range(30)), return_exceptions=True
            )
            assert {type(error) for error in ended} == {NoEndpointError}
            assert {type(cause) for cause in ended[0].exceptions} == {
                WrongKeyError,
                WrongModelError,
            }
            assert one.counters.requests <= 1 and two.counters.requests <= 1

    run(main)


def test_a_question_bound_to_a_model_goes_only_where_that_is_served():
    async def main():
        small, large = Behaviour(models=("small",)), Behaviour(models=("large",))
        async with (
            servers(small, large) as (first, second),
            pool_of(
                endpoint(first, "laptop", model_id="small"),
                endpoint(second, "tower", model_id="large"),
            ) as pool,
        ):
            for model, label in (("large", "tower"), ("small", "laptop"), ("large", "tower")):
                answer = await pool.ask(question(0, model))
                assert (answer.endpoint, answer.model) == (label, model)
            wanted = [question(n, model) for n in range(20) for model in ("", "large")]
            await asyncio.gather(*(pool.ask(each) for each in wanted))
            assert first.counters.answered + second.counters.answered == 43
            assert second.counters.answered >= 22
            with pytest.raises(NoEndpointError) as caught:
                await pool.ask(question(0, "medium"))
            assert "no endpoint has the model_id 'medium'; there are: small, large" in str(
                caught.value
            )

    run(main)


def test_when_a_models_endpoints_are_gone_its_questions_fail_and_those_of_others_do_not():
    async def main():
        wrong, large = Behaviour(models=("other",)), Behaviour(models=("large",))
        async with (
            servers(wrong, large) as (first, second),
            pool_of(
                endpoint(first, "laptop", model_id="small"),
                endpoint(second, "tower", model_id="large"),
            ) as pool,
        ):
            bound = await asyncio.gather(
                *(pool.ask(question(n, "small")) for n in range(5)), return_exceptions=True
            )
            assert {type(error) for error in bound} == {NoEndpointError}
            answers = await asyncio.gather(*(pool.ask(question(n)) for n in range(10)))
            assert {answer.endpoint for answer in answers} == {"tower"}

    run(main)


def test_a_fallback_helps_when_the_wait_grows_long_where_that_is_set():
    async def main():
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
            await asyncio.gather(*(pool.ask(question(number)) for number in range(40)))
            assert spare.counters.answered > 10
            assert slow.counters.answered > 4

    run(main)


def test_auto_begins_with_one_question_and_tries_more():
    async def main():
        async with (
            servers(Behaviour(latency_s=0.02, slots=64)) as (vlm,),
            pool_of(endpoint(vlm, "court", max_concurrent="auto")) as pool,
        ):
            assert pool.slots == 1
            await asyncio.gather(*(pool.ask(question(number % 8)) for number in range(40)))
            assert vlm.counters.in_flight_max >= 2
            assert pool.slots == pool.stats()["court"].slots

    run(main)


@pytest.mark.parametrize(
    "fault", [Fault.NONE, *(fault for fault in Fault if fault not in (Fault.NONE, Fault.HANG))]
)
def test_the_key_is_in_no_log_line_error_or_statistic_whatever_happens(fault, caplog):
    caplog.set_level(logging.DEBUG)
    shown = []

    async def main():
        behaviour = Behaviour(
            api_key=KEY if fault is not Fault.NONE else "another", fault=fault, retry_after_s=0.5
        )
        async with (
            servers(behaviour) as (vlm,),
            pool_of(endpoint(vlm, "court", api_key=KEY), endpoint_patience=0.3) as pool,
        ):
            asking = [asyncio.ensure_future(pool.ask(question(number))) for number in range(3)]
            await asyncio.wait(asking, timeout=1.5)
            for task in asking:
                task.cancel()
            for error in await asyncio.gather(*asking, return_exceptions=True):
                if not isinstance(error, BaseException):
                    continue
                causes = [
                    error,
                    error.__cause__,
                    error.__context__,
                    *getattr(error, "exceptions", ()),
                ]
                shown.extend(
                    text
                    for cause in causes
                    for text in (str(cause), repr(cause), repr(getattr(cause, "args", ())))
                )
            shown.extend(
                [
                    str(pool.stats()),
                    repr(pool),
                    repr(list(pool._members)),
                    repr(list(pool._endpoints.values())),
                ]
            )

    run(main)
    assert KEY not in caplog.text
    assert KEY not in "".join(shown)
