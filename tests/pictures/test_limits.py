"""What is no picture, or far too much of one, is given up early; and whoever waits no longer waits for nothing."""

from __future__ import annotations

import asyncio
import os
import struct
from functools import partial
from pathlib import Path

import av
import pytest
from PIL import Image, PngImagePlugin

from sandbox.stills import saved, scene
from vlm_engine.errors import MediaUnreadableError, MediaUnsupportedError
from vlm_engine.files import WatchedFile
from vlm_engine.pictures import PictureReader, ViewKind
from vlm_engine.pictures import reader as reading
from vlm_engine.types import ImageShape
from vlm_engine.watchdog import Readers

GIB = 2**30
TOO_LARGE = r"goal\.jpg: too large: it has 214,748,364,800 bytes, and the limit for a picture's file is 2,147,483,648; save it"


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A JPEG of 200 GB that takes no room on the disk."""
    path = tmp_path / "goal.jpg"
    path.write_bytes(saved(Image.fromarray(scene()), "JPEG", progressive=True))
    os.truncate(path, 200 * GIB)
    return path


def test_a_picture_of_200_gigabytes_is_neither_hashed_nor_read(endless: Path) -> None:
    reader = PictureReader()
    with pytest.raises(MediaUnreadableError, match=TOO_LARGE):
        reader.fingerprint(endless)
    with pytest.raises(MediaUnreadableError, match=TOO_LARGE) as caught:
        reader.views(endless, ImageShape())
    assert not isinstance(
        caught.value, MediaUnsupportedError
    )  # Stash would read all of it into its memory


def test_so_is_a_file_of_nothing_by_the_name_of_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "goal.jpg"
    path.touch()
    os.truncate(path, 200 * GIB)
    for read in (PictureReader().fingerprint, partial(PictureReader().views, shape=ImageShape())):
        with pytest.raises(MediaUnreadableError, match=TOO_LARGE):
            read(path)


def test_a_long_video_among_pictures_is_known_by_parts_of_its_content(tmp_path: Path) -> None:
    path, reader = tmp_path / "match.mkv", PictureReader()
    path.write_bytes(b"\x1aE\xdf\xa3" + bytes(100))
    os.truncate(path, 200 * GIB)
    first = reader.fingerprint(path)
    assert first == reader.fingerprint(path)
    for changed in (10, 200 * GIB - 10):
        with path.open("r+b") as file:
            file.seek(changed)
            file.write(b"Goal")
        assert reader.fingerprint(path) != first
        first = reader.fingerprint(path)


def test_reading_ends_when_nobody_waits_for_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 200 * GIB)
    path = tmp_path / "goal.jpg"
    path.write_bytes(saved(Image.fromarray(scene()), "JPEG"))
    os.truncate(path, 200 * GIB)

    async def give_up() -> None:
        readers = Readers(1)
        reading = asyncio.create_task(
            readers.call(path, partial(PictureReader().fingerprint, path))
        )
        await asyncio.sleep(0.2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        async with asyncio.timeout(30):  # hashing all of it would take minutes
            await readers.aclose()
            assert await readers.call(path, lambda: "the next one") == "the next one"

    asyncio.run(give_up())


def test_a_picture_that_begins_like_a_video_is_a_picture() -> None:
    """PacketIndex of MPEG-TS begin with a G, each 188 bytes after the other; so do some GIFs."""
    content = bytearray(saved(Image.fromarray(scene()).quantize(256), "GIF"))
    content[188] = ord("G")  # a colour of its palette
    assert PictureReader().views(bytes(content), ImageShape()).kind is ViewKind.STILL


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(scene()), "JPEG").replace(
            b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c"
        ),  # 12 bits
        saved(Image.fromarray(scene()), "TIFF").replace(
            struct.pack("<HHIH", 262, 3, 1, 2), struct.pack("<HHIH", 262, 3, 1, 99)
        ),
    ],
)
def test_a_kind_that_pillow_does_not_know_may_be_shown_by_others(content: bytes) -> None:
    with pytest.raises(
        MediaUnsupportedError,
        match="damaged picture: .*, or a kind of .* that is not read here; convert it",
    ):
        PictureReader().views(content, ImageShape())


def foreign() -> list[Exception]:
    return [
        KeyError("tile"),
        UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "no such letter"),
        AttributeError("width"),
        AssertionError(),
        av.InvalidDataError(1, "no picture"),
        RecursionError("too deep"),
        TypeError("no number"),
    ]


@pytest.mark.parametrize("error", foreign(), ids=lambda error: type(error).__name__)
def test_whatever_a_library_raises_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "goal.png"
    path.write_bytes(saved(Image.fromarray(scene()), "PNG"))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(MediaUnreadableError, match=r"goal\.png: damaged picture: .+") as caught:
        PictureReader().views(path, ImageShape())
    assert caught.value.__cause__ is error
    monkeypatch.setattr(WatchedFile, "readinto", fail)
    with pytest.raises(MediaUnreadableError, match=r"goal\.png"):
        PictureReader().fingerprint(path)
