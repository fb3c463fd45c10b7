"""The engine's public contract, on real videos and a real endpoint on loopback."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import zipfile
from collections.abc import Mapping
from contextlib import closing
from statistics import median
from typing import Any

import pytest

from sandbox.stills import saved
from sandbox.videos import SPORT_TAGS, VideoSpec, generate
from tests.engine.engines import TAGS, bounds, damaged, play, plays, true_tags
from vlm_engine import VLMEngine
from vlm_engine.config.models import PipelineConfig
from vlm_engine.errors import (
    ConfigError,
    CoverageError,
    MediaNotFoundError,
    MediaUnreadableError,
    NoEndpointError,
)
from vlm_engine.models import Model
from vlm_engine.spans import match
from vlm_engine.store.schema import unpacked
from vlm_engine.testing import Behaviour, Fault, SandboxVLM, glyphs
from vlm_engine.types import Coverage, ZipEntry


async def test_the_result_of_a_video_is_json_and_complete(game):
    async with play() as (engine, vlm):
        result = await engine.process_video(game.path)
        assert json.loads(json.dumps(result)) == result
        info = result["video_tag_info"]
        assert info["video_duration"] == pytest.approx(30, abs=0.2)
        assert set(info["video_tags"]["plays"]) == true_tags(game)
        for tag, spans in info["tag_timespans"]["plays"].items():
            assert {frozenset(span) for span in spans} == {
                frozenset({"start", "end", "totalConfidence"})
            }
            assert all(0.5 < span["totalConfidence"] <= 1 for span in spans)
            assert info["tag_totals"]["plays"][tag] == pytest.approx(
                sum(span["end"] - span["start"] for span in spans)
            )
        coverage = result["coverage"]
        assert (
            coverage["frames_asked"]
            == coverage["frames_answered"]
            == coverage["calls"]
            == vlm.counters.answered
        )
        assert coverage["frames_failed"] == 0


async def test_new_rules_need_only_an_earlier_result(
    game,
):
    async with play() as (engine, vlm):
        first = await engine.process_video(game.path)
        earlier = json.loads(json.dumps(first["json_result"]))
        calls = vlm.counters.answered
        rule = {"RenamedTag": "Personal foul", "MinMarkerDuration": 0}
        again = plays(vlm, category_config={"plays": {"Foul": rule}})
        async with VLMEngine(again) as other:
            second = await other.process_video(game.path, existing_json_data=earlier)
        assert vlm.counters.answered == calls
        assert "Personal foul" in second["video_tag_info"]["video_tags"]["plays"]
        assert second["json_result"]["timespans"] == first["json_result"]["timespans"]


async def test_only_what_an_earlier_result_lacks_is_asked(game, store):
    async with play(tags=TAGS[:2]) as (engine, vlm):
        earlier = json.loads(json.dumps((await engine.process_video(game.path))["json_result"]))
        calls = vlm.counters.answered
        async with VLMEngine(plays(vlm, store=store)) as other:
            more = await other.process_video(game.path, existing_json_data=earlier)
        assert vlm.counters.answered > calls
        with closing(sqlite3.connect(store)) as db:
            requested = [
                set(unpacked(said)[0]) for (said,) in db.execute("SELECT said FROM answer")
            ]
        assert requested == [{"Goal"}] * len(requested) != []
        before, after = earlier["timespans"]["plays"], more["json_result"]["timespans"]["plays"]
        assert {tag: spans for tag, spans in after.items() if tag != "Goal"} == before
        async with VLMEngine(plays(vlm)) as other:
            again = await other.process_video(game.path, existing_json_data=more)
        assert again["coverage"]["calls"] == 0
        assert again["video_tag_info"] == more["video_tag_info"]


async def test_a_result_of_another_video_is_refused(game):
    async with play() as (engine, _vlm):
        earlier = (await engine.process_video(game.path))["json_result"]
        earlier["metadata"]["duration"] += 5
        with pytest.raises(
            ConfigError,
            match="existing_json_data: is of another video: of 35.0 s, and this one lasts 30.0 s",
        ):
            await engine.process_video(game.path, existing_json_data=earlier)


async def test_parts_of_the_result_can_be_left_out(game):
    async with play() as (engine, vlm):
        bare = await engine.process_video(
            game.path, return_timestamps=False, return_confidence=False
        )
        assert "tag_timespans" not in bare["video_tag_info"]
        spans = (await engine.process_video(game.path, return_confidence=False))["video_tag_info"][
            "tag_timespans"
        ]["plays"]
        assert {frozenset(span) for tag_spans in spans.values() for span in tag_spans} == {
            frozenset({"start", "end"})
        }
        calls = vlm.counters.answered
        skipped = await engine.process_video(game.path, skipped_categories=["plays"])
        assert skipped["video_tag_info"]["video_tags"]["plays"] == []
        assert vlm.counters.answered == calls


async def test_the_threshold_reaches_the_tags_that_set_none(game):
    async with play(category_config={"plays": {"Turnover": {"TagThreshold": 0.5}}}) as (
        engine,
        _vlm,
    ):
        result = await engine.process_video(game.path, threshold=1.0)
        assert result["video_tag_info"]["video_tags"]["plays"] == ["Turnover"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 70}, "threshold: 70 is not a number from 0 to 1"),
        ({"threshold": -1}, "threshold: -1 is not a number from 0 to 1"),
        ({"threshold": "0.5"}, "threshold: '0.5' is not a number from 0 to 1"),
        (
            {"skipped_categories": ["nope"]},
            "skipped_categories: there is no category 'nope'; there are: plays",
        ),
        (
            {"skipped_categories": "plays"},
            "skipped_categories: 'plays' is a text; write a list of categories: ['plays']",
        ),
    ],
)
async def test_arguments_without_a_meaning_are_refused_at_once(game, arguments, message):
    async with play() as (engine, vlm):
        for process in (
            engine.process_video(game.path, **arguments),
            engine.process_image(b"a picture", **arguments),
        ):
            with pytest.raises(ConfigError) as refused:
                await process
            assert str(refused.value) == message
        assert not vlm.counters.answered


async def test_rules_that_fit_nothing_are_named_once(game, caplog):
    async with play(category_config={"plays": {"Fuol": {}, "foul": {}}, "playz": {"Foul": {}}}) as (
        engine,
        _vlm,
    ):
        for _ in range(2):
            await engine.process_video(game.path)
    assert [message for message in caplog.messages if "category_config" in message] == [
        "category_config: there are rules for tags that are not looked for: "
        "plays: Fuol, playz: Foul"
    ]


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_progress_is_reported_in_whole_per_cent_once_each(game, kind):
    percents: list[int] = []

    async def slowly(percent: int) -> None:
        await asyncio.sleep(0.001)
        percents.append(percent)

    async with play() as (engine, _vlm):
        await engine.process_video(
            game.path, progress_callback=percents.append if kind == "plain" else slowly
        )
    assert percents == sorted(set(percents))
    assert percents[-1] == 100
    assert len(percents) > 10


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, ("list", 256)),
        ({"frame_size": "full"}, ("list", 320)),
        ({"answer_form": "verdicts"}, ("verdicts", 256)),
    ],
)
async def test_every_frame_of_a_video_is_asked_in_one_style(game, store, settings, kept):
    sizes = {"image_max_side": 320, "scan_max_side": 256, "frames_compared": 0}
    async with play(model_settings={**sizes, **settings}, store=store) as (engine, vlm):
        await engine.process_video(game.path)
        with closing(sqlite3.connect(store)) as db:
            assert set(db.execute("SELECT form, max_side FROM answer")) == {kept}
        calls = vlm.counters.answered
        other = {**sizes, "scan_max_side": 192, "frame_size": "small"}
        async with VLMEngine(plays(vlm, model_settings=other, store=store)) as another:
            await another.process_video(game.path)
        assert vlm.counters.answered > calls, "answers in another style do not count"


async def test_spans_have_a_confidence_without_logprobs_too(game):
    async with play(Behaviour(slots=4, offers_logprobs=False)) as (engine, _vlm):
        result = await engine.process_video(game.path)
        spans = result["video_tag_info"]["tag_timespans"]["plays"]
        assert all(
            0.5 <= span["totalConfidence"] <= 1
            for tag_spans in spans.values()
            for span in tag_spans
        )
        (seen,) = result["json_result"]["metadata"]["seen"].values()
        verdicts = [each for frame in seen["observations"] for each in frame["verdicts"].values()]
        assert {probability for _, probability in verdicts} == {None}


async def test_a_picture_by_path_and_by_bytes(tmp_path):
    data = saved(glyphs.picture(["Foul", "Goal"], 640, 360), "PNG")
    path = tmp_path / "still.png"
    path.write_bytes(data)

    async with play() as (engine, vlm):
        result = await engine.process_image(path)
        assert result["image_tag_info"]["image_tags"] == {"plays": ["Foul", "Goal"]}
        assert result["coverage"]["calls"] == 1
        again = await engine.process_image(data)
        assert [await engine.process_image(kind(data)) for kind in (bytearray, memoryview)] == [
            again,
            again,
        ]
        assert again["image_tag_info"] == result["image_tag_info"]
        assert vlm.counters.answered == 1
        with pytest.raises(MediaNotFoundError, match="missing.png"):
            await engine.process_image(tmp_path / "missing.png")


async def test_a_picture_in_a_zip_typed_and_as_a_dictionary(tmp_path):
    data = saved(glyphs.picture(["Turnover"], 640, 360), "PNG")
    with zipfile.ZipFile(tmp_path / "season.zip", "w") as season:
        season.writestr("finals/turnover.png", data)
    entry = ZipEntry(str(tmp_path / "season.zip"), "finals/turnover.png")

    async with play() as (engine, vlm):
        result = await engine.tag_image(entry, identity="picture 7")
        assert dict(result.info.tags) == {"plays": ("Turnover",)}
        assert result.coverage == Coverage(asked=1, answered=1, calls=1)
        assert (
            await engine.tag_image(tmp_path / "moved elsewhere.png", identity="picture 7")
        ).info == result.info
        assert vlm.counters.answered == 1
        assert (await engine.process_image(entry))["image_tag_info"]["image_tags"] == {
            "plays": ["Turnover"]
        }
        with pytest.raises(MediaNotFoundError, match=r"season\.zip/foul\.png"):
            await engine.tag_image(ZipEntry(entry.zip_path, "foul.png"))


class CountTags(Model):
    """A stage of the user's own."""

    async def process(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "tags": list(inputs["described"].info.tags["plays"]),
            "path": str(inputs["video_path"]),
        }


