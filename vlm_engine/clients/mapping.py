"""Errors for what a server or a connection did: the only place where foreign errors get a meaning.

The kind follows from the status and the words together, because servers disagree about statuses: a
wrong key is a 401 here and a 400 there. The message quotes the server and says what to do.
"""

from __future__ import annotations

import email.utils
import errno
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from vlm_engine.clients.transport import HIDDEN, Response, quoted
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
from vlm_engine.reply import beginning_of

LEAST_WAIT_S, MOST_WAIT_S = 0.5, 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Target:
    """The endpoint of a request, as messages name it.

    ``secret``: the key, which is never shown. ``offered``: the models that it has.
    """

    endpoint: str
    url: str
    model: str = ""
    secret: str = ""
    offered: tuple[str, ...] = ()

    @property
    def key_problem(self) -> str:
        """Message for a missing or wrong key."""
        problem = (
            "it did not accept the API key; correct" if self.secret else "it wants an API key; set"
        )
        return f"{problem} api_key of this endpoint"

    @property
    def model_problem(self) -> str:
        """Message for a missing or wrong model."""
        problem = (
            f"it does not serve the model {self.model!r}"
            if self.model
            else "it serves no model by default"
        )
        offers = f"; it offers {', '.join(self.offered)}" if self.offered else ""
        return f"{problem}; correct MODEL, or model_id of this endpoint{offers}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A response of one of ``statuses`` (empty: any) with matching words or codes is a ``kind``.

    ``remedy`` is a template over ``target``; ``words`` a pattern.
    """

    kind: type[ClientError]
    remedy: str
    words: str = ""
    statuses: frozenset[int] = frozenset()

    def fits(self, status: int, texts: Sequence[str]) -> bool:
        fits_status = not self.statuses or status in self.statuses
        return fits_status and any(re.search(self.words, text, re.IGNORECASE) for text in texts)


_NO_VISION_FOUND = "its model cannot see pictures; load one that can{better}, or correct MODEL"
_NO_VISION = _NO_VISION_FOUND.format(better=" (with its vision part, mmproj)")
_NO_ROOM = (
    "the question does not fit into its context; use smaller pictures or fewer tags, or give the "
    "server more context"
)
_FILTERED = (
    "its filter refuses this picture or question; use a service or a model that takes such pictures"
)
_NO_CREDIT = "the account has no credit left there"
_NO_SERVICE = "there is no chat service at {target.url}; correct base_url"
_ERROR_CLASS = re.compile(r"error$|^[\d_]*$|^(bad_?request|forbidden|not_?found)$", re.IGNORECASE)
_REFUSALS = frozenset({200, 400, 403, 404, 422, 500, 501})
# The first rule that fits decides, so specific rules come before general ones.
_RULES = (
    _Rule(
        NoVisionError,
        _NO_VISION,
        r"(image|multi-?modal|vision)(?! ?(format|type|size|file|data|url)).{0,30}"
        r"(not supported|unsupported by|not enabled)"
        r"|(vision|multi-?modal|image) (add-?on|adapter|projector|encoder|part|module|support)"
        r".{0,30}(\bnot\b|n't|missing|disabled)"
        r"|\bno\b.{0,40}\bsupport\w* (image|vision|multi-?modal)|unknown variant .{0,3}image|mmproj"
        r"|not a (multi-?modal|vision)"
        r"|(does not|doesn't|cannot) (support|accept|process|have) (image|vision|multi-?modal)"
        r"|at most 0 image"
        r"|missing data required for image input"
        r"|image_url.{0,30}\b(only|not)\b|(unsupported|non-text) content"
        r"|content\b.{0,30}must be a string",
        _REFUSALS,
    ),
    _Rule(
        RequestError,
        _NO_ROOM,
        r"context.?(size|length|window|overflow)|exceed_context|max_model_len|\bn_(ctx|keep)\b"
        r"|prompt (is )?too long|too many tokens|tokens?\b.{0,40}\bexceed|too large to process",
        _REFUSALS | {413},
    ),
    _Rule(
        RequestError,
        "the request is too large for it; use smaller pictures",
        statuses=frozenset({413}),
    ),
    _Rule(
        RequestError,
        "it cannot read the picture",
        r"(load|decode|read|identify|process|invalid|corrupt\w*) (the |an? )?(image|picture|jpeg)"
        r"|base-?64|image:? (data|file|format|unknown format)",
        _REFUSALS | {415},
    ),
    _Rule(
        RequestError,
        _FILTERED,
        r"content.{0,3}(filter|polic|management)|moderation|\bflagged\b|safety"
        r"|responsible.?ai|prohibited content|usage polic"
        r"|data_inspection_failed",
        _REFUSALS | {451},
    ),
    _Rule(
        EndpointError,
        _NO_CREDIT,
        r"insufficient.(quota|credit|balance|funds)|current quota|billing|credit balance"
        r"|enough (credit|balance)",
        frozenset({200, 400, 403, 429}),
    ),
    _Rule(EndpointError, _NO_CREDIT, statuses=frozenset({402})),
    _Rule(
        ServerError,
        "its model does not run; load it again, or one that fits into its memory",
        r"\bcrashed\b|\bunloaded\b"
        r"|(error|fail\w*|could not|cannot|unable to) (to )?load(ing)? (the )?(model|llm)"
        r"|runner process"
        r"|out of memory|insufficient .{0,20}(resources|memory)"
        r"|requires more .{0,20}memory|unable to allocate",
        _REFUSALS,
    ),
    _Rule(
        WrongModelError,
        "{target.model_problem}",
        r"models?\b.{0,120}(does not exist|not found|not exist|not loaded|not available|unknown)"
        r"|access to .{0,20}\bmodel\b"
        r"|invalid model|model_not_found|unknown model"
        r"|no models? (is |are )?(loaded|found|available)|not a valid model"
        r"|deployment\b.{0,40}does not exist|deployment_?not_?found",
        _REFUSALS,
    ),
    _Rule(
        WrongKeyError,
        "{target.key_problem}",
        statuses=frozenset({401}),
    ),
    _Rule(
        WrongKeyError,
        "{target.key_problem}",
        r"no connected db|api.?key|unauthori[sz]ed|authenticat|no auth|credential"
        r"|access token|\bscopes?\b|permission",
        _REFUSALS,
    ),
    _Rule(
        WrongKeyError,
        "{target.key_problem}",
        r"^$"
        r"|^(error )?(403|forbidden|access denied|permission denied|not allowed)"
        r"\W*(forbidden)?\W*$",
        frozenset({403}),
    ),
    _Rule(BusyError, "it is busy", statuses=frozenset({429, 503, 529})),
    _Rule(
        BusyError,
        "it is busy",
        r"rate.?limit|too many requests|overloaded|too busy|capacity exceeded"
        r"|(^|still |currently )loading|no slot available",
        frozenset({200, 424, 425, 498, 500}),
    ),
    _Rule(TimedOutError, "it gave up waiting", statuses=frozenset({408, 504, 524})),
    _Rule(EndpointError, _NO_SERVICE, r"unexpected endpoint|cannot (post|get) /", _REFUSALS),
    _Rule(EndpointError, _NO_SERVICE, statuses=frozenset({301, 302, 303, 307, 308})),
    _Rule(
        EndpointError,
        _NO_SERVICE,
        r"^$|a web page|not.?found|method not allowed|invalid url"
        r"|(no|unknown|unrecogni[sz]ed) (such )?\w* ?(path|route|url|endpoint|handler)\b",
        frozenset({404, 405, 410}),
    ),
)


def from_response(response: Response, target: Target) -> ClientError:
    """Return the error for ``response``, which is not an answer."""
    words = _server_words(response, target.secret)
    wait_s = retry_after_s(response)
    kind, remedy = _meaning(response, words, target, wait_s)
    location = quoted(response.headers.get("location", ""), target.secret)
    moved = f" (it points to {location})" if 300 <= response.status < 400 and location else ""
    message = f"{remedy}{moved}: HTTP {response.status}"
    if words:
        message += f' "{words}"'
    if kind is BusyError:
        return BusyError(message, endpoint=target.endpoint, retry_after_s=wait_s)
    return kind(message, endpoint=target.endpoint)


def _meaning(
    response: Response, words: str, target: Target, wait_s: float | None
) -> tuple[type[ClientError], str]:
    """Return the kind of error, and what to do about it."""
    if response.too_long:
        return ServerError, "its reply is longer than any answer"
    status = _status(response)
    if status == 429 and wait_s is not None:
        return BusyError, f"it is busy, and asks to wait {wait_s:.0f} s"
    if response.is_page and (200 <= response.status < 300 or response.status == 403):
        return EndpointError, (
            f"a web page, and no chat service, answers at {target.url}; correct base_url, or look "
            "at that page"
        )
    # The placeholder for a repeated key is no complaint about the key.
    texts = [words.replace(HIDDEN, ""), *_codes(response.body)]
    for rule in _RULES:
        if rule.fits(status, texts):
            return rule.kind, rule.remedy.format(target=target)
    return _meaning_of_status(status, response)


def _meaning_of_status(status: int, response: Response) -> tuple[type[ClientError], str]:
    if 200 <= status < 300 and response.body is None:
        return ServerError, "its reply is no JSON"
    if 400 <= status < 500:
        return RequestError, "it refused the request"
    return ServerError, "the server failed; its own log may say why"


def no_vision(target: Target, sighted: tuple[str, ...] = ()) -> NoVisionError:
    """Return the error for a model that sees no pictures, as its server says before one is sent.

    ``sighted``: models of the server that do.
    """
    remedy = _NO_VISION
    if sighted:
        better = f" (of those it offers, {', '.join(sighted)})"
        remedy = _NO_VISION_FOUND.format(better=better)
    return NoVisionError(
        f"{remedy}: the server says so of {target.model!r}", endpoint=target.endpoint
    )


def no_picture(error: NoVisionError, target: Target) -> EndpointError:
    """Return the error for a server that refuses pictures although it said that its model sees."""
    why = "it said before that its model sees pictures; often its context is too small for one"
    remedy = "load the model with a larger context, or with its vision part (mmproj)"
    return EndpointError(f"{why}: {remedy}: {error.args[0]}", endpoint=target.endpoint)


def no_room(target: Target, context_tokens: int) -> RequestError:
    """Return the error for a question that filled the context: some servers cut it off silently."""
    return RequestError(
        f"{_NO_ROOM}: it cut the question off at {context_tokens} tokens", endpoint=target.endpoint
    )


def is_no_room(error: ClientError) -> bool:
    """Return whether the question was too long."""
    return isinstance(error, RequestError) and str(error.args[0]).startswith(_NO_ROOM)


def unusable_key(target: Target) -> WrongKeyError:
    """Return the error for a key that cannot be sent in a header."""
    why = (
        "its API key holds a line break, or another character that no key has; set api_key of "
        "this endpoint again"
    )
    return WrongKeyError(why, endpoint=target.endpoint)


def wants_key(target: Target) -> WrongKeyError:
    """Return the error for a server that needs a key and does not say so."""
    return WrongKeyError(target.key_problem, endpoint=target.endpoint)


def from_exception(error: Exception, target: Target, timeout_s: float) -> ClientError:
    """Return the error for a request without a response."""
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return TimedOutError(f"no answer within {timeout_s:.0f} s", endpoint=target.endpoint)
    words, url = quoted(str(error), target.secret), target.url
    if not isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
        return ServerError(
            f'asking it failed: {type(error).__name__} "{words}"', endpoint=target.endpoint
        )
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        why = (
            f"no secure connection to {url}; is it https, and its certificate valid, or one of "
            f'ca_file? "{words}"'
        )
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        why = f"there is no host of that name; is the address {url} right?"
    elif isinstance(error, aiohttp.ClientConnectorError):
        refused = error.errno == errno.ECONNREFUSED
        problem = "the connection was refused" if refused else "no connection"
        why = f"{problem}; is the server running at {url}?"
        if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
            why += " (In a container, that address is the container itself.)"
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        why = f"no connection in time; is the server running at {url}?"
    elif isinstance(error, aiohttp.ClientResponseError):
        # After the colon stands any part of what the server sent, perhaps half a key.
        problem = quoted(error.message.partition(":")[0], target.secret)
        why = f'its reply is no proper HTTP; is {url} the address of a chat service? "{problem}"'
    else:
        why = f'the connection broke off; did the server at {url} crash? "{words}"'
    return UnreachableError(why, endpoint=target.endpoint)


def retry_after_s(response: Response) -> float | None:
    """Return the pause that the server asks for, in its headers or its words; None if it does not.

    At least half a second, at most a week.
    """
    headers = response.headers
    milliseconds = _number(headers.get("retry-after-ms", ""))
    candidates = (
        None if milliseconds is None else milliseconds / 1000,
        _number(headers.get("retry-after", "")),
        _seconds_until(headers.get("retry-after", "")),
        _wait_in_words_s(response.text[:4000]),
    )
    wait_s = next((candidate for candidate in candidates if candidate is not None), None)
    return None if wait_s is None else min(MOST_WAIT_S, max(LEAST_WAIT_S, wait_s))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d{1,9}(\.\d{0,9})?\s*", text) else None


def _seconds_until(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None


_DURATION = re.compile(
    r"(\d{1,6}(?:\.\d{1,6})?) ?(ms|milli|s|m|h|d)(?:second|econd|ec|inute|in|our|r|ay)?s?"
    r"(?![a-z]),? ?(?:and )?",
    re.IGNORECASE,
)
_WAIT_IN_WORDS = re.compile(
    rf"(?:retry|try again|wait|reset)[^\d.]{{0,40}}((?:{_DURATION.pattern})+)", re.IGNORECASE
)
_SECONDS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def _wait_in_words_s(words: str) -> float | None:
    """Read ``Please retry in 20.04s``, ``try again in 6m0s``, ``"retryDelay": "20s"``."""
    found = _WAIT_IN_WORDS.search(words)
    if found is None:
        return None
    return sum(
        float(number) * _SECONDS[unit.lower()] for number, unit in _DURATION.findall(found[1])
    )


def _server_words(response: Response, secret: str) -> str:
    """Return what the server said: short, printable, without the key."""
    if not response.is_page:
        return quoted(_message(response.body) or response.text, secret, 300)
    title = _title(response.text[:20_000])
    return quoted(f"a web page: {title}" if title else "a web page", secret)


def _title(page: str) -> str:
    lower = page.lower()
    begin = lower.find(">", lower.find("<title")) + 1 if "<title" in lower else 0
    end = lower.find("</title", begin)
    return page[begin:end].strip() if 0 < begin < end else ""


def _message(body: Any, depth: int = 8) -> str:
    """Return the message in an error body, with that of the service behind a proxy.

    Reads ``{"error": "text"}``, ``{"error": {"message": …}}``, and flat bodies.
    """
    if isinstance(body, str):
        return body
    if not isinstance(body, dict) or not depth:
        return ""
    for name in ("error", "message", "detail"):
        if body.get(name):
            value, metadata = body[name], body.get("metadata")
            behind = metadata.get("raw") if isinstance(metadata, dict) else None
            message = _message(value, depth - 1) or beginning_of(value)
            return f"{message}: {behind}" if isinstance(behind, str) else message
    return ""


def _error_objects(body: Any) -> Iterator[dict[str, Any]]:
    """Yield ``body`` and the objects nested in it as ``error``."""
    for _ in range(8):
        if not isinstance(body, dict):
            return
        yield body
        body = body.get("error")


def _codes(body: Any) -> list[str]:
    """Return the error codes in ``body``, without those that only repeat the status."""
    codes = (error.get(name) for error in _error_objects(body) for name in ("code", "type"))
    return [code[:100] for code in codes if isinstance(code, str) and not _ERROR_CLASS.search(code)]


def _status(response: Response) -> int:
    """Return the status, or the one of an error inside a 200."""
    if response.status == 200:
        for error in _error_objects(response.body):
            code = error.get("code")
            if isinstance(code, int) and 400 <= code < 600:
                return code
    return response.status
