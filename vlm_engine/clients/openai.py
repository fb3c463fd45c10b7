"""Client of one endpoint that speaks the OpenAI protocol."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, TypeVar

import aiohttp

from vlm_engine import reply
from vlm_engine.clients import discovery, mapping
from vlm_engine.clients.base import Client, Keep, keep_answer, unforeseen_as_server_error
from vlm_engine.clients.discovery import Capabilities
from vlm_engine.clients.mapping import Target, from_response
from vlm_engine.clients.pricing import PriceLearner
from vlm_engine.clients.request import Bodies, Feature, RequestOptions, blamed_feature
from vlm_engine.clients.server_time import Request
from vlm_engine.clients.transport import Response, Transport, quoted, redacted
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    ClientError,
    ConfigError,
    EndpointError,
    NoVisionError,
    ReplyError,
    RequestError,
    ServerError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)
from vlm_engine.prompt import longest_answer
from vlm_engine.types import Answer, Form, Question, QuestionCost, ServerTimings, Verdict

CHECK_TIMEOUT_S = 5.0
MOST_TOKENS = 4096
_MOST_NAMED = 20
_log = logging.getLogger(__name__)
_Told = TypeVar("_Told", int, ServerTimings)
_SLOW_PICTURE_S = 10.0
_SMALL_PICTURE = 512 * 288


class OneAtATimeError(Exception):
    """The server does not take several pictures in one request."""


class OpenAIClient(Client):
    """``Client`` of one endpoint, for the tasks of one event loop.

    Before the first question it finds out what the endpoint can do. If the endpoint refuses a
    field of a request, the question is asked again without it, and if that helps, the field is
    left out from then on. A reply that is cut off or unreadable is asked for once more, in another
    way. It does not wait for a busy or unreachable endpoint; an ``EndpointPool`` does.

    ``on_discovery`` is called when ``capabilities`` change. ``prices`` learns what questions cost.
    One that ``is_quiet`` logs only for debugging.
    """

    def __init__(
        self, endpoint: EndpointConfig, model: ModelConfig, *, is_quiet: bool = False
    ) -> None:
        """Raise ``ConfigError`` if the key, the certificates or the proxy cannot be used."""
        self._is_quiet = is_quiet
        self.label = endpoint.label
        self.url = endpoint.base_url
        self.capabilities = Capabilities()
        self.on_discovery: Callable[[], None] = lambda: None
        self.prices = PriceLearner()
        self.lacks_confidence = False  # set by an answer without token probabilities
        self._key = endpoint.key().strip()
        try:
            self._transport = Transport(endpoint.base_url, self._key, endpoint.ca_file)
        except ConfigError as error:
            raise ConfigError(f"endpoint {endpoint.label!r}: {error}") from error
        self._endpoint = endpoint
        self._model = model
        self._bodies = Bodies(model)
        self._name = self._configured_name = endpoint.model_id or model.model_id
        self._features = frozenset(Feature)
        if not model.model_return_confidence:
            self._features -= {Feature.LOGPROBS}
        self._is_discovered = False
        self._discovering: asyncio.Task[Capabilities] | None = None
        self._discovered_loaded = False
        self._stand_ins: set[str] = set()
        self._last_logged = ""
        self._is_slow = False

    def __repr__(self) -> str:
        return f"OpenAIClient({self.label!r}, {self.url!r})"

    @property
    def discovered_model(self) -> str:
        """Name of the model that discovery found, without the key; "" before."""
        return quoted(self.capabilities.model, self._key)

    @property
    def slots(self) -> int:
        """Number of requests that it takes at once: as configured, else as it says, else 1."""
        configured = self._endpoint.max_concurrent
        return configured if isinstance(configured, int) else self.capabilities.slots or 1

    @property
    def may_get_several(self) -> bool:
        """True if it may get several requests at once, now or later."""
        return self._endpoint.max_concurrent == "auto" or self.slots > 1

    async def discover(self, *, timeout_s: float = CHECK_TIMEOUT_S) -> Capabilities:
        """Ask the endpoint what it can do. ``timeout_s`` limits each request.

        Returns what was known before if the endpoint does not answer; it is then asked again
        before the next question. Raises ``WrongKeyError`` and no other error.
        """
        try:
            return await self._discover(timeout_s)
        except WrongKeyError:
            raise
        except ClientError as error:
            _log.debug("%s: it tells nothing of itself: %s", self.label, error)
            return self.capabilities

    async def ask(
        self, question: Question, keep: Keep | None = None, *, timeout_s: float | None = None
    ) -> Answer:
        """Return the answer. See ``Client``.

        ``timeout_s`` limits each HTTP request; None: ``request_timeout`` of the model. Raises every
        kind of ``ClientError``, with the endpoint's name.
        """
        timeout_s = timeout_s or self._model.request_timeout
        try:
            with unforeseen_as_server_error(self.label):
                await self._get_ready(min(timeout_s, CHECK_TIMEOUT_S))
                if question.more:
                    answer = await self._answer_several(question, timeout_s)
                else:
                    answer = await self._answer_once(question, timeout_s)
        except EndpointError:
            # The server that replaces it may be another one, or have another model.
            self._is_discovered, self._name = False, self._configured_name
            self.capabilities = Capabilities()
            raise
        if keep is not None:
            await keep_answer(keep, answer)
        return answer

    def question_cost(self, pixels: int) -> QuestionCost:
        """Return the cost of a question with a picture of so many pixels. See ``Client``."""
        return self.prices.cost(pixels)

    async def text_tokens(self, question: Question, *, timeout_s: float) -> int:
        """Return the number of tokens of the question's text; 0 if the server does not tell.

        Sends one request without a picture. Call it after an answer: it sends the fields that the
        server takes. Raises as ``ask``.
        """
        payload = self._bodies.encoded_text(
            question, self._name, RequestOptions(self._features, budget=1)
        )
        response = await self._send("POST", "/chat/completions", timeout_s, payload)
        if response.is_error:
            raise from_response(response, self._target())
        return reply.tokens(response.body, "prompt_tokens")

    def answer_budget(self, tags: tuple[str, ...], pictures: int = 1) -> int:
        """Return how many tokens an answer about these tags may take at first."""
        longest = longest_answer(tags, pictures)
        return self._within_context(max(self._model.max_new_tokens, longest))

    @property
    def features(self) -> frozenset[Feature]:
        """The parts of a request that the server takes, as far as known."""
        return self._features

    def first_body(self, question: Question) -> bytes:
        """Return the request body that ``ask`` would send first. Sends nothing."""
        return self._bodies.encoded(question, self._name, self._first_options(question))

    async def check(self, *, timeout_s: float = CHECK_TIMEOUT_S) -> tuple[str, ...]:
        """Return the names of the models that the endpoint offers, without the key.

        Raises ``ClientError`` if it does not list them.
        """
        response = await self._send("GET", "/models", timeout_s)
        models = response.body.get("data") if isinstance(response.body, dict) else None
        if response.is_error or not isinstance(models, list):
            raise from_response(response, self._target())
        offers = discovery.listed_models({"data": models})
        names = dict.fromkeys(offer.name for offer in offers if offer.name)
        return tuple(quoted(name, self._key) for name in names)

    async def offers(self) -> Mapping[str, bool | None]:
        """Return whether each model that the endpoint offers sees pictures; None where it does
        not say. Names are without the key. Raises as ``check``.
        """
        names = await self.check()
        found = await self.discover()
        sees = {**dict.fromkeys(found.blind, False), **dict.fromkeys(found.sighted, True)}
        return {name: sees.get(name) for name in names}

    async def model_name(self) -> str:
        """Return the configured model, or the one that the endpoint offers. See ``check``."""
        if not self._name:
            await self._choose_model(CHECK_TIMEOUT_S)
        return quoted(self._name, self._key)

    async def aclose(self) -> None:
        """Cancel what is in flight and close every connection."""
        if self._discovering is not None:
            self._discovering.cancel()
            await asyncio.gather(self._discovering, return_exceptions=True)
        await self._transport.aclose()

    # Discovery.

    async def _get_ready(self, timeout_s: float) -> None:
        """Discover the endpoint. Raise if no question can succeed."""
        try:
            await self._discover_once(timeout_s)
        except (WrongKeyError, UnreachableError):
            raise
        except ClientError as error:
            _log.debug("%s: it tells nothing of itself: %s", self.label, error)
            self._is_discovered = True
        if not self._name:
            await self._choose_model(timeout_s)
        if self.capabilities.vision is False:
            sighted = self._shown_names(self.capabilities.sighted)
            raise mapping.no_vision(self._target(), sighted)

    async def _discover_once(self, timeout_s: float) -> None:
        """Discover the endpoint if that was not done yet, together with all who wait for it."""
        if self._is_discovered:
            return
        if self._discovering is None or self._discovering.done():
            self._discovering = asyncio.create_task(self._discover(timeout_s))
            self._discovering.add_done_callback(_mark_seen)
        await asyncio.shield(self._discovering)

    async def _discover(self, timeout_s: float) -> Capabilities:
        response = await self._send("GET", "/models", timeout_s)

        async def page(path: str, payload: dict[str, Any] | None) -> Any:
            return await self._transport.page(path, timeout_s, payload)

        if response.is_error:
            error = from_response(response, self._target())
            if (
                not self._key
                and isinstance(error, ServerError)
                and await discovery.is_litellm(page)
            ):
                # All that LiteLLM says without a key is "Internal Server Error".
                raise mapping.wants_key(self._target())
            # With a 403 the key may be good for questions and not for lists.
            if isinstance(error, WrongKeyError) and response.status != 403:
                raise error
        found = await discovery.discover(response.body, self._configured_name, page)
        if str(found) != self._last_logged:
            self._last_logged = str(found)
            self._inform(logging.INFO, "%s", quoted(str(found), self._key))
        self._name = self._name or found.model
        self._set_capabilities(found)
        return found

    def _set_capabilities(self, capabilities: Capabilities) -> None:
        self.capabilities, self._is_discovered = capabilities, True
        self.on_discovery()

    async def _choose_model(self, timeout_s: float) -> None:
        await self._discover_once(timeout_s)
        if not self._name:
            await self.check(timeout_s=timeout_s)  # raises the reason if there is no list
            message = (
                "it offers no model that sees pictures; load one, or set MODEL "
                "(model_id of this endpoint)"
            )
            raise WrongModelError(message, endpoint=self.label)

    # Question and answer.

    async def _answer_several(self, question: Question, timeout_s: float) -> Answer:
        if Feature.SEVERAL in self._features:
            try:
                return await self._answer_together(question, timeout_s)
            except OneAtATimeError:
                answer = await self._answer_one_by_one(question, timeout_s)
                self._drop_features({Feature.SEVERAL})
                return answer
        return await self._answer_one_by_one(question, timeout_s)

    async def _answer_once(self, question: Question, timeout_s: float) -> Answer:
        """Ask in one request, and in a second, different one if the reply is unreadable."""
        options = self._first_options(question)
        body, request = await self._complete(question, options, timeout_s)
        try:
            return await self._read(body, question, request)
        except ReplyError as error:
            if reply.was_withheld(body):
                raise
            options = self._second_options(question, body, error, options.budget)
            _log.debug("%s: asking once more: %s", self.label, error)
        if question.form is Form.NAMES:
            question = replace(question, form=Form.LIST)  # which a schema holds the model to
        before_s = request.seconds
        body, request = await self._complete(question, options, timeout_s)
        try:
            answer = await self._read(body, question, request)
        except ReplyError as error:
            error.seconds += before_s
            raise
        return replace(answer, seconds=answer.seconds + before_s)

    async def _answer_together(self, question: Question, timeout_s: float) -> Answer:
        """Ask about all pictures at once, then once more about those without verdicts."""
        answer = replace(await self._answer_once(question, timeout_s), together=True)
        open_places = [place for place, verdicts in enumerate(answer.by_picture) if not verdicts]
        if not open_places:
            return answer
        pictures = len(question.times_s)
        _log.debug(
            "%s: asking once more about %d of %d pictures", self.label, len(open_places), pictures
        )
        rest = question.about(open_places)
        try:
            body, request = await self._complete(rest, self._first_options(rest), timeout_s)
            second = await self._read(body, rest, request)
        except (ClientError, OneAtATimeError) as error:
            _log.debug("%s: they stay unjudged: %s", self.label, error)
            return answer  # it was paid for: keep it
        return _filled(answer, open_places, second) if second.model == answer.model else answer

    async def _answer_one_by_one(self, question: Question, timeout_s: float) -> Answer:
        """Ask about each picture by itself. After a failure, the rest stays without verdicts."""
        pictures = len(question.times_s)
        merged: Answer | None = None
        for place in range(pictures):
            try:
                answer = await self._answer_once(question.about([place]), timeout_s)
            except ClientError as error:
                is_picture_fault = isinstance(error, ReplyError | RequestError)
                if merged is None and (not is_picture_fault or place == pictures - 1):
                    raise
                _log.debug("%s: picture %d stays unjudged: %s", self.label, place + 1, error)
                if is_picture_fault:
                    continue
                break
            if merged is None:
                merged = _filled(_blank(answer, pictures), [place], answer)
            elif merged.model == answer.model:  # an answer has one model
                merged = _filled(merged, [place], answer)
        assert merged is not None  # else the last picture's error was raised
        return merged

    def _first_options(self, question: Question) -> RequestOptions:
        budget = self.answer_budget(question.tags, len(question.times_s))
        return RequestOptions(self._features, budget)

    def _second_options(
        self, question: Question, body: Any, error: ReplyError, budget: int
    ) -> RequestOptions:
        """Return a larger budget after a reply that was cut off, no schema after an unreadable one
        that had it.

        A schema may also make a model write blanks until it is cut off.
        """
        cut_off = reply.was_cut_off(body)
        is_blank = len(error.raw) < min(budget // 4, 100)
        had_schema = question.form is not Form.NAMES or bool(question.more)
        features = self._features
        if had_schema and (is_blank or not cut_off):
            features -= {Feature.SCHEMA}
        if cut_off:
            budget = self._within_context(max(budget, min(4 * budget, MOST_TOKENS)))
        return RequestOptions(features, budget)

    def _within_context(self, budget: int) -> int:
        """Return at most half the context: some servers refuse questions that leave less."""
        context_tokens = self.capabilities.context_tokens
        return min(budget, context_tokens // 2) if context_tokens else budget

    async def _read(self, body: Any, question: Question, request: Request) -> Answer:
        """Return the answer in a chat completion. Raise ``ReplyError`` without the key."""
        try:
            read = reply.read(body, question, self._model.synonyms, self._model.tag_list)
        except ReplyError as error:
            raw = quoted(error.raw, self._key)
            words = f'{error.args[0]}: "{raw}"' if raw else error.args[0]
            # From None: its cause holds the whole reply.
            raise ReplyError(
                words, endpoint=self.label, raw=raw, seconds=request.seconds, fault=error.fault
            ) from None
        if not read.has_tokens and not self.lacks_confidence:
            self.lacks_confidence = True
            level = logging.INFO if self._model.model_return_confidence else logging.DEBUG
            message = "it does not tell how sure its model is, so its answers have no confidence"
            self._inform(level, message)
        if self.capabilities.loaded is False and not self._discovered_loaded:
            self._discovered_loaded = True  # servers say more once the model is loaded
            await self.discover()
        context_tokens = self.capabilities.context_tokens
        if context_tokens and read.prompt_tokens >= context_tokens:
            if question.more:
                raise OneAtATimeError
            raise mapping.no_room(self._target(), context_tokens)
        model = quoted(read.model or self._name, self._key)
        answer = Answer(
            read.verdicts,
            redacted(read.text, self._key),
            model,
            self.label,
            read.prompt_tokens,
            read.answer_tokens,
            read.more,
            by_another_model=self._is_stand_in(model),
            cached_tokens=read.cached_tokens,
            seconds=request.seconds,
            timings=read.timings,
        )
        self.prices.learn(request, answer)
        self._warn_if_slow(request.seconds)
        return answer

    def _warn_if_slow(self, seconds: float) -> None:
        """Warn once if pictures take very much longer than they do with any graphics card."""
        if self._is_slow or seconds < _SLOW_PICTURE_S or not self.prices.is_known:
            return
        picture_s = self.question_cost(_SMALL_PICTURE).picture_s
        if picture_s > _SLOW_PICTURE_S:
            self._is_slow = True
            self._inform(
                logging.WARNING,
                "a picture takes %.0f s; vision seems to run on the processor and not on the "
                "graphics card: check the server's settings and its log",
                picture_s,
            )

    def _inform(self, level: int, message: str, *values: object) -> None:
        _log.log(logging.DEBUG if self._is_quiet else level, f"%s: {message}", self.label, *values)

    def _is_stand_in(self, model: str) -> bool:
        """Return whether another model answered than the configured one. Warns once of each."""
        is_another = self.capabilities.is_another(self._configured_name, model)
        if is_another and model not in self._stand_ins:
            self._stand_ins.add(model)
            self._inform(
                logging.WARNING,
                "the model %r answers, and not %r; its answers are kept as its own. Load that "
                "one there, or correct MODEL (model_id of this endpoint)",
                model,
                self._configured_name,
            )
        return is_another

    async def _complete(
        self, question: Question, options: RequestOptions, timeout_s: float
    ) -> tuple[Any, Request]:
        """Return the body of a chat completion, and the request that was answered with it.

        Drops features that the server complains about.
        """
        features = options.features
        while True:
            payload = self._bodies.encoded(question, self._name, options)
            letters = self._bodies.letters(question, options)
            request = self.prices.start(question.sizes, letters, time.monotonic())
            try:
                response = await self._send("POST", "/chat/completions", timeout_s, payload)
            finally:
                self.prices.end(request, time.monotonic())
            if not response.is_error:
                self._drop_features(features - options.features)
                self._recognise_litellm(response)
                return response.body, request
            error = await self._error(response)
            feature = _feature_to_drop(error, response, options.features, bool(question.more))
            if feature is None:
                raise error
            if feature is Feature.SEVERAL:
                raise OneAtATimeError from error
            _log.debug("%s: asking without %s: %s", self.label, feature.value, error)
            options = replace(options, features=options.features - {feature})

    def _recognise_litellm(self, response: Response) -> None:
        if "x-litellm-version" in response.headers and not self.capabilities.finishes_abandoned:
            capabilities = replace(self.capabilities, finishes_abandoned=True, server="LiteLLM")
            self._set_capabilities(capabilities)

    def _drop_features(self, features: Set[Feature]) -> None:
        """Leave ``features`` out of all requests from now on."""
        dropped = features & self._features
        if dropped:
            self._features -= dropped
            names = ", ".join(sorted(feature.value for feature in dropped))
            self._inform(logging.INFO, "it does not take %s; asking without from now on", names)

    async def _send(
        self, method: str, path: str, timeout_s: float, payload: bytes | None = None
    ) -> Response:
        if not self._key.isprintable():
            raise mapping.unusable_key(self._target())
        try:
            return await self._transport.request(method, path, timeout_s, payload)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise mapping.from_exception(error, self._target(), timeout_s) from error

    async def _error(self, response: Response) -> ClientError:
        error = from_response(response, self._target())
        if isinstance(error, WrongModelError):
            try:
                offered = await self.check()
            except ClientError:
                offered = ()  # they are only for the message
            return from_response(response, self._target(offered))
        if isinstance(error, NoVisionError) and self.capabilities.vision:
            return mapping.no_picture(error, self._target())
        return error

    def _target(self, offered: tuple[str, ...] = ()) -> Target:
        name = quoted(self._name, self._key)
        return Target(self.label, self.url, name, self._key, offered[:_MOST_NAMED])

    def _shown_names(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(quoted(name, self._key) for name in names[:_MOST_NAMED])


def _feature_to_drop(
    error: ClientError, response: Response, sent: Set[Feature], together: bool
) -> Feature | None:
    """Return the feature that the complaint is about, if the error has no plainer meaning.

    With several pictures ``together``, "too long" or "takes no pictures" may mean their number.
    """
    words = response.text[:2000]
    if together and (
        mapping.is_no_room(error) or blamed_feature(response.status, words, {Feature.SEVERAL})
    ):
        return Feature.SEVERAL
    if type(error) not in (RequestError, ServerError):
        return None
    return blamed_feature(response.status, words, sent - {Feature.SEVERAL})


def _filled(answer: Answer, places: Sequence[int], other: Answer) -> Answer:
    """Return ``answer`` with the verdicts of ``other`` at ``places``, and with its cost."""
    by_picture = list(answer.by_picture)
    for place, verdicts in zip(places, other.by_picture, strict=True):
        by_picture[place] = verdicts
    return replace(
        answer,
        verdicts=by_picture[0],
        more=tuple(by_picture[1:]),
        raw="\n".join(filter(None, (answer.raw, other.raw))),
        prompt_tokens=answer.prompt_tokens + other.prompt_tokens,
        answer_tokens=answer.answer_tokens + other.answer_tokens,
        calls=answer.calls + other.calls,
        seconds=answer.seconds + other.seconds,
        cached_tokens=_sum(answer.cached_tokens, other.cached_tokens),
        timings=_sum(answer.timings, other.timings),
    )


def _sum(one: _Told | None, other: _Told | None) -> _Told | None:
    """Return the sum of what a server may not tell."""
    return None if one is None or other is None else one + other


def _blank(answer: Answer, pictures: int) -> Answer:
    """Return an answer of the same model without verdicts about ``pictures``, and without cost."""
    more: tuple[dict[str, Verdict], ...] = ({},) * (pictures - 1)
    return replace(
        answer,
        verdicts={},
        more=more,
        raw="",
        prompt_tokens=0,
        answer_tokens=0,
        calls=0,
        seconds=0.0,
        cached_tokens=None if answer.cached_tokens is None else 0,
        timings=answer.timings and ServerTimings(),
    )


def _mark_seen(task: asyncio.Task[Capabilities]) -> None:
    """Retrieve the error of a task that nothing may await any more."""
    if not task.cancelled():
        task.exception()
