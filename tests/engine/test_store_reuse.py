"""Changed settings and words ask only what is new: a real video, a real endpoint that counts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.videos import SPORT_TAGS, LabelledVideo, VideoSpec, generate
from tests.database_faults import files_no_longer_than
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.errors import StoreError
from vlm_engine.store.schema import unpacked
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import Progress, Span, VideoResult

EIGHT, NINTH = SPORT_TAGS, "Penalty kick"
FOUR = SPORT_TAGS[:4]
FOUL = FOUR[1]
SIGNAL = {FOUL: "a player is fouled; the referee signals"}
Questions = list[set[str]]
"""The tags of each question, in the order of the answers."""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(duration_s=60, width=320, height=180, seed=1, tags=(*EIGHT, NINTH))
    return generate(spec, tmp_path_factory.mktemp("video") / "match.mp4")


class Season:
    """An endpoint, a store, a video, and what each way of asking costs."""

    def __init__(self, vlm: SandboxVLM, store: Path, video: LabelledVideo) -> None:
        self.vlm, self._store, self._video = vlm, store, video

    def engine(
        self, tags: tuple[str, ...] = EIGHT, rule: Mapping[str, Any] | None = None, **words: Any
    ) -> VLMEngine:
        endpoint = {"base_url": self.vlm.url, "max_concurrent": 4}
        model = ModelConfig(multiplexer_endpoints=[endpoint], tag_list=tags, **words)
        rules = {model.category: dict.fromkeys(tags, rule)} if rule else {}
        return VLMEngine(
            EngineConfig(models={"vlm": model}, store_path=str(self._store), category_config=rules)
        )

    async def tag(
        self, engine: VLMEngine, on_progress: Callable[[Progress], None] | None = None
    ) -> VideoResult:
        return await engine.tag_video(self._video.path, on_progress=on_progress)

    async def tagged(
        self, tags: tuple[str, ...] = EIGHT, **settings: Any
    ) -> tuple[Questions, VideoResult]:
        """Tag the video; return what was asked about, and the result."""
        before, calls = len(self.answers()), self.vlm.counters.answered
        async with self.engine(tags, **settings) as engine:
            result = await self.tag(engine)
        questions = self.answers()[before:]
        assert len(questions) == self.vlm.counters.answered - calls
        return questions, result

    def answers(self) -> Questions:
        """Return the tags of each stored answer."""
        if not self._store.exists():
            return []
        with closing(sqlite3.connect(self._store)) as db:
            rows = db.execute("SELECT said FROM answer ORDER BY id").fetchall()
        return [{name.partition("\n")[0] for name in unpacked(said)[0]} for (said,) in rows]


@pytest.fixture
async def season(tmp_path: Path, video: LabelledVideo) -> AsyncIterator[Season]:
    async with SandboxVLM(Behaviour(slots=4, miss_rate=0.05)) as vlm:
        yield Season(vlm, tmp_path / "store.sqlite3", video)


def spans(result: VideoResult) -> set[Span]:
    """Return the spans before any rule of the user's."""
    return {span for findings in result.findings for span in findings.spans}


RULES: list[Mapping[str, Any]] = [
    {"TagThreshold": 0.95},
    {"MaxGap": "20s"},
    {"MinMarkerDuration": "10%"},
    {"RequiredDuration": 30},
    {"RenamedTag": "Something else"},
]


async def test_other_thresholds_gaps_durations_and_names_ask_nothing(season):
    questions, first = await season.tagged()
    assert len(questions) > 10
    seen = [first.info]
    for rule in RULES:
        questions, result = await season.tagged(rule=rule)
        assert questions == []
        assert spans(result) == spans(first)
        seen.append(result.info)
        assert seen.count(result.info) == 1, f"{rule} must change something for this test"


