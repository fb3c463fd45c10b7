"""Key frames are where the file says, or else where the pictures show that they are."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sandbox.heif import box
from tests.video.numbered import HEIGHT, RATE, WIDTH, at, numbers_at, patched, write
from vlm_engine.testing import glyphs
from vlm_engine.video import probe

SOME = range(0, 100, 7)
OPEN_HEVC = {"x265-params": "keyint=25:open-gop=1:bframes=3:b-adapt=0"}


def camera_file(path: Path) -> Path:
    """A video with HEVC's open GOPs (NAL type 21) in a sample group, where cameras list them."""
    write(path, "libx265", options=OPEN_HEVC)
    content, parents, start = bytearray(path.read_bytes()), list[int](), 0
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        start = content.index(name, start) - 4  # a length comes before each name
        parents.append(start)
    stss = content.index(b"stss", start)
    (keys,) = struct.unpack_from(">I", content, stss + 8)
    places = struct.unpack_from(f">{keys}I", content, stss + 12)
    runs = [(1, 1)]
    for before, place in pairwise(places):
        runs += [(place - before - 1, 0), (1, 2)]
    numbers = b"".join(struct.pack(">II", *run) for run in runs)
    added = box(b"sgpd", struct.pack(">I4sII", 1 << 24, b"sync", 1, 2) + bytes([20, 21]))
    added += box(b"sbgp", struct.pack(">I4sI", 0, b"sync", len(runs)) + numbers)
    (size,) = struct.unpack_from(">I", content, start)
    content[start + size : start + size] = added
    for parent in parents:
        (size,) = struct.unpack_from(">I", content, parent)
        struct.pack_into(">I", content, parent, size + len(added))
    path.write_bytes(content)
    return path


def all_flagged(path: Path) -> Path:
    """Say of every packet that it is a key frame: in an AVI's index, or without an MP4's list."""
    if path.suffix == ".mp4":
        return patched(path, b"stss", b"free")
    content = bytearray(path.read_bytes())
    index = content.rindex(b"idx1")
    (size,) = struct.unpack_from("<I", content, index + 4)
    for entry in range(index + 8, index + 8 + size, 16):
        content[entry + 4] = 0x10
    path.write_bytes(content)
    return path


def test_key_frames_of_open_groups_that_a_camera_lists(tmp_path):
    info = probe(camera_file(tmp_path / "camera.mov"))
    assert info.key_frames_s == (0, 1, 2, 3)
    assert numbers_at(info, info.key_frames_s) == [0, 25, 50, 75]
    assert numbers_at(info, at(SOME)) == list(SOME)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_of_any_length_with_b_frames(codec, container, tmp_path):
    lengths = np.random.default_rng(1).choice([1, 1, 2, 3, 17], 100)
    starts = [0, *np.cumsum(lengths).tolist()]
    options = {"x265-params": "bframes=4"} if codec == "libx265" else {}
    path = write(
        tmp_path / f"vfr.{container}", codec, time_of=lambda n: starts[n], options=options, gop=30
    )
    info = probe(path)
    assert len(info.key_frames_s) >= 3
    keys = [starts.index(round(time_s * RATE)) for time_s in info.key_frames_s]
    assert numbers_at(info, info.key_frames_s) == keys
    assert numbers_at(info, at(starts[:-1])) == list(range(100))


@pytest.mark.parametrize(
    ("name", "codec", "gop"),
    [
        *(("12.avi", codec, 12) for codec in ("mpeg4", "libx264")),
        *(("40.mp4", codec, 40) for codec in ("mpeg4", "libx264", "libx265")),
    ],
)
def test_false_key_frames_in_the_index_are_found_out(name, codec, gop, tmp_path):
    tags = {"bit_rate": 8_000_000} | ({"max_b_frames": 0} if name.endswith("avi") else {})
    path = all_flagged(write(tmp_path / name, codec, gop=gop, tags=tags))
    info = probe(path)
    assert len(info.key_frames_s) == 100
    assert numbers_at(info, at(SOME)) == list(SOME)
    for number in (5, 59, 99):
        assert numbers_at(info, [number / RATE]) == [number]


def test_the_first_group_of_a_ts_whose_first_packet_has_no_dts(tmp_path):
    path = write(tmp_path / "cut.ts", options={"x264-params": "bframes=2:b-adapt=0"})
    content = bytearray(path.read_bytes())
    start = content.index(b"\0\0\1\xe0")
    assert content[start + 7] >> 6 == 3, "PTS and DTS"
    content[start + 7] = 0x80 | content[start + 7] & 0x3F
    content[start + 9] = 0x20 | content[start + 9] & 0x0F
    content[start + 14 : start + 19] = b"\xff" * 5
    path.write_bytes(content)
    assert numbers_at(path, at(SOME)) == list(SOME)


GREYS = np.stack([*[np.arange(256)] * 3, np.full(256, 255)], axis=1).astype(np.uint8)


def paletted(path: Path, codec: str, changes: bool) -> Path:
    """A video of numbers of colours; if it ``changes``, the palette is reversed in every third."""
    with av.open(path, "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "pal8"
        stream.codec_context.gop_size = 10
        for number in range(30):
            is_reversed = changes and number % 3 == 0
            indices = np.asarray(glyphs.picture([], WIDTH, HEIGHT, number).convert("L"))
            indices = 255 - indices if is_reversed else indices
            palette = (GREYS[::-1] if is_reversed else GREYS)[:, [3, 0, 1, 2]].copy()
            frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "changes"),
    [
        ("pal8.avi", "rawvideo", False),
        ("pal8.mov", "rawvideo", False),
        ("smc.mov", "smc", False),
        ("changing.avi", "rawvideo", True),
    ],
)
def test_colours_of_a_palette_are_kept_after_a_seek(name, codec, changes, tmp_path):
    path = paletted(tmp_path / name, codec, changes)
    assert numbers_at(path, at(range(1, 30, 4))) == list(range(1, 30, 4))
