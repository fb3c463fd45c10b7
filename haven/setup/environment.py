"""The private folder of packages for Pythons that lack them."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from haven.setup import SetupError, processes
from haven.setup.files import try_lock, write_whole
from haven.setup.pip import LIMIT_S, by_hand, install, no_pip, temporary_files
from haven.setup.requirements import fingerprint, read_requirements

_log = logging.getLogger(__name__)
_UNUSED_AFTER_S = 7 * 24 * 3600.0
_VENV, _FOLDER = "venv", "folder"
_OLD = ".old-"
_ROOM_MB = 400  # the packages, and what pip has downloaded of them
# Imports what it is given, first from the folder that it is given, if any.
_TRY = (
    "import importlib, sys; sys.path[:0] = filter(None, sys.argv[1:2]); "
    "[importlib.import_module(name) for name in sys.argv[2:]]"
)


@dataclass(frozen=True)
class Environment:
    """A folder of packages for one Python, one platform, one ``requirements.txt`` and its lock.

    It is complete when it has the marker file, which is written last. The marker's text is the
    kind: a virtual environment, or, if Python cannot make one, a plain folder.
    """

    folder: Path
    requirements: Path

    @classmethod
    def for_this_python(cls, data_dir: Path, requirements: Path) -> Environment:
        """Return the environment that fits this process. Its folder need not exist yet."""
        folder = data_dir / "python" / f"{_platform()}-{fingerprint(requirements)}"
        return cls(folder, requirements)

    @property
    def _marker(self) -> Path:
        return self.folder / ".complete"

    @property
    def _temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def _lock(self) -> Path:
        return self.folder.parent / "lock"

    @property
    def is_complete(self) -> bool:
        """True if it can be used."""
        return self._marker.is_file() and (not self.is_venv or self.python.exists())

    @property
    def is_venv(self) -> bool:
        """True if it has a Python of its own."""
        return self._marker.read_text(encoding="utf-8").strip() == _VENV

    @property
    def python(self) -> Path:
        """The Python of a virtual environment."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def packages(self) -> Path:
        """The folder of its packages."""
        if not self.is_venv:
            return self.folder / "packages"
        major, minor = sys.version_info[:2]
        return self.folder / (
            "Lib/site-packages" if os.name == "nt" else f"lib/python{major}.{minor}/site-packages"
        )

    @property
    def is_being_built(self) -> bool:
        """True if another process installs packages now."""
        try:
            with self._lock.open("ab") as lock:
                return not try_lock(lock)
        except OSError:
            return False

    def note_use(self) -> None:
        """Record that it is in use, and remove those of this platform that were not used for a
        week.
        """
        with contextlib.suppress(OSError):
            os.utime(self._marker)
        for other in self.folder.parent.glob(f"{_platform()}-*"):
            with contextlib.suppress(OSError):
                if other != self.folder and time.time() - _last_use(other) > _UNUSED_AFTER_S:
                    _log.info("Removing an old set of packages: %s", other)
                    shutil.rmtree(other)

    def spoil(self) -> None:
        """Make the next run build it again."""
        self._marker.unlink(missing_ok=True)

    def build(self) -> None:
        """Build it, unless another process has while this one waited. Remove what a killed process
        left. What fails leaves nothing.

        Raise ``OSError``, or ``SetupError`` with what pip said, and the remedy.
        """
        can_venv = _has("venv") and _has("ensurepip")
        if not can_venv and not _has("pip"):
            raise SetupError(no_pip())
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self._lock) as lock:
            self._remove_left_over()
            if not self.is_complete:
                self._build(can_venv, lock)

    def _build(self, can_venv: bool, lock: IO[bytes]) -> None:
        if self.folder.exists():
            _log.info("Removing packages that were installed only in part: %s", self.folder)
            self._clear()
        _require_room(self.folder.parent)
        _log.info(
            "Installing the packages that the plugin needs into %s. This happens once, and "
            "takes a few minutes.",
            self.folder,
        )
        try:
            self._temporary.mkdir(parents=True)
            kind = _VENV if can_venv and self._make_venv(lock) else _FOLDER
            self._install(kind, lock)
            shutil.rmtree(self._temporary, ignore_errors=True)
            write_whole(self._marker, kind)
        except (OSError, SetupError):
            self._clear()
            raise
        _log.info("The packages are installed.")

    def _make_venv(self, lock: IO[bytes]) -> bool:
        outcome = processes.run(
            [sys.executable, "-I", "-m", "venv", str(self.folder)],
            limit_s=LIMIT_S,
            env={**os.environ, **temporary_files(self._temporary)},
            keep_open=_kept(lock),
        )
        if outcome.status == 0:
            return True
        reason = " ".join(outcome.last_lines[-3:])
        if not _has("pip"):
            raise SetupError(f"Python could not make a virtual environment ({reason}). {no_pip()}")
        _log.warning(
            "Python could not make a virtual environment (%s); a plain folder is used instead.",
            reason,
        )
        self._clear()
        self._temporary.mkdir(parents=True)
        return False

    def _clear(self) -> None:
        # Moved first: a child of a killed child may still be writing there.
        old = self.folder.with_name(f"{self.folder.name}{_OLD}{os.getpid()}")
        with contextlib.suppress(OSError):  # Windows refuses while something in it is in use
            self.folder.rename(old)
        for folder in (old, self.folder):
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_left_over(self) -> None:
        for old in self.folder.parent.glob(f"*{_OLD}*"):
            shutil.rmtree(old, ignore_errors=True)

    def _install(self, kind: str, lock: IO[bytes]) -> None:
        # Packages that Stash's PYTHONPATH shows must not count as there (-I); with --target none
        # does.
        packages = "" if kind == _VENV else str(self.folder / "packages")
        if packages:
            Path(packages).mkdir(parents=True)
        python = [sys.executable, "-P"] if packages else [str(self.python), "-I"]
        options = ["--target", packages] if packages else []
        install(python, self.requirements, options, self._temporary, lock.fileno())
        self._try([*python, "-c", _TRY, packages], lock)

    def _try(self, command: Sequence[str], lock: IO[bytes]) -> None:
        """Raise ``SetupError`` if the packages cannot be imported: pip can succeed and install
        nothing.
        """
        names = [requirement.import_name for requirement in read_requirements(self.requirements)]
        outcome = processes.run([*command, *names], limit_s=LIMIT_S, keep_open=_kept(lock))
        if outcome.status != 0:
            reason = [f"Python ended with {outcome.status}", *outcome.last_lines][-1]
            raise SetupError(
                f"pip installed the packages that the plugin needs into {self.folder},"
                f" but they cannot be imported from there: {reason}. Check that this machine's"
                " Python is complete and start the task again, or install the packages yourself"
                f" for the Python that Stash uses: {by_hand(self.requirements)}"
            )


