"""The private folder of packages for Pythons that lack them, and the pip that fills it."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from haven.setup import SetupError, processes
from haven.setup.files import try_lock
from haven.setup.requirements import read_requirements

_log = logging.getLogger(__name__)
_BUILD_LIMIT_S = 1800.0
_UNUSED_AFTER_S = 7 * 24 * 3600.0
_VENV, _FOLDER = "venv", "folder"
# Only wheels: a build from source would need a compiler, and would fail only after minutes. pip
# then takes the newest version that has one, or says at once that there is none.
_INSTALL = ["install", "--only-binary", ":all:", "--progress-bar", "off"]
# Imports what it is given, first from the folder that it is given, if any.
_TRY = (
    "import importlib, sys; sys.path[:0] = filter(None, sys.argv[1:2]); "
    "[importlib.import_module(name) for name in sys.argv[2:]]"
)

_ASK_LIMIT_S = 60.0
# Where packages come from, and how they are reached. All else (target, prefix, user, dry-run,
# no-deps, constraint …) would send them somewhere else, or have only some of them installed.
_KEPT = frozenset(
    "index-url extra-index-url no-index find-links trusted-host proxy cert client-cert timeout "
    "default-timeout retries"
    " keyring-provider cache-dir no-cache-dir use-feature use-deprecated".split()
)
_SET = {
    "PIP_CONFIG_FILE": os.devnull,  # none of pip's files is read
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}
_LINE = re.compile(r"(?P<section>global|install|:env:)\.(?P<key>[\w-]+)=(?P<value>.*)")
_ORDER = ("global", "install", ":env:")  # a later one goes before an earlier one


@dataclass(frozen=True)
class Environment:
    """A folder of packages for one Python, one platform and one ``requirements.txt``.

    It is complete when it has the marker file, which is written last. The marker's text is the
    kind: a virtual environment, or, if Python cannot make one, a plain folder.
    """

    folder: Path
    requirements: Path

    @classmethod
    def for_this_python(cls, data_dir: Path, requirements: Path) -> Environment:
        """Return the environment that fits this process. Its folder need not exist yet."""
        fingerprint = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
        return cls(data_dir / "python" / f"{_platform()}-{fingerprint}", requirements)

    @property
    def _marker(self) -> Path:
        return self.folder / ".complete"

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
    def _by_hand(self) -> str:
        return f'{sys.executable} -m pip install -r "{self.requirements}"'

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
        left.

        Raise ``SetupError`` with what pip said, and the remedy.
        """
        can_venv = _has("venv") and _has("ensurepip")
        if not can_venv and not _has("pip"):
            raise SetupError(_no_pip())
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder.parent / "lock") as lock:
            if self.is_complete:
                return
            if self.folder.exists():
                _log.info("Removing packages that were installed only in part: %s", self.folder)
                self._clear()
            _log.info(
                "Installing the packages that the plugin needs into %s. This happens once, and "
                "takes a few minutes.",
                self.folder,
            )
            kind = _VENV if can_venv and self._make_venv(lock) else _FOLDER
            self._install(kind, lock)
            self._marker.write_text(kind, encoding="utf-8")
        _log.info("The packages are installed.")

    def _make_venv(self, lock: IO[bytes]) -> bool:
        outcome = processes.run(
            [sys.executable, "-I", "-m", "venv", str(self.folder)],
            limit_s=_BUILD_LIMIT_S,
            keep_open=_kept(lock),
        )
        if outcome.status == 0:
            return True
        said = " ".join(outcome.last_lines[-3:])
        if not _has("pip"):
            raise SetupError(f"Python could not make a virtual environment ({said}). {_no_pip()}")
        _log.warning(
            "Python could not make a virtual environment (%s); a plain folder is used instead.",
            said,
        )
        self._clear()
        return False

    def _clear(self) -> None:
        # Moved first: a child of a killed child may still be writing there.
        old = self.folder.with_name(f"{self.folder.name}.old-{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)

    def _install(self, kind: str, lock: IO[bytes]) -> None:
        # Packages that Stash's PYTHONPATH shows must not count as there (-I); with --target none
        # does.
        packages = "" if kind == _VENV else str(self.folder / "packages")
        if packages:
            Path(packages).mkdir(parents=True)
        python = [sys.executable, "-P"] if packages else [str(self.python), "-I"]
        pip = [*python, "-u", "-m", "pip"]
        command = [
            *pip,
            *_INSTALL,
            *(["--target", packages] if packages else []),
            "-r",
            str(self.requirements),
        ]
        outcome = processes.run(
            command,
            _report,
            limit_s=_BUILD_LIMIT_S,
            env=_pip_environment(pip),
            keep_open=_kept(lock),
        )
        if outcome.status != 0:
            raise SetupError(
                "The packages that the plugin needs could not be installed. pip said:\n"
                + "\n".join(_complaints(outcome.last_lines))
                + f"\nCheck the connection and the free space of {self.folder.parent}, and start"
                " the task again, or install them yourself for the Python that Stash uses:"
                f" {self._by_hand}"
            )
        self._try([*python, "-c", _TRY, packages], lock)

    def _try(self, command: Sequence[str], lock: IO[bytes]) -> None:
        """Raise ``SetupError`` if the packages cannot be imported: pip can succeed and install
        nothing.
        """
        names = [requirement.import_name for requirement in read_requirements(self.requirements)]
        outcome = processes.run([*command, *names], limit_s=_BUILD_LIMIT_S, keep_open=_kept(lock))
        if outcome.status != 0:
            reason = [f"Python ended with {outcome.status}", *outcome.last_lines][-1]
            raise SetupError(
                f"pip installed the packages that the plugin needs into {self.folder},"
                f" but they cannot be imported from there: {reason}. Check that this machine's"
                " Python is complete and start the task again, or install the packages yourself"
                f" for the Python that Stash uses: {self._by_hand}"
            )


def _complaints(lines: Sequence[str]) -> list[str]:
    """Return what a user needs of pip's last lines: its errors, and trouble with the connection."""
    retries = [line for line in lines if line.startswith("WARNING: Retrying")]
    errors = [line for line in lines if line.startswith("ERROR")]
    return [*retries[-1:], *errors] or list(lines[-5:]) or ["nothing"]


def _last_use(folder: Path) -> float:
    marker = folder / ".complete"
    return (marker if marker.exists() else folder).stat().st_mtime


def _platform() -> str:
    # Such as cpython-312-x86_64-linux-musl: it tells apart all that compiled packages depend on.
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    return suffix.strip(".").removesuffix(".so").removesuffix(".pyd")


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _report(line: str) -> None:
    """Log what a user wants to know of pip's output: a line for each package, and trouble."""
    if line.startswith(("Collecting ", "Processing ")):
        _log.info("Getting %s", line.split()[1].rsplit("/", 1)[-1])
    elif line.startswith("WARNING: Retrying"):
        _log.warning("pip: %s", line)
    elif line.startswith("Installing collected packages"):
        _log.info("All are here; unpacking them.")
    else:
        _log.debug("pip: %s", line)


def _no_pip() -> str:
    commands = {
        "apk": "apk add py3-pip",
        "apt-get": "apt install python3-venv python3-pip",
        "dnf": "dnf install python3-pip",
        "pacman": "pacman -S python-pip",
    }
    command = next(
        (command for tool, command in commands.items() if shutil.which(tool)),
        "the installer of python.org has it",
    )
    return (
        f"The plugin needs some Python packages, and {sys.executable}"
        " has neither pip nor ensurepip to install them."
        f" Install pip where Stash runs, in its container if it runs in one ({command}); then "
        "start the task again."
    )


def _kept(lock: IO[bytes]) -> tuple[int, ...]:
    # A pip that outlives its killed parent still holds the lock, so that nobody builds into its
    # folder.
    return (lock.fileno(),)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold the lock file. The system releases it when this process ends, however it ends."""
    give_up_s = time.monotonic() + _BUILD_LIMIT_S
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


def _pip_environment(pip: Sequence[str]) -> dict[str, str]:
    """Return the environment for ``pip`` (a command): this process's, with only those settings of
    pip that reach packages.
    """
    found = {section: dict[str, str]() for section in _ORDER}
    for line in processes.run(
        [*pip, "config", "list"], limit_s=_ASK_LIMIT_S, kept_lines=1000
    ).last_lines:
        setting = _LINE.fullmatch(line)
        if setting and setting["key"] in _KEPT:
            found[setting["section"]][setting["key"]] = _value(setting["value"])
    kept = {
        f"PIP_{key.upper().replace('-', '_')}": value
        for section in _ORDER
        for key, value in found[section].items()
    }
    others = {
        name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")
    }
    return {**others, **kept, **_SET}


def _value(text: str) -> str:
    """Return a value of ``pip config list``. Several values are lines in a file, and words in the
    environment.
    """
    try:
        return " ".join(str(ast.literal_eval(text)).split("\n")).strip()
    except (SyntaxError, ValueError):
        return text
