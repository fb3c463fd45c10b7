"""The pip that installs the plugin's packages: its settings, and what its failures mean."""

from __future__ import annotations

import ast
import logging
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from haven.setup import SetupError, processes
from haven.setup.requirements import lock_of, read_lock

_log = logging.getLogger(__name__)
LIMIT_S = 1800.0
_ASK_LIMIT_S = 60.0
# Only wheels: a build from source would need a compiler, and would fail only after minutes.
_INSTALL = ["install", "--only-binary", ":all:", "--progress-bar", "off"]
_TAGS = """
try:
    from pip._vendor.packaging.tags import sys_tags
except ImportError:
    from packaging.tags import sys_tags
print(*sys_tags(), sep="\\n")
"""
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
_SETTING = re.compile(r"(?P<section>global|install|:env:)\.(?P<key>[\w-]+)=(?P<value>.*)")
_ORDER = ("global", "install", ":env:")  # a later one goes before an earlier one


def install(
    python: Sequence[str], requirements: Path, options: Sequence[str], temporary: Path, lock: int
) -> None:
    """Install what ``requirements.lock`` has. Where it has no wheel for this Python, install the
    newest versions that ``requirements.txt`` allows.

    ``python``: the command of the Python whose pip installs them.
    ``options``: more arguments of ``pip install``.
    ``temporary``: a folder for pip's temporary files.
    ``lock``: a file descriptor that pip keeps open.

    Raise ``SetupError`` with what pip said, and the remedy.
    """
    pip = [*python, "-u", "-m", "pip"]
    lacking = _without_wheel(python, requirements)
    if lacking:
        _log.warning(
            "This plugin was not tested with %s: it has no fixed version of %s for it. pip chooses "
            "the versions, by requirements.txt.",
            _this_python(),
            ", ".join(lacking),
        )
        wanted = ["-r", str(requirements)]
    else:
        wanted = ["--require-hashes", "-r", str(lock_of(requirements))]
    outcome = processes.run(
        [*pip, *_INSTALL, *options, *wanted],
        _report,
        limit_s=LIMIT_S,
        env={**pip_environment(pip), **temporary_files(temporary)},
        keep_open=(lock,),
    )
    if outcome.status != 0:
        raise SetupError(_explained(outcome, requirements, temporary.parent))


def _without_wheel(python: Sequence[str], requirements: Path) -> list[str]:
    outcome = processes.run([*python, "-c", _TAGS], limit_s=_ASK_LIMIT_S, kept_lines=10_000)
    if outcome.status != 0:
        _log.debug("The tags of this Python are not known: %s", outcome.last_lines[-1:])
        return []
    tags = set(outcome.last_lines)
    packages = read_lock(lock_of(requirements))
    return [package.name for package in packages if not package.has_wheel_for(tags)]


def by_hand(requirements: Path) -> str:
    """Return the command that installs the packages for the Python that Stash uses."""
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    option = "--break-system-packages " if marker.exists() else ""
    return f'{sys.executable} -m pip install {option}-r "{requirements}"'


def no_pip() -> str:
    """Return the message for a Python that cannot install packages."""
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


def temporary_files(folder: Path) -> dict[str, str]:
    """Return the variables that make ``folder`` the place of a child's temporary files."""
    return dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))


# --- failures ---

