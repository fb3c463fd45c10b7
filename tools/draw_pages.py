"""Make the pictures of the pages inside Stash that README shows, from those of a first visit in a
real Stash: docs/pictures. ``make screenshots`` runs it where it has a Stash.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TAKEN = ROOT / "dist" / "screenshots"
SHOWN = ROOT / "docs" / "pictures"
MOST_BYTES = 60_000
PICTURES = {"scene": "scene-1400", "set-up": "set-up-1400", "phone": "adjust-400"}
_WIDTH = 1200


def main() -> None:
    """Write the pictures."""
    SHOWN.mkdir(exist_ok=True)
    for name, taken in PICTURES.items():
        (SHOWN / f"{name}.webp").write_bytes(small(TAKEN / f"{taken}.png"))


def small(path: Path) -> bytes:
    """Return a picture as WebP, in the best quality that has at most ``MOST_BYTES``."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((_WIDTH, picture.height), Image.Resampling.LANCZOS)
    for quality in range(90, 0, -5):
        content = io.BytesIO()
        picture.save(content, "WEBP", quality=quality, method=6)
        if content.tell() <= MOST_BYTES:
            return content.getvalue()
    raise ValueError(f"{path} does not fit into {MOST_BYTES} bytes")


if __name__ == "__main__":
    main()