COUNTING = """
inputs: [video_path]
models:
  - {name: probe_video, inputs: video_path, outputs: video}
  - {name: search_video, inputs: video, outputs: findings}
  - {name: stoppages, class: vlm_engine.models.MergeTags,
     options: {tags: [Foul, Turnover], into: Stoppage}, inputs: findings, outputs: merged}
  - {name: describe_video, inputs: merged, outputs: described}
  - {name: count, inputs: [described, video_path], outputs: results}
"""


async def test_a_pipeline_with_stages_of_ones_own(game, tmp_path):
    path = tmp_path / "counting.yaml"
    path.write_text(COUNTING, encoding="utf-8")

    async with SandboxVLM() as vlm:
        settings = plays(vlm, pipelines={"counting": PipelineConfig.from_yaml(path)})
        async with VLMEngine(settings, models={"count": CountTags}) as engine:
            result = await engine.process_video(game.path, pipeline_name="counting")
            assert result == {"tags": ["Goal", "Stoppage"], "path": str(game.path)}
            with pytest.raises(ConfigError, match="no pipeline 'other'"):
                await engine.process_video(game.path, pipeline_name="other")


async def test_a_failed_frame_is_counted_and_asked_again_next_time(game, store):
    async with play(Behaviour(slots=1), store=store) as (engine, vlm):
        # A question and its one repetition.
        vlm.behaviour.fault, vlm.behaviour.fault_requests = Fault.GARBAGE, 2
        coverage = (await engine.process_video(game.path))["coverage"]
        assert coverage["frames_failed"] == 1
        assert coverage["frames_answered"] == coverage["frames_asked"] - 1
        second = (await engine.process_video(game.path))["coverage"]
        assert second["frames_failed"] == 0
        assert second["calls"] >= 1


