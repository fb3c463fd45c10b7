"""Which files a path on the command line means, and what each is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm_engine.errors import ConfigError

PICTURES = frozenset(".avif .bmp .gif .heic .heif .jpe .jpeg .jpg .jxl .png .tif .tiff .webp".split())
VIDEOS = frozenset(
    ".3gp .asf .avi .divx .f4v .flv .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogm .ogv .rm .rmvb .ts .vob .webm"
    " .wmv".split()
)


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file to look at. What is not named like a picture is taken for a video."""

    path: Path

    @property
    def is_picture(self) -> bool:
        """Whether its name is that of a picture."""
        return self.path.suffix.lower() in PICTURES


def found(paths: Iterable[Path]) -> list[MediaFile]:
    """Every file named, and those below every folder named that have a video's or a picture's name, each once, in order.

    Whether a file can be read shows later. Raises ``ConfigError`` for a folder in which there is none.
    """
    files: dict[Path, MediaFile] = {}
    for path in paths:
        if not path.is_dir():
            files.setdefault(path, MediaFile(path))
            continue
        below = list(_below(path))
        if not below:
            raise ConfigError(f"{path}: there is no video and no picture in this folder")
        files |= {file: MediaFile(file) for file in below if file not in files}
    return list(files.values())


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() in PICTURES | VIDEOS and path.is_file():
            yield path
