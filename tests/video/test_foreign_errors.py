"""Files that PyAV stumbles over: it costs nothing, or becomes an error that names the file."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
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
    patched,
    picture,
    write,
)
from vlm_engine.errors import FrameError, MediaNotFoundError, MediaUnreadableError
from vlm_engine.files import media_errors
from vlm_engine.video import VideoReader, probe

TITLED = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "avi": "mpeg4",
    "webm": "libvpx",
    "flv": "flv",
}
# An SEI newer than PyAV's list of side data, and a NAL unit of Dolby Vision, which FFmpeg hands on.
LCEVC = bytes([6, 4, 12, 0xB4, 0, 0x50, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x80])
RPU = bytes([62 << 1, 1, 25, 4, 9, 64, 0x80])


@pytest.mark.parametrize("container", TITLED)
def test_a_title_that_is_not_utf_8(container, tmp_path):
    path = tmp_path / f"title.{container}"
    write(path, TITLED[container], range(10), metadata={"title": "caf\u00e9 finale"})
    patched(path, "caf\u00e9".encode(), b"caf\xe9\xe9")
    with pytest.raises(UnicodeDecodeError), av.open(path) as opened:
        assert opened.streams.video
    assert numbers_at(path, at([0, 5, 9])) == [0, 5, 9]


def with_units(
    path: Path, unit: bytes, is_picture: Callable[[int], bool], *, behind: bool = False
) -> Path:
    """A raw stream in which ``unit`` comes before, or behind, each NAL unit that is a picture."""
    nals = path.read_bytes().replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    parts = [[unit, nal][:: -1 if behind else 1] if is_picture(nal[0]) else [nal] for nal in nals]
    path.write_bytes(b"".join(b"\0\0\0\1" + each for part in parts for each in part))
    return path


def test_side_data_that_is_newer_than_pyavs_list(tmp_path):
    options = {"x264-params": "bframes=0:keyint=25:slices=1:sliced-threads=0"}
    path = write(tmp_path / "lcevc.h264", options=options)
    with_units(path, LCEVC, lambda head: head & 31 in {1, 5})
    with av.open(path) as container, pytest.raises(ValueError, match="is not a valid Type"):
        assert next(container.decode(video=0)).side_data
    assert numbers_at(path, at(range(0, 100, 9))) == list(range(0, 100, 9))


@pytest.mark.parametrize(("orientation", "back"), [(1, 0), (3, 180), (6, 90), (8, 270)])
def test_motion_jpeg_whose_pictures_have_exif_is_turned(orientation, back, tmp_path):
    path = tmp_path / "camera.avi"
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "Camera"
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height = (HEIGHT, WIDTH) if back % 180 else (WIDTH, HEIGHT)
        stream.pix_fmt = "yuvj420p"
        container.start_encoding()
        for number in range(20):
            file = io.BytesIO()
            picture(number).rotate(back, expand=True).save(file, "JPEG", quality=90, exif=exif)
            packet: Any = av.Packet(file.getvalue())
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base, packet.is_keyframe = Fraction(1, RATE), True
            container.mux(packet)
    info = probe(path)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert numbers_at(info, at([0, 7, 19])) == [0, 7, 19]


def test_a_video_without_a_decoder_is_refused_by_name(tmp_path):
    path = patched(write(tmp_path / "bought.mp4", "libsvtav1", range(10)), b"av01", b"dav1")
    reason = r"bought\.mp4: this FFmpeg has no decoder for its video, .*convert it"
    with pytest.raises(MediaUnreadableError, match=reason):
        probe(path)


@pytest.mark.parametrize("full_range", [True, False])
def test_dolby_vision_without_a_base_layer_is_named(full_range, tmp_path, caplog):
    options = {"x265-params": f"bframes=0:range={'full' if full_range else 'limited'}"}
    path = write(tmp_path / "film.hevc", "libx265", range(10), options=options)
    probe(with_units(path, RPU, lambda head: head >> 1 < 32, behind=True))
    assert ("film.hevc: Dolby Vision without a base layer (profile 5)" in caplog.text) is full_range


@pytest.mark.parametrize(
    ("transfer", "stored", "shade"), [(16, 148, 190), (18, 191, 190), (1, 148, 148)]
)
def test_hdr_is_tone_mapped_to_an_ordinary_screen(transfer, stored, shade, tmp_path):
    """White paper is stored at 58 % of the range in PQ, at 75 % in HLG; both come out alike."""
    path = write(
        tmp_path / "white.mp4",
        pictures=[Image.new("RGB", (128, 96), (stored,) * 3)],
        pix_fmt="yuv420p10le",
        options={"crf": "10"},
        tags={"color_trc": transfer},
    )
    image = image_of(*frames_of(path, [0.0]))
    assert np.asarray(image).mean() == pytest.approx(shade, abs=8)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (AttributeError("no such thing"), FrameError, r"a\.mp4: no: AttributeError: no such thing"),
        (PermissionError(13, "Permission denied"), FrameError, r"a\.mp4: no: Permission denied"),
        (MediaNotFoundError("b.mp4"), MediaNotFoundError, r"^b\.mp4$"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_an_error_of_another_library_becomes_one_of_the_tree(error, kind, text):
    with pytest.raises(kind, match=text), media_errors("a.mp4", "no", FrameError):
        raise error


@pytest.mark.parametrize("error", [KeyError("tile"), AssertionError(), RecursionError("too deep")])
def test_any_error_of_a_library_names_the_video(error, match, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vlm_engine.video.reader.encode", fail)
    (frame,) = frames_of(match, [1.0])
    assert isinstance(frame, FrameError)
    assert match.path in str(frame)
    monkeypatch.setattr(av, "open", fail)
    for read in (partial(probe, match.path), partial(VideoReader, match)):
        with pytest.raises(MediaUnreadableError, match=r"match\.mp4: .+") as caught:
            read()
        assert caught.value.__cause__ is error
