"""A scene's video streamed from Stash over HTTP: read in parts, from any position."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeAlias, TypeVar

import requests
import urllib3

from haven.stash.http import STREAM_RETRY, TooSlowError, Wire, innermost
from haven.stash.transport import StashClient
from vlm_engine import MediaNotFoundError, MediaOutOfReachError, MediaUnreadableError

_T = TypeVar("_T")
_Limit: TypeAlias = Callable[[int], AbstractContextManager[None]]
"""Limits the time in which a number of bytes may arrive."""

# A decoder that jumps from key frame to key frame needs little at each position; one that reads on
# needs all.
_LEAST, _MOST = 128 * 1024, 4 * 1024 * 1024
_READ_OVER = 64 * 1024  # rather than send a new request for what comes soon after
_SLOWEST = 4096.0  # bytes per second, beyond the time in which something must arrive
_SILENT = (requests.Timeout, urllib3.exceptions.TimeoutError)
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)


class SceneStream:
    """A video that Stash serves. Nothing is requested before ``open``; any number of readers may be
    open.

    ``name``: its path in Stash, for messages. A reader waits at most ``stall_s`` seconds for the
    next bytes. It sends the credentials that ``client`` has at the moment, and so outlives a
    session.
    """

    def __init__(
        self, client: StashClient, scene_id: str, name: str, *, stall_s: float = 60.0
    ) -> None:
        self._client = client
        self._scene_id = scene_id
        self._name = name
        self._stall_s = stall_s

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self._name

    def open(self) -> SceneReader:
        """Return a reader. Raises what ``SceneReader`` raises."""
        return SceneReader(
            _Source(self._client, f"/scene/{self._scene_id}/stream", self._name, self._stall_s)
        )


@dataclass(frozen=True, slots=True)
class _Facts:
    """Size and date of a file, which distinguish it from another."""

    size_bytes: int
    modified: str


class _Part:
    """A part of a file that is being received, from ``at`` up to ``end``."""

    def __init__(
        self, response: requests.Response, at: int, end: int, facts: _Facts, limit: _Limit
    ) -> None:
        self._response = response
        self._limit = limit
        self.at, self.end, self.facts = at, end, facts

    def read(self, most: int) -> bytes:
        """Return at least one of the bytes that are left. Raises what ``urllib3`` raises."""
        wanted = min(most, self.end - self.at)
        with self._limit(wanted):
            data: bytes = self._response.raw.read(wanted, decode_content=False)
        if not data:
            raise urllib3.exceptions.ProtocolError("the connection ended before its time")
        self.at += len(data)
        return data

    def close(self, *, is_broken: bool = False) -> None:
        """Keep a sound connection for the next part if little is left of this one; otherwise close
        it.
        """
        if not is_broken and self.end - self.at <= _LEAST:
            with self._limit(self.end - self.at):
                self._response.raw.drain_conn()
        self._response.close()


class _Source:
    """Requests for parts of one file. Raises as ``SceneReader`` does; errors of the connection pass
    through.
    """

    def __init__(self, client: StashClient, path: str, name: str, stall_s: float) -> None:
        self.name, self.stall_s = name, stall_s
        self._client, self._url = client, client.address_of(path)
        self._session = requests.Session()
        self._wire = Wire()
        self._wire.attach(self._session)
        self._session.verify = client.verifies

    def part(self, first: int, length: int) -> _Part:
        """Return the part that begins at ``first``, of ``length`` bytes or fewer."""
        wanted = {"Range": f"bytes={first}-{first + length - 1}", "Accept-Encoding": "identity"}
        response = self._get(wanted | self._client.auth_headers())
        if response.status_code == 401:  # the key was replaced, but the session may still hold
            response.close()
            response = self._get(wanted | self._client.auth_headers(by_key=False))
        if response.status_code != 206:
            with response:
                raise self._refused(response)
        return self._read(response, first)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _get(self, headers: dict[str, str]) -> requests.Response:
        with self._within(_LEAST):
            return self._session.get(
                self._url, headers=headers, stream=True, timeout=self.stall_s, allow_redirects=False
            )

    def _within(self, size: int) -> AbstractContextManager[None]:
        return self._wire.within(self.stall_s + size / _SLOWEST)

    def _read(self, response: requests.Response, first: int) -> _Part:
        found = re.fullmatch(
            r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", response.headers.get("Content-Range", "")
        )
        if found is None or not int(found[1]) == first <= int(found[2]) < int(found[3]):
            response.close()
            raise MediaOutOfReachError(
                f"{self.name}: Stash sends another part of it than it was asked for"
            )
        facts = _Facts(int(found[3]), response.headers.get("Last-Modified", ""))
        return _Part(response, first, int(found[2]) + 1, facts, self._within)

    def _refused(self, response: requests.Response) -> Exception:
        status, length = response.status_code, response.headers.get("Content-Length")
        if status == 404:
            return MediaNotFoundError(f"{self.name}: nor has Stash got this file")
        if status == 416 or (status == 200 and length == "0"):
            return MediaUnreadableError(f"{self.name}: the file is empty")
        if status in {401, 403} or response.is_redirect:
            return MediaOutOfReachError(
                f"{self.name}: Stash refuses to send it ({status}); its session ended, or its API "
                "key was changed"
            )
        if status >= 500:
            return requests.HTTPError(f"{status} {response.reason}")
        return MediaOutOfReachError(
            f"{self.name}: Stash does not send it in parts ({status} {response.reason})"
        )


class SceneReader:
    """The content of a scene's file, like a binary file open for reading. For one thread; calls
    block.

    Opening and reading raise ``MediaNotFoundError`` if Stash does not have the file either,
    ``MediaOutOfReachError`` if it does not send it, and ``MediaUnreadableError`` if it is empty, or
    has been replaced.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._at = 0
        self._length = _LEAST
        self._part: _Part | None = None
        try:
            self._part = self._retrying(lambda: source.part(0, _LEAST))
        except BaseException:
            source.close()
            raise
        self._facts = self._part.facts

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return self._facts.size_bytes

    @property
    def modified_ns(self) -> int:
        """Time of its last change in nanoseconds since the epoch, to the second; 0 if Stash does
        not say.
        """
        try:
            return int(parsedate_to_datetime(self._facts.modified).timestamp()) * 10**9
        except (TypeError, ValueError, OverflowError):
            return 0

    def close(self) -> None:
        """Close the connection. May be repeated."""
        self._drop()
        self._source.close()

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move as in a file. Requests nothing."""
        self._at = max(0, offset + (0, self._at, self.size_bytes)[whence])
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return ``size`` bytes, or all; fewer only at the end of the file."""
        left = max(0, self.size_bytes - self._at)
        end = self._at + (left if size < 0 else min(size, left))
        data = bytearray()
        while self._at < end:
            more = self._retrying(lambda: self._part_at_position().read(end - self._at))
            self._at += len(more)
            data += more
        return bytes(data)

    def _part_at_position(self) -> _Part:
        """Return the current part, moved to the position to read, or a new one if that is too far
        away.
        """
        part = self._part
        if part is not None and part.at <= self._at < part.end and self._at - part.at <= _READ_OVER:
            while part.at < self._at:
                part.read(self._at - part.at)
            return part
        goes_on = part is not None and part.at == part.end == self._at
        self._length = min(2 * self._length, _MOST) if goes_on else _LEAST
        self._drop()
        self._part = self._source.part(self._at, self._length)
        if self._part.facts != self._facts:
            raise MediaUnreadableError(
                f"{self._source.name}: the file was replaced or changed since it was looked at; "
                "try again"
            )
        return self._part

    def _drop(self, *, is_broken: bool = False) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close(is_broken=is_broken)

    def _retrying(self, call: Callable[[], _T]) -> _T:
        """Return what ``call`` returns, after retries if its connection broke."""
        name = self._source.name

        def attempt() -> _T:
            try:
                return call()
            except _BROKEN as error:
                self._drop(is_broken=True)
                if isinstance(error, TooSlowError):
                    raise MediaOutOfReachError(
                        f"{name}: Stash sends it too slowly: {error}"
                    ) from error
                if isinstance(error, _SILENT):
                    raise MediaOutOfReachError(
                        f"{name}: Stash sent nothing of it for {self._source.stall_s:g} s"
                    ) from error
                raise

        try:
            return STREAM_RETRY.call(attempt, _BROKEN, log_level=logging.DEBUG)
        except _BROKEN as error:
            raise MediaOutOfReachError(
                f"{name}: Stash does not send it: {innermost(error)}"
            ) from error
