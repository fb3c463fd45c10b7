"""Which words of a question have what asked again: on a real video, with a real endpoint that counts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.store.schema import unpacked
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import Span, VideoResult

TAGS = ("Foul", "Turnover", "Goal", "Timeout")
SIGNAL = {"Foul": "a player is fouled; the referee signals"}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(duration_s=60, width=320, height=180, tags=TAGS, seed=4)
    return generate(spec, tmp_path_factory.mktemp("video") / "match.mp4")


class Season:
    """An endpoint, a store, and what each way of asking costs."""

    def __init__(self, vlm: SandboxVLM, store: Path, video: LabelledVideo) -> None:
        self._vlm, self._store, self._video = vlm, store, video

    async def asked(
        self, tags: tuple[str, ...] = TAGS, **words: Any
    ) -> tuple[list[set[str]], VideoResult]:
        """What was asked about, question by question, when the video was tagged in these words; and the result."""
        before = self._rows()
        endpoint = {"base_url": self._vlm.url, "max_concurrent": 4}
        model = ModelConfig(multiplexer_endpoints=[endpoint], tag_list=tags, **words)
        async with VLMEngine(
            EngineConfig(models={"vlm": model}, store_path=str(self._store))
        ) as engine:
            result = await engine.tag_video(self._video.path)
        return self._rows()[len(before) :], result

    def _rows(self) -> list[set[str]]:
        if not self._store.exists():
            return []
        with closing(sqlite3.connect(self._store)) as db:
            rows = db.execute("SELECT said FROM answer ORDER BY id").fetchall()
        return [{name.partition("\n")[0] for name in unpacked(said)[0]} for (said,) in rows]


def play(store: Path, video: LabelledVideo, use: Callable[[Season], Awaitable[None]]) -> None:
    async def run() -> None:
        async with SandboxVLM(Behaviour(slots=4, miss_rate=0.03)) as vlm:
            await use(Season(vlm, store, video))

    asyncio.run(run())


def spans(result: VideoResult) -> list[Span]:
    return [span for found in result.findings for span in found.spans]


@pytest.mark.parametrize(
    "words",
    [
        {"synonyms": {"Foul": ["personal foul"]}},
        {"tag_descriptions": {"Foul": "  "}},
        {"system_prompt": "{opening}\n\nTags:\n{tags}\n\n{rules}\n{format}"},
    ],
    ids=["synonyms", "no description", "the usual words spelled out"],
)
def test_what_changes_no_word_asks_nothing(
    tmp_path: Path, video: LabelledVideo, words: dict[str, Any]
) -> None:
    async def use(season: Season) -> None:
        first, before = await season.asked()
        assert first
        again, after = await season.asked(**words)
        assert again == []
        assert spans(after) == spans(before)

    play(tmp_path / "store", video, use)


@pytest.mark.parametrize(
    "words",
    [
        {"prompt": "These are frames of a basketball match."},
        {"special_tokens": "/no_think"},
        {"user_prompt": "{special_tokens} {question} Look closely."},
        {"user_prompt": "At {time}: {question}"},
    ],
    ids=["prompt", "special tokens", "line", "time"],
)
def test_what_changes_every_question_asks_everything(
    tmp_path: Path, video: LabelledVideo, words: dict[str, Any]
) -> None:
    async def use(season: Season) -> None:
        first, _ = await season.asked()
        again, _ = await season.asked(**words)
        assert len(again) == len(first)
        assert set().union(*again) == set(TAGS)
        back, _ = await season.asked()
        assert back == [], "the answers in the former words are still there"

    play(tmp_path / "store", video, use)


def test_a_description_asks_about_its_tag_alone(tmp_path: Path, video: LabelledVideo) -> None:
    async def use(season: Season) -> None:
        _, plain = await season.asked()
        described, result = await season.asked(tag_descriptions=SIGNAL)
        assert described
        assert set().union(*described) == {"Foul"}
        assert {span.tag for span in spans(result)} == {span.tag for span in spans(plain)}
        assert (await season.asked(tag_descriptions=SIGNAL))[0] == [], "asked once"
        other, _ = await season.asked(tag_descriptions={"Foul": "a free kick"})
        assert set().union(*other) == {"Foul"}
        again, result = await season.asked()
        assert again == []
        assert spans(result) == spans(plain)

    play(tmp_path / "store", video, use)


def test_a_tag_more_beside_described_ones_is_asked_about_alone(
    tmp_path: Path, video: LabelledVideo
) -> None:
    async def use(season: Season) -> None:
        _, few = await season.asked(TAGS[:3], tag_descriptions=SIGNAL)
        more, result = await season.asked(
            TAGS, tag_descriptions={**SIGNAL, "Timeout": "the clock is stopped"}
        )
        assert set().union(*more) == {"Timeout"}
        assert [span for span in spans(result) if span.tag != "Timeout"] == spans(few)

    play(tmp_path / "store", video, use)
