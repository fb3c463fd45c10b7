"""A scene's file as Stash sends it, for whoever has not got it: read in parts, at any place, over HTTP."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import TypeAlias, TypeVar

import requests
import urllib3

from haven.stash.http import TooSlowError, Wire
from haven.stash.transport import StashClient
from vlm_engine import MediaNotFoundError, MediaOutOfReachError, MediaUnreadableError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Limit: TypeAlias = Callable[[int], AbstractContextManager[None]]
"""Bounds the time in which so many bytes may come."""

# A decoder that jumps from key frame to key frame needs little of each place; one that reads on needs all.
_LEAST, _MOST = 128 * 1024, 4 * 1024 * 1024
_READ_OVER = 64 * 1024  # rather than ask anew for what comes soon after
_SLOWEST = 4096.0  # bytes a second, beyond the time in which something must come
_PAUSES_S = (0.2, 1.0, 3.0)  # before the next attempts after a connection that broke
_SILENT = (requests.Timeout, urllib3.exceptions.TimeoutError)
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)


class SceneStream:
    """A video that Stash sends from its own address. Nothing is asked before ``open``; any number of readers may be open.

    ``name`` is what messages call it: the path that Stash has for it. A reader waits at most ``stall_s`` seconds for what
    comes next. It shows the credentials that ``client`` has at the moment, and so outlives a session.
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
        """What messages call it."""
        return self._name

    def open(self) -> SceneReader:
        """Raises what ``SceneReader`` raises."""
        return SceneReader(
            _Counter(self._client, f"/scene/{self._scene_id}/stream", self._name, self._stall_s)
        )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What tells one file from another."""

    size_bytes: int
    modified: str


class _Part:
    """A stretch of a file that is on its way, from ``at`` up to ``end``."""

    def __init__(
        self, response: requests.Response, at: int, end: int, facts: _Facts, limit: _Limit
    ) -> None:
        self._response = response
        self._limit = limit
        self.at, self.end, self.facts = at, end, facts

    def read(self, most: int) -> bytes:
        """At least one byte of those that are left. Raises what ``urllib3`` raises."""
        wanted = min(most, self.end - self.at)
        with self._limit(wanted):
            data: bytes = self._response.raw.read(wanted, decode_content=False)
        if not data:
            raise urllib3.exceptions.ProtocolError("the connection ended before its time")
        self.at += len(data)
        return data

    def close(self, *, is_broken: bool = False) -> None:
        """Leaves a sound connection for the next part where little is left of this one, and else ends it."""
        if not is_broken and self.end - self.at <= _LEAST:
            with self._limit(self.end - self.at):
                self._response.raw.drain_conn()
        self._response.close()


class _Counter:
    """Where parts of one file are asked for. Raises as ``SceneReader`` does; a broken connection as its library does."""

    def __init__(self, client: StashClient, path: str, name: str, stall_s: float) -> None:
        self.name, self.stall_s = name, stall_s
        self._client, self._url = client, client.address_of(path)
        self._session = requests.Session()
        self._wire = Wire()
        self._wire.mount(self._session)
        self._session.trust_env = False
        self._session.verify = client.verifies
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def part(self, first: int, length: int) -> _Part:
        """The part that begins at ``first``, as long as it is asked for or shorter."""
        wanted = {"Range": f"bytes={first}-{first + length - 1}", "Accept-Encoding": "identity"}
        response = self._get(wanted | self._client.admission())
        if (
            response.status_code == 401
        ):  # the key may have been replaced since: the session may still hold
            response.close()
            response = self._get(wanted | self._client.admission(by_key=False))
        if response.status_code != 206:
            with response:
                raise self._refused(response)
        return self._read(response, first)

    def close(self) -> None:
        """Ends all connections."""
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
                f"{self.name}: Stash refuses to send it ({status}); its session ended, or its API key was changed"
            )
        if status >= 500:
            return requests.HTTPError(f"{status} {response.reason}")
        return MediaOutOfReachError(
            f"{self.name}: Stash does not send it in parts ({status} {response.reason})"
        )


class SceneReader:
    """The content of a scene's file, like a binary file that is open for reading. For one thread; blocks.

    Opening and reading raise ``MediaNotFoundError`` when Stash has not got the file either, ``MediaOutOfReachError`` when
    it does not send it, and ``MediaUnreadableError`` when it is empty, or another one by now.
    """

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter
        self._at = 0
        self._length = _LEAST
        self._part: _Part | None = None
        try:
            self._part = self._patiently(lambda: counter.part(0, _LEAST))
        except BaseException:
            counter.close()
            raise
        self._facts = self._part.facts

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return self._facts.size_bytes

    @property
    def modified_ns(self) -> int:
        """When it was changed, in nanoseconds since the epoch and to the second; 0 where Stash does not say."""
        try:
            return int(parsedate_to_datetime(self._facts.modified).timestamp()) * 10**9
        except (TypeError, ValueError, OverflowError):
            return 0

    def close(self) -> None:
        """Ends the connection. Harmless when repeated."""
        self._drop()
        self._counter.close()

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As with a file. Asks nothing."""
        self._at = max(0, offset + (0, self._at, self.size_bytes)[whence])
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or all; fewer only where the file ends."""
        left = max(0, self.size_bytes - self._at)
        end = self._at + (left if size < 0 else min(size, left))
        data = bytearray()
        while self._at < end:
            more = self._patiently(lambda: self._part_here().read(end - self._at))
            self._at += len(more)
            data += more
        return bytes(data)

    def _part_here(self) -> _Part:
        """The part that comes, standing at the place to read; a new one where that is too far away."""
        part = self._part
        if part is not None and part.at <= self._at < part.end and self._at - part.at <= _READ_OVER:
            while part.at < self._at:
                part.read(self._at - part.at)
            return part
        goes_on = part is not None and part.at == part.end == self._at
        self._length = min(2 * self._length, _MOST) if goes_on else _LEAST
        self._drop()
        self._part = self._counter.part(self._at, self._length)
        if self._part.facts != self._facts:
            raise MediaUnreadableError(
                f"{self._counter.name}: the file was replaced or changed since it was looked at; try again"
            )
        return self._part

    def _drop(self, *, is_broken: bool = False) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close(is_broken=is_broken)

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """What ``call`` returns; after a connection that broke it is tried again."""
        name = self._counter.name
        for pause_s in (*_PAUSES_S, None):
            try:
                return call()
            except TooSlowError as error:
                self._drop(is_broken=True)
                raise MediaOutOfReachError(f"{name}: Stash sends it too slowly: {error}") from error
            except _SILENT as error:
                self._drop(is_broken=True)
                raise MediaOutOfReachError(
                    f"{name}: Stash sent nothing of it for {self._counter.stall_s:g} s"
                ) from error
            except _BROKEN as error:
                self._drop(is_broken=True)
                if pause_s is None:
                    raise MediaOutOfReachError(
                        f"{name}: Stash does not send it: {_innermost(error)}"
                    ) from error
                _log.debug("%s: %s", name, _innermost(error))
                time.sleep(pause_s)
        raise AssertionError  # the last attempt returns or raises


def _innermost(error: BaseException) -> str:
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return str(error) or type(error).__name__
