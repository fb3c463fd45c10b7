"""Pictures of all kinds through the engine: requests, stored answers, and combined verdicts."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Sequence
from pathlib import Path

import av
import pytest
from PIL import Image

from sandbox.stills import saved, scene
from tests.engine.engines import TAGS, damaged, play
from vlm_engine.errors import ClientError, MediaNotFoundError, MediaUnreadableError
from vlm_engine.pictures import spread
from vlm_engine.testing import Fault, glyphs
from vlm_engine.types import Coverage, ImageResult, ZipEntry


def moving(*moments: Sequence[str]) -> bytes:
    frames = [glyphs.picture(tags, 320, 180, number) for number, tags in enumerate(moments)]
    return saved(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=500, lossless=True
    )


def tags_of(result: ImageResult) -> tuple[str, ...]:
    return result.info.tags["plays"]


async def test_an_animation_has_the_tags_that_enough_moments_show(
    tmp_path,
):
    moved = moving(["Goal"], ["Goal", "Foul"], ["Goal"], [], [])
    path = tmp_path / "goal.webp"
    path.write_bytes(moved)

    async with play() as (engine, vlm):
        result = await engine.tag_image(path)
        assert tags_of(result) == ("Goal",)
        assert (result.coverage.asked, result.coverage.answered, result.coverage.calls) == (5, 5, 5)
        assert vlm.counters.answered == 5
        confidence = result.info.confidences["plays"]["Goal"]
        assert confidence is not None
        assert confidence > 0.5


async def test_answers_about_several_views_are_not_asked_again(store):
    moved = moving(["Goal"], ["Goal"], ["Foul"])

    async with play(store=store) as (engine, vlm):
        vlm.behaviour.latency_s = 0.2
        task = asyncio.create_task(engine.tag_image(moved))
        async with asyncio.timeout(30):
            while vlm.counters.answered < 2:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task], timeout=30)
        before = vlm.counters.answered
    async with play(store=store) as (engine, vlm):
        result = await engine.tag_image(moved)
        assert tags_of(result) == ("Foul", "Goal")
        assert 0 < result.coverage.calls == vlm.counters.answered <= 4 - before  # one was in flight
        again = await engine.tag_image(moved)
        assert (again.info, again.coverage.calls) == (result.info, 0)
    async with play(store=store, tags=(*TAGS, "Timeout")) as (engine, _):
        result = await engine.tag_image(moved)
        assert (tags_of(result), result.coverage.calls) == (("Foul", "Goal"), 3)


async def test_a_large_still_is_cut_into_parts_only_if_set_so(tmp_path, store):
    path = tmp_path / "stadium.jpg"
    path.write_bytes(saved(Image.fromarray(scene(4000, 1000)), "JPEG"))

    async with play(store=store) as (engine, _vlm):
        assert (await engine.tag_image(path)).coverage.asked == 1
    async with play(store=store, image={"parts": 4}) as (engine, _vlm):
        result = await engine.tag_image(path)
        assert (result.coverage.asked, result.coverage.calls) == (5, 4)  # the whole is known
        assert (await engine.tag_image(path)).coverage.calls == 0


async def test_a_video_clip_is_seen_in_a_few_moments(clip):
    moments = [clip.tags_at(time_s) for time_s in spread(10.0, 5)]
    expected = {tag for tag in TAGS if sum(tag in visible for visible in moments) >= 2}

    async with play() as (engine, _vlm):
        result = await engine.tag_image(clip.path, identity="clip 7")
        assert set(tags_of(result)) == expected
        assert result.coverage.calls == 5
        assert (await engine.tag_image(clip.path, identity="clip 7")).coverage.calls == 0


async def test_a_clip_in_a_zip_and_in_memory_is_seen_as_one_on_disk(clip, tmp_path):
    with zipfile.ZipFile(tmp_path / "season.zip", "w") as season:
        season.write(clip.path, "goal.mp4")
    content = Path(clip.path).read_bytes()

    async with play() as (engine, vlm):
        on_disk = await engine.tag_image(clip.path)
        in_zip = await engine.tag_image(
            ZipEntry(str(tmp_path / "season.zip"), "goal.mp4"), identity="in a zip"
        )
        in_memory = await engine.tag_image(content, identity="in memory")
        assert on_disk == in_zip == in_memory
        assert vlm.counters.answered == 15


async def test_a_clip_with_a_damaged_end_needs_more_than_one_moment(clip, tmp_path, caplog):
    content = clip.path.read_bytes()
    data_at = content.index(b"mdat") + 4
    size = int.from_bytes(content[data_at - 8 : data_at - 4], "big") - 8
    first, end = (data_at + size // 4) / len(content), (data_at + size) / len(content)
    path = damaged(clip, tmp_path / "game.mp4", first, end)

    async with play() as (engine, _vlm):
        result = await engine.tag_image(path)
        seen = result.coverage.answered
        assert 1 <= seen <= 2
        assert result.coverage == Coverage(5, seen, 5 - seen, seen, 5 - seen)
        assert set(tags_of(result)) <= (set() if seen == 1 else set(TAGS))
        assert f"game.mp4: {5 - seen} of 5 moments cannot be seen: " in caplog.text


async def test_packets_with_the_time_before_them_are_a_clip(clip, tmp_path):
    """As camcorders and Blu-rays have them."""
    path = tmp_path / "match.m2ts"
    with (
        av.open(clip.path) as source,
        av.open(path, "w", format="mpegts", options={"mpegts_m2ts_mode": "1"}) as target,
    ):
        (stream,) = source.streams.video
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    assert path.read_bytes()[4:5] == path.read_bytes()[196:197] == b"G"

    async with play() as (engine, _vlm):
        assert (await engine.tag_image(path)).coverage.calls == 5
        assert (await engine.tag_image(path.read_bytes(), identity="in memory")).coverage.calls == 5


async def test_a_damaged_clip_is_named(clip, tmp_path):
    content = Path(clip.path).read_bytes()[:200]
    (tmp_path / "damaged.mp4").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "season.zip", "w") as season:
        season.writestr("goal.mp4", content)

    async with play() as (engine, vlm):
        with pytest.raises(MediaUnreadableError, match=r"damaged\.mp4"):
            await engine.tag_image(tmp_path / "damaged.mp4")
        with pytest.raises(MediaUnreadableError, match=r"season\.zip/goal\.mp4"):
            await engine.tag_image(ZipEntry(str(tmp_path / "season.zip"), "goal.mp4"))
        assert vlm.counters.requests == 0


async def test_one_bad_picture_leaves_the_others_alone(tmp_path):
    good = saved(glyphs.picture(["Goal"], 320, 180), "PNG")
    files = {
        "good.png": good,
        "cut.png": good[: len(good) // 2],
        "empty.png": b"",
        "words.png": b"Corner kick",
    }
    with zipfile.ZipFile(tmp_path / "season.zip", "w") as season:
        for name, content in files.items():
            season.writestr(name, content)
    sources = [
        ZipEntry(str(tmp_path / "season.zip"), name) for name in [*files, "missing.png"] * 10
    ]

    async with play() as (engine, _vlm):
        results = await asyncio.gather(
            *(engine.tag_image(source) for source in sources), return_exceptions=True
        )
        for source, result in zip(sources, results, strict=True):
            if source.entry == "good.png":
                assert isinstance(result, ImageResult)
                assert tags_of(result) == ("Goal",)
            else:
                kind = MediaNotFoundError if source.entry == "missing.png" else MediaUnreadableError
                assert isinstance(result, kind), result
                assert f"season.zip/{source.entry}" in str(result)


async def test_an_endpoint_that_fails_is_no_answer(tmp_path):
    moved = moving(["Goal"], ["Goal"], ["Goal"])

    async with play() as (engine, vlm):
        vlm.behaviour.fault, vlm.behaviour.fault_requests = Fault.GARBAGE, None
        with pytest.raises(ClientError):
            await engine.tag_image(moved)
        vlm.behaviour.fault = Fault.NONE
        assert tags_of(await engine.tag_image(moved)) == ("Goal",)


async def test_rules_apply_after_the_views_are_combined():
    data = saved(glyphs.picture(["Goal"], 640, 360), "PNG")
    async with play() as (engine, _vlm):
        assert tags_of(await engine.tag_image(data)) == ("Goal",)
        assert tags_of(await engine.tag_image(data, threshold=1.0)) == ()
