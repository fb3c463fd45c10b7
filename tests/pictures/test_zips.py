"""Zips as they really are: odd names, damage, bombs, and hundreds of files in each."""

from __future__ import annotations

import random
import struct
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.pictures.bad_files import flagged, zipped, zipped_raw
from vlm_engine.errors import MediaNotFoundError, MediaUnreadableError
from vlm_engine.pictures import zips
from vlm_engine.pictures.zips import ZipReader
from vlm_engine.types import ZipEntry

GOAL, FOUL = b"a goal, as a picture", b"a foul, as a picture"


@pytest.fixture
def reader() -> Iterator[ZipReader]:
    opened = ZipReader()
    yield opened
    opened.close()


@pytest.fixture
def season(tmp_path: Path) -> Path:
    """A zip with a goal in it."""
    path = tmp_path / "season.zip"
    path.write_bytes(zipped({"goal.jpg": GOAL}))
    return path


def read(reader: ZipReader, path: Path, name: str = "goal.jpg") -> bytes:
    return reader.read(ZipEntry(str(path), name))


def test_a_file_in_a_zip_is_read_by_its_name(season, reader):
    season.write_bytes(zipped({"finals/goal.jpg": GOAL, "foul.jpg": FOUL}))
    assert read(reader, season, "finals/goal.jpg") == GOAL
    assert read(reader, season, "foul.jpg") == FOUL
    for name in ("goal.jpg", "finals", "finals/", "Foul.jpg", ""):
        with pytest.raises(MediaNotFoundError, match=r"season\.zip.*no such file among its 2"):
            read(reader, season, name)


ENCODED = {
    "cp437": "Höhepunkte/Überzahl.jpg",
    "cp1252": "Höhepunkte/Überzahl.jpg",
    "cp932": "試合/ゴール.jpg",
    "gb18030": "比赛/进球.jpg",
    "euc_kr": "경기/골.jpg",
    "cp1251": "матч/гол.jpg",
    "cp1256": "مباراة/هدف.jpg",
}
UTF8 = "Überzahl – 試合.jpg".encode()


@pytest.mark.parametrize(
    ("names", "utf8", "wanted"),
    [
        # As Stash may show it, and as the zip itself is read.
        *(((b"foul.jpg", name.encode(codec)), False, name) for codec, name in ENCODED.items()),
        *(
            ((b"foul.jpg", name.encode(codec)), False, name.encode(codec).decode("cp437"))
            for codec, name in ENCODED.items()
        ),
        # With and without the flag that says so, and where Stash took it for something else.
        ((b"foul.jpg", UTF8), True, UTF8.decode()),
        ((b"foul.jpg", UTF8), False, UTF8.decode()),
        ((b"foul.jpg", "Überzahl.jpg".encode()), True, "Ãœberzahl.jpg"),
        # Bytes that no encoding has, in Go's windows-1252 and as invalid UTF-8 in JSON.
        ((b"foul.jpg", b"Tor\x81\x8d.jpg"), False, "Tor\x81\x8d.jpg"),
        ((b"foul.jpg", b"Tor\x81\x8d.jpg"), False, "Tor\ufffd\ufffd.jpg"),
        # Composed and decomposed letters.
        ((b"foul.jpg", "U\u0308berzahl.jpg".encode()), True, "Überzahl.jpg"),
        # Names that climb, as they are and as Stash shows them.
        ((b"foul.jpg", b"../goal.jpg"), False, "../goal.jpg"),
        ((b"foul.jpg", b"../../../deep/x.jpg"), False, "deep/x.jpg"),
        ((b"foul.jpg", b"/etc/goal.jpg"), False, "etc/goal.jpg"),
        ((b"foul.jpg", b"finals\\corner.jpg"), False, "finals/corner.jpg"),
        ((b"../goal.jpg", b"goal.jpg"), False, "goal.jpg"),  # the exact name comes first
    ],
)
def test_a_name_is_found_as_stash_or_the_zip_writes_it(names, utf8, wanted, season, reader):
    files = {name: str(number).encode() for number, name in enumerate(names)}
    season.write_bytes(zipped_raw(files, utf8=utf8))
    (season.parent / "goal.jpg").write_bytes(b"not this one")
    assert read(reader, season, wanted) == b"1"
    assert sorted(path.name for path in season.parent.iterdir()) == ["goal.jpg", "season.zip"]


def test_a_name_that_fits_two_different_files_fits_none(season, reader):
    season.write_bytes(zipped_raw({b"Tor\x81.jpg": GOAL, b"Tor\x8d.jpg": FOUL}))
    with pytest.raises(MediaNotFoundError):
        read(reader, season, "Tor\ufffd.jpg")


def test_of_two_files_with_one_name_the_last_counts(season, reader):
    twice = zipped({"foul.jpg": FOUL, "goal.jpg": GOAL}).replace(b"foul.jpg", b"goal.jpg")
    season.write_bytes(twice)
    assert read(reader, season) == GOAL


