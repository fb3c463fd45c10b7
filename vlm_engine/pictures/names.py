"""Under which names a file in a zip may be asked for. Pure.

A zip holds names as bytes. Only some say that they are UTF-8; the others are in whatever encoding their author's machine
had. Stash guesses one encoding for all names of a zip, so the same entry may be known by another name there than
here. Therefore a name is looked for as the zip writes it, and then in every encoding Stash can guess.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Mapping, Sequence
from zipfile import ZipInfo

_UTF8_FLAG = 0x800

# What Stash's detector (chardet) can find, by Python's names for what browsers and Go take these encodings to be.
_ENCODINGS = (
    "utf-8 cp437 cp1252 cp932 gb18030 big5hkscs cp949 euc_jp cp1251 koi8_r iso8859_2 cp1250 iso8859_5 iso8859_6 cp1256"
    " iso8859_7 cp1253 iso8859_8 cp1255 cp1254 cp1257 cp1258 iso2022_jp iso2022_kr"
).split()
_UNKNOWN = re.compile("[\x80-\x9f\ufffd]+")


class Names:
    """The files of one zip by their names; folders are left out. Of two with exactly the same name, the last one counts."""

    def __init__(self, entries: Sequence[ZipInfo]) -> None:
        self._files = [entry for entry in entries if not entry.filename.endswith("/")]
        self._exact = {
            name: entry for entry in self._files for name in (entry.orig_filename, entry.filename)
        }
        self._by_encoding: dict[str, Mapping[str, ZipInfo | None]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def find(self, name: str) -> ZipInfo | None:
        """The entry that the zip, or Stash, calls ``name``; None where there is none, or several that differ."""
        if name in self._exact:
            return self._exact[name]
        wanted = _comparable(name)
        readings = (self._decoded(encoding) for encoding in _ENCODINGS)
        return next((names[wanted] for names in readings if wanted in names), None)

    def _decoded(self, encoding: str) -> Mapping[str, ZipInfo | None]:
        if encoding not in self._by_encoding:
            self._by_encoding[encoding] = _by_name(self._files, encoding)
        return self._by_encoding[encoding]


def _by_name(entries: Sequence[ZipInfo], encoding: str) -> dict[str, ZipInfo | None]:
    """None where entries with different names look the same when read so."""
    found: dict[str, ZipInfo | None] = {}
    for entry in entries:
        name = _comparable(_raw(entry).decode(encoding, "replace"))
        earlier = found.setdefault(name, entry)
        found[name] = entry if earlier is not None and _raw(earlier) == _raw(entry) else None
    return found


def _raw(entry: ZipInfo) -> bytes:
    """The name as the bytes that are in the zip."""
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8_FLAG else "cp437")


def _comparable(name: str) -> str:
    """What is left of a name after Stash (Go's archive/zip) made a path of it, and without what decoders differ in."""
    path = posixpath.normpath(name.replace("\\", "/")).lstrip("/")
    while path.startswith("../"):
        path = path[3:]
    return _UNKNOWN.sub("\ufffd", unicodedata.normalize("NFC", path))
