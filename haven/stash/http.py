"""Limits for what comes over HTTP that hold whatever a server does: so long and so many bytes, for all of a reply.

A time-out of ``requests`` bounds the silence between two bytes: a server that sends one a second is never silent. Here the
sockets are shut down when the time is over, wherever in a reply that is.
"""

from __future__ import annotations

import socket
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

_PIECE_BYTES = 64 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class TooLargeError(Exception):
    """The reply has more bytes than are taken."""


class PackedError(Exception):
    """The reply is packed in a way that was not asked for, or is damaged."""


class TooSlowError(requests.Timeout):
    """The reply was on its way, and not over in time."""


class Wire(HTTPAdapter):
    """The connections of one session, which has one caller at a time. ``mount`` it before the first request."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_over = threading.Event()
        super().__init__()

    def mount(self, session: requests.Session) -> None:
        """Has the session use it for everything."""
        for scheme in ("http://", "https://"):
            session.mount(scheme, self)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As ``requests`` calls it."""
        super().init_poolmanager(*args, **kwargs)
        pools = (urllib3.HTTPConnectionPool, urllib3.HTTPSConnectionPool)
        self.poolmanager.pool_classes_by_scheme = {
            pool.scheme: _noting(pool, self._sockets.add) for pool in pools
        }

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What is sent and read inside ends in time: then its connection is shut down, and ``TooSlowError`` raised."""
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
        """All of a reply that was asked for with ``stream=True``, unpacked piece by piece, inside of ``within``.

        Raises ``TooLargeError`` before more than ``most_bytes`` are held, ``PackedError``, and what ``requests`` raises.
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
                socket.socket.shutdown(
                    one, socket.SHUT_RDWR
                )  # of TLS, too, only the socket below: its reader may be at work


def _noting(pool: Any, note: Callable[[socket.socket], None]) -> Any:
    """A pool of that kind which tells of each socket that it opens."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc]  # a class that is made here has no type
        def connect(self) -> None:
            super().connect()
            note(self.sock)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _unpacking(encoding: str) -> Callable[[bytes, int], bytes]:
    """What makes at most so many bytes of a piece."""
    if encoding.strip().lower() in {"", "identity"}:
        return lambda piece, most: piece[:most]
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        raise PackedError(f"it is packed as {encoding[:40]!r}")
    packed = zlib.decompressobj(_GZIP_OR_ZLIB)
    return packed.decompress
