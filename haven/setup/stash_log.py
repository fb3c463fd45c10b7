"""Logging as Stash reads it: framed lines on stderr."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterable

# Stash stops reading a plugin's log for good at a line of 64 KiB; and nobody reads one of 16.
_LINE_BYTES = 16_000
_MESSAGE_BYTES = 64_000
_HIDDEN = "***"
# Shorter "keys" are stand-ins for servers that want none; hiding them would blot out ordinary
# words.
_SHORTEST_SECRET = 6
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class RedactingFormatter(logging.Formatter):
    """Formatter that shows ``***`` in place of every secret, in messages and in tracebacks."""

    def __init__(self, fmt: str | None = None) -> None:
        super().__init__(fmt)
        self._secrets: tuple[str, ...] = ()

    def hide(self, secrets: Iterable[str]) -> None:
        """Hide ``secrets`` from now on, besides those hidden already."""
        known = {*self._secrets, *(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)}
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, without secrets."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text


class StashLogHandler(logging.Handler):
    r"""Handler that writes to a file descriptor (stderr) as Stash reads it: ``\x01``, a letter for
    the level, ``\x02``, text.

    Every line of a message is a line of its own, short enough for Stash. When Stash has stopped
    reading, lines are dropped and the task goes on. Safe to use from several threads.
    """

    def __init__(
        self,
        fd: int = 2,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._fd = fd
        self._clock = clock
        self._sleep = sleep
        self._format = RedactingFormatter("%(message)s")
        self.setFormatter(self._format)
        self._last_line_s: float | None = None
        self._progress = -1.0
        self._progress_s = -math.inf

    def hide(self, secrets: Iterable[str]) -> None:
        """Show ``***`` in place of each of ``secrets`` from now on."""
        self._format.hide(secrets)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            text = self.format(record)
        except (TypeError, ValueError, LookupError):  # the arguments do not fit the message
            self.handleError(record)
            return
        letter = _letter(record.levelno)
        self._write(b"".join(_framed(letter, line) for line in _lines(text)))
        self._last_line_s = self._clock()

    def progress(self, fraction: float) -> None:
        """Tell Stash how far the task is, from 0 to 1. It only grows, and is sent at most ten
        times a second.
        """
        fraction = min(1.0, max(0.0, fraction))
        self.acquire()
        try:
            now = self._clock()
            too_soon = now - self._progress_s < 0.1 or fraction - self._progress < 0.001
            if fraction > self._progress and (fraction == 1 or not too_soon):
                self._progress, self._progress_s = fraction, now
                self._write(_framed("p", f"{fraction:.4f}".encode()))
        finally:
            self.release()

    def flush_before_exit(self) -> None:
        """Wait until Stash has had 0.3 s for the last line: it stops reading when the process
        ends.
        """
        if self._last_line_s is not None:
            self._sleep(max(0.0, self._last_line_s + 0.3 - self._clock()))

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            return  # nobody reads any more; that is no reason to lose the work


def _letter(level: int) -> str:
    for limit, letter in (
        (logging.ERROR, "e"),
        (logging.WARNING, "w"),
        (logging.INFO, "i"),
        (logging.DEBUG, "d"),
    ):
        if level >= limit:
            return letter
    return "t"


def _framed(letter: str, line: bytes) -> bytes:
    return b"\x01" + letter.encode() + b"\x02" + line + b"\n"


def _lines(text: str) -> list[bytes]:
    """Return ``text`` as lines that are not empty, not too long and without control characters.
    Cut what is far too long.
    """
    lines: list[bytes] = []
    left = _MESSAGE_BYTES
    for line in text.splitlines():
        clean = (
            _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", line)
            .rstrip()
            .encode("utf-8", "backslashreplace")
        )
        if len(clean) > left:
            return [*lines, *_pieces(_cut(clean, left)), b"(the rest of this message was left out)"]
        left -= len(clean)
        lines += _pieces(clean)
    return lines


def _pieces(line: bytes) -> list[bytes]:
    pieces = []
    while line:
        pieces.append(_cut(line, _LINE_BYTES))
        line = line[len(pieces[-1]) :]
    return pieces


def _cut(data: bytes, size: int) -> bytes:
    """Return at most the first ``size`` bytes of UTF-8 text, without splitting a character."""
    if len(data) <= size:
        return data
    while size and data[size] & 0xC0 == 0x80:
        size -= 1
    return data[:size]
