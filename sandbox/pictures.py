"""Pictures that show tags as ``vlm_engine.testing.glyphs`` draws them, in folders and in zips.

The same for the same seed.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from vlm_engine.testing import glyphs

WIDTH, HEIGHT = 328, 224  # whole blocks of JPEG: 8 x 8 pixels to a cell


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture file, or the file ``entry`` of the zip ``path``.

    ``number``: what its strip says, by which endpoints know it.
    """

    path: Path
    entry: str | None
    number: int
    tags: frozenset[str]


def write_folder(
    folder: Path, count: int, tags: Sequence[str], *, first: int = 0, seed: int = 0
) -> tuple[LabelledPicture, ...]:
    """Make ``folder``, with ``count`` JPEG files numbered from ``first``, each of which shows a
    random choice of ``tags``.
    """
    folder.mkdir(parents=True)
    made = []
    for number, tags_in_it, content in _drawn(count, tags, first, seed):
        path = folder / f"Bild {number:05}.jpg"
        path.write_bytes(content)
        made.append(LabelledPicture(path, None, number, tags_in_it))
    return tuple(made)


def write_zip(
    path: Path, count: int, tags: Sequence[str], *, first: int = 0, seed: int = 0
) -> tuple[LabelledPicture, ...]:
    """Return the same as one zip, in a folder inside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = []
    with ZipFile(path, "w", ZIP_STORED) as archive:
        for number, tags_in_it, content in _drawn(count, tags, first, seed):
            entry = f"Spieltag/Bild {number:05}.jpg"
            archive.writestr(entry, content)
            made.append(LabelledPicture(path, entry, number, tags_in_it))
    return tuple(made)


def _drawn(
    count: int, tags: Sequence[str], first: int, seed: int
) -> Iterator[tuple[int, frozenset[str], bytes]]:
    for number in range(first, first + count):
        rng = random.Random(f"{seed} {number}")
        tags_in_it = [tag for tag in tags if rng.random() < 1 / 3]
        written = io.BytesIO()
        glyphs.picture(tags_in_it, WIDTH, HEIGHT, number).save(written, "JPEG", quality=80)
        yield number, frozenset(tags_in_it), written.getvalue()
