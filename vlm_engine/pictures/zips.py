"""Read files inside zips into memory, one at a time. Nothing is ever unpacked to disk.

A zip holds names as bytes. Only some zips say that theirs are UTF-8; the others are in whatever
encoding their author's machine had. Stash guesses one encoding for all names of a zip, so an entry
may have another name there than here. Therefore a name is looked up as the zip writes it, and then
in every encoding that Stash can guess.
"""

from __future__ import annotations

import io
import posixpath
import re
import struct
import threading
import unicodedata
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from vlm_engine.errors import ArchiveError, MediaNotFoundError, MediaUnreadableError
from vlm_engine.files import WatchedFile, file_status
from vlm_engine.types import ZipEntry

_UTF8_FLAG = 0x800

# What Stash's detector (chardet) can find, by Python's names for what browsers and Go take these
# encodings to be.
_ENCODINGS = (
    "utf-8 cp437 cp1252 cp932 gb18030 big5hkscs cp949 euc_jp cp1251 koi8_r iso8859_2 cp1250 "
    "iso8859_5 iso8859_6 cp1256 iso8859_7 cp1253 iso8859_8 cp1255 cp1254 cp1257 cp1258 "
    "iso2022_jp iso2022_kr"
).split()
_UNKNOWN = re.compile("[\x80-\x9f\ufffd]+")


MAX_ENTRY_BYTES = 256 * 2**20
MAX_RATIO = 200  # no kind of picture is packed so well; a bomb has up to 1000
_RATIO_FREE_BYTES = 32 * 2**20
_MAX_LIST_BYTES = 16 * 2**20  # more than 100,000 files
_CHUNK_BYTES = 256 * 1024
_ENCRYPTED = 0x1 | 0x40

# What zipfile raises for zips that are damaged, or were made to look so.
_DAMAGED = (
    BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    OverflowError,
)


class ZipReader:
    """Reads entries of zips and keeps the last few zips open; for any number of threads."""

    def __init__(self, kept_open: int = 8) -> None:
        self._kept_open = kept_open
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, int, int], _OpenZip] = OrderedDict()
        self._closed = False

    def close(self) -> None:
        """Close all zips, those in use when they are free. Zips read later are not kept open."""
        with self._lock:
            self._closed = True
            for kept in self._open.values():
                kept.retire()
            self._open.clear()

    def read(self, source: ZipEntry) -> bytes:
        """Return the content of one entry.

        Raises ``MediaNotFoundError`` if there is no such zip or no such entry in it,
        ``ArchiveError`` if one of them is damaged, and ``MediaUnreadableError`` for an entry that
        is encrypted, of more than 256 MiB, or packed as only a bomb is.
        """
        with self._using(source.zip_path) as archive:
            return archive.read(source)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names of the files in a zip, in its order. Raises as ``read`` does for it."""
        with self._using(path) as archive:
            return archive.names()

    @contextmanager
    def _using(self, path: str) -> Iterator[_OpenZip]:
        status = file_status(path)
        key = (path, status.st_size, status.st_mtime_ns)
        with self._lock:
            archive = self._open.get(key)
            if archive is not None:
                self._open.move_to_end(key)
                archive.users += 1
        if archive is None:
            archive = self._add(key, _OpenZip(path))
        try:
            yield archive
        finally:
            with self._lock:
                archive.users -= 1
                archive.close_if_unused()

    def _add(self, key: tuple[str, int, int], fresh: _OpenZip) -> _OpenZip:
        with self._lock:
            # After ``close``, its opening had hung, and nobody waits for it any more.
            archive = fresh if self._closed else self._open.setdefault(key, fresh)
            archive.users += 1
            if self._closed or archive is not fresh:
                fresh.retire()  # also if another thread was quicker
            while len(self._open) > self._kept_open:
                _, oldest = self._open.popitem(last=False)
                oldest.retire()
        return archive


class _OpenZip:
    """One open zip. ``users`` counts the threads that read it, under the reader's lock."""

    def __init__(self, path: str) -> None:
        self.users = 0
        self._retired = False
        self._file, head = _BoundedFile(WatchedFile(path)), b""
        try:
            head = self._file.peek(8)
            self._zip = ZipFile(self._file)
            self._names = _Names(self._zip.infolist())
        except _DAMAGED as error:
            self._file.close()
            raise ArchiveError(f"{path}: {_describe(head)}: {error}") from error
        except BaseException:
            self._file.close()
            raise

    def retire(self) -> None:
        """Close it as soon as nobody reads it."""
        self._retired = True
        self.close_if_unused()

    def close_if_unused(self) -> None:
        if self._retired and not self.users:
            self._zip.close()
            self._file.close()

    def names(self) -> tuple[str, ...]:
        return tuple(entry.filename for entry in self._zip.infolist() if not entry.is_dir())

    def read(self, source: ZipEntry) -> bytes:
        entry = self._find(source)
        _check(entry, source)
        try:
            with self._zip.open(entry) as stream:
                return _read_bounded(stream, entry, source)
        except _DAMAGED as error:
            raise ArchiveError(f"{source}: damaged inside its zip: {error}") from error

    def _find(self, source: ZipEntry) -> ZipInfo:
        entry = self._names.find(source.entry)
        if entry is not None:
            return entry
        outer = source.entry
        while "/" in outer:
            outer = outer.rpartition("/")[0]
            if outer.lower().endswith((".zip", ".cbz")) and self._names.find(outer) is not None:
                raise MediaUnreadableError(
                    f"{source}: lies in a zip inside a zip, which is not opened; "
                    "unpack the outer one"
                )
        raise MediaNotFoundError(f"{source}: the zip has no such file among its {len(self._names)}")


