"""What a person means by the paths of a command line: videos, and pictures by themselves, in folders and in zips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vlm_engine.errors import MediaError
from vlm_engine.pictures import Zips, open_picture
from vlm_engine.types import ZipEntry

# What Stash takes for videos, pictures and galleries, unless its settings say otherwise.
VIDEOS = frozenset(".m4v .mp4 .mov .wmv .avi .mpg .mpeg .rmvb .rm .flv .asf .mkv .webm .f4v .ts .mts .m2ts .3gp .ogv".split())
PICTURES = frozenset(".png .jpg .jpeg .jfif .gif .webp .avif .heif .heic .tif .tiff .bmp .apng .jxl".split())
ZIPS = frozenset((".zip", ".cbz"))


@dataclass(frozen=True, slots=True)
class Video:
    """A file to be searched as a video."""

    path: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A file to be looked at as one picture."""

    source: str | ZipEntry


@dataclass(frozen=True, slots=True)
class Unusable:
    """A path in which there is nothing to look at; ``reason`` names it."""

    reason: str


Found = Video | Picture | Unusable


def found(paths: Iterable[Path]) -> Iterator[Found]:
    """Everything meant by ``paths``, in their order. In folders, which are searched to the bottom, files count by their suffix;
    hidden ones, and those that are neither, are passed over. What is named itself counts by its content where its suffix says
    nothing. Blocking.
    """
    with closing(Zips()) as zips:
        for path in paths:
            if path.is_dir():
                nothing = Unusable(f"{path}: there is no video or picture in this folder")
                yield from list(_in_folder(path, zips)) or [nothing]
            else:
                yield from _by_suffix(path, zips) or [_by_content(path, zips)]


def _in_folder(folder: Path, zips: Zips) -> Iterator[Found]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        yield Unusable(f"{folder}: {error.strerror or error}")
        return
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():  # a link may lead back up
            yield from _in_folder(path, zips)
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
        names = sorted(name for name in zips.names(str(path)) if _is_picture_in_zip(PurePosixPath(name)))
    except MediaError as error:
        yield Unusable(str(error))
        return
    yield from (Picture(ZipEntry(str(path), name)) for name in names)
    if not names:
        yield Unusable(f"{path}: there is no picture in this zip")


def _is_picture_in_zip(name: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return name.suffix.lower() in PICTURES | VIDEOS and not hidden


def _by_content(path: Path, zips: Zips) -> Found:
    """What is no picture may be a video: whoever reads it as one says what is wrong."""
    try:
        open_picture(str(path), zips)
    except MediaError:
        return Video(str(path))
    return Picture(str(path))
