"""Find files on this machine by name and size, in a few seconds, with what blocks left behind."""

from __future__ import annotations

import os
import re
import string
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import TypeAlias, TypeVar

NameAndSize: TypeAlias = tuple[str, int]

_T = TypeVar("_T")
_MOST_LEVELS = 8
_MOST_FOLDERS = 200_000
_LINK_LEVELS = 2  # a link counts as so many folders, so that the folder itself is found first
_NEVER = frozenset(("/proc", "/sys", "/dev"))
_OF_SYSTEM = frozenset(
    "bin boot dev etc lib lib32 lib64 libx32 lost+found nix proc run sbin snap sys tmp usr"
    " var".split()
)
"""Folders of ``/`` in which nobody keeps videos."""
_SKIPPED = frozenset(
    (
        *("$recycle.bin", "system volume information", "windows", "program files"),
        *("program files (x86)", "programdata", "appdata", "lost+found", "node_modules"),
        *("site-packages", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
        *(("library",) if sys.platform == "darwin" else ()),
    )
)
_FILE_SYSTEMS = frozenset(
    "9p bcachefs btrfs ceph cifs exfat ext2 ext3 ext4 f2fs fuseblk hfsplus jfs nfs nfs4 ntfs ntfs3"
    " smb3 vfat virtiofs xfs zfs".split()
)


def loose(name: str) -> str:
    """Return ``name`` so that it equals names of other capitals, or with accents made otherwise."""
    return unicodedata.normalize("NFC", name).lower()


def is_skipped(name: str) -> bool:
    """Return True for the ``loose`` name of a hidden folder, or of one of the system's."""
    return name.startswith(".") or name in _SKIPPED


def within(limit_s: float, work: Callable[[], _T]) -> _T | None:
    """Return what ``work`` returns, or None if it takes longer. Its thread is then left behind."""
    results: list[_T] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="search", daemon=True)
    thread.start()
    thread.join(limit_s)
    return results[0] if results else None


def find_files(
    sizes: Mapping[str, Collection[int]],
    folders: Collection[str],
    roots: Sequence[Path],
    limit_s: float,
) -> dict[NameAndSize, list[Path]]:
    """Return the files below ``roots`` that have one of these names, and its size. Stop after
    ``limit_s`` seconds.

    ``sizes``: the sizes in bytes of the files of each name.
    ``folders``: names of folders in which they may be; those are searched first. All names are
    ``loose``, also those of the result.

    Hidden folders, those of the system and those that cannot be read are left out, and no folder
    is searched twice.
    """
    ends_s = time.monotonic() + limit_s
    searches = [_Search(root, sizes, folders, frozenset(map(str, roots)), ends_s) for root in roots]
    # One thread for each: a dead network share holds up only its own.
    threads = [threading.Thread(target=each.run, name="search", daemon=True) for each in searches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_s - time.monotonic()))
    found: dict[NameAndSize, list[Path]] = {}
    for search in searches:
        for name_and_size, path in tuple(search.found):
            found.setdefault(name_and_size, []).append(path)
    return found


@dataclass(slots=True)
class _Search:
    """A search below one of ``roots``, folders of small rank first."""

    root: Path
    sizes: Mapping[str, Collection[int]]
    folders: Collection[str]
    roots: Collection[str]
    ends_s: float
    found: list[tuple[NameAndSize, Path]] = field(default_factory=list)

    def run(self) -> None:
        """Search until everything is seen or the time is over."""
        order = count()
        queue = [(0, next(order), str(self.root))]
        seen: set[tuple[int, int]] = set()
        while queue and len(seen) < _MOST_FOLDERS and time.monotonic() < self.ends_s:
            rank, _, folder = heappop(queue)
            try:
                status = os.stat(folder)  # noqa: PTH116  (a Path of each folder takes long)
                key = (status.st_dev, status.st_ino)
                if key in seen:
                    continue
                seen.add(key)
                for step, inner in self._inside(folder):
                    if rank + step <= _MOST_LEVELS:
                        heappush(queue, (rank + step, next(order), inner))
            except OSError:
                continue  # nothing that cannot be read is proposed

    def _inside(self, folder: str) -> Iterator[tuple[int, str]]:
        """Yield the folders in ``folder`` with the levels that they count; keep the files that are
        wanted.
        """
        with os.scandir(folder) as entries:
            for entry in entries:
                if time.monotonic() >= self.ends_s:
                    return
                name = loose(entry.name)
                with suppress(OSError):  # a link in a circle; the other entries are good
                    if name in self.sizes and entry.is_file():
                        self._keep(name, entry)
                    elif entry.is_dir() and self._is_searched(name, entry.path):
                        step = 0 if name in self.folders else 1
                        yield step + (_LINK_LEVELS if entry.is_symlink() else 0), entry.path

    def _keep(self, name: str, entry: os.DirEntry[str]) -> None:
        size = entry.stat().st_size
        if size in self.sizes[name]:
            self.found.append(((name, size), Path(entry.path)))

    def _is_searched(self, name: str, path: str) -> bool:
        if path in _NEVER or path in self.roots:
            return False
        return name in self.folders or not is_skipped(name)


def default_roots(mounts: Path = Path("/proc/self/mounts")) -> tuple[Path, ...]:
    """Return the folders below which people keep videos: disks, network shares, this user's home.

    Ask only the system, not the disks: one of them may be dead. ``mounts``: Linux's list of them.
    """
    if sys.platform == "win32":
        places = [f"{letter}:\\" for letter in string.ascii_uppercase[2:]]
    elif sys.platform == "darwin":
        places = [*_inner_folders("/Volumes"), str(Path.home())]
    else:
        outermost = [path for path in _inner_folders("/") if path.lstrip("/") not in _OF_SYSTEM]
        places = [*outermost, *_mounted(mounts), str(Path.home())]
    return tuple(map(Path, dict.fromkeys(places)))


def _inner_folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.path
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except OSError:
        return []


def _mounted(mounts: Path) -> list[str]:
    """Return where Linux has disks and shares, except those of the system."""
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return []
    fields = [os.fsdecode(line).split(" ") for line in lines]
    # Blanks and the like are written as \040.
    places = [
        re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), place)
        for _, place, kind, *_ in fields
        if kind in _FILE_SYSTEMS or kind.startswith("fuse.")
    ]
    return [place for place in places if _may_hold_videos(place)]


def _may_hold_videos(place: str) -> bool:
    is_of_system = place.split("/")[1] in {"", *_OF_SYSTEM}
    return not is_of_system or place.startswith(("/run/media/", "/var/mnt/"))
