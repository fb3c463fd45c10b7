"""What PyAV stumbles over costs nothing, or is told as an error that names the file."""

from __future__ import annotations

import io
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.video.numbered import RATE, at, number_of, patched, picture, shown, write
from vlm_engine.errors import FrameError, MediaNotFoundError, MediaUnreadableError
from vlm_engine.files import media_errors
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video import VideoReader, probe

TITLED = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "avi": "mpeg4",
    "webm": "libvpx",
    "flv": "flv",
}
LCEVC = bytes(
    [6, 4, 12, 0xB4, 0, 0x50, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x80]
)  # an SEI newer than PyAV's list of side data
RPU = bytes(
    [62 << 1, 1, 25, 4, 9, 64, 0x80]
)  # a NAL unit of Dolby Vision, of a type that FFmpeg hands on unread


@pytest.mark.parametrize("container", TITLED)
def test_a_title_that_is_not_utf_8(container: str, tmp_path: Path) -> None:
    path = tmp_path / f"title.{container}"
    with av.open(path, "w") as made:
        made.metadata["title"] = "caf\u00e9 finale"
        stream: Any = made.add_stream(TITLED[container], rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.bit_rate = 4_000_000
        for number in range(10):
            frame = av.VideoFrame.from_image(picture(number))
            frame.pts = number
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    patched(path, "caf\u00e9".encode(), b"caf\xe9\xe9")
    with pytest.raises(UnicodeDecodeError), av.open(path) as opened:
        assert opened.streams.video
    assert shown(path, at([0, 5, 9])) == [0, 5, 9]


def with_units(path: Path, unit: bytes, is_picture: Any, *, behind: bool = False) -> Path:
    """A raw stream in which ``unit`` stands before, or behind, each NAL unit that is a picture."""
    nals = path.read_bytes().replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    parts = [[unit, nal][:: -1 if behind else 1] if is_picture(nal[0]) else [nal] for nal in nals]
    path.write_bytes(b"".join(b"\0\0\0\1" + each for part in parts for each in part))
    return path


def test_side_data_that_is_newer_than_pyavs_list(tmp_path: Path) -> None:
    options = {"x264-params": "bframes=0:keyint=25:slices=1:sliced-threads=0"}
    path = with_units(
        write(tmp_path / "lcevc.h264", "libx264", options=options),
        LCEVC,
        lambda head: head & 31 in {1, 5},
    )
    with av.open(path) as container, pytest.raises(ValueError, match="is not a valid Type"):
        assert next(container.decode(video=0)).side_data
    assert shown(path, at(range(0, 100, 9))) == list(range(0, 100, 9))


@pytest.mark.parametrize(("orientation", "back"), [(1, 0), (3, 180), (6, 90), (8, 270)])
def test_motion_jpeg_whose_pictures_have_exif_is_turned(
    orientation: int, back: int, tmp_path: Path
) -> None:
    path = tmp_path / "camera.avi"
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "Camera"
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = (
            (240, 320, "yuvj420p") if back % 180 else (320, 240, "yuvj420p")
        )
        container.start_encoding()
        for number in range(20):
            file = io.BytesIO()
            picture(number).rotate(back, expand=True).save(file, "JPEG", quality=90, exif=exif)
            packet: Any = av.Packet(file.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = (
                stream,
                number,
                number,
                Fraction(1, RATE),
            )
            packet.is_keyframe = True
            container.mux(packet)
    info = probe(path)
    assert (info.width, info.height) == (320, 240)
    with VideoReader(info) as reader:
        assert [number_of(frame) for _, frame in reader.frames(at([0, 7, 19]), ImageShape())] == [
            0,
            7,
            19,
        ]


def test_a_video_without_a_decoder_is_refused_by_name(tmp_path: Path) -> None:
    path = patched(
        write(tmp_path / "bought.mp4", "libsvtav1", range(10), options={"preset": "12"}),
        b"av01",
        b"dav1",
    )
    with pytest.raises(
        MediaUnreadableError,
        match=r"bought\.mp4: this FFmpeg has no decoder for its video, .*convert it",
    ):
        probe(path)


@pytest.mark.parametrize("full_range", [True, False])
def test_dolby_vision_without_a_base_layer_is_told(
    full_range: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {
        "x265-params": f"log-level=none:bframes=0:range={'full' if full_range else 'limited'}"
    }
    path = write(tmp_path / "film.hevc", "libx265", range(10), options=options)
    with_units(path, RPU, lambda head: head >> 1 < 32, behind=True)
    with caplog.at_level(logging.WARNING):
        probe(path)
    assert ("film.hevc: Dolby Vision without a base layer (profile 5)" in caplog.text) is full_range


@pytest.mark.parametrize(("transfer", "shade"), [(16, 190), (18, 190), (1, 148)])
def test_hdr_is_toned_to_an_ordinary_screen(transfer: int, shade: int, tmp_path: Path) -> None:
    """White on paper is stored at 58 % of the range in PQ, at 75 % in HLG; both come out light, and alike."""
    path = tmp_path / "white.mp4"
    stored = 191 if transfer == 18 else 148
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        stream.codec_context.color_trc = transfer
        frame = av.VideoFrame.from_image(Image.new("RGB", (128, 96), (stored,) * 3)).reformat(
            format="yuv420p10le"
        )
        frame.pts, frame.color_trc = 0, transfer
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(probe(path)) as reader:
        ((_, served),) = reader.frames([0.0], ImageShape())
    assert isinstance(served, Frame)
    assert np.asarray(Image.open(io.BytesIO(served.jpeg))).mean() == pytest.approx(shade, abs=8)


def test_an_error_of_another_library_becomes_one_of_the_tree() -> None:
    with (
        pytest.raises(FrameError, match=r"a\.mp4: no: AttributeError: no such thing"),
        media_errors("a.mp4", "no", FrameError),
    ):
        raise AttributeError("no such thing")
    with (
        pytest.raises(FrameError, match=r"a\.mp4: no: Permission denied"),
        media_errors("a.mp4", "no", FrameError),
    ):
        raise PermissionError(13, "Permission denied")
    with pytest.raises(MediaNotFoundError), media_errors("a.mp4", "no", FrameError):
        raise MediaNotFoundError("b.mp4")
    with pytest.raises(KeyboardInterrupt), media_errors("a.mp4", "no", FrameError):
        raise KeyboardInterrupt
