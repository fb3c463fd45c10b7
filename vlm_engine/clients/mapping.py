"""What a server said, as one of our errors: the only place where foreign errors get their meaning.

The kind is read from the status and the words together, because servers disagree about statuses: a wrong
key is 401 here and 400 there. The message quotes the server's own words and says what to do.
"""

from __future__ import annotations

import email.utils
import errno
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from vlm_engine.clients.transport import HIDDEN, Response, shown
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
    """Whom was asked for what; named in messages. ``secret`` is the key, and is never shown. ``offered``: the models it has."""

    endpoint: str
    url: str
    model: str = ""
    secret: str = ""
    offered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rule:
    """A response of one of ``statuses`` (all, if empty) whose words, or codes, match ``words`` is a ``kind``."""

    kind: type[ClientError]
    remedy: Callable[[Target], str]
    words: str = ""
    statuses: frozenset[int] = frozenset()

    def fits(self, status: int, signs: Sequence[str]) -> bool:
        fits_status = not self.statuses or status in self.statuses
        return fits_status and any(re.search(self.words, sign, re.IGNORECASE) for sign in signs)


def _key_remedy(target: Target) -> str:
    return "it did not accept the API key; correct" if target.secret else "it wants an API key; set"


def _address_remedy(target: Target) -> str:
    return f"there is no chat service at {target.url}; correct base_url"


def _model_remedy(target: Target) -> str:
    offers = f"; it offers {', '.join(target.offered)}" if target.offered else ""
    wanted = (
        f"it does not serve the model {target.model!r}"
        if target.model
        else "it serves no model by default"
    )
    return f"{wanted}; correct MODEL, or model_id of this endpoint{offers}"


def _filter_remedy(_: Target) -> str:
    return "its filter refuses this picture or question; use a service or a model that takes such pictures"


def _credit_remedy(_: Target) -> str:
    return "the account has no credit left there"


def _vision_remedy(sighted: tuple[str, ...] = ()) -> str:
    better = f" (of those it offers, {', '.join(sighted)})" if sighted else ""
    return f"its model cannot see pictures; load one that can{better or ' (with its vision part, mmproj)'}, or correct MODEL"


