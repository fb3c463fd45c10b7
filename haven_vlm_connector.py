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

if sys.version_info < (3, 11):  # noqa: UP036
    import json

    _told = (  # noqa: UP032
        "The plugin needs Python 3.11 or later; this is {} ({}). Install a later one, "
        "and name it in Stash's settings:"
        " System, Python Executable Path."
    ).format(sys.version.split()[0], sys.executable)
    if len(sys.argv) > 1:
        sys.stderr.write(_told + "\n")
        sys.exit(2)
    sys.stdin.read()
    sys.stderr.write("\x01e\x02" + _told + "\n")
    sys.stdout.write(json.dumps({"error": _told}))
    sys.exit(1)

from haven.tasks.entry import main, run_for_stash  # noqa: E402

__all__ = ["main", "run_for_stash"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