async def test_one_tag_more_asks_about_it_alone_one_less_nothing(season):
    _, first = await season.tagged()
    questions, more = await season.tagged((*EIGHT[:3], NINTH, *EIGHT[3:]))
    assert questions
    assert set().union(*questions) == {NINTH}
    assert {span for span in spans(more) if span.tag != NINTH} == spans(first)
    for tags in ((*EIGHT, NINTH), EIGHT, EIGHT[2:], (EIGHT[4],), (NINTH, EIGHT[1])):
        questions, result = await season.tagged(tags)
        assert questions == []
        assert spans(result) == {span for span in spans(more) if span.tag in tags}


async def test_pictures_of_one_eye_are_not_taken_for_whole_ones(season, video):
    questions, _ = await season.tagged()
    async with season.engine() as engine:
        result = await engine.tag_video(video.path, vr_video=True)
    assert result.coverage.calls == result.coverage.asked > 0
    assert season.vlm.counters.answered == len(questions) + result.coverage.calls


async def test_after_a_cancel_the_next_run_asks_only_the_rest(season):
    season.vlm.behaviour.latency_s = 0.02
    async with season.engine() as engine:
        running = asyncio.create_task(season.tag(engine))
        while season.vlm.counters.answered < 8:
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert len(season.answers()) >= season.vlm.counters.answered - 4
    questions, result = await season.tagged()
    assert result.coverage.asked <= len(season.answers()) <= result.coverage.asked + 4
    assert len(questions) < result.coverage.asked


async def test_an_answer_that_cannot_be_stored_is_not_used(season):
    """A limit on the size of files stands for a full disk: it has room for about ten answers."""
    answered: list[int] = []
    full = pytest.raises(StoreError, match=r"store\.sqlite3: its disk is full.* Make room there")
    async with season.engine() as engine:
        with files_no_longer_than(200_000), full:
            await season.tag(engine, lambda progress: answered.append(progress.coverage.answered))
    stored = len(season.answers())
    # Some may have been stored while all was being given up.
    assert 0 < max(answered) <= stored <= max(answered) + 4
    assert season.vlm.counters.answered <= stored + 8
    questions, result = await season.tagged()
    assert len(questions) == result.coverage.asked - stored


@pytest.mark.parametrize(
    "words",
    [
        {"synonyms": {FOUL: ["personal foul"]}},
        {"tag_descriptions": {FOUL: "  "}},
        {"system_prompt": "{opening}\n\nTags:\n{tags}\n\n{rules}\n{format}"},
    ],
    ids=["synonyms", "no description", "the usual words spelled out"],
)
async def test_what_changes_no_word_asks_nothing(season, words):
    _, before = await season.tagged(FOUR)
    questions, after = await season.tagged(FOUR, **words)
    assert questions == []
    assert spans(after) == spans(before)


@pytest.mark.parametrize(
    "words",
    [
        {"prompt": "These are frames of a basketball match."},
        {"special_tokens": "/no_think"},
        {"user_prompt": "At {time}: {question}"},
    ],
    ids=["prompt", "special tokens", "time"],
)
async def test_what_changes_every_question_asks_everything(season, words):
    first, _ = await season.tagged(FOUR)
    again, _ = await season.tagged(FOUR, **words)
    assert len(again) == len(first)
    assert set().union(*again) == set(FOUR)
    assert (await season.tagged(FOUR))[0] == [], "the answers in the former words are still there"


async def test_a_description_asks_about_its_tag_alone(season):
    season.vlm.behaviour.miss_rate = 0.0  # another mistake would have other frames looked at
    _, plain = await season.tagged(FOUR[:3])
    for descriptions in (SIGNAL, {FOUL: "a free kick"}):
        questions, _ = await season.tagged(FOUR[:3], tag_descriptions=descriptions)
        assert set().union(*questions) == {FOUL}
        assert (await season.tagged(FOUR[:3], tag_descriptions=descriptions))[0] == []
    questions, result = await season.tagged(FOUR[:3])
    assert questions == []
    assert spans(result) == spans(plain)
    questions, _ = await season.tagged(
        FOUR, tag_descriptions={**SIGNAL, FOUR[3]: "the clock stops"}
    )
    assert set().union(*questions) == {FOUR[3]}