_NO_ROOM = "the question does not fit into its context; use smaller pictures or fewer tags, or give the server more context"
_CLASS = re.compile(r"error$|^[\d_]*$|^(bad_?request|forbidden|not_?found)$", re.IGNORECASE)
_REFUSALS = frozenset({200, 400, 403, 404, 422, 500, 501})
# The first rule that fits decides, so the telling ones come before the general.
_RULES = (
    _Rule(
        NoVisionError,
        lambda _: _vision_remedy(),
        r"(image|multi-?modal|vision)(?! ?(format|type|size|file|data|url)).{0,30}(not supported|unsupported by|not enabled)"
        r"|(vision|multi-?modal|image) (add-?on|adapter|projector|encoder|part|module|support)"
        r".{0,30}(\bnot\b|n't|missing|disabled)"
        r"|\bno\b.{0,40}\bsupport\w* (image|vision|multi-?modal)|unknown variant .{0,3}image|mmproj"
        r"|not a (multi-?modal|vision)"
        r"|(does not|doesn't|cannot) (support|accept|process|have) (image|vision|multi-?modal)|at most 0 image"
        r"|missing data required for image input"
        r"|image_url.{0,30}\b(only|not)\b|(unsupported|non-text) content|content\b.{0,30}must be a string",
        _REFUSALS,
    ),
    _Rule(
        RequestError,
        lambda _: _NO_ROOM,
        r"context.?(size|length|window|overflow)|exceed_context|max_model_len|\bn_(ctx|keep)\b"
        r"|prompt (is )?too long|too many tokens|tokens?\b.{0,40}\bexceed|too large to process",
        _REFUSALS | {413},
    ),
    _Rule(
        RequestError,
        lambda _: "the request is too large for it; use smaller pictures",
        statuses=frozenset({413}),
    ),
    _Rule(
        RequestError,
        lambda _: "it cannot read the picture",
        r"(load|decode|read|identify|process|invalid|corrupt\w*) (the |an? )?(image|picture|jpeg)"
        r"|base-?64|image:? (data|file|format|unknown format)",
        _REFUSALS | {415},
    ),
    _Rule(
        RequestError,
        _filter_remedy,
        r"content.{0,3}(filter|polic|management)|moderation|\bflagged\b|safety|responsible.?ai|prohibited content|usage polic"
        r"|data_inspection_failed",
        _REFUSALS | {451},
    ),
    _Rule(
        EndpointError,
        _credit_remedy,
        r"insufficient.(quota|credit|balance|funds)|current quota|billing|credit balance|enough (credit|balance)",
        frozenset({200, 400, 403, 429}),
    ),
    _Rule(EndpointError, _credit_remedy, statuses=frozenset({402})),
    _Rule(
        ServerError,
        lambda _: "its model does not run; load it again, or one that fits into its memory",
        r"\bcrashed\b|\bunloaded\b|(error|fail\w*|could not|cannot|unable to) (to )?load(ing)? (the )?(model|llm)|runner process"
        r"|out of memory|insufficient .{0,20}(resources|memory)|requires more .{0,20}memory|unable to allocate",
        _REFUSALS,
    ),
    _Rule(
        WrongModelError,
        _model_remedy,
        r"models?\b.{0,120}(does not exist|not found|not exist|not loaded|not available|unknown)|access to .{0,20}\bmodel\b"
        r"|invalid model|model_not_found|unknown model|no models? (is |are )?(loaded|found|available)|not a valid model"
        r"|deployment\b.{0,40}does not exist|deployment_?not_?found",
        _REFUSALS,
    ),
    _Rule(
        WrongKeyError,
        lambda target: f"{_key_remedy(target)} api_key of this endpoint",
        statuses=frozenset({401}),
    ),
    _Rule(
        WrongKeyError,
        lambda target: f"{_key_remedy(target)} api_key of this endpoint",
        r"no connected db|api.?key|unauthori[sz]ed|authenticat|no auth|credential|access token|\bscopes?\b|permission",
        _REFUSALS,
    ),
    _Rule(
        WrongKeyError,
        lambda target: f"{_key_remedy(target)} api_key of this endpoint",
        r"^$|^(error )?(403|forbidden|access denied|permission denied|not allowed)\W*(forbidden)?\W*$",
        frozenset({403}),
    ),
    _Rule(BusyError, lambda _: "it is busy", statuses=frozenset({429, 503, 529})),
    _Rule(
        BusyError,
        lambda _: "it is busy",
        r"rate.?limit|too many requests|overloaded|too busy|capacity exceeded|(^|still |currently )loading|no slot available",
        frozenset({200, 424, 425, 498, 500}),
    ),
    _Rule(TimedOutError, lambda _: "it gave up waiting", statuses=frozenset({408, 504, 524})),
    _Rule(EndpointError, _address_remedy, r"unexpected endpoint|cannot (post|get) /", _REFUSALS),
    _Rule(EndpointError, _address_remedy, statuses=frozenset({301, 302, 303, 307, 308})),
    _Rule(
        EndpointError,
        _address_remedy,
        r"^$|a web page|not.?found|method not allowed|invalid url"
        r"|(no|unknown|unrecogni[sz]ed) (such )?\w* ?(path|route|url|endpoint|handler)\b",
        frozenset({404, 405, 410}),
    ),
)


def from_response(response: Response, target: Target) -> ClientError:
    """The error that ``response``, which is no answer, stands for."""
    words = _words(response, target.secret)
    wait_s = retry_after_s(response)
    kind, remedy = _meaning(response, words, target, wait_s)
    location = shown(response.headers.get("location", ""), target.secret)
    moved = f" (it points to {location})" if 300 <= response.status < 400 and location else ""
    message = (
        f'{remedy}{moved}: HTTP {response.status} "{words}"'
        if words
        else f"{remedy}{moved}: HTTP {response.status}"
    )
    if kind is BusyError:
        return BusyError(message, endpoint=target.endpoint, retry_after_s=wait_s)
    return kind(message, endpoint=target.endpoint)


