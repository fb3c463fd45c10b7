"""HTTP to one server: requests out, whole responses in. What they mean is read elsewhere.

What a server says is bounded: parsing JSON holds the event loop, and nothing else is sent or received meanwhile.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import aiohttp
from yarl import URL

from vlm_engine.clients.base import ClosedError
from vlm_engine.errors import ConfigError
from vlm_engine.reply import shortened

_SHORTEST = 4  # what is shorter is part of many words, and no secret
_MOST_READ = 100_000
HIDDEN = "[api_key]"


def redacted(text: str, secret: str) -> str:
    """``text`` with ``[api_key]`` in place of ``secret``, also where it stands as in a URL or in JSON."""
    return _forms(secret).sub(HIDDEN, text) if len(secret) >= _SHORTEST else text


def shown(text: str, secret: str, limit: int = 200) -> str:
    """``text`` as a message may quote it: short, printable, without ``secret``. What is cut off later must be hidden first."""
    return shortened(redacted(text[:_MOST_READ], secret), limit)


@lru_cache(64)
def _forms(secret: str) -> re.Pattern[str]:
    plain = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        secret.replace("/", "\\/"),
    }
    escaped = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    lower = {re.sub("%..", lambda code: code[0].lower(), form) for form in escaped}
    return re.compile(
        "|".join(re.escape(form) for form in sorted(plain | escaped | lower, key=len, reverse=True))
    )


CONNECT_TIMEOUT_S = 3.0
MOST_BYTES = 2 << 20
"""A reply may be this long. One with log-probabilities for a thousand tokens is a third of it."""
_MOST_WORK = 200_000  # which takes json about a tenth of a second
_QUOTED = 8192
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. ``body`` is its JSON, or None; ``headers`` are asked for by lower-case names.

    ``too_long``: it is longer than any answer; ``text`` is its beginning.
    """

    status: int
    headers: Mapping[str, str]
    text: str
    body: Any = None
    too_long: bool = False

    @property
    def is_page(self) -> bool:
        """Whether it is a web page instead of an answer."""
        return self.body is None and (
            "html" in self.headers.get("content-type", "") or self.text.lstrip()[:1] == "<"
        )

    @property
    def is_error(self) -> bool:
        """Whether it is anything but the answer that was asked for. Some servers put an error into a 200."""
        return self.is_failure or not isinstance(self.body, dict)

    @property
    def is_failure(self) -> bool:
        """Whether it is no JSON, or an error, by its status or by what it says."""
        if not 200 <= self.status < 300 or self.body is None:
            return True
        return isinstance(self.body, dict) and (
            bool(self.body.get("error")) or self.body.get("object") == "error"
        )


class Transport:
    """Requests to the paths below one address, with one key. Follows no redirect: pictures go where the user said.

    Certificates are verified, by those of the system and of ``ca_file``, which holds more in PEM form. Proxies are
    those of the environment, but never for this machine itself. Raises ``ConfigError`` for a ``ca_file`` that cannot
    be read, and for a proxy that speaks no HTTP.
    """

    def __init__(self, base_url: str, key: str = "", ca_file: str | None = None) -> None:
        self._base_url = base_url
        self._root = re.sub(r"/v\d+\w*(/.*)?$", "", base_url)
        self._tls = _trusting(ca_file) if ca_file else True
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._proxy, login = _proxy(base_url)
        # A tunnel carries the proxy's login in its own request, plain HTTP carries it in each.
        self._proxy_headers = login if base_url.startswith("https:") else None
        self._headers |= {} if self._proxy_headers else login
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def request(
        self, method: str, path: str, timeout_s: float, payload: bytes | None = None
    ) -> Response:
        """The response, whatever its status. ``payload``: JSON.

        Raises what aiohttp raises, ``TimeoutError`` after ``timeout_s``, and ``ClosedError``. A connection that the server
        had closed while it lay idle is tried once more.
        """
        try:
            return await self._request(method, path, timeout_s, payload)
        except aiohttp.ServerDisconnectedError:
            return await self._request(method, path, timeout_s, payload)

    async def page(self, path: str, timeout_s: float, payload: dict[str, Any] | None = None) -> Any:
        """The JSON of a page beside the versioned paths, where servers tell of themselves; None where it is not there."""
        try:
            body = json.dumps(payload).encode("ascii") if payload else None
            response = await self._request(
                "POST" if payload else "GET", path, timeout_s, body, self._root
            )
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return None if response.is_failure else response.body

    async def aclose(self) -> None:
        """Closes every connection. Requests afterwards are an error."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        payload: bytes | None,
        base_url: str | None = None,
    ) -> Response:
        async with self._opened().request(
            method,
            f"{self._base_url if base_url is None else base_url}{path}",
            data=None
            if payload is None
            else aiohttp.BytesPayload(payload, content_type="application/json"),
            headers=self._headers,
            ssl=self._tls,
            timeout=_timeout(timeout_s),
            proxy=self._proxy,
            proxy_headers=self._proxy_headers,
            allow_redirects=False,
        ) as response:
            data = await _start_of(response)
            if len(data) > MOST_BYTES or _work(data) > _MOST_WORK:
                return Response(
                    response.status, response.headers, _text(data[:_QUOTED]), too_long=True
                )
            text = _text(data)
            return Response(response.status, response.headers, text, _parsed(text))

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ClosedError("this client is closed")
        if self._session is None:
            # How many requests run at once is the pool's business, so the connector sets no limit of its own.
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


@lru_cache(16)
def _timeout(timeout_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    """The whole reply, or a little more of it than a reply may be long."""
    data = bytearray()
    while not response.content.at_eof() and len(data) <= MOST_BYTES:
        data += await response.content.readany()
    return bytes(data)


def _work(data: bytes) -> int:
    """How much it is at most to parse JSON of these bytes, in plain values. An object takes as long as three."""
    return sum(map(data.count, (b",", b"[", b"\\ud", b"\\uD"))) + 3 * data.count(b"{")


def _text(data: bytes) -> str:
    """JSON is Unicode, whatever its header says of its encoding (RFC 8259); a byte order mark is not part of it."""
    return data.decode(json.detect_encoding(data), "replace")


def _parsed(text: str) -> Any:
    try:
        body = json.loads(text)
        return _mended(body) if "\\ud" in text.lower() else body
    except (ValueError, RecursionError):
        return None


def _mended(value: Any) -> Any:
    """The same without halves of surrogate pairs: JSON can write them, and no file can hold them."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(entry) for entry in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(entry) for name, entry in value.items()}
    return value


def _trusting(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"ca_file: {ca_file!r} holds no certificates in PEM form, or cannot be read: {error}"
        ) from error
    return context


def _proxy(base_url: str) -> tuple[URL | None, dict[str, str]]:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    known = urllib.request.getproxies()
    found = known.get(parts.scheme) or known.get("all")
    if not found or _is_this_machine(host) or urllib.request.proxy_bypass(parts.netloc):
        return None, {}
    url = URL(found if "://" in found else f"http://{found}")
    if url.scheme not in ("http", "https"):
        raise ConfigError(
            f"the environment names a {url.scheme} proxy for {base_url}, and only HTTP proxies can be used: set "
            f"{parts.scheme.upper()}_PROXY to one, or put {host} into NO_PROXY to go without"
        )
    if url.user is None:
        return url, {}
    login = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode("ascii")
    return url.with_user(None), {"Proxy-Authorization": f"Basic {login}"}


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
