"""What a server said, as one of our errors: the only place where foreign errors get their meaning.

The kind is read from the status and the words together, because servers disagree about statuses: a wrong
key is 401 here and 400 there. The message quotes the server's own words and says what to do.
"""

from __future__ import annotations

import email.utils
import errno
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from vlm_engine.errors import (
    BusyError,
    ClientError,
    EndpointError,
    NoVisionError,
    RequestError,
    ServerError,
    TimedOutError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)
from vlm_engine.reply import shortened

LEAST_WAIT_S, MOST_WAIT_S = 0.5, 120.0


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response, read whole. ``body`` is its JSON, or None; ``headers`` are asked for by lower-case names."""

    status: int
    headers: Mapping[str, str]
    text: str
    body: Any = None

    @property
    def is_page(self) -> bool:
        """Whether it is a web page instead of an answer."""
        return self.body is None and ("html" in self.headers.get("content-type", "") or self.text.lstrip()[:1] == "<")

    @property
    def is_error(self) -> bool:
        """Whether it is anything but the answer that was asked for. Some servers put an error into a 200."""
        return self.is_failure or not isinstance(self.body, dict)

    @property
    def is_failure(self) -> bool:
        """Whether it is no JSON, or an error, by its status or by what it says."""
        if not 200 <= self.status < 300 or self.body is None:
            return True
        return isinstance(self.body, dict) and (bool(self.body.get("error")) or self.body.get("object") == "error")


@dataclass(frozen=True, slots=True)
class Target:
    """Whom was asked for what; named in messages. ``secret`` is the key, and is never shown. ``offered``: the models it has."""

    endpoint: str
    url: str
    model: str = ""
    secret: str = ""
    offered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rule:
    """A response of one of ``statuses`` (all, if empty) whose words match ``words`` is a ``kind``."""

    kind: type[ClientError]
    remedy: Callable[[Target], str]
    words: str = ""
    statuses: frozenset[int] = frozenset()

    def fits(self, response: Response, words: str) -> bool:
        fits_status = not self.statuses or response.status in self.statuses
        return fits_status and re.search(self.words, words, re.IGNORECASE) is not None


def _key_remedy(target: Target) -> str:
    return "it did not accept the API key; correct" if target.secret else "it wants an API key; set"


def _address_remedy(target: Target) -> str:
    return f"there is no chat service at {target.url}; correct base_url"


def _model_remedy(target: Target) -> str:
    offers = f"; it offers {', '.join(target.offered[:20])}" if target.offered else ""
    wanted = f"it does not serve the model {target.model!r}" if target.model else "it serves no model by default"
    return f"{wanted}; correct MODEL, or model_id of this endpoint{offers}"


def _vision_remedy(sighted: tuple[str, ...] = ()) -> str:
    better = f" (of those it offers, {', '.join(sighted[:20])})" if sighted else ""
    return f"its model cannot see pictures; load one that can{better or ' (with its vision part, mmproj)'}, or correct MODEL"


_NO_ROOM = "the question does not fit into its context; use smaller pictures or fewer tags, or give the server more context"
_REFUSALS = frozenset({200, 400, 404, 422, 500, 501})
# The first rule that fits decides, so the telling ones come before the general.
_RULES = (
    _Rule(
        NoVisionError,
        lambda _: _vision_remedy(),
        r"(image|multi-?modal|vision)(?! ?(format|type|size|file|data|url)).{0,30}(not supported|unsupported by|not enabled)"
        r"|not a (multi-?modal|vision)"
        r"|(does not|doesn't|cannot) (support|accept|process|have) (image|vision|multi-?modal)|at most 0 image"
        r"|missing data required for image input",
        _REFUSALS,
    ),
    _Rule(
        RequestError,
        lambda _: _NO_ROOM,
        r"context (size|length|window)|exceed_context|contextwindow|max_model_len|prompt (is )?too long|too many tokens",
        _REFUSALS | {413},
    ),
    _Rule(RequestError, lambda _: "the request is too large for it; use smaller pictures", statuses=frozenset({413})),
    _Rule(
        RequestError,
        lambda _: "it cannot read the picture",
        r"(load|decode|read|identify|process|invalid|corrupt\w*) (the |an? )?(image|picture|jpeg)"
        r"|base-?64|image:? (data|file|format|unknown format)",
        _REFUSALS | {415},
    ),
    _Rule(
        EndpointError,
        lambda _: "the account has no credit left there",
        r"insufficient_quota|current quota|billing|credit balance",
        frozenset({402, 403, 429}),
    ),
    _Rule(WrongKeyError, lambda target: f"{_key_remedy(target)} api_key of this endpoint", statuses=frozenset({401, 403})),
    _Rule(
        WrongKeyError,
        lambda target: f"{_key_remedy(target)} api_key of this endpoint",
        r"no connected db|api.?key|unauthori[sz]ed|authentication|no auth",
        frozenset({200, 400, 422, 500}),
    ),
    _Rule(
        WrongModelError,
        _model_remedy,
        r"model\b.{0,120}(does not exist|not found|not exist|not loaded|not available|unknown)"
        r"|invalid model|model_not_found|unknown model|no models? (is |are )?(loaded|found|available)|not a valid model",
        _REFUSALS,
    ),
    _Rule(BusyError, lambda _: "it is busy", statuses=frozenset({429, 503, 529})),
    _Rule(BusyError, lambda _: "it is busy", r"rate limit|too many requests|overloaded|loading model", frozenset({200, 500})),
    _Rule(TimedOutError, lambda _: "it gave up waiting", statuses=frozenset({408, 504, 524})),
    _Rule(EndpointError, _address_remedy, r"unexpected endpoint|cannot (post|get) /", _REFUSALS),
    _Rule(
        EndpointError,
        _address_remedy,
        statuses=frozenset({301, 302, 303, 307, 308, 404, 405, 410}),
    ),
)


def from_response(response: Response, target: Target) -> ClientError:
    """The error that ``response``, which is no answer, stands for."""
    words = _words(response, target.secret)
    rule = next((rule for rule in _RULES if rule.fits(response, words)), None)
    if rule is not None:
        kind, remedy = rule.kind, rule.remedy(target)
    elif 200 <= response.status < 300 and response.is_page:
        kind, remedy = EndpointError, f"a web page, and no chat service, answers at {target.url}; correct base_url"
    elif 200 <= response.status < 300 and response.body is None:
        kind, remedy = ServerError, "its reply is no JSON"
    elif 400 <= response.status < 500:
        kind, remedy = RequestError, "it refused the request"
    else:
        kind, remedy = ServerError, "the server failed; its own log may say why"
    location = _redacted(response.headers.get("location", ""), target.secret)
    moved = f" (it points to {shortened(location)})" if 300 <= response.status < 400 and location else ""
    message = f'{remedy}{moved}: HTTP {response.status} "{words}"' if words else f"{remedy}{moved}: HTTP {response.status}"
    if kind is BusyError:
        return BusyError(message, endpoint=target.endpoint, retry_after_s=retry_after_s(response.headers))
    return kind(message, endpoint=target.endpoint)


def no_vision(target: Target, sighted: tuple[str, ...] = ()) -> NoVisionError:
    """For a model of which its server says that it sees no pictures, before one is sent. ``sighted``: models there that do."""
    return NoVisionError(f"{_vision_remedy(sighted)}: the server says so of {target.model!r}", endpoint=target.endpoint)


def no_room(target: Target, context_tokens: int) -> RequestError:
    """For an answer to a question that filled the whole context: some servers drop what does not fit, and say nothing."""
    return RequestError(f"{_NO_ROOM}: it cut the question off at {context_tokens} tokens", endpoint=target.endpoint)


def is_no_room(error: ClientError) -> bool:
    """Whether the question was too long."""
    return isinstance(error, RequestError) and str(error.args[0]).startswith(_NO_ROOM)


def wants_key(target: Target) -> WrongKeyError:
    """For a server that is known to want a key and does not say so."""
    return WrongKeyError(f"{_key_remedy(target)} api_key of this endpoint", endpoint=target.endpoint)


def from_exception(error: aiohttp.ClientError | TimeoutError | OSError, target: Target, timeout_s: float) -> ClientError:
    """The error that a request without a response stands for."""
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return TimedOutError(f"no answer within {timeout_s:.0f} s", endpoint=target.endpoint)
    words = shortened(_redacted(str(error), target.secret))
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        why = f'no secure connection to {target.url}; is it https, and its certificate valid, or one of ca_file? "{words}"'
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        why = f"there is no host of that name; is the address {target.url} right?"
    elif isinstance(error, aiohttp.ClientConnectorError):
        refused = error.errno == errno.ECONNREFUSED
        what = "the connection was refused" if refused else "no connection"
        why = f"{what}; is the server running at {target.url}?{_inside_a_container(target.url)}"
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        why = f"no connection in time; is the server running at {target.url}?"
    else:
        why = f'the connection broke off; did the server at {target.url} crash? "{words}"'
    return UnreachableError(why, endpoint=target.endpoint)


def _inside_a_container(url: str) -> str:
    here = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    return " (In a container, that address is the container itself.)" if here else ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the server wants to be left alone, between 0.5 and 120 s; None where it does not say."""
    wait_s = _number(headers.get("retry-after-ms"))
    if wait_s is not None:
        wait_s /= 1000
    else:
        wait_s = _number(headers.get("retry-after"))
    if wait_s is None:
        wait_s = _until(headers.get("retry-after", ""))
    return None if wait_s is None else min(MOST_WAIT_S, max(LEAST_WAIT_S, wait_s))


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"\s*\d{1,9}(\.\d*)?\s*", text) else None


def _until(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None


def _words(response: Response, secret: str) -> str:
    """The server's own words: short, printable, without the key."""
    if response.is_page:
        title = re.search(r"<title[^>]*>(.*?)</title>", response.text, re.DOTALL | re.IGNORECASE)
        return shortened(_redacted(f"a web page: {title[1]}" if title else "a web page", secret))
    return shortened(_redacted(_message(response.body) or response.text, secret), 300)


def _message(body: Any) -> str:
    """The message in an error body: ``{"error": "text"}``, ``{"error": {"message": …}}``, or flat."""
    if isinstance(body, str):
        return body
    if not isinstance(body, dict):
        return ""
    for name in ("error", "message", "detail"):
        if body.get(name):
            value = body[name]
            return _message(value) or str(value)
    return ""


def _redacted(text: str, secret: str) -> str:
    return text.replace(secret, "[api_key]") if len(secret) >= 4 else text
