"""The client of Stash's GraphQL: ``stashapi``'s interface with a strict transport.

The stock transport swallows partial errors, waits without end, keeps sending the first session
cookie after Stash has issued a newer one, introspects the whole schema at start, and writes to
stderr. This one does none of that.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import reprlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeVar

import requests
import urllib3
from stashapi.classes import GQLWrapper
from stashapi.stash_types import StashEnum
from stashapi.stashapp import StashInterface

from haven.stash.errors import (
    NotServedError,
    StashAuthError,
    StashError,
    StashLockedError,
    StashQueryError,
    StashReplyError,
    StashTimeoutError,
    StashUnreachableError,
)
from haven.stash.http import PackedError, RetryPolicy, TooLargeError, TooSlowError, Wire, innermost
from haven.stash.reply import checked

_log = logging.getLogger(__name__)
_LOCKED = "database is locked"
_FEW_WORDS = 300
_PAGE_BYTES = 2**20
_MOST_REPLY_BYTES = 64 * 2**20
# A whole reply may take this many times as long as its first byte.
_WHOLE = 2
_NEVER_CONNECTED = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.SSLError)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: ``data`` by alias, None for what failed, and the errors beside it.

    The ``path`` of an error begins with the alias that failed; it is empty for the whole document.
    """

    data: dict[str, Any]
    errors: tuple[StashQueryError, ...]


class _RefusedError(StashUnreachableError):
    """No connection was made: the request has not arrived."""


class _DroppedError(StashUnreachableError):
    """The connection ended early: the request may have been carried out."""


_REPEATABLE = (_RefusedError, _DroppedError, StashLockedError)


