"""How a request reaches Stash: ``stashapi``'s interface with its transport replaced by a strict one.

What the stock transport does and this one does not: swallow partial errors, wait without end, keep
sending the first session cookie after Stash has issued a newer one, introspect the whole schema at
start, write to stderr.
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
from http.cookiejar import DefaultCookiePolicy
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
from haven.stash.http import PackedError, TooLargeError, TooSlowError, Wire
from haven.stash.reply import checked

_log = logging.getLogger(__name__)
_LOCKED = "database is locked"
_FEW_WORDS = 300
_PAGE_BYTES = 2**20
_MOST_REPLY_BYTES = 64 * 2**20
# From the first byte to the last a reply may take so many times as long as it may wait for the first.
_WHOLE = 2
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again: pauses double from ``first_pause_s`` to ``longest_pause_s`` until ``total_s`` have passed.

    ``unmet_s`` instead while no connection has ever come about: whoever started the plugin is there, so the address is wrong.
    """

    total_s: float = 30.0
    unmet_s: float = 3.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0

    def pause_s(self, attempt: int) -> float:
        """How long to wait after the failure of ``attempt`` (0, 1, ...)."""
        return min(self.longest_pause_s, self.first_pause_s * float(2**attempt))


@dataclass(frozen=True, slots=True)
class GraphQLError:
    """One entry of a reply's ``errors``. ``alias``: the field of the document that failed, or empty for all of it."""

    alias: str
    path: str
    message: str

    def as_error(self) -> StashQueryError:
        """The same as an exception."""
        kind = StashLockedError if _LOCKED in self.message else StashQueryError
        return kind(self.message, path=self.path)


@dataclass(frozen=True, slots=True)
class Reply:
    """``data`` by alias, None for what failed, and the errors beside it."""

    data: dict[str, Any]
    errors: tuple[GraphQLError, ...]


class _RefusedError(StashUnreachableError):
    """No connection came about: the request has not arrived."""


class _DroppedError(StashUnreachableError):
    """The connection ended early: the request may have been carried out."""


_REPEATABLE = (_RefusedError, _DroppedError, StashLockedError)


