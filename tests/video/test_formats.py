"""What other people's encoders and containers do, made here by hand: every picture carries its frame number."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from vlm_engine.errors import FrameError
from vlm_engine.testing import glyphs
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video import VideoReader, probe

SHAPE = ImageShape()
RATE = 25


def pictures(count: int, width: int = 320, height: int = 240) -> Iterator[Image.Image]:
    for number in range(count):
        image = glyphs.picture([], width, height, number)
        image.paste((90 + number % 60, 120, 150), (0, height // 2, width, height))
        yield image


def write(
    path: Path, codec: str, count: int = 60, *, pix_fmt: str = "yuv420p", **changes: Any
) -> Path:
    """A video of numbered pictures. ``changes``: ``options`` and attributes (``tags``) of the codec, ``gop``, ``muxer``."""
    with av.open(path, "w", options=changes.get("muxer", {})) as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=changes.get("options", {}))
        stream.width, stream.height, stream.pix_fmt = 320, 240, pix_fmt
        stream.codec_context.gop_size = changes.get("gop", 25)
        for name, value in changes.get("tags", {}).items():
            setattr(stream.codec_context, name, value)
        for number, image in enumerate(pictures(count)):
            frame = av.VideoFrame.from_image(image).reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(
    source: Path, target: Path, *, shift_s: float = 0.0, cover: bool = False, **muxer: str
) -> Path:
    """The packets of ``source`` in another file, ``shift_s`` later, ``cover``: with cover art before them."""
    with av.open(source) as given, av.open(target, "w", options=muxer) as made:
        old: Any = given.streams.video[0]
        art: Any = _add_cover(made) if cover else None
        new = made.add_stream_from_template(old)
        if art is not None:
            made.mux(
                art.encode(av.VideoFrame.from_image(Image.new("RGB", (800, 800), (200, 30, 30))))
            )
            made.mux(art.encode(None))
        for packet in given.demux(old):
            if packet.dts is not None:
                packet.pts += round(shift_s / old.time_base)
                packet.dts += round(shift_s / old.time_base)
                packet.stream = new
                made.mux(packet)
    return target


def _add_cover(container: Any) -> Any:
    art = container.add_stream("mjpeg", rate=1)
    art.width = art.height = 800
    art.pix_fmt = "yuvj420p"
    art.disposition = Disposition.attached_pic
    return art


def image_of(frame: Frame | FrameError) -> Image.Image:
    assert isinstance(frame, Frame), frame
    return Image.open(io.BytesIO(frame.jpeg)).convert("RGB")


def numbers(path: Path, times_s: list[float]) -> list[int | None]:
    with VideoReader(probe(path)) as reader:
        return [
            glyphs.read(image_of(frame)).frame_number for _, frame in reader.frames(times_s, SHAPE)
        ]


SOME_TIMES = [(number + 0.5) / RATE for number in range(0, 60, 4)]

OPEN_H264 = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
OPEN_HEVC = {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1:bframes=3"}
CODECS: dict[str, dict[str, Any]] = {
    "open groups.mp4": {"codec": "libx264", "options": OPEN_H264},
    "open groups.mkv": {"codec": "libx264", "options": OPEN_H264},
    "open groups.ts": {"codec": "libx264", "options": OPEN_H264},
    "hevc open groups.mp4": {
        "codec": "libx265",
        "options": {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1:bframes=3"},
    },
    "no key frames but the first.mp4": {
        "codec": "libx264",
        "gop": 12,
        "options": {"x264-params": "intra-refresh=1"},
    },
    "interlaced.mp4": {"codec": "libx264", "options": {"x264-params": "tff=1"}},
    "fragments.mp4": {"codec": "libx264", "muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "10 bit.mp4": {"codec": "libx264", "pix_fmt": "yuv420p10le"},
    "4:4:4.mkv": {"codec": "libx264", "pix_fmt": "yuv444p"},
    "full range.mp4": {"codec": "libx264", "pix_fmt": "yuvj420p"},
    "every frame a key frame.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "alpha.mkv": {"codec": "ffv1", "pix_fmt": "yuva420p"},
    "vp8.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mpeg2.mpg": {
        "codec": "mpeg2video",
        "gop": 12,
        "tags": {"max_b_frames": 2, "bit_rate": 3_000_000},
    },
    "mpeg4 with b-frames.avi": {
        "codec": "mpeg4",
        "tags": {"max_b_frames": 2, "bit_rate": 3_000_000},
    },
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12"}},
    "av1.webm": {"codec": "libsvtav1", "options": {"preset": "12"}},
    "moving.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "screen.flv": {"codec": "libx264"},
    "old.wmv": {"codec": "wmv2", "tags": {"bit_rate": 3_000_000}},
}


@pytest.mark.parametrize("name", CODECS)
def test_pictures_are_those_of_their_times(name: str, tmp_path: Path) -> None:
    if CODECS[name]["codec"] not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {CODECS[name]['codec']}")
    path = write(tmp_path / name, **CODECS[name])
    assert numbers(path, SOME_TIMES) == list(range(0, 60, 4))
    keys = list(probe(path).key_frames_s)
    assert numbers(path, keys) == [round(time_s * RATE) for time_s in keys]


def test_an_edit_list_hides_what_lies_before_the_beginning(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", "libx264")
    path = remux(whole, tmp_path / "cut.mp4", shift_s=-0.4)
    info = probe(path)
    assert info.end_s == pytest.approx(49 / RATE)
    assert info.key_frames_s[0] == pytest.approx(15 / RATE)  # the one at the beginning is hidden
    assert numbers(path, [0.0, 0.02, 0.4, 0.62, 1.6, 9.0]) == [10, 10, 20, 25, 50, 59]


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    path = remux(write(tmp_path / "plain.mp4", "libx264"), tmp_path / "cover.mp4", cover=True)
    with av.open(path) as container:
        assert {stream.width for stream in container.streams.video} == {800, 320}
    info = probe(path)
    assert (info.width, info.height, info.codec) == (320, 240, "h264")
    assert numbers(path, [1.02]) == [25]


def test_what_is_transparent_is_grey(tmp_path: Path) -> None:
    path = tmp_path / "alpha.mkv"
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuva420p"
        image = Image.new("RGBA", (128, 96), (250, 250, 250, 0))
        image.paste((250, 250, 250, 255), (0, 0, 64, 96))
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgba").reformat(
                format="yuva420p"
            )
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(probe(path)) as reader:
        ((_, frame_shown),) = reader.frames([0.0], SHAPE)
    shown = image_of(frame_shown)
    assert shown.getpixel((20, 50)) == pytest.approx((250, 250, 250), abs=6)
    assert shown.getpixel((100, 50)) == pytest.approx((128, 128, 128), abs=6)


def test_hdr_is_brought_to_the_brightness_of_an_ordinary_screen(tmp_path: Path) -> None:
    """Reference white of HDR is stored at 58 % of the range. It must come out light, not as that mid-grey."""
    shades = {}
    for name, transfer in {"hdr": 16, "sdr": 1}.items():
        path = tmp_path / f"{name}.mp4"
        with av.open(path, "w") as container:
            stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
            stream.codec_context.color_trc = transfer
            picture = av.VideoFrame.from_image(
                Image.new("RGB", (128, 96), (148, 148, 148))
            ).reformat(format="yuv420p10le")
            picture.pts, picture.time_base, picture.color_trc = 0, Fraction(1, RATE), transfer
            container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        with VideoReader(probe(path)) as reader:
            ((_, frame),) = reader.frames([0.0], SHAPE)
        shades[name] = image_of(frame).getpixel((60, 50))
    assert shades["sdr"] == pytest.approx((148,) * 3, abs=4)
    assert shades["hdr"] == pytest.approx((190,) * 3, abs=8)


@pytest.mark.parametrize(
    ("mirrored", "degrees"), [(True, 0), (True, 180), (False, 90), (True, 90), (True, 270)]
)
def test_a_picture_is_turned_and_mirrored_as_its_matrix_says(
    mirrored: bool, degrees: int, tmp_path: Path
) -> None:
    shown = next(pictures(1))
    stored = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else shown
    stored = stored.rotate(degrees, expand=True)
    path = tmp_path / "turned.mp4"
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *stored.size, "yuv420p"
        stream.set_display_rotation(-degrees, hflip=mirrored)
        frame = av.VideoFrame.from_image(stored)
        frame.pts, frame.time_base = 0, Fraction(1, RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert (probe(path).width, probe(path).height) == (320, 240)
    assert numbers(path, [0.0]) == [0]
