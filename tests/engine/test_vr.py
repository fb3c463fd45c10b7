"""VR videos: layouts, the part of a frame that is ahead, and searches of that part."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.engine.engines import TAGS, bounds, play, true_tags
from vlm_engine.config.models import VideoConfig, parse
from vlm_engine.errors import ConfigError
from vlm_engine.spans import f1
from vlm_engine.types import VideoResult
from vlm_engine.vr import AUTO, OFF, checked_layout, front, layout_of

WIDE, SQUARE, HD, TALL = (3840, 1920), (2880, 2880), (1920, 1080), (1920, 3840)
Size = tuple[int, int]
Box = tuple[int, int, int, int]


def layout_text(name: str, size: Size = WIDE, setting: str = AUTO) -> str:
    layout = layout_of(setting, name, *size)
    return str(layout) if layout else "as it is"


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("Final_LR_180.mp4", "sbs-180"),
        ("final_180_sbs.MKV", "sbs-180"),
        ("Final_SBS.mp4", "sbs-180"),
        ("Final_RL_180.mp4", "sbs-180"),
        ("final-180_180x180_3dh_LR.mp4", "sbs-180"),
        ("Final_180x180_3DV.mp4", "tb-180"),
        ("Final 180 3dv.webm", "tb-180"),
        ("Final.360.TB.mp4", "tb-360"),
        ("Final_360_OU.mp4", "tb-360"),
        ("Final_Over-Under_360.mp4", "tb-360"),
        ("Final_360_Side by Side.mp4", "sbs-360"),
        ("Final_MONO_360.mp4", "mono-360"),
        ("Final_360.mp4", "mono-360"),
        ("Final_VR180_mono.mp4", "mono-180"),
        ("Final_180LR.mp4", "sbs-180"),
        ("Final_TB360.mp4", "tb-360"),
        ("Final_MKX200.mp4", "sbs-fisheye200"),
        ("Final_LR_VRCA220.mp4", "sbs-fisheye220"),
        ("Final_RF52_SBS.mp4", "sbs-fisheye190"),
        ("Final_FISHEYE190_alpha.mp4", "sbs-fisheye190"),
        ("Final_180F_TB.mp4", "tb-fisheye180"),
        ("Final_LR_F135-20250517.mp4", "sbs-fisheye135"),
        ("Final_3D_HSBS.mp4", "sbs-flat"),
        ("Final Half-OU.mp4", "tb-flat"),
        ("Final_FullSBS_180.mp4", "sbs-180"),
        ("Final_180_Full_SBS.mp4", "sbs-180"),
        ("Final_flat.mp4", "as it is"),
        ("Final_EAC360.mp4", "as it is"),
        ("Top 360 dunks_LR_180.mp4", "sbs-180"),
        ("/vr/OU_360/Final.mp4", "sbs-180"),  # folders do not count
        ("D:\\vr\\MONO\\Final_TB.mp4", "tb-360"),
        ("Final_SBS_180", "sbs-180"),
        ("Tbilisi 1180 lrs 3600.mp4", "sbs-180"),  # whole words only
    ],
)
def test_a_name_tells_in_the_way_of_players(name, layout):
    assert layout_text(name) == layout


@pytest.mark.parametrize(
    ("name", "size", "layout"),
    [
        ("Final.mp4", WIDE, "sbs-180"),
        ("Final.mp4", HD, "sbs-180"),
        ("Final.mp4", (7680, 1920), "sbs-360"),
        ("Final.mp4", (3840, 1080), "sbs-flat"),
        ("Final.mp4", SQUARE, "tb-360"),
        ("Final.mp4", TALL, "tb-180"),
        ("Final.mp4", (1920, 2160), "tb-flat"),
        ("Final.mp4", (1440, 1080), "as it is"),
        ("Final_180.mp4", WIDE, "sbs-180"),
        ("Final_180.mp4", SQUARE, "mono-180"),
        ("Final_180.mp4", TALL, "tb-180"),
        ("Final_360.mp4", WIDE, "mono-360"),
        ("Final_360.mp4", SQUARE, "tb-360"),
        ("Final_360.mp4", (7680, 1920), "sbs-360"),
        ("Final_MONO.mp4", WIDE, "mono-360"),
        ("Final_MONO.mp4", SQUARE, "mono-180"),
        ("Final_MONO.mp4", HD, "as it is"),
        ("Final_TB.mp4", SQUARE, "tb-360"),
        ("Final_TB.mp4", TALL, "tb-180"),
        ("Final_TB.mp4", (1920, 2160), "tb-flat"),
        ("Final_SBS.mp4", (3840, 1080), "sbs-flat"),
        ("Final_RF52.mp4", SQUARE, "mono-fisheye190"),
    ],
)
def test_what_a_name_leaves_open_the_shape_tells(name, size, layout):
    assert layout_text(name, size) == layout


def test_a_setting_goes_before_name_and_shape():
    assert layout_text("Final_LR_180.mp4", WIDE, "mono-360") == "mono-360"
    assert layout_text("Final_LR_180.mp4", WIDE, "mono-flat") == "as it is"
    assert layout_of(OFF, "Final_LR_180.mp4", *WIDE) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("auto", "auto"),
        (" OFF ", "off"),
        ("sbs-180", "sbs-180"),
        ("180_LR", "sbs-180"),
        ("TB 360", "tb-360"),
        ("mkx200 sbs", "sbs-fisheye200"),
        ("SBS-Fisheye190", "sbs-fisheye190"),
        ("tb-flat", "tb-flat"),
    ],
)
def test_a_setting_may_be_written_as_players_do(written, meant):
    assert checked_layout(written) == meant
    assert checked_layout(meant) == meant
    assert VideoConfig(vr_layout=written).vr_layout == meant


@pytest.mark.parametrize("written", ["sbs", "180", "sideways", "sbs-fisheye20", ""])
def test_half_a_layout_is_refused_with_a_remedy(written):
    with pytest.raises(
        ConfigError, match=r"video\.vr_layout: .*is no layout; write auto, off, .* like sbs-180"
    ):
        parse(VideoConfig, {"vr_layout": written}, "video")


@pytest.mark.parametrize(
    ("layout", "size", "box", "aspect"),
    [
        ("sbs-180", (1200, 600), (100, 100, 500, 500), 1),
        ("tb-180", (600, 1200), (100, 100, 500, 500), 1),
        ("mono-180", (600, 600), (100, 100, 500, 500), 1),
        ("mono-360", (1200, 600), (400, 100, 800, 500), 1),
        ("tb-360", (1200, 1200), (400, 100, 800, 500), 1),
        ("sbs-360", (2400, 600), (400, 100, 800, 500), 1),
        ("sbs-fisheye200", (1200, 600), (120, 120, 480, 480), 1),
        ("mono-fisheye100", (600, 600), (0, 0, 600, 600), 1),  # all of it is ahead
        ("sbs-180", (1920, 1080), (160, 180, 800, 900), 1),  # squeezed, so it is stretched
        ("sbs-flat", (3840, 1080), (0, 0, 1920, 1080), 16 / 9),
        ("sbs-flat", (1920, 1080), (0, 0, 960, 1080), 16 / 9),
        ("sbs-flat", (1920, 800), (0, 0, 960, 800), 2.4),
        ("tb-flat", (1920, 2160), (0, 0, 1920, 1080), 16 / 9),
        ("tb-flat", (1920, 1080), (0, 0, 1920, 540), 16 / 9),
    ],
)
def test_the_front_is_120_degrees_of_one_eye(layout, size, box, aspect):
    found = layout_of(layout, "", *size)
    assert found is not None
    ahead = front(found, *size)
    width, height = size
    edges = [ahead.left * width, ahead.upper * height, ahead.right * width, ahead.lower * height]
    assert edges == pytest.approx([*box])
    assert ahead.aspect == pytest.approx(aspect)


# Whole searches, with a model that can only read what is ahead of the first eye.


def made(path: Path, layout: str, width: int, height: int) -> LabelledVideo:
    spec = VideoSpec(24, width, height, 8, TAGS, seed=4, shot_median_s=6, gop_s=4, vr=layout)
    return generate(spec, path)


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    return made(tmp_path_factory.mktemp("vr") / "Final_LR_180.mp4", "sbs-180", 600, 300)


async def searched(
    path: Path, layout: str = "auto", store: Path | None = None, *, vr: bool = True
) -> VideoResult:
    async with play(store=store, video={"vr_layout": layout}) as (engine, _):
        return await engine.tag_video(path, vr_video=vr)


def likeness(result: VideoResult, video: LabelledVideo) -> float:
    return mean(f1(bounds(result, tag), video.truth[tag]) for tag in true_tags(video))


@pytest.mark.parametrize(
    ("name", "layout", "size"),
    [
        ("Final_LR_180.mp4", "sbs-180", (600, 300)),
        ("Final.mp4", "tb-360", (720, 720)),
        # tests/video/test_vr_pictures.py shows that their pictures are right.
        pytest.param("Final.mp4", "sbs-180", (600, 300), marks=pytest.mark.thorough),
        pytest.param("Final_MONO_360.mp4", "mono-360", (720, 360), marks=pytest.mark.thorough),
        pytest.param(
            "Final_SBS_MKX200.mp4", "sbs-fisheye200", (800, 400), marks=pytest.mark.thorough
        ),
    ],
)
async def test_what_is_ahead_is_found(name, layout, size, tmp_path):
    video = made(tmp_path / name, layout, *size)
    assert likeness(await searched(video.path), video) > 0.8


@pytest.mark.parametrize(("layout", "vr"), [("auto", False), ("mono-360", True)])
async def test_without_the_layout_nothing_right_is_found(layout, vr, match):
    assert likeness(await searched(match.path, layout, vr=vr), match) < 0.5


async def test_scripts_in_the_field_get_the_layout_by_themselves(match):
    async with play() as (engine, _):
        result = await engine.process_video(match.path, vr_video=True)
    tags = {tag for found in result["video_tag_info"]["video_tags"].values() for tag in found}
    assert tags == true_tags(match)


async def test_answers_about_one_crop_are_not_taken_for_another(match, store):
    calls = [
        (await searched(match.path, layout, store, vr=vr)).coverage.calls > 0
        for layout, vr in (
            ("auto", True),
            ("sbs-180", True),  # the same, as the name says
            ("mono-180", True),
            ("off", True),
            ("auto", False),  # also the whole frame
            ("auto", True),
        )
    ]
    assert calls == [True, False, True, True, False, False]
