"""Release of one commit (``make release``), in ``dist/release``.

- ``index.yml`` and the zip that it names: a source of plugins for Stash, which unpacks that zip
  into the plugin's folder as it is;
- the zip to unpack by hand, with one folder in it;
- the engine's wheel and source distribution.

Everything is made from the commit, whatever the working tree holds. The zips and the index are the
same bytes on every machine; the engine's two files are for the same Python and setuptools.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sandbox.plugin import PLUGIN_ID, ROOT
from tools.package import Entry, plugin_entries, write_zip

_TARGET = ROOT / "dist" / "release"
_BUILD = (
    "import sys; from setuptools import build_meta as backend; folder = sys.argv[1]; "
    "backend.build_wheel(folder); backend.build_sdist(folder)"
)


def main() -> None:
    """Make ``dist/release`` anew from the last commit, and list it."""
    for name in _git("status", "--porcelain", "--untracked-files=no").decode().splitlines():
        sys.stderr.write(f"not in the release, because it is not committed: {name[3:]}\n")
    for path in release(_TARGET):
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


def release(target: Path) -> list[Path]:
    """Make the folder ``target`` anew with the release of the last commit. Return its files."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    time_s = int(_git("show", "--no-patch", "--format=%ct", "HEAD"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _export(root)
        package = source_of_plugin(root, target, time_s)
        by_hand = plugin_entries(root, f"{PLUGIN_ID}/")
        write_zip(target / f"{package.stem}-by-hand.zip", by_hand, time_s)
        _build_engine(root, target, time_s)
    return sorted(target.iterdir())


def source_of_plugin(root: Path, target: Path, time_s: float) -> Path:
    """Write the index of a source, and its zip with the plugin as it is in ``root``, into the
    folder ``target``. Return the zip.
    """
    manifest = yaml.safe_load((root / f"{PLUGIN_ID}.yml").read_text(encoding="utf-8"))
    name = f"{PLUGIN_ID}-{manifest['version']}.zip"
    package = write_zip(target / name, plugin_entries(root), time_s)
    (target / "index.yml").write_bytes(_index(manifest, package, time_s))
    return package


def _export(root: Path) -> None:
    """Write the files of the last commit, with the ends of lines that they have in it."""
    archive = _git("-c", "core.autocrlf=false", "-c", "core.eol=lf", "archive", "HEAD")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(root, filter="data")


def _index(manifest: dict[str, Any], package: Path, time_s: float) -> bytes:
    """Return the index of a source that has this one plugin."""
    entry = {
        "id": PLUGIN_ID,
        "name": manifest["name"],
        "version": manifest["version"],
        "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_s)),
        "path": package.name,
        "sha256": hashlib.sha256(package.read_bytes()).hexdigest(),
        "requires": [],
        "metadata": {"description": manifest["description"]},
    }
    text = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=1000)
    return text.encode()


def _build_engine(root: Path, target: Path, time_s: float) -> None:
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(int(time_s)),
        "LC_ALL": "C",
        "PYTHONHASHSEED": "0",
    }
    with tempfile.TemporaryDirectory() as folder:
        built = subprocess.run(
            [sys.executable, "-c", _BUILD, folder],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if built.returncode:
            sys.exit(built.stdout.decode(errors="replace"))
        (wheel,) = Path(folder).glob("*.whl")
        (sdist,) = Path(folder).glob("*.tar.gz")
        write_zip(target / wheel.name, _zip_entries(wheel), time_s, zipfile.ZIP_DEFLATED)
        (target / sdist.name).write_bytes(_plain_tar(sdist, time_s))


def _zip_entries(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)


def _plain_tar(path: Path, time_s: float) -> bytes:
    """Return a source distribution without what differs from machine to machine: times, owners,
    permissions, order.
    """
    plain = io.BytesIO()
    with (
        tarfile.open(path) as source,
        gzip.GzipFile("", "wb", fileobj=plain, mtime=time_s) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as copy,
    ):
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            entry = tarfile.TarInfo(member.name)
            entry.type, entry.size, entry.mtime = member.type, member.size, int(time_s)
            entry.mode = 0o755 if member.isdir() else 0o644
            copy.addfile(entry, source.extractfile(member) if member.isfile() else None)
    return plain.getvalue()


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("A release is made from a git checkout with at least one commit.")
    return done.stdout


if __name__ == "__main__":
    main()