def _meaning(
    response: Response, words: str, target: Target, wait_s: float | None
) -> tuple[type[ClientError], str]:
    """The kind of error, and what to do about it."""
    if response.too_long:
        return ServerError, "its reply is longer than any answer"
    status = _status(response)
    if status == 429 and wait_s is not None:
        return BusyError, f"it is busy, and asks to wait {wait_s:.0f} s"
    if response.is_page and (200 <= response.status < 300 or response.status == 403):
        return (
            EndpointError,
            f"a web page, and no chat service, answers at {target.url}; correct base_url, or look at that page",
        )
    # What stands for a key that the server repeats says nothing of the key.
    signs = [words.replace(HIDDEN, ""), *_codes(response.body)]
    rule = next((rule for rule in _RULES if rule.fits(status, signs)), None)
    return _in_general(status, response) if rule is None else (rule.kind, rule.remedy(target))


def _in_general(status: int, response: Response) -> tuple[type[ClientError], str]:
    """The meaning of words that nobody knows."""
    if 200 <= status < 300 and response.body is None:
        return ServerError, "its reply is no JSON"
    if 400 <= status < 500:
        return RequestError, "it refused the request"
    return ServerError, "the server failed; its own log may say why"


def no_vision(target: Target, sighted: tuple[str, ...] = ()) -> NoVisionError:
    """For a model of which its server says that it sees no pictures, before one is sent. ``sighted``: models there that do."""
    return NoVisionError(
        f"{_vision_remedy(sighted)}: the server says so of {target.model!r}",
        endpoint=target.endpoint,
    )


def no_picture(error: NoVisionError, target: Target) -> EndpointError:
    """For a server that told that its model sees pictures, and refuses one as if it did not."""
    why = "it said before that its model sees pictures; often its context is too small for one"
    remedy = "load the model with a larger context, or with its vision part (mmproj)"
    return EndpointError(f"{why}: {remedy}: {error.args[0]}", endpoint=target.endpoint)


def no_room(target: Target, context_tokens: int) -> RequestError:
    """For an answer to a question that filled the whole context: some servers drop what does not fit, and say nothing."""
    return RequestError(
        f"{_NO_ROOM}: it cut the question off at {context_tokens} tokens", endpoint=target.endpoint
    )


def is_no_room(error: ClientError) -> bool:
    """Whether the question was too long."""
    return isinstance(error, RequestError) and str(error.args[0]).startswith(_NO_ROOM)


def unusable_key(target: Target) -> WrongKeyError:
    """For a key that cannot be sent."""
    why = "its API key holds a line break, or another character that no key has; set api_key of this endpoint again"
    return WrongKeyError(why, endpoint=target.endpoint)


def wants_key(target: Target) -> WrongKeyError:
    """For a server that is known to want a key and does not say so."""
    return WrongKeyError(
        f"{_key_remedy(target)} api_key of this endpoint", endpoint=target.endpoint
    )


def from_exception(error: Exception, target: Target, timeout_s: float) -> ClientError:
    """The error that a request without a response stands for, foreseen or not."""
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return TimedOutError(f"no answer within {timeout_s:.0f} s", endpoint=target.endpoint)
    words = shown(str(error), target.secret)
    if not isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
        return ServerError(
            f'asking it failed: {type(error).__name__} "{words}"', endpoint=target.endpoint
        )
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
    elif isinstance(error, aiohttp.ClientResponseError):
        what = error.message.partition(":")[
            0
        ]  # what follows may be any part of what the server sent, a key cut in two as well
        why = f'its reply is no proper HTTP; is {target.url} the address of a chat service? "{shown(what, target.secret)}"'
    else:
        why = f'the connection broke off; did the server at {target.url} crash? "{words}"'
    return UnreachableError(why, endpoint=target.endpoint)


