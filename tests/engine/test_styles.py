"""Size and form of questions by evidence, and the terms of a search frozen at its start."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.engine.engines import TAGS, plays
from tests.engine.stores import process
from vlm_engine import VLMEngine
from vlm_engine.clients import OpenAIClient
from vlm_engine.config.models import EndpointConfig, EngineConfig
from vlm_engine.store.schema import unpacked
from vlm_engine.tagging.terms import SearchTerms
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.types import QuestionCost, VideoResult

SIZES = {"image_max_side": 320, "scan_max_side": 256}
Answers = list[tuple[int, str, int, tuple[str, ...]]]
"""Time asked for, form, size of the picture and tags of each stored answer."""


class HalfBlind(SandboxVLM):
    """An endpoint whose model misses three fifths of a tag in small pictures."""

    blind_tag = "Foul"

    def belief(self, tag: str, contents: glyphs.Shown) -> float:
        believed = super().belief(tag, contents)
        number = contents.frame_number or 0
        missed = (
            tag == self.blind_tag and contents.side < 300 and (number * 2654435761 >> 9) % 5 < 3
        )
        return min(believed, 0.1) if missed else believed


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(90, 320, 180, tags=TAGS, seed=5, shot_median_s=8, gop_s=1)
    return generate(spec, tmp_path_factory.mktemp("video") / "match.mp4")


def settings(vlm: SandboxVLM, store: Path | None, **more: Any) -> EngineConfig:
    """Return settings with learnt costs, and a scan that is wide enough for some comparisons."""
    model = {**SIZES, **{key: more.pop(key) for key in [*more] if key in MODEL_SETTINGS}}
    search = {"frame_interval_s": 1, "learn_costs": True, **more.pop("search", {})}
    return plays(vlm, store=store, model_settings=model, search=search, **more)


MODEL_SETTINGS = ("frame_size", "answer_form", "frames_compared", "tag_descriptions", "tags")


def stored(store: Path, subject: str = "%") -> Answers:
    with closing(sqlite3.connect(store)) as db:
        rows = db.execute(
            "SELECT look_ms, form, max_side, said FROM answer JOIN answer_subject"
            " ON answer_subject.id = answer.subject WHERE media LIKE ? ORDER BY answer.id",
            (subject,),
        ).fetchall()
    return [(time_ms, form, side, (*unpacked(said)[0],)) for time_ms, form, side, said in rows]


async def tagged(config: EngineConfig, video: LabelledVideo, name: str = "match") -> VideoResult:
    async with VLMEngine(config) as engine:
        return await engine.tag_video(video.path, identity=name)


def style_of(result: VideoResult) -> tuple[str, int]:
    (found,) = result.findings
    (terms,) = found.terms
    return terms.style.form, terms.style.shape.max_side


async def learn(
    config: EngineConfig, match: LabelledVideo, most: int = 4
) -> AsyncIterator[tuple[str, VideoResult]]:
    """Tag the video under other names, as if it were others of the same kind."""
    for number in range(most):
        yield f"match {number}", await tagged(config, match, f"match {number}")


async def test_a_tag_that_hides_in_small_pictures_flips_the_size(match, store, caplog):
    caplog.set_level(logging.INFO)
    async with HalfBlind(Behaviour(slots=4)) as vlm:
        config = settings(vlm, store)
        sizes = [style_of(result) async for _, result in learn(config, match)]
        assert sizes[:1] == [("list", 256)]
        assert sizes[-1] == ("list", 320)
        assert sorted(sizes) == sizes, "no flapping"
        last = f"match {len(sizes) - 1}"
        assert all(side == 320 for _, _, side, _ in stored(store, last)[:20])
        lines = [line for line in caplog.messages if "in small pictures it misses" in line]
        (line,) = lines
        assert line.startswith("Model vlm: in small pictures it misses Foul (")
        assert "seen in full size). Frames are asked about in full size from now on" in line
        assert "set FRAME_SIZE: small (frame_size of the model) to keep small pictures" in line
        # The user may keep them small.
        kept = await tagged(settings(vlm, store, frame_size="small"), match, "another")
        assert style_of(kept) == ("list", 256)
        # Only lists with that tag are asked about in full size.
        others = plays(vlm, TAGS[1:], store, model_settings=SIZES, search={"frame_interval_s": 1})
        assert style_of(await tagged(others, match, "another")) == ("list", 256)


async def test_the_figures_of_each_tag_are_told(match, store):
    async with HalfBlind(Behaviour(slots=4)) as vlm:
        async with VLMEngine(settings(vlm, store)) as engine:
            assert engine.style_comparisons() == ()
            await engine.tag_video(match.path)
            (size, form) = engine.style_comparisons()
        assert (size.model, size.usual, size.other) == ("vlm", "small pictures", "full size")
        assert (form.usual, form.other, form.in_use) == ("lists", "verdicts", "lists")
        foul, turnover, _ = size.tags
        assert foul.usual < foul.other <= foul.frames
        assert turnover.usual == turnover.other
        asked = [row for row in stored(store) if row[1:3] == ("list", 320)]
        assert foul.frames == len(asked) > 5


async def test_comparisons_change_nothing_of_what_is_found(match, tmp_path):
    async with HalfBlind(Behaviour(slots=4, miss_rate=0.1)) as vlm:
        found = []
        for frames in (0, 32):
            config = settings(vlm, tmp_path / str(frames), frames_compared=frames)
            found.append(await tagged(config, match))
        without, with_some = found
    assert with_some.findings[0].observations == without.findings[0].observations
    assert with_some.findings[0].spans == without.findings[0].spans
    compared = len(stored(tmp_path / "32")) - len(stored(tmp_path / "0"))
    assert with_some.coverage.calls - without.coverage.calls == compared > 5
    assert compared < 0.12 * with_some.coverage.calls
    assert with_some.coverage.answered == with_some.coverage.calls
    assert {row[1:3] for row in stored(tmp_path / "0")} == {("list", 256)}


async def test_what_was_compared_counts_once(match, store):
    def counted() -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(store)) as db:
            return db.execute("SELECT * FROM answer_pair").fetchall()

    async with SandboxVLM(Behaviour(slots=4)) as vlm:
        await tagged(settings(vlm, store), match)
        first = counted()
        assert first
        again = await tagged(settings(vlm, store), match)
        assert again.coverage.calls == 0
        assert counted() == first


async def test_a_new_description_begins_anew(match, store):
    async with HalfBlind(Behaviour(slots=4)) as vlm:
        await tagged(settings(vlm, store), match)
        evidence_for_full(store)
        described = {"Foul": "the referee signals a foul"}
        other = settings(vlm, store, tag_descriptions=described)
        assert style_of(await tagged(other, match, "another")) == ("list", 256)
        assert style_of(await tagged(settings(vlm, store), match, "another")) == ("list", 320)


class Priced(OpenAIClient):
    """A client whose questions cost what the test says."""

    slots = 4
    cost = QuestionCost()

    def question_cost(self, pixels: int) -> QuestionCost:
        return self.cost


@asynccontextmanager
async def priced(vlm: SandboxVLM, config: EngineConfig, **cost: float) -> AsyncIterator[VLMEngine]:
    client = Priced(EndpointConfig(base_url=vlm.url, max_concurrent=4), config.models["vlm"])
    client.cost = QuestionCost(**cost)
    async with VLMEngine(config, client=client) as engine:
        yield engine


CHEAP, DEAR = {"answer_token_s": 0.001}, {"answer_token_s": 0.2, "call_s": 1.0}


async def test_costs_are_those_of_the_beginning(match, store, tmp_path):
    async with HalfBlind(Behaviour(slots=4, miss_rate=0.1)) as vlm:
        config = settings(vlm, store)
        async with priced(vlm, config, **CHEAP) as engine:
            first = await engine.tag_video(match.path)
        async with priced(vlm, config, **DEAR) as engine:
            again = await engine.tag_video(match.path)
            fresh = await engine.tag_video(match.path, identity="another")
        assert again.coverage.calls == 0
        assert again.findings == first.findings
        (terms,) = first.findings[0].terms
        assert terms.cost.answer_token_s == pytest.approx(0.001, rel=0.1)
        assert fresh.findings[0].terms[0].cost.call_s == pytest.approx(1.0, rel=0.1)


async def test_costs_are_the_usual_ones_unless_they_are_learnt(match, store):
    async with SandboxVLM(Behaviour(slots=4)) as vlm:
        config = settings(vlm, store, search={"learn_costs": False})
        async with priced(vlm, config, **DEAR) as engine:
            found = await engine.tag_video(match.path)
    assert [terms.cost for terms in found.findings[0].terms] == [QuestionCost()]


async def test_a_finished_search_begins_anew_in_another_style(match, store):
    async with SandboxVLM(Behaviour(slots=4)) as vlm:
        config = settings(vlm, store)
        small = await tagged(config, match)
        full = await tagged(settings(vlm, store, frame_size="full"), match)
        assert (style_of(small), style_of(full)) == (("list", 256), ("list", 320))
        assert full.coverage.calls > 0.8 * full.coverage.asked
        for size, former in (("auto", small), ("full", full)):
            again = await tagged(settings(vlm, store, frame_size=size), match)
            assert again.coverage.calls == 0
            assert again.findings == former.findings


CHILD = """
import asyncio, sys
from pathlib import Path
from types import SimpleNamespace
from tests.engine.test_styles import settings
from vlm_engine import VLMEngine
from vlm_engine.testing import Behaviour
url, store, video = sys.argv[1:]
vlm = SimpleNamespace(url=url, behaviour=Behaviour(slots=4))
async def main():
    async with VLMEngine(settings(vlm, Path(store))) as engine:
        await engine.tag_video(video, identity="match")
