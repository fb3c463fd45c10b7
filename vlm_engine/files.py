"""Files before anybody knows what they hold."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vlm_engine.errors import MediaNotFoundError, MediaOutOfReachError, MediaUnreadableError


def file_status(path: str | Path) -> os.stat_result:
    """Size and times of the file.

    Raises ``MediaNotFoundError``, ``MediaOutOfReachError``, and ``MediaUnreadableError`` for what is no file, or empty.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise MediaNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise MediaOutOfReachError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise MediaNotFoundError(f"{str(path)!r}: no file can have that name: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaUnreadableError(f"{path}: is not a file")
    if status.st_size == 0:
        raise MediaUnreadableError(f"{path}: the file is empty")
    return status
