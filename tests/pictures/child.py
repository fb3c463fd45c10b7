"""Reads all files of some folders in a process of its own; prints of each folder the result of each
file, and the memory taken until then.
"""

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


def main(folders: list[Path]) -> None:
    warnings.simplefilter("ignore")
    reader = PictureReader()
    # What is imported and allocated once is not counted.
    image, profile = Image.fromarray(scene(600, 400)), swapped_profile()
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF"):
        options = {} if form == "GIF" else {"icc_profile": profile}
        reader.views(saved(image, form, **options), SHAPE)
    reader.views(tiled(scene(600, 400), 512), SHAPE)
    before = peak()
    results = []
    for folder in folders:
        came = {path.name: result_of(path, reader) for path in sorted(folder.iterdir())}
        results.append({"came": came, "grown": peak() - before})
    sys.stdout.write(json.dumps(results))


def result_of(path: Path, reader: PictureReader) -> str:
    """The kind of a picture, or its error."""
    source = ZipEntry(str(path), "goal.jpg") if path.suffix == ".cbz" else path
    try:
        return str(reader.views(source, SHAPE).kind)
    except MediaError as error:
        return f"{type(error).__name__}: {error}"


def peak() -> int:
    """The most memory this process ever had, in bytes."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux ``ru_maxrss`` begins with what the process had that started this one.
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