asyncio.run(main())
"""


async def killed(vlm: SandboxVLM, store: Path, video: Path, answers: int) -> None:
    """Tag the video in another process, and kill it after so many answers."""
    before = vlm.counters.answered
    with process(CHILD, vlm.url, store, video) as child:
        while vlm.counters.answered - before < answers:
            assert child.poll() is None
            await asyncio.sleep(0.01)
        child.kill()


@pytest.mark.parametrize(
    "moment",
    [
        "among the comparisons",
        *(pytest.param(each, marks=pytest.mark.thorough) for each in ("in the scan", "after them")),
    ],
)
async def test_a_killed_search_goes_on_exactly_as_it_began(match, store, tmp_path, moment):
    """Meanwhile, the size in use and the costs change."""
    async with HalfBlind(Behaviour(slots=4, miss_rate=0.1, latency_s=0.01)) as vlm:
        whole = await tagged(settings(vlm, tmp_path / "whole"), match)
        sides = [row[1:3] for row in stored(tmp_path / "whole")]
        scan = next(n for n, kind in enumerate(sides) if kind != ("list", 256))
        left = len(sides) - scan
        answers = {"in the scan": 20, "among the comparisons": scan + 4, "after them": 0}[moment]
        await killed(vlm, store, match.path, answers or scan + 3 * left // 4)
        evidence_for_full(store)
        async with priced(vlm, settings(vlm, store), **DEAR) as engine:
            resumed = await engine.tag_video(match.path, identity="match")
            later = await engine.tag_video(match.path, identity="another")
    assert resumed.findings == whole.findings
    assert sorted(set(stored(store, "match"))) == sorted(stored(tmp_path / "whole"))
    assert resumed.coverage.calls < whole.coverage.calls
    assert style_of(later) == ("list", 320)


async def test_a_repeat_for_one_tag_more_goes_on_exactly_too(match, store):
    """It is broken off, and the size in use changes meanwhile."""
    async with HalfBlind(Behaviour(slots=4, latency_s=0.01)) as vlm:
        await tagged(settings(vlm, store), match)
        longer = plays(
            vlm, [*TAGS, "Save"], store, model_settings=SIZES, search={"frame_interval_s": 1}
        )
        before = vlm.counters.answered
        async with VLMEngine(longer) as engine:
            task = asyncio.create_task(engine.tag_video(match.path, identity="match"))
            while vlm.counters.answered - before < 10:
                await asyncio.sleep(0.005)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        evidence_for_full(store)
        resumed = await tagged(longer, match)
    assert style_of(resumed) == ("list", 256)
    assert resumed.coverage.calls < resumed.coverage.asked


def evidence_for_full(store: Path) -> None:
    """Count frames of other videos, on which small pictures showed nothing of a tag."""
    with closing(sqlite3.connect(store)) as db, db:
        (model, wording) = db.execute("SELECT model, wording FROM answer_subject").fetchone()
        row = (model, wording, "256 or 320", "Foul", 1, 40, 5, 0, 30)
        db.execute(
            "INSERT INTO answer_pair VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT"
            " (model, wording, compared, tag, expected) DO UPDATE SET frames = excluded.frames,"
            " both = excluded.both, only_usual = 0, only_other = excluded.only_other",
            row,
        )


async def test_an_earlier_result_is_repeated_on_its_terms(match):
    async with HalfBlind(Behaviour(slots=4, miss_rate=0.1)) as vlm:
        config = settings(vlm, None)
        async with priced(vlm, config, **CHEAP) as engine:
            first = await engine.process_video(match.path)
        (seen,) = first["json_result"]["metadata"]["seen"].values()
        (terms,) = seen["terms"]
        assert (terms["form"], terms["max_side"]) == ("list", 256)
        async with priced(vlm, config, **DEAR) as engine:
            again = await engine.process_video(match.path, existing_json_data=first["json_result"])
        assert again["coverage"]["calls"] == 0
        assert again["json_result"] == first["json_result"]


async def test_a_video_no_larger_than_small_pictures_has_one_size(match, store):
    async with SandboxVLM(Behaviour(slots=4)) as vlm:
        sizes = {"image_max_side": 640, "scan_max_side": 320}
        config = plays(vlm, store=store, model_settings=sizes, search={"frame_interval_s": 4})
        assert style_of(await tagged(config, match)) == ("list", 320)
        assert {side for _, _, side, _ in stored(store)} == {320}


def terms_with(cost: str) -> str:
    parts = "".join(f', "{name}": {cost}' for name in COSTS)
    model = f'{{"form": "list", "max_side": 256, "quality": 88{parts}}}'
    return f'{{"terms": [{model}], "plans": [[1, 1, 1, 12, ["Foul"]]], "tags": ["Foul"]}}'


COSTS = ("call_s", "picture_s", "text_token_s", "answer_token_s")
NO_TERMS = [
    *("no JSON", "null", "[]", b"\xff\x00"),
    *(terms_with(cost) for cost in ("NaN", "0", "1e999", "-1", '"dear"', "null")),
    *(
        terms_with("1").replace("[1, 1, 1, 12,", plan)
        for plan in ("[-1, 1, 1, 12,", "[1, 1, 1, 0,")
    ),
    terms_with("1").replace('"Foul"', "3"),
    terms_with("1").replace('"tags": ["Foul"]', '"tags": 3'),
]


@pytest.mark.parametrize("text", NO_TERMS)
def test_damaged_terms_are_none(text):
    assert SearchTerms.from_stored(text) is None
    assert SearchTerms.from_stored(terms_with("1")) is not None


async def test_a_search_whose_stored_figures_are_damaged_goes_on(match, store):
    async with SandboxVLM(Behaviour(slots=4)) as vlm:
        whole = await tagged(settings(vlm, store), match)
        with closing(sqlite3.connect(store)) as db, db:
            db.execute("UPDATE answer_terms SET terms = 'no JSON'")
            db.execute("UPDATE answer_pair SET only_other = 'x'")
            db.execute("DELETE FROM answer_search")  # the search was broken off
        again = await tagged(settings(vlm, store), match)
        assert again.findings[0].spans == whole.findings[0].spans
        assert style_of(again) == ("list", 256)
        assert (await tagged(settings(vlm, store), match)).coverage.calls == 0
