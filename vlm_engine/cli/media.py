"""The files that the paths of a command line mean: videos and pictures, alone, in folders and in
zips.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vlm_engine.cli.output import printable
from vlm_engine.errors import ConfigError, MediaError
from vlm_engine.pictures.formats import HEAD_BYTES, format_of
from vlm_engine.pictures.zips import ZipReader
from vlm_engine.types import ZipEntry

PICTURES = frozenset(
    ".3fr .apng .arw .avif .avifs .bmp .cr2 .cr3 .dib .dng .gif .heic .heics .heif .hif .j2c .j2k "
    ".jfif .jp2 .jpc .jpe .jpeg"
    " .jpf .jpg .jpx .jxl .mpo .nef .nrw .orf .pbm .pef .pgm .png .pnm .ppm .qoi .raf .rw2 .srw "
    ".tif .tiff .webp".split()
)
VIDEOS = frozenset(
    ".264 .265 .3gp .asf .avc .avi .divx .f4v .flv .h264 .h265 .hevc .ivf .m1v .m2ts .m2v .m4v "
    ".mkv .mov .mp4"
    " .mpe .mpeg .mpg .mts .mxf .ogm .ogv .rm .rmvb .ts .vob .webm .wmv".split()
)
ZIPS = frozenset((".zip", ".cbz"))
_MOST_KINDS = 5


@dataclass(frozen=True, slots=True)
class Video:
    """A file to search as a video."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Picture:
    """A file to look at as one picture."""

    source: str | ZipEntry

    def __str__(self) -> str:
        return str(self.source)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A zip without usable files; ``reason`` names it."""

    reason: str


Found = Video | Picture | Unusable


def found(paths: Iterable[Path], skipped: list[str] | None = None) -> list[Found]:
    """Return everything that ``paths`` mean, each file once, in their order. Blocking.

    In folders, which are searched to the bottom, and in zips, files count by their suffix. Hidden
    files are left out, and other files in folders are added to ``skipped``. A path that is named
    itself counts by its content if its suffix says nothing. Files are not read here. Raise
    ``ConfigError`` for a folder without media.
    """
    others = skipped if skipped is not None else []
    with closing(ZipReader()) as zips:
        return list(dict.fromkeys(file for path in paths for file in _meant_by(path, zips, others)))


def skipped_line(skipped: Sequence[str]) -> str:
    """Return a line with the number of skipped files, and their kinds."""
    kinds = Counter(
        PurePosixPath(name).suffix.lower() or "no suffix" for name in skipped
    ).most_common()
    counts = ", ".join(f"{printable(kind)} {count:,}" for kind, count in kinds[:_MOST_KINDS])
    more = " …" if len(kinds) > _MOST_KINDS else ""
    what = "1 file skipped, no video or picture by its name"
    if len(skipped) > 1:
        what = f"{len(skipped):,} files skipped, no videos or pictures by their names"
    return f"{what} ({counts}{more})"


def _meant_by(path: Path, zips: ZipReader, skipped: list[str]) -> list[Found]:
    if not _is_folder(path):
        return _by_suffix(path, zips) or [_by_content(path)]
    below = list(_below(path, zips, skipped))
    if not below:
        raise ConfigError(
            f"{printable(str(path))}: there is no video and no picture in this folder"
        )
    return below


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # its reader reports what is wrong with it


def _below(folder: Path, zips: ZipReader, skipped: list[str]) -> Iterator[Found]:
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Unusable(f"{folder}: {error.strerror or error}")
        return
    for entry in inside:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):  # a link may lead back up
            yield from _below(path, zips, skipped)
        elif meant := _by_suffix(
            path, zips
        ):  # the reader reports broken links and files that are none
            yield from meant
        else:
            skipped.append(str(path))


def _by_suffix(path: Path, zips: ZipReader) -> list[Found]:
    suffix = path.suffix.lower()
    if suffix in ZIPS:
        return list(_in_zip(path, zips))
    if suffix in VIDEOS:
        return [Video(str(path))]
    return [Picture(str(path))] if suffix in PICTURES else []


def _in_zip(path: Path, zips: ZipReader) -> Iterator[Found]:
    try:
        names = sorted(name for name in zips.names(str(path)) if _is_meant(PurePosixPath(name)))
    except MediaError as error:
        yield Unusable(str(error))
        return
    yield from (Picture(ZipEntry(str(path), name)) for name in names)
    if not names:
        yield Unusable(f"{path}: there is no picture in this zip")


def _is_meant(name: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return name.suffix.lower() in PICTURES | VIDEOS and not hidden


def _by_content(path: Path) -> Found:
    """Return a picture, or else a video: its reader reports what is wrong."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        head = b""
    return Picture(str(path)) if format_of(head) else Video(str(path))
