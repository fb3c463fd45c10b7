"""Output of many encoders and muxers: every picture carries its frame number."""

from __future__ import annotations

from typing import Any

import av
import pytest
from PIL import Image

from tests.video.numbered import (
    HEIGHT,
    RATE,
    WIDTH,
    at,
    frames_of,
    image_of,
    numbers_at,
    picture,
    remux,
    write,
)
from vlm_engine.video import probe

SOME = range(0, 60, 4)
OPEN_GOP: dict[str, Any] = {"options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}}
B_FRAMES: dict[str, Any] = {"tags": {"max_b_frames": 2, "bit_rate": 3_000_000}}
CODECS: dict[str, dict[str, Any]] = {
    "open groups.mp4": OPEN_GOP,
    "open groups.mkv": OPEN_GOP,
    "open groups.ts": OPEN_GOP,
    "hevc open groups.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "open-gop=1:bframes=3"},
    },
    "no key frames but the first.mp4": {
        "gop": 12,
        "options": {"x264-params": "intra-refresh=1"},
    },
    "interlaced.mp4": {"options": {"x264-params": "tff=1"}},
    "fragments.mp4": {"muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "10 bit.mp4": {"pix_fmt": "yuv420p10le"},
    "4:4:4.mkv": {"pix_fmt": "yuv444p"},
    "full range.mp4": {"pix_fmt": "yuvj420p"},
    "every frame a key frame.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "alpha.mkv": {"codec": "ffv1", "pix_fmt": "yuva420p"},
    "vp8.webm": {"codec": "libvpx"},
    "mpeg2.mpg": {"codec": "mpeg2video", "gop": 12, **B_FRAMES},
    "mpeg4 with b-frames.avi": {"codec": "mpeg4", **B_FRAMES},
    "av1.mp4": {"codec": "libsvtav1"},
    "av1.webm": {"codec": "libsvtav1"},
    "moving.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "moving.apng": {"codec": "apng", "pix_fmt": "rgb24"},
    "screen.flv": {},
    "old.wmv": {"codec": "wmv2", "tags": {"bit_rate": 3_000_000}},
}


@pytest.mark.parametrize("name", CODECS)
def test_pictures_are_those_of_their_times(name, tmp_path):
    codec = CODECS[name].get("codec", "libx264")
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    path = write(tmp_path / name, pictures=range(60), **CODECS[name])
    assert numbers_at(path, at(SOME)) == list(SOME)
    keys = list(probe(path).key_frames_s)
    assert numbers_at(path, keys) == [round(time_s * RATE) for time_s in keys]


def test_an_edit_list_hides_what_lies_before_the_beginning(tmp_path):
    path = remux(
        write(tmp_path / "whole.mp4", pictures=range(60)), tmp_path / "cut.mp4", shift_s=-0.4
    )
    info = probe(path)
    assert info.end_s == pytest.approx(49 / RATE)
    assert info.key_frames_s[0] == pytest.approx(15 / RATE)  # the one at the beginning is hidden
    assert numbers_at(path, [0.0, 0.02, 0.4, 0.62, 1.6, 9.0]) == [10, 10, 20, 25, 50, 59]


def test_cover_art_is_not_the_video(tmp_path):
    path = remux(write(tmp_path / "plain.mp4"), tmp_path / "cover.mp4", cover=True)
    with av.open(path) as container:
        assert {stream.width for stream in container.streams.video} == {800, WIDTH}
    info = probe(path)
    assert (info.width, info.height, info.codec) == (WIDTH, HEIGHT, "h264")
    assert numbers_at(path, [1.02]) == [25]


def test_what_is_transparent_is_grey(tmp_path):
    half = Image.new("RGBA", (128, 96), (250, 250, 250, 0))
    half.paste((250, 250, 250, 255), (0, 0, 64, 96))
    path = write(tmp_path / "alpha.mkv", "ffv1", [half] * 3, pix_fmt="yuva420p")
    image = image_of(*frames_of(path, [0.0]))
    assert image.getpixel((20, 50)) == pytest.approx((250, 250, 250), abs=6)
    assert image.getpixel((100, 50)) == pytest.approx((128, 128, 128), abs=6)


@pytest.mark.parametrize(
    ("mirrored", "degrees"), [(True, 0), (True, 180), (False, 90), (True, 90), (True, 270)]
)
def test_a_picture_is_turned_and_mirrored_as_its_matrix_says(mirrored, degrees, tmp_path):
    upright = picture(7)
    stored = upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else upright
    stored = stored.rotate(degrees, expand=True)
    path = write(tmp_path / "turned.mp4", pictures=[stored], rotate=(-degrees, mirrored))
    assert (probe(path).width, probe(path).height) == (WIDTH, HEIGHT)
    assert numbers_at(path, [0.0]) == [7]
