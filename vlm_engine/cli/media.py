"""What a person means by the paths of a command line: videos, and pictures by themselves, in folders and in zips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vlm_engine.errors import ConfigError, MediaError
from vlm_engine.pictures.kinds import HEAD_BYTES, kind_of
from vlm_engine.pictures.zips import Zips
from vlm_engine.types import ZipEntry

PICTURES = frozenset(
    ".apng .avif .avifs .bmp .dib .gif .heic .heif .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .jxl .mpo .pbm .pgm .png"
    " .pnm .ppm .qoi .tif .tiff .webp".split()
)
VIDEOS = frozenset(
    ".3gp .asf .avi .divx .f4v .flv .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogm .ogv .rm .rmvb .ts .vob .webm"
    " .wmv".split()
)
ZIPS = frozenset((".zip", ".cbz"))


@dataclass(frozen=True, slots=True)
class Video:
    """A file to be searched as a video."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Picture:
    """A file to be looked at as one picture."""

    source: str | ZipEntry

    def __str__(self) -> str:
        return str(self.source)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A zip with nothing to look at; ``reason`` names it."""

    reason: str


Found = Video | Picture | Unusable


def found(paths: Iterable[Path]) -> list[Found]:
    """Everything meant by ``paths``, each once, in their order. Blocking.

    In folders, which are searched to the bottom, and in zips, files count by their suffix; hidden ones are passed over. What is
    named itself counts by its content where its suffix says nothing. Whether a file can be read shows later. Raises
    ``ConfigError`` for a folder in which there is nothing to look at.
    """
    with closing(Zips()) as zips:
        return list(dict.fromkeys(file for path in paths for file in _meant_by(path, zips)))


def _meant_by(path: Path, zips: Zips) -> list[Found]:
    if not path.is_dir():
        return _by_suffix(path, zips) or [_by_content(path)]
    below = list(_below(path, zips))
    if not below:
        raise ConfigError(f"{path}: there is no video and no picture in this folder")
    return below


def _below(folder: Path, zips: Zips) -> Iterator[Found]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        yield Unusable(f"{folder}: {error.strerror or error}")
        return
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():  # a link may lead back up
            yield from _below(path, zips)
        elif path.is_file():
            yield from _by_suffix(path, zips)


def _by_suffix(path: Path, zips: Zips) -> list[Found]:
    suffix = path.suffix.lower()
    if suffix in ZIPS:
        return list(_in_zip(path, zips))
    if suffix in VIDEOS:
        return [Video(str(path))]
    return [Picture(str(path))] if suffix in PICTURES else []


def _in_zip(path: Path, zips: Zips) -> Iterator[Found]:
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
    """What is no picture may be a video: whoever reads it as one says what is wrong."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        head = b""
    return Picture(str(path)) if kind_of(head) else Video(str(path))
