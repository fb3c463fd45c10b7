"""Two test pictures before an endpoint's first question: what leaves it out, and what does not."""

from __future__ import annotations

import asyncio
import io
import logging
from contextlib import AsyncExitStack

import pytest

from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.errors import NoEndpointError
from vlm_engine.store import AnswerStore
from vlm_engine.testing import Behaviour, Fault, SandboxVLM, Sight, glyphs

TAGS = ("Foul", "Goal")
DAY_S = 24 * 3600.0


class Endpoints:
    """Sandbox endpoints, and an engine over them."""

    def __init__(self, stack, folder):
        self._stack, self._folder = stack, folder

    async def start(self, **behaviour):
        return await self._stack.enter_async_context(SandboxVLM(Behaviour(**behaviour)))

    def engine(self, *endpoints, checks=True):
        written = [
            one if isinstance(one, dict) else {"base_url": one.url, "name": f"server {number}"}
            for number, one in enumerate(endpoints)
        ]
        model = ModelConfig(
            tag_list=TAGS,
            model_id="sandbox-vlm",
            multiplexer_endpoints=written,
            endpoint_patience=5,
        )
        config = EngineConfig(
            models={"vlm": model}, check_endpoints=checks, store_path=str(self._folder / "a.sqlite")
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
    blind = await endpoints.start(sight=Sight.DROPPED)
    async with endpoints.engine(blind) as engine:
        with pytest.raises(NoEndpointError) as raised:
            await engine.process_image(next(pictures(1)))
    assert "its answers do not depend on the picture" in str(raised.value)
    assert blind.counters.frame_numbers == []


async def test_a_setting_overrides_the_test(endpoints):
    blind = await endpoints.start(sight=Sight.DROPPED)
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


async def test_nothing_is_tested_where_nothing_is_asked(endpoints):
    vlm = await endpoints.start()
    await tagged(endpoints.engine(vlm, checks=False))
    await tagged(endpoints.engine(vlm))
    assert vlm.counters.answered == 4
