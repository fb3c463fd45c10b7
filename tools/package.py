"""The plugin as one zip that users unpack (``make plugin``)."""

from __future__ import annotations

import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from sandbox.plugin import PLUGIN_ID, ROOT, files

Entry = tuple[str, bytes]


def plugin_entries(root: Path, folder: str = "") -> Iterator[Entry]:
    """Yield the plugin's files in the repository ``root``: the name in the zip, and the content.

    ``folder``: what each name begins with.
    """
    for path in files(root):
        yield folder + path.as_posix(), (root / path).read_bytes()


def write_zip(
    target: Path, entries: Iterator[Entry], time_s: float, compression: int = zipfile.ZIP_STORED
) -> Path:
    """Write the same bytes for the same entries and the same time. Return ``target``.

    By default nothing is compressed, because versions of zlib compress differently. ``time_s`` is
    each file's time. Python then sees that the byte code it keeps for an older file is old.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    year, month, day, hour, minute, second, *_ = time.gmtime(time_s)
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name, date_time=(year, month, day, hour, minute, second))
            entry.compress_type = compression
            entry.create_system = 3  # Unix: then the permissions count
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return target


def main() -> None:
    """Write the working tree's plugin."""
    target = ROOT / "dist" / f"{PLUGIN_ID}.zip"
    write_zip(target, plugin_entries(ROOT, f"{PLUGIN_ID}/"), time.time())
    sys.stdout.write(f"{target.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
