"""Frames of a user's videos, asked about in every style, by real requests to a sandbox endpoint."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.engine.engines import TAGS, damaged, plays
from vlm_engine import (
    ConfigError,
    FrameComparison,
    NoEndpointError,
    VideoFile,
    VLMEngine,
    frames_section,
)
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.types import Form

SIZES = {"image_max_side": 320, "scan_max_side": 256}


class BlindToSmallFouls(SandboxVLM):
    """An endpoint whose model misses one tag in small pictures."""

    def belief(self, tag: str, contents: glyphs.Shown) -> float:
        believed = super().belief(tag, contents)
        return min(believed, 0.1) if tag == "Foul" and contents.side < 300 else believed


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(120, 320, 180, tags=TAGS, seed=7, shot_median_s=6, gop_s=1)
    return generate(spec, tmp_path_factory.mktemp("video") / "match.mp4")


def named(video: LabelledVideo, *names: str, vr: bool = False) -> list[VideoFile]:
    """The video under these names, as if it were several."""
    return [VideoFile(video.path, name, vr) for name in names]


def settings(vlm: SandboxVLM, store: Path | None = None, **more: Any) -> EngineConfig:
    search = {"frame_interval_s": 2}
    return plays(vlm, store=store, model_settings={**SIZES, **more}, search=search)


async def compared(
    config: EngineConfig, videos: list[VideoFile], frames: int = 12
) -> FrameComparison:
    async with VLMEngine(config) as engine:
        (found,) = await engine.compare_styles(videos, frames)
    return found


def stored(store: Path) -> list[tuple[str, int, str, int]]:
    """The video, time, form and size of every stored answer."""
    with closing(sqlite3.connect(store)) as db:
        return db.execute(
            "SELECT media, look_ms, form, max_side FROM answer JOIN answer_subject"
            " ON answer_subject.id = answer.subject ORDER BY answer.id"
        ).fetchall()


# --- what is found ---


async def test_a_tag_that_hides_in_small_pictures_is_found(match):
    behaviour = Behaviour(slots=4, answer_token_s=0.002)
    async with BlindToSmallFouls(behaviour) as vlm:
        found = await compared(settings(vlm), named(match, "a", "b", "c"), 72)
    assert (found.frames, found.videos, found.is_measured) == (72, 3, True)
    assert len(found.others) == 5
    for figures in found.others:
        foul = figures.tags["Foul"]
        assert foul.both + foul.only_other >= 5
        assert figures.blind_tags() == (("Foul",) if figures.small else ())
        assert figures.missed == (foul.only_other if figures.small else 0)
        assert figures.added == 0
        assert 0 < figures.answer_tokens < figures.prompt_tokens
        assert figures.seconds > 0
    assert found.settings["frame_size"] == "full"
    assert found.settings["answer_form"] in {"list", "names"}
    ModelConfig(**found.settings)
    texts = [finding.text for finding in frames_section(found).findings]
    assert any("it mostly misses what another style sees of Foul" in text for text in texts)
    json.dumps(frames_section(found).as_dict())


async def test_every_style_is_asked_in_turn_and_no_slot_twice(match, tmp_path):
    async with SandboxVLM(Behaviour(slots=3)) as vlm:
        found = await compared(settings(vlm, tmp_path / "s"), named(match, "a", "b"), 12)
        assert vlm.counters.in_flight_max <= 3
        assert vlm.counters.answered == 6 * 12
    assert {figures.questions for figures in (found.reference, *found.others)} == {12}
    rows = stored(tmp_path / "s")
    assert len(set(rows)) == 6 * 12
    first = {(row[0], row[1], row[3]): row[2] for row in reversed(rows)}
    forms = [*first.values()]
    assert {form: forms.count(form) for form in Form} == dict.fromkeys(Form, 8)


async def test_frames_are_spread_and_not_of_the_ends(match, tmp_path):
    async with SandboxVLM() as vlm:
        await compared(settings(vlm, tmp_path / "s"), named(match, "a", "b", "c"), 24)
    times_of: dict[str, list[int]] = {}
    for media, look_ms, form, side in stored(tmp_path / "s"):
        if (form, side) == ("list", 256):
            times_of.setdefault(media, []).append(look_ms)
    assert {media: len(times) for media, times in times_of.items()} == {"a": 8, "b": 8, "c": 8}
    for times in map(sorted, times_of.values()):
        assert 12_000 <= times[0] < 40_000
        assert 80_000 < times[-1] <= 108_000
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps) < 30_000


async def test_a_video_of_small_pictures_compares_the_forms(match):
    async with SandboxVLM() as vlm:
        found = await compared(settings(vlm, scan_max_side=320), named(match, "a"), 4)
        alike = await compared(
            settings(vlm, image_max_side=512, scan_max_side=400), named(match, "a"), 4
        )
    for one in (found, alike):
        assert one.reference.style.form is Form.VERDICTS
        assert [figures.style.form for figures in one.others] == [Form.LIST, Form.NAMES]
        assert "frame_size" not in one.settings


# --- nothing is paid twice ---


async def test_what_was_asked_is_not_asked_again(match, tmp_path):
    videos = named(match, "a", "b", "c")
    async with SandboxVLM() as vlm:
        config = settings(vlm, tmp_path / "s")
        first = await compared(config, videos, 12)
        asked = vlm.counters.answered
        again = await compared(config, videos[::-1], 12)
        assert vlm.counters.answered == asked
        assert [one.tags for one in again.others] == [one.tags for one in first.others]
        assert (again.is_measured, again.reference.questions) == (False, 0)
        assert again.reference.seconds > 0
        await compared(config, videos, 15)
        assert vlm.counters.answered == asked + 6 * 3, "more frames are asked about beside those"


async def test_an_interrupted_comparison_goes_on(match, tmp_path):
    videos = named(match, "a", "b")
    async with SandboxVLM(Behaviour(slots=2)) as vlm:
        config = settings(vlm, tmp_path / "s")
        async with VLMEngine(config) as engine:
            enough = asyncio.Event()
            task = asyncio.create_task(
                engine.compare_styles(videos, 12, lambda done: enough.set() if done > 0.5 else None)
            )
            await enough.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        kept = len(stored(tmp_path / "s"))
        assert 0 < kept < 72
        found = await compared(config, videos, 12)
        rows = stored(tmp_path / "s")
        assert len(rows) == len(set(rows)) == 72
    assert sum(one.questions for one in (found.reference, *found.others)) == 72 - kept


@pytest.mark.parametrize("vr", [False, True])
async def test_a_later_run_uses_the_answers(match, tmp_path, vr):
    async def calls(engine: VLMEngine) -> int:
        result = await engine.tag_video(match.path, identity="oshash:1", vr_video=vr)
        return result.coverage.calls

    async with SandboxVLM() as vlm:
        more: dict[str, Any] = {"frames_compared": 0}
        async with VLMEngine(settings(vlm, tmp_path / "without", **more)) as engine:
            without = await calls(engine)
        async with VLMEngine(settings(vlm, tmp_path / "with", **more)) as engine:
            await engine.compare_styles(named(match, "oshash:1", vr=vr), 10)
            assert await calls(engine) == without - 10
    rows = stored(tmp_path / "with")
    assert len(rows) == len(set(rows))


async def test_a_new_tag_asks_only_about_itself(match, tmp_path):
    videos = named(match, "a")
    async with SandboxVLM() as vlm:
        await compared(settings(vlm, tmp_path / "s"), videos, 4)
        image_tokens = vlm.counters.answer_tokens
        more = plays(
            vlm,
            [*TAGS, "Timeout"],
            tmp_path / "s",
            model_settings=SIZES,
            search={"frame_interval_s": 2},
        )
        found = await compared(more, videos, 4)
    assert found.reference.tags.keys() == {*TAGS, "Timeout"}
    assert 0 < found.reference.answer_tokens < image_tokens / 24


# --- what goes wrong ---


async def test_files_that_cannot_be_read_are_named(match, tmp_path):
    broken, empty = tmp_path / "broken.mp4", tmp_path / "empty.mp4"
    broken.write_bytes(b"no video" * 1000)
    empty.touch()
    videos = [VideoFile(path) for path in (broken, empty, tmp_path / "gone.mp4", match.path)]
    async with SandboxVLM() as vlm:
        found = await compared(settings(vlm), videos, 4)
        none = await compared(settings(vlm), videos[:3], 4)
    assert (found.frames, found.videos) == (4, 1)
    assert sorted(Path(text.partition(":")[0]).name for text in found.skipped) == [
        "broken.mp4",
        "empty.mp4",
        "gone.mp4",
    ]
    section = frames_section(none)
    assert not section.works
    assert [finding.what for finding in section.findings] == ["frames", "skipped"]


async def test_frames_that_do_not_decode_are_left_out(match, tmp_path):
    path = damaged(match, tmp_path / "hole.mp4", 0.3, 0.7)
    async with SandboxVLM() as vlm:
        found = await compared(settings(vlm), [VideoFile(path)], 16)
    assert 0 < found.reference.frames < found.frames == 16
    assert len(found.skipped) == 16 - found.reference.frames
    assert all(text.startswith(f"{path}: ") for text in found.skipped)


async def test_questions_that_fail_are_reported(match):
    async with SandboxVLM(Behaviour(context_tokens=200)) as vlm:
        found = await compared(settings(vlm), named(match, "a"), 6)
    assert found.reference.frames == 0
    assert (found.proposal, dict(found.settings)) == (None, {})
    assert [figures.questions for figures in found.others] == [6] * 5
    section = frames_section(found)
    assert not section.works
    assert "none was answered in full size, verdicts" in section.findings[0].text
    (failed,) = section.findings[1:]
    assert (failed.what, failed.figures["kinds"]) == ("failed questions", 1)
    assert "does not fit into its context" in failed.text


async def test_a_comparison_ends_when_no_endpoint_is_left(match, tmp_path):
    async with SandboxVLM() as vlm:
        config = settings(vlm, endpoint_patience=0.1)
    with pytest.raises(NoEndpointError):
        await compared(config, named(match, "a"), 4)


async def test_a_comparison_needs_a_frame(match):
    async with SandboxVLM() as vlm:
        with pytest.raises(ConfigError, match="frames: 0 is too few"):
            await compared(settings(vlm), named(match, "a"), 0)


async def test_progress_only_grows_and_ends_at_one(match):
    shares: list[float] = []
    async with SandboxVLM() as vlm, VLMEngine(settings(vlm)) as engine:
        await engine.compare_styles(named(match, "a", "b"), 4, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(set(shares)) > 20