@pytest.mark.parametrize(
    ("share", "error", "message"),
    [
        (0.8, CoverageError, r"game.mp4: only \d+ of \d+"),
        (1.0, NoEndpointError, "the reply does not answer the question"),
    ],
)
async def test_unusable_replies_are_an_error_and_no_empty_result(game, share, error, message):
    behaviour = Behaviour(slots=4, fault=Fault.GARBAGE, fault_share=share)
    async with play(behaviour) as (engine, _vlm):
        with pytest.raises(error) as caught:
            await engine.process_video(game.path, frame_interval=1.0)
        assert re.search(message, str(caught.value))


async def test_a_damaged_stretch_is_named_and_the_rest_searched(game, tmp_path):
    path = damaged(game, tmp_path / "scratched.mp4", 0.4, 0.6)

    async with play() as (engine, _vlm):
        result = await engine.tag_video(path)
        (gap,) = result.gaps_s
        assert 7.5 < gap[0] < gap[1] < 22.5
        assert result.coverage.unreadable > 0
        assert result.coverage.failed == result.coverage.unreadable
        clear = [
            (tag, (start_s, end_s))
            for tag, truth in game.truth.items()
            for start_s, end_s in truth
            if end_s < gap[0] - 3 or start_s > gap[1] + 3
        ]
        assert clear
        for tag, event in clear:
            assert any(match([span], [event], 0.5) for span in bounds(result, tag))


