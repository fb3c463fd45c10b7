"""The plugin as users install it: one folder, or one zip of it (``make plugin``)."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGIN_ID = "ahavenvlmconnector"
PARTS = (
    f"{PLUGIN_ID}.yml",
    "requirements.txt",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "examples",
    "haven_vlm_connector.py",
    "haven_vlm_config.py",
    "haven_vlm_engine.py",
    "haven_media_handler.py",
    "haven_vlm_utility.py",
    "haven_config",
    "haven_report",
    "haven_stash",
    "haven_tasks",
    "haven_utility",
    "vlm_engine",
)


def files() -> Iterator[Path]:
    """Every file of the plugin, relative to the repository."""
    for part in PARTS:
        source = ROOT / part
        found = sorted(source.rglob("*")) if source.is_dir() else [source]
        yield from (path.relative_to(ROOT) for path in found if path.is_file() and "__pycache__" not in path.parts)


def install(folder: Path) -> Path:
    """Copies the plugin to ``folder``, which must not exist. Returns ``folder``."""
    folder.mkdir(parents=True)
    for path in files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    return folder


def build(target: Path) -> Path:
    """Writes the zip: everything below one folder, the same bytes for the same files. Returns ``target``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files():
            entry = zipfile.ZipInfo(f"{PLUGIN_ID}/{path.as_posix()}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (ROOT / path).read_bytes())
    return target


if __name__ == "__main__":
    sys.stdout.write(f"{build(ROOT / 'dist' / f'{PLUGIN_ID}.zip').relative_to(ROOT)}\n")