RANDOM = random.Random(1).randbytes(1001)


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (flagged(zipped({"goal.jpg": GOAL}), 0x1), "goal.jpg", r"goal\.jpg: encrypted"),
        (zipped({"goal.jpg": GOAL}, zipfile.ZIP_LZMA), "goal.jpg", "packed by method 14"),
        (
            zipped({"2025/finals.zip": zipped({"goal.jpg": GOAL})}),
            "2025/finals.zip/goal.jpg",
            r"finals\.zip/goal\.jpg: lies in a zip inside a zip",
        ),
        (zipped({"goal.jpg": bytes(64 * 2**20)}), "goal.jpg", r"goal\.jpg: a decompression bomb"),
        (zipped({"goal.jpg": b""}), "goal.jpg", r"goal\.jpg: the file is empty"),
        (b"", "goal.jpg", "empty"),
        (b"Free throw, second half", "goal.jpg", "not a zip"),
        (b"Rar!\x1a\x07\x01\x00 and so on", "goal.jpg", "RAR"),
        (b"7z\xbc\xaf\x27\x1c and so on", "goal.jpg", "7z"),
        (b"PK\x03\x04 and so on", "goal.jpg", "list of contents is cut off"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_what_is_not_read_is_named(content, name, reason, season, reader):
    season.write_bytes(content)
    with pytest.raises(MediaUnreadableError, match=rf"season\.zip.*{reason}"):
        read(reader, season, name)


def test_a_large_file_is_refused_by_what_the_list_says(season, reader, monkeypatch):
    monkeypatch.setattr(zips, "MAX_ENTRY_BYTES", 1000)
    season.write_bytes(zipped({"goal.jpg": RANDOM, "foul.jpg": bytes(1000)}))
    with pytest.raises(MediaUnreadableError, match=r"goal\.jpg: larger than"):
        read(reader, season)
    assert len(read(reader, season, "foul.jpg")) == 1000


@pytest.mark.parametrize("claimed", [10, 0, 2**31])
def test_a_list_that_lies_about_the_size(claimed, season, reader):
    size, lie = struct.pack("<I", len(GOAL) * 100), struct.pack("<I", claimed)
    season.write_bytes(zipped({"goal.jpg": GOAL * 100}).replace(size, lie))
    with pytest.raises(MediaUnreadableError, match=r"goal\.jpg"):
        read(reader, season)


def test_damage_in_one_file_leaves_the_others(season, reader):
    content = zipped({"goal.jpg": GOAL, "foul.jpg": FOUL}, zipfile.ZIP_STORED)
    season.write_bytes(content.replace(GOAL, GOAL[::-1]))
    reason = r"season\.zip/goal\.jpg: damaged inside its zip: Bad CRC"
    with pytest.raises(MediaUnreadableError, match=reason):
        read(reader, season)
    assert read(reader, season, "foul.jpg") == FOUL


def test_a_zip_cut_off_anywhere_is_named(season, reader):
    whole = zipped({f"{number}.jpg": GOAL * 50 for number in range(5)})
    for number in range(20):
        season.write_bytes(whole[: 1 + number * (len(whole) - 2) // 20])
        with pytest.raises(MediaUnreadableError, match=r"season\.zip"):
            read(reader, season, "0.jpg")


def test_a_zip_that_is_not_there(tmp_path, reader):
    with pytest.raises(MediaNotFoundError, match=r"season\.zip"):
        read(reader, tmp_path / "season.zip")
    with pytest.raises(MediaUnreadableError, match="not a file"):
        read(reader, tmp_path)


def test_a_list_too_long_for_memory_is_not_read(season, reader):
    claimed = 512 * 2**20
    with season.open("wb") as file:  # sparse: it takes no room on the disk
        file.seek(claimed)
        file.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, claimed, 0, 0))
    with pytest.raises(MediaUnreadableError, match="list of contents has 536870912 bytes"):
        read(reader, season)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_zips_stay_open_and_none_after_closing(season):
    paths = [season.with_name(f"{number}.zip") for number in range(6)]
    for path in paths:
        path.write_bytes(season.read_bytes())
    before = open_files()
    reader = ZipReader(kept_open=2)
    for path in paths * 2:
        assert read(reader, path) == GOAL
        assert open_files() - before <= 2
    reader.close()
    assert open_files() == before
    assert read(reader, season) == GOAL
    assert open_files() == before


def test_a_zip_that_was_replaced_is_opened_again(season, reader):
    assert read(reader, season) == GOAL
    other = season.with_name("other.zip")
    other.write_bytes(zipped({"goal.jpg": RANDOM}))
    other.replace(season)
    assert read(reader, season) == RANDOM


def test_many_threads_share_zips_that_come_and_go(tmp_path):
    content = {f"{number}.jpg": random.Random(number).randbytes(50_000) for number in range(20)}
    paths = [tmp_path / f"{number}.zip" for number in range(4)]
    for path in paths:
        path.write_bytes(zipped(content))
    reader, start = ZipReader(kept_open=1), threading.Barrier(4)

    def read_all(seed: int) -> None:
        start.wait(30)
        for number in range(seed, seed + 40):
            name = f"{random.Random(number).randrange(20)}.jpg"
            assert read(reader, paths[number % 4], name) == content[name]

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(read_all, seed) for seed in range(4)]:
            done.result(60)
    reader.close()


def test_a_zip_with_something_before_it(season, reader):
    season.write_bytes(b"#!/bin/sh\n" + season.read_bytes())
    assert read(reader, season) == GOAL
