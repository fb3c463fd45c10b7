"""Key frames are where the file says, or else where the pictures show that they are. Every picture carries its number."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.numbered import HEIGHT, RATE, WIDTH, at, patched, picture, shown, write
from vlm_engine.testing import glyphs
from vlm_engine.video import probe

SOME = range(0, 100, 7)
OPEN_HEVC = {
    "preset": "ultrafast",
    "x265-params": "log-level=none:keyint=25:open-gop=1:bframes=3:b-adapt=0",
}


def boxes(content: bytes | bytearray, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each MP4 box, and where it begins and ends."""
    while start < end:
        (size,) = struct.unpack_from(">I", content, start)
        yield bytes(content[start + 4 : start + 8]), start, start + size
        start += size


def with_open_groups_listed(path: Path) -> Path:
    """Adds the sample group that cameras write: which samples are HEVC key frames of open groups (CRA, NAL type 21)."""
    content = bytearray(path.read_bytes())
    start, end, parents = 0, len(content), []
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        start, end = next(
            (begin, stop) for kind, begin, stop in boxes(content, start, end) if kind == name
        )
        parents.append(start)
        start += 8
    assert parents[0] + struct.unpack_from(">I", content, parents[0])[0] == len(content), (
        "moov must be last"
    )
    found = {kind: begin for kind, begin, _ in boxes(content, start, end)}
    (keys,) = struct.unpack_from(">I", content, found[b"stss"] + 12)
    places = struct.unpack_from(f">{keys}I", content, found[b"stss"] + 16)
    runs = [(1, 1)]
    for before, place in pairwise(places):
        runs += [(place - before - 1, 0), (1, 2)]
    described = b"sgpd" + struct.pack(">I4sII", 1 << 24, b"sync", 1, 2) + bytes([20, 21])
    mapped = (
        b"sbgp"
        + struct.pack(">I4sI", 0, b"sync", len(runs))
        + b"".join(struct.pack(">II", *run) for run in runs)
    )
    added = b"".join(struct.pack(">I", len(each) + 4) + each for each in (described, mapped))
    content[end:end] = added
    for parent in parents:
        struct.pack_into(
            ">I", content, parent, struct.unpack_from(">I", content, parent)[0] + len(added)
        )
    path.write_bytes(content)
    return path


def camera_file(path: Path) -> Path:
    return with_open_groups_listed(write(path, "libx265", options=OPEN_HEVC))


def all_flagged(path: Path) -> Path:
    """Says of every packet that it is a key frame: in the index of an AVI, or by leaving out an MP4's list."""
    if path.suffix == ".mp4":
        return patched(path, b"stss", b"free")
    content = bytearray(path.read_bytes())
    index = content.rindex(b"idx1")
    (size,) = struct.unpack_from("<I", content, index + 4)
    for entry in range(index + 8, index + 8 + size, 16):
        content[entry + 4] = 0x10
    path.write_bytes(content)
    return path


def test_key_frames_of_open_groups_that_a_camera_lists(tmp_path: Path) -> None:
    path = camera_file(tmp_path / "camera.mov")
    info = probe(path)
    assert info.key_frames_s == (0, 1, 2, 3)
    assert shown(info, info.key_frames_s) == [0, 25, 50, 75]
    assert shown(info, at(SOME)) == list(SOME)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_of_any_length_with_b_frames(codec: str, container: str, tmp_path: Path) -> None:
    lengths = np.random.default_rng(1).choice([1, 1, 2, 3, 17], 120)
    starts = [0, *np.cumsum(lengths).tolist()]
    options = {"x265-params": "log-level=none:bframes=4"} if codec == "libx265" else {}
    how: Any = {"time_of": lambda place: starts[place], "options": options, "gop": 30}
    path = write(tmp_path / f"vfr.{container}", codec, range(120), **how)
    info = probe(path)
    assert len(info.key_frames_s) >= 3
    assert shown(info, info.key_frames_s) == [
        starts.index(round(time_s * RATE)) for time_s in info.key_frames_s
    ]
    assert shown(info, at(starts[:-1])) == list(range(120))