_HASH, _NO_VERSION = "DO NOT MATCH THE HASHES", "No matching distribution found"
_DISK = r"No space left|Errno 28\b|Errno 122\b|quota exceeded|WinError 112|not enough space"
_FORBIDDEN = r"Permission denied|Read-only file system|Errno (13|30|1)\b|WinError 5\b"
_CAUSES = {
    _HASH: (
        "A package arrived that is not the one that this version of the plugin was made with, so "
        "it was refused. Start the task again. If this stays, something between this machine and "
        "the package index changes files: check the index and the proxy that pip is set to."
    ),
    _DISK: "The disk of {folder} is full. Free some space there, and start the task again.",
    r"ProxyError|Cannot connect to proxy|Tunnel connection failed": (
        "The proxy does not let pip through. Correct HTTPS_PROXY in the environment of Stash, or "
        "pip's own setting, and start the task again."
    ),
    r"CERTIFICATE_VERIFY_FAILED|SSLError|certificate verify failed": (
        "The certificate of the package index is not trusted here. Check this machine's clock. If "
        "a proxy of yours opens connections, name the file of its certificates in PIP_CERT in the "
        "environment of Stash. Then start the task again."
    ),
    r"\b(401|403) (Client )?(Error|Unauthorized|Forbidden)|status code 40[13]": (
        "The package index does not let this machine in. Correct the user and password of the "
        "index that pip is set to, and start the task again."
    ),
    r"WARNING: Retrying|NewConnectionError|timed out|name resolution|[Cc]onnection (refused|reset)"
    r"|Max retries exceeded|unreachable|IncompleteRead|Errno 104": (
        "The package index cannot be reached{proxy}. Check that this machine, or the container "
        "that Stash runs in, has a connection to the internet (behind a proxy: HTTPS_PROXY in the "
        "environment of Stash), and start the task again. It is needed only once."
    ),
    r"WinError 206|Enable Long Paths": (
        "The path {folder} is too long for Windows. Turn long paths on, or name a shorter folder "
        "in the environment variable HAVEN_VLM_DATA_DIR, and start the task again."
    ),
    _FORBIDDEN: (
        "Something in {folder} cannot be written. Let the user that runs Stash write there, or "
        "name another folder in the environment variable HAVEN_VLM_DATA_DIR."
    ),
}
_NO_WHEEL = (
    "There are no ready-made packages for {python}. The plugin runs with Python 3.11 to 3.14 on 64 "
    "bits: Linux (x86-64, arm64), Windows (x86-64) and macOS. Name such a Python in Stash's "
    "settings (System, Python Executable Path), or run Stash on such a system."
)
_NOT_LOCKED = (
    "The package index that pip is set to does not answer, or does not have the versions that this "
    "plugin installs. Set pip to one that has them (see `pip config list`), and start the task "
    "again."
)


def explain(error: OSError, folder: Path) -> str:
    """Return what an error of the system means for the packages in ``folder``, and the remedy."""
    text = f"{error} (Errno {error.errno})"
    found = (_CAUSES[cause] for cause in (_DISK, _FORBIDDEN) if re.search(cause, text))
    remedy = next(found, "").format(folder=folder)
    return f"The packages that the plugin needs cannot be installed in {folder}. {remedy} ({error})"


def _explained(outcome: processes.Outcome, requirements: Path, folder: Path) -> str:
    complaints = _complaints(outcome.last_lines)
    text = "\n".join(outcome.last_lines)
    found = (message for cause, message in _CAUSES.items() if re.search(cause, text))
    message = next(found, "") or _about_versions(text, requirements)
    if outcome.status < 0:
        message = message or "The system ended pip: it may be short of memory."
    message = message or "Start the task again."
    return (
        "The packages that the plugin needs could not be installed. "
        + message.format(folder=folder, python=_this_python(), proxy=_proxy())
        + " pip said:\n"
        + "\n".join(complaints)
        + "\nThe packages can also be installed by hand, for the Python that Stash uses: "
        + by_hand(requirements)
    )


def _about_versions(text: str, requirements: Path) -> str:
    if not re.search(f"{_NO_VERSION}|is not a supported wheel", text):
        return ""
    is_locked = any(f"{_NO_VERSION} for {package}" in text for package in _locked(requirements))
    return _NOT_LOCKED if is_locked else _NO_WHEEL


def _locked(requirements: Path) -> list[str]:
    return [str(package) for package in read_lock(lock_of(requirements))]


def _proxy() -> str:
    from urllib.request import getproxies

    url = getproxies().get("https", "")
    return f" through the proxy {_without_password(url)}" if url else ""


def _without_password(text: str) -> str:
    return re.sub(r"//[^/\s@]+@", "//…@", text)


def _this_python() -> str:
    bits = 64 if sys.maxsize > 2**32 else 32
    system = platform.system()
    return f"Python {platform.python_version()} on {system} {platform.machine()}, {bits} bits"


def _complaints(lines: Sequence[str]) -> list[str]:
    """Return what a user needs of pip's last lines: its errors, and trouble with the connection."""
    retries = [line for line in lines if line.startswith("WARNING: Retrying")]
    first_error = next((i for i, line in enumerate(lines) if line.startswith("ERROR")), len(lines))
    quoted = [*retries[-1:], *lines[first_error:][:8]] or list(lines[-5:]) or ["nothing"]
    return [_without_password(line) for line in quoted]


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


# --- settings ---


def pip_environment(pip: Sequence[str]) -> dict[str, str]:
    """Return the environment for ``pip`` (a command): this process's, with only those settings of
    pip that reach packages.
    """
    found = {section: dict[str, str]() for section in _ORDER}
    for line in processes.run(
        [*pip, "config", "list"], limit_s=_ASK_LIMIT_S, kept_lines=1000
    ).last_lines:
        setting = _SETTING.fullmatch(line)
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
