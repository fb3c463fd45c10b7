"""Several frames of a scan in one question: fewer requests and the same answers."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.videos import LabelledVideo
from tests.clients.helpers import Scripted, completion
from tests.engine.engines import TAGS, bounds, damaged, model
from tests.engine.engines import config as config_of
from vlm_engine import VLMEngine
from vlm_engine.clients import OpenAIClient
from vlm_engine.clients.base import Keep
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig
from vlm_engine.errors import ReplyError
from vlm_engine.spans import f1
from vlm_engine.testing import Behaviour, Fault, Profile, SandboxVLM
from vlm_engine.types import Answer, Question, VideoResult


def config(vlm: SandboxVLM, store: Path | None, frames: int, **more: Any) -> EngineConfig:
    settings = {"frames_per_question": frames, "frames_compared": 0, **more}
    return config_of({"vlm": model(vlm, **settings)}, store)


def least_score(result: VideoResult, video: LabelledVideo) -> float:
    """Return the F1 of the tag that is found worst."""
    return min(f1(bounds(result, tag), list(video.truth[tag])) for tag in TAGS)


async def tagged(
    vlm: SandboxVLM, store: Path | None, game: LabelledVideo, frames: int
) -> tuple[VideoResult, int]:
    """The result, and how many requests were answered for it."""
    before = vlm.counters.answered
    async with VLMEngine(config(vlm, store, frames)) as engine:
        result = await engine.tag_video(game.path)
    return result, vlm.counters.answered - before


@asynccontextmanager
async def play(**behaviour: Any) -> AsyncIterator[SandboxVLM]:
    async with asyncio.timeout(120), SandboxVLM(Behaviour(**{"slots": 4, **behaviour})) as vlm:
        yield vlm


def rows(store: Path) -> list[tuple[int, int, int]]:
    """The time, the tokens and the wording of every answer that is kept."""
    with closing(sqlite3.connect(store)) as db:
        return db.execute(
            "SELECT look_ms, prompt_tokens, subject FROM answer ORDER BY id"
        ).fetchall()


async def test_fewer_requests_find_the_same_tags(game, store, tmp_path):
    async with play() as vlm:
        alone, single = await tagged(vlm, tmp_path / "other", game, 1)
        before = len(vlm.counters.frame_numbers)
        result, calls = await tagged(vlm, store, game, 4)
        frames = vlm.counters.frame_numbers[before:]
        assert calls < 0.75 * single
        assert result.info == alone.info
        assert least_score(result, game) > 0.9
        assert result.coverage.asked == result.coverage.answered == len(frames) == len(rows(store))
        assert len(set(frames)) == len(frames), "no frame was asked about twice"
        assert result.coverage.calls == calls == sum(result.calls.values())


async def test_stored_answers_are_used_and_tokens_stored_once(game, store):
    async def spent(vlm: SandboxVLM) -> dict[str, Any]:
        async with VLMEngine(config(vlm, None, 4)) as engine:
            await engine.tag_video(game.path)
            return engine.get_performance_stats()

    async with play() as vlm:
        first, _ = await tagged(vlm, store, game, 4)
        kept = sum(tokens for _, tokens, _ in rows(store))
        async with VLMEngine(config(vlm, store, 4)) as engine:
            again = await engine.tag_video(game.path)
        assert again.coverage.calls == 0
        assert again.findings == first.findings
        counted = sum(stats["prompt_tokens"] for stats in (await spent(vlm)).values())
        assert kept == counted


async def test_answers_about_one_frame_serve_scans_of_several(game, store):
    async with play() as vlm:
        _, single = await tagged(vlm, store, game, 1)
        assert (await tagged(vlm, store, game, 4))[1] == 0
        other = store.with_name("other")
        _, several = await tagged(vlm, other, game, 4)
        _, after = await tagged(vlm, other, game, 1)
        assert after > single - several
        assert (await tagged(vlm, other, game, 4))[1] == 0, "both kinds are kept side by side"


async def test_a_server_that_takes_one_picture_is_asked_one_by_one(game, store):
    async with play(most_pictures=1, profile=Profile.VLLM) as vlm:
        result, calls = await tagged(vlm, store, game, 4)
        assert result.coverage.failed == 0
        assert result.coverage.calls == calls == result.coverage.asked
        assert least_score(result, game) > 0.9
        assert (await tagged(vlm, store, game, 1))[1] == 0


@pytest.mark.parametrize(
    ("fault", "requests"), [(Fault.GARBAGE, 2), (Fault.TRUNCATED, 1), (Fault.SERVER_ERROR, 4)]
)
async def test_a_failed_question_leaves_no_frame_unjudged(game, fault, requests):
    async with play(fault=fault, fault_requests=requests) as vlm:
        result, _ = await tagged(vlm, None, game, 4)
        assert (result.coverage.failed, result.coverage.answered) == (0, result.coverage.asked)
        assert least_score(result, game) > 0.9


class NeverSeveral(OpenAIClient):
    """A client of an endpoint whose model makes nothing of several pictures."""

    slots = 4
    sizes: list[int]

    async def ask(self, question: Question, keep: Keep | None = None, **more: Any) -> Answer:
        self.sizes.append(len(question.times_s))
        if question.more:
            raise ReplyError("the reply does not answer the question", endpoint="court")
        return await super().ask(question, keep, **more)


async def test_a_model_that_fails_on_several_is_asked_one_by_one(game, caplog):
    caplog.set_level(logging.WARNING)
    async with play() as vlm:
        client = NeverSeveral(EndpointConfig(base_url=vlm.url), ModelConfig())
        client.sizes = []
        async with VLMEngine(config(vlm, None, 4), client=client) as engine:
            result = await engine.tag_video(game.path)
            together = sum(pictures > 1 for pictures in client.sizes)
            assert 3 <= together <= 3 + client.slots + 8
            await engine.tag_video(game.path, identity="the same once more")
            assert sum(pictures > 1 for pictures in client.sizes) == together
        assert result.coverage.failed == 0
        assert least_score(result, game) > 0.9
    message = "vlm: asking about 4 frames at once came to nothing 3 times in a row, so it is asked "
    message += "about one at a time: court: the reply does not answer the question"
    assert caplog.messages.count(message) == 1


async def test_unreadable_frames_leave_the_others_in_the_question(game, tmp_path):
    path = damaged(game, tmp_path / "scratched.mp4", 0.4, 0.6)

    async with play() as vlm:
        async with VLMEngine(config(vlm, None, 4)) as engine:
            result = await engine.tag_video(path)
        assert result.coverage.unreadable > 0
        assert result.coverage.failed == result.coverage.unreadable
        assert result.coverage.answered == len(vlm.counters.frame_numbers)


async def test_many_videos_with_one_slot_do_not_deadlock(
    game,
):
    """Each holds frames that wait for more of their kind, and one request is sent at a time."""

    async with play(slots=1) as vlm:
        async with VLMEngine(config(vlm, None, 7, max_batch_size=1)) as engine:
            tasks = [engine.tag_video(game.path, identity=f"game {number}") for number in range(5)]
            results = await asyncio.gather(*tasks)
        assert all(result.info == results[0].info for result in results)
        assert vlm.counters.in_flight_max == 1


async def test_cancelling_keeps_the_answers_and_frees_the_slots(game, store):
    async with play(latency_s=0.05, slots=2) as vlm, VLMEngine(config(vlm, store, 4)) as engine:
        running = asyncio.create_task(engine.tag_video(game.path))
        while vlm.counters.answered < 3:
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        kept = len(rows(store))
        assert kept >= 4
        vlm.behaviour.latency_s = 0.0
        result = await engine.tag_video(game.path)
        assert result.coverage.failed == 0
        assert result.coverage.calls <= result.coverage.asked - kept


async def test_the_scanner_is_given_the_descriptions_of_tags(game):
    def script(body: dict[str, Any]) -> tuple[int, Any]:
        names = body["response_format"]["json_schema"]["schema"]["properties"]
        return 200, completion(str({name: [] for name in names}).replace("'", '"'))

    async with Scripted(script) as scanner, SandboxVLM() as judge, asyncio.timeout(60):
        small = {"api_base_url": scanner.url, "model_id": "small", "frames_per_question": 3}
        large = model(judge, ["Goal", {"Foul": "the referee signals"}], scan_model="small")
        async with VLMEngine(config_of({"large": large, "small": small})) as engine:
            await engine.tag_video(game.path)
        bodies = scanner.received
    assert all('"Foul": the referee signals' in body["messages"][0]["content"] for body in bodies)
    pictures = [
        sum(part["type"] == "image_url" for part in body["messages"][1]["content"])
        for body in bodies
    ]
    assert max(pictures) == 3
    assert pictures.count(3) >= len(pictures) - 2