def _inside_a_container(url: str) -> str:
    here = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    return " (In a container, that address is the container itself.)" if here else ""


def retry_after_s(response: Response) -> float | None:
    """How long the server wants to be left alone, by its headers or its words; None where it does not say.

    At least half a second, at most a week.
    """
    wait_s = _number(response.headers.get("retry-after-ms"))
    if wait_s is not None:
        wait_s /= 1000
    else:
        wait_s = _number(response.headers.get("retry-after"))
    if wait_s is None:
        wait_s = _until(response.headers.get("retry-after", ""))
    if wait_s is None:
        wait_s = _told_wait_s(response.text[:4000])
    return None if wait_s is None else min(MOST_WAIT_S, max(LEAST_WAIT_S, wait_s))


def _number(text: str | None) -> float | None:
    return (
        float(text)
        if text is not None and re.fullmatch(r"\s*\d{1,9}(\.\d{0,9})?\s*", text)
        else None
    )


def _until(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None


_DURATION = re.compile(
    r"(\d{1,6}(?:\.\d{1,6})?) ?(ms|milli|s|m|h|d)(?:second|econd|ec|inute|in|our|r|ay)?s?(?![a-z]),? ?(?:and )?",
    re.IGNORECASE,
)
_TOLD_WAIT = re.compile(
    rf"(?:retry|try again|wait|reset)[^\d.]{{0,40}}((?:{_DURATION.pattern})+)", re.IGNORECASE
)
_SECONDS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def _told_wait_s(words: str) -> float | None:
    """``Please retry in 20.04s``, ``try again in 6m0s``, ``"retryDelay": "20s"``."""
    told = _TOLD_WAIT.search(words)
    if told is None:
        return None
    return sum(
        float(number) * _SECONDS[unit.lower()] for number, unit in _DURATION.findall(told[1])
    )


def _words(response: Response, secret: str) -> str:
    """The server's own words: short, printable, without the key."""
    if response.is_page:
        title = _title(response.text[:20_000])
        return shown(f"a web page: {title}" if title else "a web page", secret)
    return shown(_message(response.body) or response.text, secret, 300)


def _title(page: str) -> str:
    lower = page.lower()
    begin = lower.find(">", lower.find("<title")) + 1 if "<title" in lower else 0
    end = lower.find("</title", begin)
    return page[begin:end].strip() if 0 < begin < end else ""


def _message(body: Any, depth: int = 8) -> str:
    """The message in an error body: ``{"error": "text"}``, ``{"error": {"message": …}}``, or flat.

    With what a service that passes questions on was told by another.
    """
    if isinstance(body, str):
        return body
    if not isinstance(body, dict) or not depth:
        return ""
    for name in ("error", "message", "detail"):
        if body.get(name):
            value, more = body[name], body.get("metadata")
            passed_on = more.get("raw") if isinstance(more, dict) else None
            message = _message(value, depth - 1) or beginning_of(value)
            return f"{message}: {passed_on}" if isinstance(passed_on, str) else message
    return ""


def _errors(body: Any) -> Iterator[dict[str, Any]]:
    """The objects in an error body that tell of the error: itself, and what is its ``error``."""
    for _ in range(8):
        if not isinstance(body, dict):
            return
        yield body
        body = body.get("error")


def _codes(body: Any) -> list[str]:
    """What an error body calls the error, for programs; not where that only says its class, as a status does."""
    codes = (error.get(name) for error in _errors(body) for name in ("code", "type"))
    return [code[:100] for code in codes if isinstance(code, str) and not _CLASS.search(code)]


def _status(response: Response) -> int:
    """The status, or the one that stands in an error inside of a 200."""
    if response.status == 200:
        for error in _errors(response.body):
            code = error.get("code")
            if isinstance(code, int) and 400 <= code < 600:
                return code
    return response.status