class StashClient(StashInterface):  # type: ignore[misc]  # stashapi has no types
    """A strict connection to Stash: any GraphQL error raises. Blocking; one caller at a time.

    The find, create and update methods it inherits work when given an explicit fragment: no default
    fragments are fetched. ``connection`` is what Stash hands a plugin (``Scheme``, ``Host``, ``Port``,
    ``SessionCookie``), or the same with an ``ApiKey``. Nothing is sent before the first call.
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
        self._met = False
        cookie = connection.get("SessionCookie")
        cookie = cookie if isinstance(cookie, Mapping) else {}
        self._cookie_name = str(cookie.get("Name") or "session")
        self._cookie = str(cookie.get("Value") or "")
        self._api_key = str(connection.get("ApiKey") or "")
        self._wire = Wire()
        self._wire.mount(self.s)
        # The session cookie is kept by hand: the jar would go on sending the first one beside the newest.
        self.s.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Neither a proxy nor a .netrc of the environment is meant for a server on this machine.
        self.s.trust_env = False
        if scheme == "https" and _is_loopback(host):
            # A home-made certificate never names the loopback address, and nobody sits in between.
            self.s.verify = False
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)

    def __repr__(self) -> str:
        return f"StashClient({self.url})"

    def use_api_key(self, key: str) -> None:
        """Sends ``key`` beside the cookie from now on, so that a task outlives its session. Empty: cookie only."""
        self._api_key = key

    @property
    def verifies(self) -> bool:
        """Whether Stash's certificate must be a good one."""
        return bool(self.s.verify)

    def address_of(self, path: str) -> str:
        """Where Stash serves ``path``: at the address that it told the plugin, whatever its own links say."""
        return f"{self._base_url}{path}"

    def admission(self, *, by_key: bool = True) -> dict[str, str]:
        """The headers by which Stash lets a request in, as they are now. They are secret. May be asked on any thread."""
        headers = {"ApiKey": self._api_key} if self._api_key and by_key else {}
        if self._cookie:
            headers["Cookie"] = f"{self._cookie_name}={self._cookie}"
        return headers

    def close(self) -> None:
        """Closes the connections. Calling afterwards opens new ones."""
        self.s.close()

    def ask(
        self, document: str, variables: Mapping[str, Any] | None = None, *, work_s: float = 0.0
    ) -> dict[str, Any]:
        """The reply's ``data``. For requests that may be sent twice: queries, and mutations whose repetition changes nothing.

        ``work_s``: so much longer than for others it is waited for the reply. A locked database and a dropped connection are
        tried again for as long as the retry policy says. Raises ``StashQueryError`` for any GraphQL error, even one beside
        data, and the errors of the connection.
        """
        return self._retrying(
            lambda: _strictly(self._send(document, variables, work_s)), _REPEATABLE
        )

    def ask_once(
        self, document: str, variables: Mapping[str, Any] | None = None, *, work_s: float = 0.0
    ) -> Reply:
        """Sends ``document`` at most once and returns what came of each of its aliases. ``work_s`` as for ``ask``.

        For mutations that must not happen twice. Only a refused connection is tried again: then nothing
        has arrived. Raises the errors of the connection, and ``StashQueryError`` for a document that
        was refused as a whole.
        """
        reply = self._send_patiently(document, variables, work_s)
        whole = [error for error in reply.errors if not error.alias]
        if whole:
            raise whole[0].as_error()
        return reply

    def fetch(self, path: str, max_bytes: int) -> bytes:
        """What Stash serves at ``path`` of its own address, as ``/image/12/image``.

        Nothing is taken from a reply that is longer than ``max_bytes``. Raises ``NotServedError`` when Stash does not hand it
        out, and the errors of the connection.
        """
        return self._retrying(
            lambda: self._fetch(self.address_of(path), max_bytes), (_RefusedError, _DroppedError)
        )

    def pause(self, attempt: int) -> None:
        """Waits as the retry policy says after the failure of ``attempt``."""
        self._sleep(self._retry.pause_s(attempt))

    def _GQL(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:  # noqa: N802  # stashapi's name
        # Where every inherited method ends. A query may be sent twice, a mutation of unknown nature may not.
        if query.lstrip().startswith("mutation"):
            return _strictly(self._send_patiently(query, variables))
        return self.ask(query, variables)

    def _send_patiently(
        self, document: str, variables: Mapping[str, Any] | None, work_s: float = 0.0
    ) -> Reply:
        return self._retrying(lambda: self._send(document, variables, work_s), (_RefusedError,))

    def _retrying(self, call: Callable[[], _T], kinds: tuple[type[StashError], ...]) -> _T:
        waited_s, attempt = 0.0, 0
        while True:
            try:
                return call()
            except kinds as error:
                pause_s = self._retry.pause_s(attempt)
                if waited_s + pause_s > self._patience_s(error):
                    raise
                _log.info("%s; trying again in %.1f s", error, pause_s)
                self._sleep(pause_s)
                waited_s, attempt = waited_s + pause_s, attempt + 1

    def _patience_s(self, error: StashError) -> float:
        unmet = isinstance(error, _RefusedError) and not self._met
        return min(self._retry.total_s, self._retry.unmet_s) if unmet else self._retry.total_s

    def _send(
        self, document: str, variables: Mapping[str, Any] | None, work_s: float = 0.0
    ) -> Reply:
        seconds = self.timeout_s + work_s
        with self._explained(seconds), self._wire.within(_WHOLE * seconds):
            return self._read(self._admitted(lambda: self._post(document, variables, work_s)))

    def _admitted(self, call: Callable[[], requests.Response]) -> requests.Response:
        """The response to ``call``, with the session kept alive."""
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
            self._explained(self.timeout_s),
            self._wire.within(_WHOLE * self.timeout_s),
            self._admitted(
                lambda: self._request("GET", url, self.timeout_s, stream=True)
            ) as response,
        ):
            if response.status_code in {401, 403} or response.is_redirect:  # to where one logs in
                raise self._denied(response)
            if response.status_code != 200:
                raise NotServedError(
                    f"Stash does not serve {url} ({response.status_code}): {self._start_of(response)}"
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
        headers = {"Accept-Encoding": "identity", **self.admission()}
        response: requests.Response = self.s.request(
            method, url, headers=headers, timeout=waits_s, allow_redirects=False, **options
        )
        self._met = True
        return response

    @contextmanager
    def _explained(self, timeout_s: float) -> Iterator[None]:
        try:
            yield
        except requests.ConnectTimeout as error:
            raise _RefusedError(
                f"cannot reach Stash at {self.url}: no answer to the connection"
            ) from error
        except TooSlowError as error:
            raise StashTimeoutError(f"Stash at {self.url} answers too slowly: {error}") from error
        except requests.Timeout as error:
            raise StashTimeoutError(
                f"Stash at {self.url} gave no answer within {timeout_s:g} s"
            ) from error
        except requests.ConnectionError as error:
            if error.args and isinstance(
                error.args[0], urllib3.exceptions.ReadTimeoutError
            ):  # in the middle of a reply
                raise StashTimeoutError(
                    f"Stash at {self.url} fell silent for {timeout_s:g} s"
                ) from error
            if _never_connected(error):
                raise _RefusedError(
                    f"cannot reach Stash at {self.url}: {_innermost(error)}"
                ) from error
            raise _DroppedError(
                f"the connection to Stash at {self.url} was dropped: {_innermost(error)}"
            ) from error
        except requests.RequestException as error:
            raise _DroppedError(
                f"the answer of Stash at {self.url} broke off: {_innermost(error)}"
            ) from error

    def _read(self, response: requests.Response) -> Reply:
        status = f"{response.status_code} {response.reason}"
        with response:
            if response.status_code in {401, 403}:
                raise self._denied(response)
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
        """The first words of a reply."""
        with suppress(TooLargeError, PackedError):
            return (
                self._wire.read(response, _PAGE_BYTES)[:_FEW_WORDS].decode(errors="replace").strip()
            )
        return ""

    def _denied(self, response: requests.Response) -> StashAuthError:
        words = "" if response.is_redirect else self._start_of(response)
        told = words or "the session has ended, or the API key is not the one Stash has"
        return StashAuthError(
            f"Stash at {self.url} refuses access ({response.status_code}): {told}"
        )


def _as_reply(content: Any, status: str) -> Reply:
    found = content if isinstance(content, dict) else {}
    data, errors = found.get("data"), found.get("errors") or []
    if not errors and not isinstance(data, dict):
        raise StashReplyError(
            f"it holds neither data nor an error ({status}), but {_start_of_json(content)}"
        )
    told = tuple(map(_error, errors if isinstance(errors, list) else [errors]))
    return Reply(checked(data) if isinstance(data, dict) else {}, told)


def _error(entry: Any) -> GraphQLError:
    """An entry of ``errors``, of whatever form: that there is one counts."""
    fields = entry if isinstance(entry, dict) else {"message": entry}
    message, path = fields.get("message"), fields.get("path")
    steps = [str(step) for step in path] if isinstance(path, list) else []
    words = message if isinstance(message, str) else _start_of_json(message)
    return GraphQLError(
        steps[0] if steps else "", ".".join(steps), (words if message else "") or "no reason given"
    )


def _start_of_json(content: Any) -> str:
    text = reprlib.repr(content)
    return text if len(text) <= _FEW_WORDS else f"{text[:_FEW_WORDS]} …"


def _strictly(reply: Reply) -> dict[str, Any]:
    if reply.errors:
        raise reply.errors[0].as_error()
    return reply.data


def _plain(value: object) -> object:
    """What stashapi's own types are in JSON."""
    if isinstance(value, StashEnum):
        return value.serialize()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent to Stash")


def _reachable_host(host: str) -> str:
    """``host`` as it stands in a URL. An address that means "every interface" becomes loopback."""
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


def _never_connected(error: requests.ConnectionError) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.SSLError)


def _innermost(error: BaseException) -> str:
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return str(error) or type(error).__name__