async def test_a_video_of_which_nothing_decodes_is_refused(game, tmp_path):
    path = damaged(game, tmp_path / "erased.mp4", 0.0002, 0.97)

    async with play(model_settings={"model_id": "sandbox-vlm"}) as (engine, vlm):
        with pytest.raises(MediaUnreadableError, match="erased.mp4"):
            await engine.process_video(path)
        assert vlm.counters.requests == 0


async def test_no_endpoint_left_is_an_error_with_every_cause(game):
    async with play(model_settings={"model_id": "sandbox-vlm"}) as (engine, vlm):
        vlm.stop()
        with pytest.raises(NoEndpointError) as caught:
            await engine.process_video(game.path)
        assert [vlm.url in str(cause) for cause in caught.value.exceptions] == [True]


async def test_an_engine_opens_on_first_use_and_can_be_reopened(
    game,
):
    async with SandboxVLM() as vlm:
        engine = VLMEngine(plays(vlm))
        results = await asyncio.gather(*(engine.process_video(game.path) for _ in range(3)))
        assert results[0]["video_tag_info"] == results[2]["video_tag_info"]
        assert len(engine.get_performance_stats()) == 1
        await engine.aclose()
        with pytest.raises(ConfigError, match="closed; `await engine.initialize"):
            await engine.process_video(game.path)
        async with engine:
            assert (await engine.process_video(game.path))["video_tag_info"] == results[0][
                "video_tag_info"
            ]


async def test_cancelling_while_the_engine_opens_disturbs_no_other(game, store):
    async with SandboxVLM() as vlm:
        engine = VLMEngine(plays(vlm, store=store))
        first, second = (asyncio.create_task(engine.process_video(game.path)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second)["coverage"]["calls"] > 0
        await engine.aclose()
        with pytest.raises(asyncio.CancelledError):
            await first
        closing = VLMEngine(plays(vlm, store=store))
        only = asyncio.create_task(closing.process_video(game.path))
        await asyncio.sleep(0)
        only.cancel()
        await closing.aclose()


@pytest.mark.parametrize(
    "data", [{}, {"schema_version": 99}, {"schema_version": 2, "metadata": {}}]
)
async def test_anything_but_an_earlier_result_is_refused(game, data):
    async with play() as (engine, _vlm):
        with pytest.raises(ConfigError, match="existing_json_data"):
            await engine.process_video(game.path, existing_json_data={"json_result": data})


@pytest.mark.thorough
async def test_ten_minutes_and_eight_tags_need_few_questions(tmp_path):
    """The bar for a model that makes no mistakes."""
    match_video = generate(VideoSpec(600, 320, 180, seed=0), tmp_path / "match.mp4")
    async with play(Behaviour(slots=8), tags=SPORT_TAGS) as (engine, vlm):
        result = await engine.tag_video(match_video.path)
    assert set(result.info.tags["plays"]) == true_tags(match_video)
    found = wanted = right = 0
    errors_s: list[float] = []
    for tag, truth in match_video.truth.items():
        spans = bounds(result, tag)
        pairs = match(spans, truth, 0.5)
        found, wanted, right = found + len(spans), wanted + len(truth), right + len(pairs)
        errors_s += [abs(spans[i][end] - truth[j][end]) for i, j in pairs for end in (0, 1)]
    assert 2 * right / (found + wanted) >= 0.95
    assert median(errors_s) <= 0.6
    assert vlm.counters.answered * 6 <= 1000
