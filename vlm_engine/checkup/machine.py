"""The part of a check about this machine: Python, packages, the decoder, the data folder.

Libraries are imported where they are tried: one that is missing or damaged is a finding.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from importlib import import_module, metadata
from pathlib import Path

from vlm_engine.checkup.values import Finding, Section, SectionKind, note, ok, wrong
from vlm_engine.errors import MediaError
from vlm_engine.watchdog import Watchdog

PACKAGES = (
    *("av>=14,<19", "pillow>=11", "numpy>=2", "aiohttp>=3.11,<4"),
    *("pybase64>=1.4", "pydantic>=2.10,<3", "pyyaml>=6"),
)
"""The packages that the engine needs, as pyproject.toml has them: nothing else names them both in
an installed engine and in the plugin."""

_IMPORT_NAMES = {"pillow": "PIL", "pyyaml": "yaml"}
_PACKAGE = re.compile(r"(?P<name>\w+)>=(?P<least>[\d.]+)(,<(?P<below>[\d.]+))?")
_MB, _GB = 10**6, 10**9
_LEAST_FREE_BYTES, _ENOUGH_FREE_BYTES = 100 * _MB, _GB
_FULL = (errno.ENOSPC, errno.EDQUOT)
_STALL_S = 3.0
_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def machine_section(
    data_file: Path | None,
    *,
    packages: Sequence[str] = PACKAGES,
    free_bytes: Callable[[Path], int] = _free_bytes,
    stall_s: float = _STALL_S,
) -> Section:
    """Return what is found about this machine. Block for five seconds at most.

    ``data_file``: the file for answers; its folder is made if needed. None: answers are not kept.
    ``packages``: the packages that are needed, written like ``PACKAGES``.
    ``free_bytes``: returns the free space of the disk of a folder.
    ``stall_s``: seconds after which a disk counts as dead.
    """
    findings = (
        _python(),
        _packages(packages),
        *_decoder(),
        *_data_folder(data_file, free_bytes, stall_s),
    )
    return Section(SectionKind.MACHINE, "This machine", findings)


def _python() -> Finding:
    version = platform.python_version()
    memory_bytes = _memory_bytes()
    memory = f", {memory_bytes / _GB:.1f} GB of memory" if memory_bytes else ""
    return ok(
        "Python",
        f"{version} ({sys.executable}) on {platform.system()} {platform.machine()}{memory}",
        version=version,
        executable=sys.executable,
        memory_bytes=memory_bytes,
    )


def _memory_bytes() -> int | None:
    """Return the memory that this process may use; None if the system does not say."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return None
    for file in _MEMORY_LIMITS:
        try:
            sizes.append(int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # this container has no limit, or this is no container
    return min(sizes)


def _packages(packages: Sequence[str]) -> Finding:
    versions, faults = dict[str, str | None](), dict[str, str]()
    for package in packages:
        name, _, _ = package.partition(">=")
        try:
            versions[name] = _tried(package)
        except ImportError as error:
            faults[package], versions[name] = str(error), None
    if faults:
        install = " ".join(f'"{package}"' for package in faults)
        text = f'{"; ".join(faults.values())}. Run: "{sys.executable}" -m pip install {install}'
        return wrong("packages", text, **versions)
    return ok("packages", ", ".join(f"{each} {versions[each]}" for each in versions), **versions)


def _tried(package: str) -> str:
    """Return the version of a package that can be imported. Raise ``ImportError`` with the
    fault.
    """
    asked_for = _PACKAGE.fullmatch(package)
    if not asked_for:
        raise ValueError(f"{package!r}: not a package with the versions that will do")
    name = asked_for["name"]
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        raise ImportError(f"{name} is not installed") from None
    too_old = _numbers(version) < _numbers(asked_for["least"])
    if too_old or (asked_for["below"] and _numbers(version) >= _numbers(asked_for["below"])):
        raise ImportError(f"{name} {version} is too {'old' if too_old else 'new'}")
    try:
        import_module(_IMPORT_NAMES.get(name, name))
    except ImportError as error:
        raise ImportError(f"{name} {version} cannot be imported ({error})") from error
    return version


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _decoder() -> Iterator[Finding]:
    try:
        from vlm_engine.video.self_test import decoder_facts, try_decoding
    except ImportError as error:
        yield wrong("decoder", f"it cannot be used ({error}); see the packages above")
        return
    facts = decoder_facts()
    libraries = ", ".join(f"{name} {version}" for name, version in facts.libraries.items())
    missing = [name for name, is_there in facts.formats.items() if not is_there]
    finding = partial(note, "decoder") if missing else partial(ok, "decoder")
    text = (
        f"cannot decode {' and '.join(missing)}; install av from the package index"
        if missing
        else f"decodes {', '.join(facts.formats)}"
    )
    yield finding(
        f"{libraries}: {text}; {facts.processors} processors",
        processors=facts.processors,
        **facts.libraries,
        **facts.formats,
    )
    try:
        try_decoding()
    except MediaError as error:
        yield wrong("decoding", f"{error}. Install the package av again")
    else:
        yield ok("decoding", "a small video was made and read back")


def _data_folder(
    data_file: Path | None, free_bytes: Callable[[Path], int], stall_s: float
) -> Iterator[Finding]:
    if data_file is None:
        yield note(
            "data folder", "there is none, so answers are not kept, and a later run asks again"
        )
        return
    folder = data_file.absolute().parent

    def tried() -> int:
        _write(data_file)
        return free_bytes(folder)

    with closing(Watchdog(folder, stall_s)) as watchdog:
        try:
            free = watchdog.call(tried)
        except MediaError as error:  # it stalls
            yield wrong("data folder", str(error), folder=str(folder))
        except OSError as error:
            text = f"nothing can be written to {error.filename or folder} ({error.strerror})"
            yield wrong("data folder", f"{text}; {_remedy(error)}", folder=str(folder))
        else:
            yield ok("data folder", f"{folder} can be written", folder=str(folder))
            yield _disk(folder, free)


def _remedy(error: OSError) -> str:
    if error.errno in _FULL:
        return "free space on its disk"
    return "let the user that runs this write there, or name another data folder"


def _write(data_file: Path) -> None:
    """Write a file beside ``data_file`` and delete it. Raise ``OSError``."""
    data_file.parent.mkdir(parents=True, exist_ok=True)
    # With a buffer, closing would fail on a full disk, and the file would stay.
    with tempfile.NamedTemporaryFile(dir=data_file.parent, prefix=".check-", buffering=0) as file:
        file.write(bytes(4096))
        os.fsync(file.fileno())
    # Opening it would release the locks that this process has on an SQLite file.
    as_this_user = os.access in os.supports_effective_ids
    if data_file.exists() and not os.access(data_file, os.W_OK, effective_ids=as_this_user):
        raise PermissionError(None, "it is read-only", str(data_file))


def _disk(folder: Path, free: int) -> Finding:
    size = f"{free / _GB:.1f} GB" if free >= _GB else f"{free / _MB:.0f} MB"
    text = f"{size} free on the disk of {folder}"
    if free < _LEAST_FREE_BYTES:
        return wrong(
            "disk", f"{text}; free space there, or answers cannot be kept", free_bytes=free
        )
    if free < _ENOUGH_FREE_BYTES:
        return note("disk", f"{text}; that may be too little for a large queue", free_bytes=free)
    return ok("disk", text, free_bytes=free)
