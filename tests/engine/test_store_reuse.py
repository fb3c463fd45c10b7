"""What the store saves: on real videos, with a real endpoint on loopback that counts what it is asked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.videos import SPORT_TAGS, LabelledVideo, VideoSpec, generate
from tests.database_faults import files_no_longer_than
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.errors import StoreError
from vlm_engine.store import AnswerStore, Subject
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import Span, VideoResult

EIGHT, NINTH = SPORT_TAGS, "Penalty kick"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(duration_s=120, width=320, height=180, seed=1, tags=(*EIGHT, NINTH))
    return generate(spec, tmp_path_factory.mktemp("video") / "match.mp4")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def config(
    vlm: SandboxVLM, store: Path, tags: tuple[str, ...] = EIGHT, **more: Any
) -> EngineConfig:
    endpoint = {"base_url": vlm.url, "max_concurrent": 4}
    model = ModelConfig(
        type="vlm_model", multiplexer_endpoints=[endpoint], tag_list=tags, model_category="plays"
    )
    return EngineConfig(models={"vlm": model}, store_path=str(store), **more)


async def tagged(
    vlm: SandboxVLM, store: Path, video: LabelledVideo, *args: Any, **more: Any
) -> tuple[VideoResult, int]:
    """The video's result, and how many questions it took."""
    before = vlm.counters.answered
    async with VLMEngine(config(vlm, store, *args, **more)) as engine:
        result = await engine.tag_video(video.path)
    return result, vlm.counters.answered - before


def play(use: Callable[[SandboxVLM], Awaitable[None]], **behaviour: Any) -> None:
    async def run() -> None:
        async with SandboxVLM(Behaviour(slots=4, **behaviour)) as vlm:
            await use(vlm)

    asyncio.run(run())


def found(result: VideoResult) -> tuple[Span, ...]:
    """Before any rule of the user's."""
    (findings,) = result.findings
    return findings.spans


def asked_since(store: Path, number: int) -> list[set[str]]:
    """The tags of each answer after the first ``number``."""
    with closing(sqlite3.connect(store)) as db:
        media, model, wording = db.execute(
            "SELECT media, model, wording FROM answer_subject"
        ).fetchone()
    with AnswerStore(store) as answers:
        return [
            set(one.answer.verdicts)
            for one in answers.answers(Subject(media, model, wording))[number:]
        ]


RULES: list[Mapping[str, Any]] = [
    {"TagThreshold": 0.95},
    {"MaxGap": "20s"},
    {"MinMarkerDuration": "10%"},
    {"RequiredDuration": 60},
    {"RenamedTag": "Something else"},
]


def test_other_thresholds_gaps_durations_and_names_ask_nothing(
    video: LabelledVideo, store: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        first, calls = await tagged(vlm, store, video)
        assert calls == len(asked_since(store, 0)) > 20
        seen = [first.info]
        for rule in RULES:
            result, calls = await tagged(
                vlm, store, video, category_config={"plays": dict.fromkeys(EIGHT, rule)}
            )
            assert calls == 0
            assert found(result) == found(first)
            seen.append(result.info)
            assert seen.count(result.info) == 1, f"{rule} must change something for this test"

    play(use, miss_rate=0.05)


def test_one_tag_more_asks_about_that_tag_only_and_one_less_asks_nothing(
    video: LabelledVideo, store: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        first, asked = await tagged(vlm, store, video)
        more, calls = await tagged(vlm, store, video, (*EIGHT[:3], NINTH, *EIGHT[3:]))
        assert calls > 0
        assert asked_since(store, asked) == [{NINTH}] * calls
        assert [span for span in found(more) if span.tag != NINTH] == list(found(first))
        assert any(span.tag == NINTH for span in found(more)) == bool(video.truth[NINTH])
        for tags in ((*EIGHT, NINTH), EIGHT, EIGHT[2:], (EIGHT[4],), (NINTH, EIGHT[1])):
            result, calls = await tagged(vlm, store, video, tags)
            assert calls == 0
            assert set(found(result)) == {span for span in found(more) if span.tag in tags}

    play(use, miss_rate=0.05)


def test_pictures_of_one_eye_are_not_taken_for_whole_ones(
    video: LabelledVideo, store: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        _, calls = await tagged(vlm, store, video)
        async with VLMEngine(config(vlm, store)) as engine:
            result = await engine.tag_video(video.path, vr_video=True)
        assert result.coverage.calls == result.coverage.asked > 0
        assert vlm.counters.answered == calls + result.coverage.calls

    play(use)


def test_who_is_cancelled_keeps_what_was_answered_and_the_next_run_asks_the_rest(
    video: LabelledVideo, store: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        async with VLMEngine(config(vlm, store)) as engine:
            running = asyncio.create_task(engine.tag_video(video.path))
            while vlm.counters.answered < 15:
                await asyncio.sleep(0.005)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        answered = vlm.counters.answered
        assert len(asked_since(store, 0)) >= answered - 4
        result, calls = await tagged(vlm, store, video)
        assert result.coverage.asked <= len(asked_since(store, 0)) <= result.coverage.asked + 4
        assert calls < result.coverage.asked

    play(use, latency_s=0.02)


def test_an_answer_that_cannot_be_stored_is_not_used_and_the_rest_is_kept(
    video: LabelledVideo, store: Path
) -> None:
    """A limit on the size of files stands for a full disk: the log of changes can take about ten answers."""

    async def use(vlm: SandboxVLM) -> None:
        told: list[int] = []
        async with VLMEngine(config(vlm, store)) as engine:
            full = pytest.raises(
                StoreError, match=r"store\.sqlite3: its disk is full.* Make room there"
            )
            with files_no_longer_than(200_000), full:
                await engine.tag_video(
                    video.path, on_progress=lambda progress: told.append(progress.coverage.answered)
                )
        stored = len(asked_since(store, 0))
        assert (
            0 < max(told) <= stored <= max(told) + 4
        )  # some may have been stored while all was being given up
        assert vlm.counters.answered <= stored + 8
        result, calls = await tagged(vlm, store, video)
        assert calls == result.coverage.asked - stored

    play(use)
