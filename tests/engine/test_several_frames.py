"""Several frames of a scan in one question: fewer requests, the same answers, and nothing lost where it does not work."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.clients.helpers import Scripted, completion
from tests.engine.test_engine import damaged
from vlm_engine import VLMEngine
from vlm_engine.clients import OpenAIClient
from vlm_engine.clients.base import Keep
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig
from vlm_engine.errors import NoEndpointError, ReplyError
from vlm_engine.spans import f1
from vlm_engine.testing import Behaviour, Fault, Profile, SandboxVLM
from vlm_engine.types import Answer, Question, VideoResult

TAGS = ("Foul", "Turnover", "Goal", "Timeout")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(
        duration_s=120, width=320, height=180, tags=TAGS, seed=4, shot_median_s=8, gop_s=4
    )
    return generate(spec, tmp_path_factory.mktemp("video") / "game.mp4")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def config(vlm: SandboxVLM, store: Path | None, frames: int, **model: Any) -> EngineConfig:
    endpoint = {"base_url": vlm.url, "max_concurrent": vlm.behaviour.slots}
    asked = ModelConfig(
        multiplexer_endpoints=[endpoint], tag_list=TAGS, frames_per_question=frames, **model
    )
    return EngineConfig(models={"vlm": asked}, store_path=str(store) if store else None)


async def tagged(
    vlm: SandboxVLM, store: Path | None, video: LabelledVideo, frames: int
) -> tuple[VideoResult, int]:
    """The result, and how many requests were answered for it."""
    before = vlm.counters.answered
    async with VLMEngine(config(vlm, store, frames)) as engine:
        result = await engine.tag_video(video.path)
    return result, vlm.counters.answered - before


def play(use: Callable[[SandboxVLM], Awaitable[None]], **behaviour: Any) -> None:
    async def run() -> None:
        async with SandboxVLM(Behaviour(**{"slots": 4, **behaviour})) as vlm:
            await use(vlm)

    asyncio.run(asyncio.wait_for(run(), 120))


def scores(result: VideoResult, video: LabelledVideo) -> list[float]:
    """F1 for each tag."""
    found = {
        tag: [(span.start_s, span.end_s) for span in spans]
        for spans in result.info.spans.values()
        for tag, spans in spans.items()
    }
    return [f1(found.get(tag, []), list(video.truth[tag])) for tag in TAGS]


def rows(store: Path) -> list[tuple[int, int, int]]:
    """The time, the tokens and the wording of every answer that is kept."""
    with closing(sqlite3.connect(store)) as db:
        return db.execute(
            "SELECT look_ms, prompt_tokens, subject FROM answer ORDER BY id"
        ).fetchall()


def test_the_same_is_found_with_fewer_requests_and_every_frame_has_an_answer_of_its_own(
    video: LabelledVideo, store: Path, tmp_path: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        alone, single = await tagged(vlm, tmp_path / "other", video, 1)
        shown = len(vlm.counters.frame_numbers)
        result, calls = await tagged(vlm, store, video, 4)
        frames = vlm.counters.frame_numbers[shown:]
        assert calls < 0.75 * single
        assert result.info == alone.info
        assert min(scores(result, video)) > 0.9
        assert result.coverage.asked == result.coverage.answered == len(frames) == len(rows(store))
        assert len(set(frames)) == len(frames), "no frame was asked about twice"
        assert result.coverage.calls == calls == sum(result.calls.values())

    play(use)


def test_what_was_asked_is_not_asked_again_and_tokens_are_kept_once(
    video: LabelledVideo, store: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        first, _ = await tagged(vlm, store, video, 4)
        kept = sum(tokens for _, tokens, _ in rows(store))
        async with VLMEngine(config(vlm, store, 4)) as engine:
            again = await engine.tag_video(video.path)
            assert engine.endpoint_stats() is not None
        assert again.coverage.calls == 0
        assert again.findings == first.findings
        told = sum(stats["prompt_tokens"] for stats in (await spent(vlm, video)).values())
        assert kept == told

    async def spent(vlm: SandboxVLM, video: LabelledVideo) -> dict[str, Any]:
        async with VLMEngine(config(vlm, None, 4)) as engine:
            await engine.tag_video(video.path)
            return engine.get_performance_stats()

    play(use)


def test_an_answer_about_one_frame_serves_a_scan_by_several_and_not_the_other_way_round(
    video: LabelledVideo, store: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        _, single = await tagged(vlm, store, video, 1)
        assert (await tagged(vlm, store, video, 4))[1] == 0
        other = store.with_name("other")
        _, several = await tagged(vlm, other, video, 4)
        _, after = await tagged(vlm, other, video, 1)
        assert after > single - several
        assert (await tagged(vlm, other, video, 4))[1] == 0, "both kinds are kept side by side"

    play(use)


def test_a_server_that_takes_one_picture_is_asked_one_by_one_and_its_answers_serve_every_scan(
    video: LabelledVideo, store: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        result, calls = await tagged(vlm, store, video, 4)
        assert result.coverage.failed == 0
        assert result.coverage.calls == calls == result.coverage.asked
        assert min(scores(result, video)) > 0.9
        assert (await tagged(vlm, store, video, 1))[1] == 0

    play(use, most_pictures=1, profile=Profile.VLLM)


@pytest.mark.parametrize(
    ("fault", "requests"), [(Fault.GARBAGE, 2), (Fault.TRUNCATED, 1), (Fault.SERVER_ERROR, 4)]
)
def test_a_question_that_comes_to_nothing_leaves_no_frame_unjudged(
    video: LabelledVideo, fault: Fault, requests: int
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        result, _ = await tagged(vlm, None, video, 4)
        assert (result.coverage.failed, result.coverage.answered) == (0, result.coverage.asked)
        assert min(scores(result, video)) > 0.9

    play(use, fault=fault, fault_requests=requests)


class NeverSeveral:
    """A client in front of an endpoint, whose model makes nothing of several pictures."""

    slots = 4

    def __init__(self, client: OpenAIClient) -> None:
        self._client = client
        self.asked: list[int] = []

    async def ask(self, question: Question, keep: Keep | None = None) -> Answer:
        self.asked.append(len(question.times_s))
        if question.more:
            raise ReplyError("the reply does not answer the question", endpoint="court")
        answer = await self._client.ask(question)
        if keep is not None:
            await keep(answer)
        return answer

    async def model_name(self) -> str:
        return await self._client.model_name()

    async def aclose(self) -> None:
        await self._client.aclose()


def test_a_model_that_never_manages_several_is_asked_one_by_one_from_then_on(
    video: LabelledVideo, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        client = NeverSeveral(OpenAIClient(EndpointConfig(base_url=vlm.url), ModelConfig()))
        async with VLMEngine(config(vlm, None, 4), client=client) as engine:
            result = await engine.tag_video(video.path)
            together = sum(pictures > 1 for pictures in client.asked)
            assert 3 <= together <= 3 + client.slots + 8
            await engine.tag_video(video.path, identity="the same once more")
            assert sum(pictures > 1 for pictures in client.asked) == together
        assert result.coverage.failed == 0
        assert min(scores(result, video)) > 0.9

    caplog.set_level(logging.WARNING)
    play(use)
    assert [
        message for message in caplog.messages if "so it is asked about one at a time" in message
    ] == [
        "vlm: asking about 4 frames at once came to nothing 3 times in a row, so it is asked about one at a time: "
        "court: the reply does not answer the question"
    ]


def test_frames_that_cannot_be_read_leave_the_others_of_their_question_alone(
    video: LabelledVideo, tmp_path: Path
) -> None:
    path = damaged(video, tmp_path / "scratched.mp4", 0.4, 0.6)

    async def use(vlm: SandboxVLM) -> None:
        async with VLMEngine(config(vlm, None, 4)) as engine:
            result = await engine.tag_video(path)
        assert result.coverage.unreadable > 0
        assert result.coverage.failed == result.coverage.unreadable
        assert result.coverage.answered == len(vlm.counters.frame_numbers)

    play(use)


def test_many_videos_with_little_room_do_not_wait_for_one_another(video: LabelledVideo) -> None:
    """Each holds frames that wait for more of their kind; with one request at a time, none may keep the others from theirs."""

    async def use(vlm: SandboxVLM) -> None:
        async with VLMEngine(config(vlm, None, 7, max_batch_size=1)) as engine:
            tasks = [engine.tag_video(video.path, identity=f"game {number}") for number in range(8)]
            results = await asyncio.gather(*tasks)
        assert all(result.info == results[0].info for result in results)
        assert vlm.counters.in_flight_max == 1

    play(use, slots=1)


def test_cancelled_in_the_middle_it_keeps_what_was_answered_and_gives_everything_back(
    video: LabelledVideo, store: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        async with VLMEngine(config(vlm, store, 4)) as engine:
            running = asyncio.create_task(engine.tag_video(video.path))
            while vlm.counters.answered < 3:
                await asyncio.sleep(0.005)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            kept = len(rows(store))
            assert kept >= 4
            vlm.behaviour.latency_s = 0.0
            result = await engine.tag_video(video.path)
            asked = result.coverage.asked - kept
            assert result.coverage.failed == 0
            assert result.coverage.calls <= asked

    play(use, latency_s=0.05, slots=2)


@pytest.mark.expects_errors
def test_where_no_endpoint_is_left_it_ends_as_ever(video: LabelledVideo) -> None:
    async def use(vlm: SandboxVLM) -> None:
        vlm.stop()
        async with VLMEngine(config(vlm, None, 4, endpoint_patience=0)) as engine:
            with pytest.raises(NoEndpointError):
                await engine.tag_video(video.path)

    play(use)


def test_who_scans_for_another_is_told_what_its_tags_mean(video: LabelledVideo) -> None:
    def script(body: dict[str, Any]) -> tuple[int, Any]:
        names = body["response_format"]["json_schema"]["schema"]["properties"]
        return 200, completion(str({name: [] for name in names}).replace("'", '"'))

    async def run() -> list[dict[str, Any]]:
        async with Scripted(script) as scanner, SandboxVLM() as judge:
            small = ModelConfig(api_base_url=scanner.url, model_id="small", frames_per_question=3)
            large = ModelConfig(
                api_base_url=judge.url,
                tag_list=["Goal", {"Foul": "the referee signals"}],
                scan_model="small",
            )
            async with VLMEngine(EngineConfig(models={"large": large, "small": small})) as engine:
                await engine.tag_video(video.path)
            return list(scanner.asked)

    asked = asyncio.run(asyncio.wait_for(run(), 60))
    assert all('"Foul": the referee signals' in body["messages"][0]["content"] for body in asked)
    pictures = [
        sum(part["type"] == "image_url" for part in body["messages"][1]["content"])
        for body in asked
    ]
    assert max(pictures) == 3
    assert pictures.count(3) >= len(pictures) - 2