class StashClient(StashInterface):  # type: ignore[misc]  # stashapi has no types
    """A strict connection to Stash: any GraphQL error raises. Blocking; one caller at a time.

    The find, create and update methods it inherits work when given an explicit fragment: no default
    fragments are fetched. ``connection`` is what Stash hands a plugin (``Scheme``, ``Host``,
    ``Port``, ``SessionCookie``), or the same with an ``ApiKey``. Nothing is sent before the first
    call.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        *,
        timeout_s: float = 120.0,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # Not StashInterface's constructor: it asks three times, introspects, and logs to stderr.
        GQLWrapper.__init__(self)
        self.log = _log
        self.fragments: dict[str, str] = {}
        host = _reachable_host(str(connection.get("Host") or "localhost"))
        scheme = str(connection.get("Scheme") or "http")
        self.port = connection.get("Port") or 9999
        self._base_url = f"{scheme}://{host}:{self.port}"
        self.url = f"{self._base_url}/graphql"
        self.timeout_s = timeout_s
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        self._has_connected = False
        self.has_custom_fields = False
        """Whether this Stash has custom fields of scenes and images. The handshake finds out."""
        cookie = connection.get("SessionCookie")
        cookie = cookie if isinstance(cookie, Mapping) else {}
        self._cookie_name = str(cookie.get("Name") or "session")
        self._cookie = str(cookie.get("Value") or "")
        self._api_key = str(connection.get("ApiKey") or "")
        self._wire = Wire()
        self._wire.attach(self.s)
        if scheme == "https" and _is_loopback(host):
            # A home-made certificate never names the loopback address, and nobody sits in between.
            self.s.verify = False
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)

    def __repr__(self) -> str:
        return f"StashClient({self.url})"

    def use_api_key(self, key: str) -> None:
        """Send ``key`` beside the cookie from now on, so that a task outlives its session. Empty:
        cookie only.
        """
        self._api_key = key

    @property
    def verifies(self) -> bool:
        """True if Stash's certificate must be valid."""
        return bool(self.s.verify)

    def address_of(self, path: str) -> str:
        """Return the URL of ``path`` at the address that Stash gave the plugin, whatever its own
        links say.
        """
        return f"{self._base_url}{path}"

    def auth_headers(self, *, by_key: bool = True) -> dict[str, str]:
        """Return the current authentication headers. They are secret. May be called on any
        thread.
        """
        headers = {"ApiKey": self._api_key} if self._api_key and by_key else {}
        if self._cookie:
            headers["Cookie"] = f"{self._cookie_name}={self._cookie}"
        return headers

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self.s.close()

    def ask(
        self, document: str, variables: Mapping[str, Any] | None = None, *, work_s: float = 0.0
    ) -> dict[str, Any]:
        """Return the reply's ``data``. For requests that may be sent twice: queries, and idempotent
        mutations.

        ``work_s`` extends the timeout. A locked database and a dropped connection are retried as
        the retry policy says. Raises ``StashQueryError`` for any GraphQL error, even one beside
        data, and the errors of the connection.
        """
        return self._retrying(
            lambda: _strictly(self._send(document, variables, work_s)), _REPEATABLE
        )

    def ask_once(
        self, document: str, variables: Mapping[str, Any] | None = None, *, work_s: float = 0.0
    ) -> Reply:
        """Send ``document`` at most once and return the outcome of each of its aliases. ``work_s``
        as for ``ask``.

        For mutations that must not happen twice. Only a refused connection is retried: then nothing
        has arrived. Raises the errors of the connection, and ``StashQueryError`` for a document
        that was refused as a whole.
        """
        reply = self._send_once(document, variables, work_s)
        for error in reply.errors:
            if not error.path:
                raise error
        return reply

    def fetch(self, path: str, max_bytes: int) -> bytes:
        """Return the file that Stash serves at ``path`` of its own address, such as
        ``/image/12/image``.

        Raises ``NotServedError`` if Stash does not serve it or it is longer than ``max_bytes``, and
        the errors of the connection.
        """
        return self._retrying(
            lambda: self._fetch(self.address_of(path), max_bytes), (_RefusedError, _DroppedError)
        )

    def pause(self, attempt: int) -> None:
        """Wait as the retry policy says after the failure of ``attempt``."""
        self._sleep(self._retry.pause_s(attempt))

    def _GQL(  # noqa: N802  # stashapi's name
        self, query: str, variables: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        # All inherited methods call this. A query may be sent twice, a mutation of unknown nature
        # may not.
        if query.lstrip().startswith("mutation"):
            return _strictly(self._send_once(query, variables))
        return self.ask(query, variables)

    def _send_once(
        self, document: str, variables: Mapping[str, Any] | None, work_s: float = 0.0
    ) -> Reply:
        return self._retrying(lambda: self._send(document, variables, work_s), (_RefusedError,))

    def _retrying(self, call: Callable[[], _T], retried: tuple[type[StashError], ...]) -> _T:
        return self._retry.call(call, retried, is_unmet=self._is_unmet, sleep=self._sleep)

    def _is_unmet(self, error: Exception) -> bool:
        return isinstance(error, _RefusedError) and not self._has_connected

    def _send(
        self, document: str, variables: Mapping[str, Any] | None, work_s: float = 0.0
    ) -> Reply:
        seconds = self.timeout_s + work_s
        with self._errors_mapped(seconds), self._wire.within(_WHOLE * seconds):
            return self._read(self._authenticated(lambda: self._post(document, variables, work_s)))

    def _authenticated(self, call: Callable[[], requests.Response]) -> requests.Response:
        """Return the response to ``call``. Falls back from a stale key to the session, and keeps
        its newest cookie.
        """
        response = call()
        if response.status_code == 401 and self._api_key and self._cookie:
            # Stash refuses a key that was replaced since, even beside a good session.
            _log.info("Stash no longer accepts its API key; going on with the session")
            self._api_key = ""
            response.close()
            response = call()
        for cookie in response.cookies:
            if cookie.name == self._cookie_name and cookie.value:
                self._cookie = cookie.value
        return response

    def _post(
        self, document: str, variables: Mapping[str, Any] | None, work_s: float
    ) -> requests.Response:
        body = json.dumps(
            {"query": document, "variables": dict(variables or {})}, default=_plain, allow_nan=False
        )
        return self._request(
            "POST", self.url, self.timeout_s + work_s, data=body.encode(), stream=True
        )

    def _fetch(self, url: str, max_bytes: int) -> bytes:
        with (
            self._errors_mapped(self.timeout_s),
            self._wire.within(_WHOLE * self.timeout_s),
            self._authenticated(
                lambda: self._request("GET", url, self.timeout_s, stream=True)
            ) as response,
        ):
            if response.status_code in {401, 403} or response.is_redirect:  # to where one logs in
                raise self._access_error(response)
            if response.status_code != 200:
                raise NotServedError(
                    f"Stash does not serve {url} ({response.status_code}): "
                    f"{self._start_of(response)}"
                )
            try:
                return self._wire.read(response, max_bytes)
            except TooLargeError:
                raise NotServedError(
                    f"what Stash serves at {url} is larger than {max_bytes:,} bytes"
                ) from None
            except PackedError as error:
                raise NotServedError(
                    f"what Stash serves at {url} cannot be read: {error}"
                ) from error

    def _request(
        self, method: str, url: str, timeout_s: float, **options: Any
    ) -> requests.Response:
        waits_s = (self.timeout_s, timeout_s)  # for the connection, and for the reply
        headers = {"Accept-Encoding": "identity", **self.auth_headers()}
        response: requests.Response = self.s.request(
            method, url, headers=headers, timeout=waits_s, allow_redirects=False, **options
        )
        self._has_connected = True
        return response

    @contextmanager
    def _errors_mapped(self, timeout_s: float) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise self._mapped(error, timeout_s) from error

    def _mapped(self, error: requests.RequestException, timeout_s: float) -> StashUnreachableError:
        cause = error.args[0] if error.args else None
        kind: type[StashUnreachableError] = StashTimeoutError
        match error:
            case requests.ConnectTimeout():
                kind = _RefusedError
                message = f"cannot reach Stash at {self.url}: no answer to the connection"
            case TooSlowError():
                message = f"Stash at {self.url} answers too slowly: {error}"
            case requests.Timeout():
                message = f"Stash at {self.url} gave no answer within {timeout_s:g} s"
            case requests.ConnectionError() if isinstance(
                cause, urllib3.exceptions.ReadTimeoutError
            ):  # in the middle of a reply
                message = f"Stash at {self.url} fell silent for {timeout_s:g} s"
            case requests.ConnectionError() if isinstance(
                getattr(cause, "reason", None), _NEVER_CONNECTED
            ):
                kind = _RefusedError
                message = f"cannot reach Stash at {self.url}: {innermost(error)}"
            case requests.ConnectionError():
                kind = _DroppedError
                message = f"the connection to Stash at {self.url} was dropped: {innermost(error)}"
            case _:
                kind = _DroppedError
                message = f"the answer of Stash at {self.url} broke off: {innermost(error)}"
        return kind(message)

    def _read(self, response: requests.Response) -> Reply:
        status = f"{response.status_code} {response.reason}"
        with response:
            if response.status_code in {401, 403}:
                raise self._access_error(response)
            if response.status_code >= 500:
                raise _DroppedError(f"Stash at {self.url} could not answer: {status}")
            try:
                content = json.loads(self._wire.read(response, _MOST_REPLY_BYTES))
            except TooLargeError:
                raise StashReplyError(
                    f"it is larger than {_MOST_REPLY_BYTES:,} bytes ({status})"
                ) from None
            except PackedError as error:
                raise StashReplyError(f"{error} ({status})") from error
            except RecursionError:
                raise StashReplyError(f"it is nested too deeply ({status})") from None
            except ValueError as error:
                raise StashUnreachableError(
                    f"what answers at {self.url} is not Stash: {status}"
                ) from error
        return _as_reply(content, status)

    def _start_of(self, response: requests.Response) -> str:
        """Return the beginning of a reply."""
        with suppress(TooLargeError, PackedError):
            return (
                self._wire.read(response, _PAGE_BYTES)[:_FEW_WORDS].decode(errors="replace").strip()
            )
        return ""

    def _access_error(self, response: requests.Response) -> StashAuthError:
        words = "" if response.is_redirect else self._start_of(response)
        reason = words or "the session has ended, or the API key is not the one Stash has"
        return StashAuthError(
            f"Stash at {self.url} refuses access ({response.status_code}): {reason}"
        )


def _as_reply(content: Any, status: str) -> Reply:
    found = content if isinstance(content, dict) else {}
    data, errors = found.get("data"), found.get("errors") or []
    if not errors and not isinstance(data, dict):
        raise StashReplyError(
            f"it holds neither data nor an error ({status}), but {_start_of_json(content)}"
        )
    mapped = tuple(map(_error, errors if isinstance(errors, list) else [errors]))
    return Reply(checked(data) if isinstance(data, dict) else {}, mapped)


def _error(entry: Any) -> StashQueryError:
    """Return an entry of ``errors``, whatever its form."""
    fields = entry if isinstance(entry, dict) else {"message": entry}
    message, path = fields.get("message"), fields.get("path")
    steps = [str(step) for step in path] if isinstance(path, list) else []
    words = message if isinstance(message, str) else _start_of_json(message)
    kind = StashLockedError if _LOCKED in words else StashQueryError
    return kind((words if message else "") or "no reason given", path=".".join(steps))


def _start_of_json(content: Any) -> str:
    text = reprlib.repr(content)
    return text if len(text) <= _FEW_WORDS else f"{text[:_FEW_WORDS]} …"


def _strictly(reply: Reply) -> dict[str, Any]:
    if reply.errors:
        raise reply.errors[0]
    return reply.data


def _plain(value: object) -> object:
    """Return a value of stashapi's own types as JSON has it."""
    if isinstance(value, StashEnum):
        return value.serialize()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent to Stash")


def _reachable_host(host: str) -> str:
    """Return ``host`` as it stands in a URL. An address that means "every interface" becomes
    loopback.
    """
    bare = host.strip("[]")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return host
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"[{address}]" if address.version == 6 else str(address)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
