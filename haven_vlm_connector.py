"""The entry point: looks at the Python that it is run by, and hands over to ``haven.tasks.entry``.

Pythons back to 2.7 must be able to read this file: they say here that they are too old.
"""

import os
import sys

# Stash adds an empty part to PYTHONPATH if there was none. It means the working directory, which is
# Stash's: nothing there may be imported, by this process or one that it starts.
_path = os.environ.get("PYTHONPATH", "")
if "" in _path.split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in _path.split(os.pathsep) if part)
    try:
        _here = os.getcwd()  # noqa: PTH109
    except OSError:  # somebody has removed it
        _here = ""
    sys.path[1:] = [part for part in sys.path[1:] if part not in ("", _here)]

_plugin = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
if _plugin not in sys.path:  # as with PYTHONSAFEPATH
    sys.path.insert(0, _plugin)

_HOW = "and name it in Stash's settings: System, Python Executable Path."
_refusal = ""
if sys.version_info < (3, 11):  # noqa: UP036
    _refusal = (  # noqa: UP032
        "The plugin needs Python 3.11 or later; this is {} ({}). Install a later one, "
    ).format(sys.version.split()[0], sys.executable) + _HOW
else:
    import importlib.util

    _lacking = []
    # Some Pythons are installed or built without them.
    for _part in ("zlib", "_ssl", "_sqlite3", "_ctypes", "unicodedata"):
        try:
            __import__(_part)
        except ImportError:
            _lacking.append(_part.lstrip("_"))
    if importlib.util.find_spec("asyncio") is None:  # importing it takes long
        _lacking.append("asyncio")
    if _lacking:
        _refusal = (
            "Python {} ({}) is not complete: it lacks {}. Install all of it (Debian: apt install "
            "python3 python3-venv python3-pip; Alpine: apk add python3 py3-pip; a Python that you "
            "built: with the headers of OpenSSL, SQLite, libffi and zlib), or install another one "
        ).format(sys.version.split()[0], sys.executable, ", ".join(_lacking)) + _HOW

if _refusal:
    if len(sys.argv) > 1:
        sys.stderr.write(_refusal + "\n")
        sys.exit(2)
    sys.stdin.read()
    sys.stderr.write("\x01e\x02" + _refusal + "\n")
    try:
        import json
    except ImportError:
        pass  # Stash takes plain text as well
    else:
        _refusal = json.dumps({"error": _refusal})
    sys.stdout.write(_refusal)
    sys.exit(1)

try:
    from haven.tasks.entry import main, prepare_worker, run_for_stash
except (ImportError, SyntaxError):
    # Stash is replacing the files one by one. A page gets the message if the exit code is 0.
    if len(sys.argv) > 1 or __name__ != "__main__":
        raise
    _told = (
        "The plugin is being updated, or its files are incomplete. Try again in a minute; if this "
        "stays, install it again."
    )
    sys.stdin.read()
    sys.stderr.write("\x01e\x02" + _told + "\n")
    sys.stdout.write('{"error": "' + _told + '"}')
    sys.exit(0)

__all__ = ["main", "run_for_stash"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
if __name__ == "__mp_main__":  # a worker on this machine for the time of a run (CLUSTER: local:2)
    prepare_worker()
