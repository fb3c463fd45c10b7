"""HTTP to Stash: limits on time and size that hold whatever a server does, and when to retry.

A timeout of ``requests`` bounds the silence between two bytes, so a server that sends one byte a
second never meets it. Here the sockets are shut down when the time is over, wherever in a reply
that is.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_PIECE_BYTES = 64 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A retry policy: pauses grow from ``first_pause_s`` by ``factor`` up to ``longest_pause_s``,
    for ``total_s`` in all.

    ``unmet_s`` replaces ``total_s`` while no connection has ever been made: Stash started the
    plugin and so is running, hence the address is wrong.
    """

    total_s: float = 30.0
    unmet_s: float = 3.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    factor: float = 2.0

    def pause_s(self, attempt: int) -> float:
        """Return the pause after the failure of ``attempt`` (0, 1, ...)."""
        return min(self.longest_pause_s, self.first_pause_s * self.factor**attempt)

    def call(
        self,
        function: Callable[[], _T],
        retried: tuple[type[Exception], ...],
        *,
        is_unmet: Callable[[Exception], bool] = lambda error: False,
        log_level: int = logging.INFO,
        sleep: Callable[[float], None] = time.sleep,
    ) -> _T:
        """Return what ``function`` returns, and retry it after one of the errors ``retried``.

        ``is_unmet``: whether ``unmet_s`` limits the retries after an error.
        """
        waited_s, attempt = 0.0, 0
        while True:
            try:
                return function()
            except retried as error:
                total_s = min(self.total_s, self.unmet_s) if is_unmet(error) else self.total_s
                pause_s = self.pause_s(attempt)
                if waited_s + pause_s > total_s:
                    raise
                _log.log(log_level, "%s; trying again in %.1f s", error, pause_s)
                sleep(pause_s)
                waited_s, attempt = waited_s + pause_s, attempt + 1


STREAM_RETRY = RetryPolicy(total_s=4.2, first_pause_s=0.2, longest_pause_s=3.0, factor=5.0)
"""For a video stream whose connection broke: three retries, after 0.2, 1 and 3 seconds."""


class TooLargeError(Exception):
    """The reply is longer than allowed."""


class PackedError(Exception):
    """The reply is compressed in an unexpected way, or damaged."""


class TooSlowError(requests.Timeout):
    """The reply had begun, but was not complete in time."""


class Wire(HTTPAdapter):
    """The connections of one session, with limits. One caller at a time."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_over = threading.Event()
        super().__init__()

    def attach(self, session: requests.Session) -> None:
        """Prepare a new session: use this adapter, keep no cookies, and ignore proxies and .netrc.

        Cookies are kept by hand: the jar would go on sending the first session cookie beside the
        newest. Proxies and .netrc of the environment are not meant for a server on this machine.
        """
        for scheme in ("http://", "https://"):
            session.mount(scheme, self)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.trust_env = False

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pools, as ``requests`` demands."""
        super().init_poolmanager(*args, **kwargs)
        pools = (urllib3.HTTPConnectionPool, urllib3.HTTPSConnectionPool)
        self.poolmanager.pool_classes_by_scheme = {
            pool.scheme: _reporting(pool, self._sockets.add) for pool in pools
        }

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Shut the connection down after ``seconds``, and raise ``TooSlowError``, if the block is
        still running then.
        """
        self._is_over = is_over = threading.Event()
        timer = threading.Timer(seconds, self._shut_down, [is_over])
        timer.daemon = True
        timer.start()
        try:
            yield
            if is_over.is_set():  # what was read by then looks like all of it
                raise requests.ConnectionError("it was cut off")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if is_over.is_set():
                raise TooSlowError(f"it was not over after {seconds:g} s") from error
            raise
        finally:
            timer.cancel()

    def read(self, response: requests.Response, most_bytes: int) -> bytes:
        """Return the whole body of a reply requested with ``stream=True``, decompressed piece by
        piece, inside ``within``.

        Raises ``TooLargeError`` before more than ``most_bytes`` are held, ``PackedError``, and what
        ``requests`` raises.
        """
        unpack = _unpacking(response.headers.get("Content-Encoding", ""))
        data = bytearray()
        try:
            for piece in response.raw.stream(_PIECE_BYTES, decode_content=False):
                data += unpack(piece, most_bytes + 1 - len(data))
                if len(data) > most_bytes:
                    raise TooLargeError
        except urllib3.exceptions.ReadTimeoutError as error:
            raise requests.ReadTimeout(error) from error
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(error) from error
        except zlib.error as error:
            raise PackedError(f"it cannot be unpacked: {error}") from error
        if self._is_over.is_set():  # before anybody looks at what was read by then
            raise requests.ConnectionError("it was cut off")
        return bytes(data)

    def _shut_down(self, is_over: threading.Event) -> None:
        is_over.set()
        for one in list(self._sockets):
            with suppress(OSError):  # it is closed already
                # Of TLS, too, only the socket below: its reader may be at work.
                socket.socket.shutdown(one, socket.SHUT_RDWR)


def innermost(error: BaseException) -> str:
    """Return the text of the first cause of an error, or its type's name."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__


def _reporting(pool: Any, report: Callable[[socket.socket], None]) -> Any:
    """Return a pool class of that kind which reports each socket that it opens."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc]  # made here: it has no type
        def connect(self) -> None:
            super().connect()
            report(self.sock)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _unpacking(encoding: str) -> Callable[[bytes, int], bytes]:
    """Return a function that decompresses a piece into at most a number of bytes."""
    if encoding.strip().lower() in {"", "identity"}:
        return lambda piece, most: piece[:most]
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        raise PackedError(f"it is packed as {encoding[:40]!r}")
    return zlib.decompressobj(_GZIP_OR_ZLIB).decompress