def _require_room(folder: Path) -> None:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < _ROOM_MB:
        raise SetupError(
            f"The packages that the plugin needs take up to {_ROOM_MB} MB, and {free_mb} MB are "
            f"free on the disk of {folder}. Free some space there, or name a folder on another "
            "disk in the environment variable HAVEN_VLM_DATA_DIR."
        )


def _last_use(folder: Path) -> float:
    marker = folder / ".complete"
    return (marker if marker.exists() else folder).stat().st_mtime


def _platform() -> str:
    # Such as cpython-312-x86_64-linux-musl: it tells apart all that compiled packages depend on.
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    return suffix.strip(".").removesuffix(".so").removesuffix(".pyd")


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _kept(lock: IO[bytes]) -> tuple[int, ...]:
    # A pip that outlives its killed parent still holds the lock, so that nobody builds into its
    # folder.
    return (lock.fileno(),)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold the lock file. The system releases it when this process ends, however it ends."""
    give_up_s = time.monotonic() + LIMIT_S
    waiting = False
    with path.open("ab") as lock:
        while not try_lock(lock):
            if not waiting:
                _log.info("Another task is installing the packages; waiting for it.")
                waiting = True
            if time.monotonic() > give_up_s:
                raise SetupError(
                    f"Another process has held {path} for half an hour. End it, and start the "
                    "task again."
                )
            time.sleep(0.2)
        yield lock