class _BoundedFile(io.BufferedReader):
    """File that refuses reads longer than a zip's directory may be, which ``zipfile`` reads at
    once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_LIST_BYTES:
            raise BadZipFile(
                f"its list of contents has {size} bytes, and {_MAX_LIST_BYTES} is the limit"
            )
        return super().read(size)


class _Names:
    """Files of one zip by their names, without folders. Of two with the very same name the last
    counts."""

    def __init__(self, entries: Sequence[ZipInfo]) -> None:
        self._files = [entry for entry in entries if not entry.filename.endswith("/")]
        self._exact = {
            name: entry for entry in self._files for name in (entry.orig_filename, entry.filename)
        }
        self._by_encoding: dict[str, dict[str, ZipInfo | None]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def find(self, name: str) -> ZipInfo | None:
        """Return the entry that the zip or Stash calls ``name``; None if none or several."""
        if name in self._exact:
            return self._exact[name]
        wanted = _normalized(name)
        for encoding in _ENCODINGS:
            if encoding not in self._by_encoding:
                self._by_encoding[encoding] = self._decoded(encoding)
            if wanted in self._by_encoding[encoding]:
                return self._by_encoding[encoding][wanted]
        return None

    def _decoded(self, encoding: str) -> dict[str, ZipInfo | None]:
        """Return None for a name that different entries have in this encoding."""
        found: dict[str, ZipInfo | None] = {}
        for entry in self._files:
            name = _normalized(_raw_name(entry).decode(encoding, "replace"))
            earlier = found.setdefault(name, entry)
            same = earlier is not None and _raw_name(earlier) == _raw_name(entry)
            found[name] = entry if same else None
        return found


def _raw_name(entry: ZipInfo) -> bytes:
    """Return the name as the bytes that are in the zip."""
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8_FLAG else "cp437")


def _normalized(name: str) -> str:
    """Return a name as the path that Stash makes of it, without what decoders differ in."""
    path = posixpath.normpath(name.replace("\\", "/")).lstrip("/")
    while path.startswith("../"):
        path = path[3:]
    return _UNKNOWN.sub("\ufffd", unicodedata.normalize("NFC", path))


def _describe(head: bytes) -> str:
    if head.startswith(b"PK"):
        return "a zip whose list of contents is cut off or damaged"
    other = {b"Rar!": "a RAR archive", b"7z\xbc\xaf": "a 7z archive"}.get(head[:4])
    return f"{other}, which is not read; pack it as a zip" if other else "not a zip"


def _check(entry: ZipInfo, source: ZipEntry) -> None:
    if entry.flag_bits & _ENCRYPTED:
        raise MediaUnreadableError(f"{source}: encrypted; unpack the zip with its password")
    if entry.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise MediaUnreadableError(
            f"{source}: packed by method {entry.compress_type}, which Stash does not read either; "
            "pack it anew"
        )
    if entry.file_size > MAX_ENTRY_BYTES:
        raise _too_large(source)


def _read_bounded(stream: IO[bytes], entry: ZipInfo, source: ZipEntry) -> bytes:
    """Read ``stream`` to its end, without trusting the size that the zip's directory tells."""
    content = io.BytesIO()
    while chunk := stream.read(_CHUNK_BYTES):
        content.write(chunk)
        size = content.tell()
        if size > MAX_ENTRY_BYTES:
            raise _too_large(source)
        if size > max(_RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size):
            packed = f"{entry.compress_size} bytes became more than {MAX_RATIO} times as many"
            raise MediaUnreadableError(f"{source}: a decompression bomb: {packed}")
    if not content.tell():
        raise MediaUnreadableError(f"{source}: the file is empty")
    return content.getvalue()


def _too_large(source: ZipEntry) -> MediaUnreadableError:
    return MediaUnreadableError(
        f"{source}: larger than {MAX_ENTRY_BYTES // 2**20} MiB, the limit for a file in a zip; "
        "unpack the zip"
    )
