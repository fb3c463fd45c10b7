"""Positions of the eyes in a VR frame, and the part of it that is ahead."""

from __future__ import annotations

import pytest

from vlm_engine.config.models import VideoConfig, parse
from vlm_engine.errors import ConfigError
from vlm_engine.vr import AUTO, OFF, checked_layout, front, layout_of

WIDE, SQUARE, HD, FOUR_THIRDS, TALL = (
    (3840, 1920),
    (2880, 2880),
    (1920, 1080),
    (1440, 1080),
    (1920, 3840),
)
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
        ("/vr/OU_360/Final.mp4", "sbs-180"),  # folders tell nothing
        ("D:\\vr\\MONO\\Final_TB.mp4", "tb-360"),
        ("Final_SBS_180", "sbs-180"),
        ("Tbilisi 1180 lrs 3600.mp4", "sbs-180"),  # whole words only
    ],
)
def test_a_name_tells_in_the_way_of_players(name: str, layout: str) -> None:
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
        ("Final.mp4", FOUR_THIRDS, "as it is"),
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
def test_what_a_name_leaves_open_the_shape_tells(name: str, size: Size, layout: str) -> None:
    assert layout_text(name, size) == layout


def test_a_setting_goes_before_name_and_shape() -> None:
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
def test_a_setting_may_be_written_as_players_do(written: str, meant: str) -> None:
    assert checked_layout(written) == meant
    assert checked_layout(meant) == meant
    assert VideoConfig(vr_layout=written).vr_layout == meant


@pytest.mark.parametrize("written", ["sbs", "180", "sideways", "sbs-fisheye20", ""])
def test_half_a_layout_is_refused_with_a_remedy(written: str) -> None:
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
        (
            "sbs-180",
            (1920, 1080),
            (160, 180, 800, 900),
            1,
        ),  # squeezed, so it is stretched to what it shows
        ("sbs-flat", (3840, 1080), (0, 0, 1920, 1080), 16 / 9),
        ("sbs-flat", (1920, 1080), (0, 0, 960, 1080), 16 / 9),
        ("sbs-flat", (1920, 800), (0, 0, 960, 800), 2.4),
        ("tb-flat", (1920, 2160), (0, 0, 1920, 1080), 16 / 9),
        ("tb-flat", (1920, 1080), (0, 0, 1920, 540), 16 / 9),
    ],
)
def test_the_front_is_120_degrees_of_one_eye(
    layout: str, size: Size, box: Box, aspect: float
) -> None:
    found = layout_of(layout, "", *size)
    assert found is not None
    ahead = front(found, *size)
    edges = (
        ahead.left * size[0],
        ahead.upper * size[1],
        ahead.right * size[0],
        ahead.lower * size[1],
    )
    assert edges == pytest.approx(box)
    assert ahead.aspect == pytest.approx(aspect)
