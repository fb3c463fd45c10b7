"""Files that are no picture, or far too much of one, are given up early."""

from __future__ import annotations

import asyncio
import os
import struct
from functools import partial
from pathlib import Path

import av
import pytest
from PIL import Image, PngImagePlugin

from tests.pictures.stored import SCENE, file_of
from vlm_engine.errors import MediaUnreadableError, MediaUnsupportedError
from vlm_engine.files import WatchedFile
from vlm_engine.pictures import PictureReader, ViewKind
from vlm_engine.pictures import reader as reading
from vlm_engine.types import ImageShape
from vlm_engine.watchdog import Readers

LENGTH = 200 * 2**30
TOO_LARGE = (
    r"goal\.jpg: too large: it has 214,748,364,800 bytes, "
    "and the limit for a picture's file is 2,147,483,648; save it"
)
JPEG = file_of(SCENE, "JPEG", progressive=True)


def endless(path: Path, content: bytes) -> Path:
    """A file of 200 GB that takes no room on the disk."""
    path.write_bytes(content)
    os.truncate(path, LENGTH)
    return path


@pytest.mark.parametrize("content", [JPEG, b""])
def test_a_picture_of_200_gigabytes_is_neither_hashed_nor_read(content, tmp_path):
    path, reader = endless(tmp_path / "goal.jpg", content), PictureReader()
    for read in (reader.fingerprint, partial(reader.views, shape=ImageShape())):
        with pytest.raises(MediaUnreadableError, match=TOO_LARGE) as caught:
            read(path)
        # For an unsupported one, Stash would read all of it into its memory.
        assert not isinstance(caught.value, MediaUnsupportedError)


def test_a_long_video_among_pictures_is_known_by_samples(tmp_path):
    path, reader = endless(tmp_path / "match.mkv", b"\x1aE\xdf\xa3" + bytes(100)), PictureReader()
    prints = [reader.fingerprint(path), reader.fingerprint(path)]
    for changed in (10, LENGTH - 10):
        with path.open("r+b") as file:
            file.seek(changed)
            file.write(b"Goal")
        prints.append(reader.fingerprint(path))
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


async def test_reading_ends_when_nobody_waits_for_it_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", LENGTH)
    path, readers = endless(tmp_path / "goal.jpg", JPEG), Readers(1)
    task = asyncio.create_task(readers.call(path, partial(PictureReader().fingerprint, path)))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):  # hashing all of it would take minutes
        await readers.aclose()
        assert await readers.call(path, lambda: "the next one") == "the next one"


def test_a_picture_that_begins_like_a_video_is_a_picture():
    """Packets of MPEG-TS begin with a G, each 188 bytes after the other; so do some GIFs."""
    content = bytearray(file_of(SCENE, "GIF", "P"))
    content[188] = ord("G")  # a colour of its palette
    assert PictureReader().views(bytes(content), ImageShape()).kind is ViewKind.STILL


PHOTOMETRIC = struct.Struct("<HHIH")


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [
        ("JPEG", b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c"),  # 12 bits
        ("TIFF", PHOTOMETRIC.pack(262, 3, 1, 2), PHOTOMETRIC.pack(262, 3, 1, 99)),
    ],
)
def test_a_kind_that_pillow_does_not_know_may_be_shown_by_others(form, old, new):
    reason = "damaged picture: .*, or a kind of .* that is not read here; convert it"
    with pytest.raises(MediaUnsupportedError, match=reason):
        PictureReader().views(file_of(SCENE, form).replace(old, new), ImageShape())


@pytest.mark.parametrize(
    "error",
    [
        KeyError("tile"),
        UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "no such letter"),
        AssertionError(),
        av.InvalidDataError(1, "no picture"),
        RecursionError("too deep"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_error_of_a_library_becomes_one_that_names_the_file(tmp_path, monkeypatch, error):
    path = tmp_path / "goal.png"
    Image.fromarray(SCENE).save(path)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(MediaUnreadableError, match=r"goal\.png: damaged picture: .+") as caught:
        PictureReader().views(path, ImageShape())
    assert caught.value.__cause__ is error
    monkeypatch.setattr(WatchedFile, "readinto", fail)
    with pytest.raises(MediaUnreadableError, match=r"goal\.png"):
        PictureReader().fingerprint(path)
