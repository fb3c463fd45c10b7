"""Zips as they really are: odd names, damage, bombs, and hundreds of files in each."""

from __future__ import annotations

import io
import random
import struct
import threading
import warnings
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


def packed(
    path: Path, files: dict[str, bytes] | None = None, method: int = zipfile.ZIP_DEFLATED
) -> Path:
    path.write_bytes(zipped({"goal.jpg": GOAL} if files is None else files, method))
    return path


@pytest.fixture
def season(tmp_path: Path) -> Path:
    """A zip with a goal in it."""
    return packed(tmp_path / "season.zip")


def entry(reader: ZipReader, path: Path, name: str = "goal.jpg") -> bytes:
    return reader.read(ZipEntry(str(path), name))


def named(path: Path, *names: bytes, utf8: bool = False) -> Path:
    """A zip whose entries have these names, byte for byte; each holds its number."""
    path.write_bytes(
        zipped_raw({name: str(number).encode() for number, name in enumerate(names)}, utf8=utf8)
    )
    return path


def test_a_file_in_a_zip_is_read_by_its_name(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip", {"finals/goal.jpg": GOAL, "foul.jpg": FOUL})
    assert entry(reader, path, "finals/goal.jpg") == GOAL
    assert entry(reader, path, "foul.jpg") == FOUL
    for name in ("goal.jpg", "finals", "finals/", "Foul.jpg", ""):
        with pytest.raises(MediaNotFoundError, match=r"season\.zip.*no such file among its 2"):
            entry(reader, path, name)


@pytest.mark.parametrize(
    "encoding",
    "cp437 cp1252 cp932 gb18030 big5 euc_kr euc_jp cp1251 koi8_r iso8859_2 cp1253 cp1256".split(),
)
def test_a_name_without_encoding_is_found_as_stash_shows_it(
    tmp_path: Path, reader: ZipReader, encoding: str
) -> None:
    name = {
        "cp932": "試合/ゴール.jpg",
        "euc_jp": "試合/ゴール.jpg",
        "gb18030": "比赛/进球.jpg",
        "big5": "比賽/進球.jpg",
        "euc_kr": "경기/골.jpg",
        "cp1251": "матч/гол.jpg",
        "koi8_r": "матч/гол.jpg",
        "iso8859_2": "mecz/bramkę.jpg",
        "cp1253": "αγώνας/γκολ.jpg",
        "cp1256": "مباراة/هدف.jpg",
    }.get(encoding, "Höhepunkte/Überzahl.jpg")
    path = named(tmp_path / "season.zip", b"foul.jpg", name.encode(encoding))
    assert entry(reader, path, name) == b"1"
    assert (
        entry(reader, path, name.encode(encoding).decode("cp437")) == b"1"
    )  # as the zip itself is read


def test_utf8_names_with_and_without_the_flag_that_says_so(
    tmp_path: Path, reader: ZipReader
) -> None:
    name = "Überzahl – 試合.jpg"
    for number, utf8 in enumerate((True, False)):
        path = named(tmp_path / f"{number}.zip", name.encode(), utf8=utf8)
        assert entry(reader, path, name) == b"0"


def test_a_flagged_name_that_stash_took_for_something_else(
    tmp_path: Path, reader: ZipReader
) -> None:
    path = named(tmp_path / "season.zip", "Überzahl.jpg".encode(), utf8=True)
    assert entry(reader, path, "Überzahl.jpg".encode().decode("cp1252")) == b"0"


def test_bytes_that_no_encoding_has_are_compared_as_the_unknown(
    tmp_path: Path, reader: ZipReader
) -> None:
    path = named(tmp_path / "season.zip", b"Tor\x81\x8d.jpg", b"Foul.jpg")
    assert entry(reader, path, "Tor\x81\x8d.jpg") == b"0"  # Go's windows-1252
    assert entry(reader, path, "Tor\ufffd\ufffd.jpg") == b"0"  # invalid UTF-8 in JSON


def test_a_name_that_fits_two_different_files_fits_none(tmp_path: Path, reader: ZipReader) -> None:
    path = named(tmp_path / "season.zip", b"Tor\x81.jpg", b"Tor\x8d.jpg")
    with pytest.raises(MediaNotFoundError):
        entry(reader, path, "Tor\ufffd.jpg")


def test_composed_and_decomposed_letters_are_the_same(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip", {"U\u0308berzahl.jpg": GOAL})
    assert entry(reader, path, "Überzahl.jpg") == GOAL


def test_names_that_climb_are_harmless_and_found(tmp_path: Path, reader: ZipReader) -> None:
    (tmp_path / "goal.jpg").write_bytes(b"not this one")
    names = {
        "../goal.jpg": b"up",
        "/etc/foul.jpg": b"root",
        "finals\\corner.jpg": b"backslash",
        "../../../deep/x.jpg": b"far up",
    }
    path = packed(tmp_path / "season.zip", names)
    for name, content in names.items():
        assert entry(reader, path, name) == content
    stash = {
        "goal.jpg": b"up",
        "etc/foul.jpg": b"root",
        "finals/corner.jpg": b"backslash",
        "deep/x.jpg": b"far up",
    }
    for name, content in stash.items():
        assert entry(reader, path, name) == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["goal.jpg", "season.zip"]


def test_an_exact_name_comes_before_one_that_stash_makes_equal(
    tmp_path: Path, reader: ZipReader
) -> None:
    path = packed(tmp_path / "season.zip", {"../goal.jpg": FOUL, "goal.jpg": GOAL})
    assert entry(reader, path) == GOAL


def test_of_two_files_with_one_name_the_last_counts(tmp_path: Path, reader: ZipReader) -> None:
    path = tmp_path / "season.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("goal.jpg", FOUL)
        archive.writestr("goal.jpg", GOAL)
    assert entry(reader, path) == GOAL


def test_encrypted(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip")
    path.write_bytes(flagged(path.read_bytes(), 0x1))
    with pytest.raises(MediaUnreadableError, match=r"season\.zip/goal\.jpg: encrypted"):
        entry(reader, path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_in_a_way_that_stash_does_not_read(
    tmp_path: Path, reader: ZipReader, method: int
) -> None:
    path = packed(tmp_path / "season.zip", {"goal.jpg": GOAL}, method)
    with pytest.raises(MediaUnreadableError, match=rf"goal\.jpg: packed by method {method}"):
        entry(reader, path)


def test_a_zip_in_a_zip(tmp_path: Path, reader: ZipReader) -> None:
    inner = packed(tmp_path / "finals.zip", {"goal.jpg": GOAL})
    path = packed(tmp_path / "season.zip", {"2025/finals.zip": inner.read_bytes()})
    with pytest.raises(
        MediaUnreadableError,
        match=r"season\.zip/2025/finals\.zip/goal\.jpg: lies in a zip inside a zip",
    ):
        entry(reader, path, "2025/finals.zip/goal.jpg")


def test_a_bomb_is_given_up_while_it_is_read(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip", {"goal.bmp": bytes(64 * 2**20)})
    with pytest.raises(MediaUnreadableError, match=r"goal\.bmp: a decompression bomb"):
        entry(reader, path, "goal.bmp")


def test_a_large_file_is_refused_by_what_the_list_says(
    tmp_path: Path, reader: ZipReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "MAX_ENTRY_BYTES", 1000)
    path = packed(
        tmp_path / "season.zip",
        {"goal.jpg": random.Random(1).randbytes(1001), "foul.jpg": bytes(1000)},
    )
    with pytest.raises(MediaUnreadableError, match=r"goal\.jpg: larger than"):
        entry(reader, path)
    assert len(entry(reader, path, "foul.jpg")) == 1000


def test_a_list_that_lies_about_the_size(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip", {"goal.jpg": GOAL * 100})
    content = path.read_bytes()
    size = struct.pack("<I", len(GOAL) * 100)
    for said in (10, 0, 2**31):
        path.write_bytes(content.replace(size, struct.pack("<I", said)))
        with pytest.raises(MediaUnreadableError, match=r"goal\.jpg"):
            entry(reader, path)


def test_damage_in_one_file_leaves_the_others(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip", {"goal.jpg": GOAL, "foul.jpg": FOUL}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(GOAL, GOAL[::-1]))
    with pytest.raises(
        MediaUnreadableError, match=r"season\.zip/goal\.jpg: damaged inside its zip: Bad CRC"
    ):
        entry(reader, path)
    assert entry(reader, path, "foul.jpg") == FOUL


def test_a_zip_cut_off_anywhere_is_named(tmp_path: Path, reader: ZipReader) -> None:
    whole = packed(
        tmp_path / "season.zip", {f"{number}.jpg": GOAL * 50 for number in range(5)}
    ).read_bytes()
    cut = tmp_path / "cut.zip"
    for number in range(20):
        cut.write_bytes(whole[: 1 + number * (len(whole) - 2) // 20])
        with pytest.raises(MediaUnreadableError, match=r"cut\.zip"):
            entry(reader, cut, "0.jpg")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"Free throw, second half", "not a zip"),
        (b"Rar!\x1a\x07\x01\x00 and so on", "RAR"),
        (b"7z\xbc\xaf\x27\x1c and so on", "7z"),
        (b"PK\x03\x04 and so on", "list of contents is cut off"),
    ],
)
def test_what_is_no_zip(tmp_path: Path, reader: ZipReader, content: bytes, says: str) -> None:
    path = tmp_path / "season.cbz"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadableError, match=rf"season\.cbz.*{says}"):
        entry(reader, path)


def test_a_zip_that_is_not_there(tmp_path: Path, reader: ZipReader) -> None:
    with pytest.raises(MediaNotFoundError, match=r"season\.zip"):
        entry(reader, tmp_path / "season.zip")
    with pytest.raises(MediaUnreadableError, match="not a file"):
        entry(reader, tmp_path)


def test_a_list_of_contents_too_long_for_memory_is_not_read(
    tmp_path: Path, reader: ZipReader
) -> None:
    path = tmp_path / "season.zip"
    claimed = 512 * 2**20
    with path.open("wb") as file:  # sparse: it takes no room on the disk
        file.seek(claimed)
        file.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, claimed, 0, 0))
    with pytest.raises(MediaUnreadableError, match="list of contents has 536870912 bytes"):
        entry(reader, path)


def test_few_zips_stay_open_whatever_their_number(tmp_path: Path) -> None:
    paths = [packed(tmp_path / f"{number}.zip", {"goal.jpg": GOAL}) for number in range(6)]
    before = open_files()
    reader = ZipReader(kept_open=2)
    for path in paths * 2:
        assert entry(reader, path) == GOAL
        assert open_files() - before <= 2
    reader.close()
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_zip_that_was_replaced_is_opened_anew(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip")
    assert entry(reader, path) == GOAL
    other = packed(tmp_path / "other.zip", {"goal.jpg": FOUL + b" of another length"})
    other.replace(path)
    assert entry(reader, path) == FOUL + b" of another length"


def test_many_threads_share_zips_that_come_and_go(tmp_path: Path) -> None:
    content = {f"{number}.jpg": random.Random(number).randbytes(50_000) for number in range(20)}
    paths = [packed(tmp_path / f"{number}.zip", content) for number in range(4)]
    reader, start = ZipReader(kept_open=1), threading.Barrier(4)

    def read_all(seed: int) -> None:
        start.wait(30)
        for _ in range(40):
            name = f"{random.Random(seed).randrange(20)}.jpg"
            path = paths[seed % 4]
            seed += 1
            assert entry(reader, path, name) == content[name]

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(read_all, seed) for seed in range(4)]:
            done.result(60)
    reader.close()


def test_what_is_read_after_closing_is_not_kept_open(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip")
    before = open_files()
    reader.close()
    assert entry(reader, path) == GOAL
    assert open_files() == before


def test_an_empty_file_in_a_zip(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip", {"goal.jpg": b""})
    with pytest.raises(MediaUnreadableError, match=r"goal\.jpg: the file is empty"):
        entry(reader, path)


def test_a_zip_with_something_before_it(tmp_path: Path, reader: ZipReader) -> None:
    path = packed(tmp_path / "season.zip")
    written = io.BytesIO(b"#!/bin/sh\n" + path.read_bytes())
    path.write_bytes(written.getvalue())
    assert entry(reader, path) == GOAL
