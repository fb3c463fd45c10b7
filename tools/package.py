"""The plugin as one zip that users unpack (``make plugin``)."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from sandbox.plugin import PLUGIN_ID, ROOT, files


def build(target: Path) -> Path:
    """Writes the zip: everything below one folder, the same bytes for the same files. Returns
    ``target``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files():
            entry = zipfile.ZipInfo(
                f"{PLUGIN_ID}/{path.as_posix()}", date_time=(1980, 1, 1, 0, 0, 0)
            )
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (ROOT / path).read_bytes())
    return target


if __name__ == "__main__":
    sys.stdout.write(f"{build(ROOT / 'dist' / f'{PLUGIN_ID}.zip').relative_to(ROOT)}\n")
