"""HTTP to one server: sends requests, returns whole responses, and keeps the API key out of texts.

The size of a response is limited, because parsing JSON blocks the event loop.
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

HIDDEN = "[api_key]"
CONNECT_TIMEOUT_S = 3.0
MOST_BYTES = 2 << 20
"""Limit of a response. One with log-probabilities for a thousand tokens is a third of it."""
_MOST_WORK = 200_000  # takes json about a tenth of a second
_SHORTEST_SECRET = 4  # shorter strings are part of many words
_MOST_READ = 100_000
_MOST_QUOTED = 8192


def redacted(text: str, secret: str) -> str:
    """Return ``text`` with ``[api_key]`` in place of ``secret``, also of its URL and JSON forms."""
    return _forms(secret).sub(HIDDEN, text) if len(secret) >= _SHORTEST_SECRET else text


def quoted(text: str, secret: str, limit: int = 200) -> str:
    """Return ``text`` for a message: at most ``limit`` printable characters, without ``secret``."""
    return shortened(redacted(text[:_MOST_READ], secret), limit)  # redact before it is cut


@lru_cache(64)
def _forms(secret: str) -> re.Pattern[str]:
    plain = {secret, secret.replace("/", "\\/")}
    plain |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    escaped = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    lower = {re.sub("%..", lambda code: code[0].lower(), form) for form in escaped}
    longest_first = sorted(plain | escaped | lower, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. ``body``: its JSON, or None. ``headers``: by lower-case names.

    ``too_long``: it is longer than any answer, and ``text`` is its beginning.
    """

    status: int
    headers: Mapping[str, str]
    text: str
    body: Any = None
    too_long: bool = False

    @property
    def is_page(self) -> bool:
        """True for a web page."""
        return self.body is None and (
            "html" in self.headers.get("content-type", "") or self.text.lstrip()[:1] == "<"
        )

    @property
    def is_error(self) -> bool:
        """True unless it is a JSON object without an error. Some servers send errors as 200."""
        return self.is_failure or not isinstance(self.body, dict)

    @property
    def is_failure(self) -> bool:
        """True for an error, by status or content, and for anything but JSON."""
        if not 200 <= self.status < 300 or self.body is None:
            return True
        return isinstance(self.body, dict) and (
            bool(self.body.get("error")) or self.body.get("object") == "error"
        )


class Transport:
    """HTTP connections to one server, with one key.

    Follows no redirect, so that pictures go only where the user said. Verifies certificates with
    those of the system and of ``ca_file`` (PEM). Uses the proxies of the environment, but never for
    this machine. Raises ``ConfigError`` if ``ca_file`` cannot be read or the proxy is not HTTP.
    """

    def __init__(self, base_url: str, key: str = "", ca_file: str | None = None) -> None:
        self._base_url = base_url
        self._root = re.sub(r"/v\d+\w*(/.*)?$", "", base_url)
        self._tls = _tls_with(ca_file) if ca_file else True
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._proxy, login = _proxy(base_url)
        # A tunnel takes the proxy's login in its CONNECT request, plain HTTP in each request.
        self._proxy_headers = login if base_url.startswith("https:") else None
        self._headers |= {} if self._proxy_headers else login
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        payload: bytes | None = None,
        *,
        below_root: bool = False,
    ) -> Response:
        """Send a request and return the response, whatever its status.

        ``path``: below the base address, or below the server's root. ``payload``: JSON. Repeats the
        request once if the server closed an idle connection. Raises what aiohttp raises,
        ``TimeoutError`` after ``timeout_s``, and ``ClosedError``.
        """
        url = f"{self._root if below_root else self._base_url}{path}"
        for is_repeated in (False, True):
            data = (
                aiohttp.BytesPayload(payload, content_type="application/json") if payload else None
            )
            try:
                async with self._opened_session().request(
                    method,
                    url,
                    data=data,
                    headers=self._headers,
                    ssl=self._tls,
                    timeout=_timeout(timeout_s),
                    proxy=self._proxy,
                    proxy_headers=self._proxy_headers,
                    allow_redirects=False,
                ) as response:
                    content = await _read_limited(response)
                break
            except aiohttp.ServerDisconnectedError:
                if is_repeated:
                    raise
        if len(content) > MOST_BYTES or _parsing_work(content) > _MOST_WORK:
            text = _decoded(content[:_MOST_QUOTED])
            return Response(response.status, response.headers, text, too_long=True)
        text = _decoded(content)
        return Response(response.status, response.headers, text, _parsed(text))

    async def page(self, path: str, timeout_s: float, payload: dict[str, Any] | None = None) -> Any:
        """Return the JSON of a page below the server's root; None if there is none."""
        body = json.dumps(payload).encode("ascii") if payload else None
        method = "POST" if payload else "GET"
        try:
            response = await self.request(method, path, timeout_s, body, below_root=True)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return None if response.is_failure else response.body

    async def aclose(self) -> None:
        """Close every connection. Requests afterwards raise ``ClosedError``."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ClosedError("this client is closed")
        if self._session is None:
            # The pool limits the number of requests, so the connector does not.
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


@lru_cache(16)
def _timeout(timeout_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))


async def _read_limited(response: aiohttp.ClientResponse) -> bytes:
    """Return the content, or a little more of it than ``MOST_BYTES``."""
    content = bytearray()
    while not response.content.at_eof() and len(content) <= MOST_BYTES:
        content += await response.content.readany()
    return bytes(content)


def _parsing_work(content: bytes) -> int:
    """Return an upper bound of the work to parse JSON, in plain values; an object counts three."""
    values = sum(map(content.count, (b",", b"[", b"\\ud", b"\\uD")))
    return values + 3 * content.count(b"{")


def _decoded(content: bytes) -> str:
    """Decode as Unicode, whatever the header says (RFC 8259), without a byte order mark."""
    return content.decode(json.detect_encoding(content), "replace")


def _parsed(text: str) -> Any:
    try:
        body = json.loads(text)
        if "\\ud" in text.lower():
            # JSON can hold halves of surrogate pairs, a file cannot: replace them.
            plain = json.dumps(body, ensure_ascii=False).encode("utf-16", "surrogatepass")
            body = json.loads(plain.decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        return None
    return body


def _tls_with(ca_file: str) -> ssl.SSLContext:
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
            f"the environment names a {url.scheme} proxy for {base_url}, and only HTTP proxies can "
            f"be used: set {parts.scheme.upper()}_PROXY to one, or put {host} into NO_PROXY to go "
            "without"
        )
    if url.user is None:
        return url, {}
    login = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode("ascii")
    return url.with_user(None), {"Proxy-Authorization": f"Basic {login}"}


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