@pytest.mark.parametrize("codec", ["mpeg4", "flv", "wmv2", "libx264"])
@pytest.mark.parametrize("gop", [12, 60])
def test_avi_whose_every_packet_is_flagged_a_key_frame(
    codec: str, gop: int, tmp_path: Path
) -> None:
    tags = {"bit_rate": 8_000_000, "max_b_frames": 0}
    path = all_flagged(write(tmp_path / "flags.avi", codec, gop=gop, tags=tags))
    assert len(probe(path).key_frames_s) == 100
    assert shown(path, at(SOME)) == list(SOME)
    for number in (5, 59, 99):
        assert shown(path, [number / RATE]) == [number]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libx265"])
def test_mp4_whose_every_packet_is_flagged_a_key_frame(codec: str, tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = all_flagged(
        write(tmp_path / "flags.mp4", codec, gop=40, options=options, tags={"bit_rate": 8_000_000})
    )
    assert len(probe(path).key_frames_s) == 100
    assert shown(path, at(SOME)) == list(SOME)


def test_a_picture_repeated_by_empty_packets_is_shown_on(tmp_path: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("PyAV has no encoder that writes empty packets, and ffmpeg is not installed")
    still, path = tmp_path / "still.png", tmp_path / "still.ogv"
    picture(7).save(still)
    made = [
        "-loop",
        "1",
        "-framerate",
        "25",
        "-i",
        still,
        "-t",
        "10",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libtheora",
        "-q:v",
        "9",
    ]
    done = subprocess.run(
        [ffmpeg, "-v", "error", *made, "-g", "64", path], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot: {done.stderr!r}")
    info = probe(path)
    assert info.duration_s == pytest.approx(10, abs=0.3)
    assert info.gaps_s == ()
    assert set(shown(info, [0, 1.3, 2.6, 5.5, 9.6])) == {7}


def test_the_first_group_of_a_ts_whose_first_packet_has_no_dts(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.ts", "libx264", options={"x264-params": "bframes=2:b-adapt=0"})
    content = bytearray(path.read_bytes())
    start = content.index(b"\0\0\1\xe0")
    assert content[start + 7] >> 6 == 3, "PTS and DTS"
    content[start + 7] = 0x80 | content[start + 7] & 0x3F
    content[start + 9] = 0x20 | content[start + 9] & 0x0F
    content[start + 14 : start + 19] = b"\xff" * 5
    path.write_bytes(content)
    assert shown(path, at(SOME)) == list(SOME)


@pytest.mark.parametrize(
    ("name", "codec"), [("pal8.avi", "rawvideo"), ("pal8.mov", "rawvideo"), ("smc.mov", "smc")]
)
def test_colours_of_a_palette_are_kept_after_a_seek(name: str, codec: str, tmp_path: Path) -> None:
    path = paletted(tmp_path / name, codec, lambda _: greys())
    assert shown(path, at(range(29, -1, -4))) == sorted(range(29, -1, -4))


def test_a_palette_that_changes_is_followed(tmp_path: Path) -> None:
    path = paletted(
        tmp_path / "changing.avi",
        "rawvideo",
        lambda number: greys() if number % 3 else greys()[::-1].copy(),
    )
    assert shown(path, at(range(0, 30, 4))) == list(range(0, 30, 4))


def greys() -> Any:
    return np.stack([*[np.arange(256)] * 3, np.full(256, 255)], axis=1).astype(np.uint8)


def paletted(path: Path, codec: str, palette_of: Any) -> Path:
    with av.open(path, "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "pal8"
        stream.codec_context.gop_size = 10
        for number in range(30):
            palette = palette_of(number)
            indices = np.asarray(glyphs.picture([], WIDTH, HEIGHT, number).convert("L"))
            indices = indices if palette[0, 1] == 0 else 255 - indices
            packed = palette.copy()
            packed[:, :] = palette[:, [3, 0, 1, 2]] if packed.shape[1] == 4 else palette
            frame = av.VideoFrame.from_ndarray((indices, packed), format="pal8")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
