"""Reads all files of a folder in a process of its own; prints each result, and the memory taken."""

from __future__ import annotations

import json
import resource
import sys
import warnings
from pathlib import Path

from PIL import Image

from sandbox.heif import tiled
from sandbox.stills import saved, scene, swapped_profile
from vlm_engine.errors import MediaError
from vlm_engine.pictures import PictureReader
from vlm_engine.types import ImageShape, ZipEntry

SHAPE = ImageShape(1024)


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    reader = PictureReader()
    # What is imported and allocated once is not counted.
    image, profile = Image.fromarray(scene(600, 400)), swapped_profile()
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF"):
        options = {} if form == "GIF" else {"icc_profile": profile}
        reader.views(saved(image, form, **options), SHAPE)
    reader.views(tiled(scene(600, 400), 512), SHAPE)
    before = peak()
    came: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        source = ZipEntry(str(path), "goal.jpg") if path.suffix == ".cbz" else path
        try:
            came[path.name] = str(reader.views(source, SHAPE).kind)
        except MediaError as error:
            came[path.name] = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps({"came": came, "grown": peak() - before}))


def peak() -> int:
    """The most memory this process ever had, in bytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
