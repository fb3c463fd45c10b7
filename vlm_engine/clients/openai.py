"""One endpoint that speaks the OpenAI protocol: what it can do, what it is asked, and what it has been found not to take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Any

import aiohttp

from vlm_engine import reply
from vlm_engine.clients import discovery
from vlm_engine.clients.base import Client, Keep, keep_answer, unforeseen_as_server_error
from vlm_engine.clients.discovery import Capabilities
from vlm_engine.clients.mapping import (
    Target,
    from_exception,
    from_response,
    is_no_room,
    no_picture,
    no_room,
    no_vision,
    unusable_key,
    wants_key,
)
from vlm_engine.clients.request import Bodies, Feature, RequestOptions, blamed
from vlm_engine.clients.transport import Response, Transport, redacted, shown
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
from vlm_engine.types import Answer, Question


class OneAtATimeError(Exception):
    """The server does not take several pictures in one request."""


def open_places(answer: Answer) -> list[int]:
    """The places, from 0, of the pictures that are left without verdicts."""
    return [place for place, verdicts in enumerate(answer.by_picture) if not verdicts]


def filled(answer: Answer, places: Sequence[int], other: Answer) -> Answer:
    """``answer`` with what ``other`` says of the pictures at ``places``, and what it cost."""
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
    )


def blank(answer: Answer, pictures: int) -> Answer:
    """An answer from the same model that says nothing yet of so many pictures, and cost nothing."""
    return replace(
        answer,
        verdicts={},
        more=({},) * (pictures - 1),
        raw="",
        prompt_tokens=0,
        answer_tokens=0,
        calls=0,
    )


CHECK_TIMEOUT_S = 5.0
MOST_TOKENS = 4096
_MOST_NAMED = 20
_log = logging.getLogger(__name__)


class OpenAIClient(Client):
    """Asks one endpoint. A ``Client`` by itself; a pool holds several.

    Before the first question the endpoint is asked what it can do. A field that it refuses is left out, the question
    asked again, and the field left out for good once that has helped. A reply that is cut off or unreadable is asked for
    once more, in another way.
    """

    def __init__(self, endpoint: EndpointConfig, model: ModelConfig) -> None:
        """Raises ``ConfigError`` when the key, the certificates or the proxy that the settings name cannot be used."""
        self._key = endpoint.key().strip()
        try:
            self._transport = Transport(endpoint.base_url, self._key, endpoint.ca_file)
        except ConfigError as error:
            raise ConfigError(f"endpoint {endpoint.label!r}: {error}") from error
        self._endpoint = endpoint
        self._model = model
        self._bodies = Bodies(model)
        self._name = self._configured_name = endpoint.model_id or model.model_id
        wanted = (
            set(Feature) if model.model_return_confidence else set(Feature) - {Feature.LOGPROBS}
        )
        self._features = frozenset(wanted)
        self._told: Capabilities | None = None
        self.when_told: Callable[[], None] = lambda: None
        """Called whenever the endpoint has told what it can do: before the first question to it, and when that changes."""
        self._finding_out: asyncio.Task[Capabilities] | None = None
        self._looked_again = False
        self.unsure = False
        """Whether it has answered without telling how sure its model is."""
        self._stand_ins: set[str] = set()
        self._last_told = ""
        self.label = endpoint.label
        self.url = endpoint.base_url

    def __repr__(self) -> str:
        return f"OpenAIClient({self.label!r}, {self.url!r})"

    @property
    def capabilities(self) -> Capabilities:
        """What the endpoint told when it was last asked; nothing before."""
        return self._told or Capabilities()

    @property
    def told_model(self) -> str:
        """The model that the endpoint told, as it may be shown and stored; "" before."""
        return shown(self.capabilities.model, self._key)

    @property
    def slots(self) -> int:
        """How many requests it takes at once: as configured, else as it told, else one."""
        configured = self._endpoint.max_concurrent
        return configured if isinstance(configured, int) else self.capabilities.slots or 1

    async def discover(self, *, timeout_s: float = CHECK_TIMEOUT_S) -> Capabilities:
        """What the endpoint tells of itself, asked anew. ``timeout_s`` bounds each of its pages.

        An endpoint that does not answer tells nothing, and is asked again before the next question. Raises
        ``WrongKeyError``, and no other error.
        """
        try:
            return await self._find_out(timeout_s)
        except WrongKeyError:
            raise
        except ClientError as error:
            _log.debug("%s: it tells nothing of itself: %s", self.label, error)
            return self.capabilities

    async def ask(
        self, question: Question, keep: Keep | None = None, *, timeout_s: float | None = None
    ) -> Answer:
        """Return the answer. See ``Client``.

        ``timeout_s`` limits each HTTP request; None: ``request_timeout`` of the model. Waits for
        no busy or unreachable endpoint: raises every kind of ``ClientError``, with the endpoint's
        name.
        """
        timeout_s = timeout_s or self._model.request_timeout
        try:
            with unforeseen_as_server_error(self.label):
                await self._get_ready(min(timeout_s, CHECK_TIMEOUT_S))
                answer = await self._answered(question, timeout_s)
        except EndpointError:
            # The server that replaces it may be another one, or have another model.
            self._told, self._name = None, self._configured_name
            raise
        if keep is not None:
            await keep_answer(keep, answer)
        return answer

    def first_body(self, question: Question) -> bytes:
        """The body of the request that ``ask`` would send first, by all that is known of the endpoint now. Sends nothing."""
        return self._bodies.encoded(question, self._name, self._first_attempt(question))

    async def check(self, *, timeout_s: float = CHECK_TIMEOUT_S) -> tuple[str, ...]:
        """The names of the models that the endpoint offers. Raises ``ClientError`` when it does not tell."""
        response = await self._send("GET", "/models", timeout_s)
        listed = response.body.get("data") if isinstance(response.body, dict) else None
        if response.is_error or not isinstance(listed, list):
            raise from_response(response, self._target())
        return tuple(
            dict.fromkeys(
                offer.name for offer in discovery.listed_models({"data": listed}) if offer.name
            )
        )

    async def model_name(self) -> str:
        """The model that is asked: the configured one, or what the endpoint offers. Raises ``ClientError`` as ``check`` does."""
        if not self._name:
            await self._choose_model(CHECK_TIMEOUT_S)
        return shown(self._name, self._key)

    async def aclose(self) -> None:
        """Ends what is under way and closes every connection."""
        if self._finding_out is not None:
            self._finding_out.cancel()
            await asyncio.gather(self._finding_out, return_exceptions=True)
        await self._transport.aclose()

    # What it can do.

    async def _get_ready(self, timeout_s: float) -> None:
        """Finds out what the endpoint can do, once, whoever asks first. Raises where no question could succeed."""
        if self._told is None:
            if self._finding_out is None or self._finding_out.done():
                self._finding_out = asyncio.create_task(self._find_out(timeout_s))
                self._finding_out.add_done_callback(_seen)
            try:
                await asyncio.shield(self._finding_out)
            except (WrongKeyError, UnreachableError):
                raise
            except ClientError as error:
                _log.debug("%s: it tells nothing of itself: %s", self.label, error)
                self._told = Capabilities()
        if not self._name:
            await self._choose_model(timeout_s)
        if self.capabilities.vision is False:
            raise no_vision(self._target(), self._shown(self.capabilities.sighted))

    async def _find_out(self, timeout_s: float) -> Capabilities:
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
                raise wants_key(
                    self._target()
                )  # all that it says itself is "Internal Server Error"
            # A key may be good for questions and not for lists; then it is forbidden, not unknown.
            if isinstance(error, WrongKeyError) and response.status != 403:
                raise error
        told = await discovery.discover(response.body, self._configured_name, page)
        if str(told) != self._last_told:
            self._last_told = str(told)
            _log.info("%s: %s", self.label, shown(str(told), self._key))
        self._name = self._name or told.model
        self._take(told)
        return told

    def _take(self, told: Capabilities) -> None:
        self._told = told
        self.when_told()

    async def _choose_model(self, timeout_s: float) -> None:
        if self._told is None:
            await self._find_out(timeout_s)
        if not self._name:
            await self.check(timeout_s=timeout_s)  # says why there is no list, where there is none
            message = "it offers no model that sees pictures; load one, or set MODEL (model_id of this endpoint)"
            raise WrongModelError(message, endpoint=self.label)

    async def _look_again(self) -> None:
        """Once a model has been loaded for the first answer, its server tells more of it."""
        if self.capabilities.loaded is False and not self._looked_again:
            self._looked_again = True
            await self.discover()

    # Question and answer.

    async def _answered(self, question: Question, timeout_s: float) -> Answer:
        if not question.more:
            return await self._alone(question, timeout_s)
        if Feature.SEVERAL in self._features:
            try:
                return await self._together(question, timeout_s)
            except OneAtATimeError:
                answer = await self._one_by_one(question, timeout_s)
                self._give_up({Feature.SEVERAL})
                return answer
        return await self._one_by_one(question, timeout_s)

    async def _alone(self, question: Question, timeout_s: float) -> Answer:
        """Asked once more, in another way, where the reply cannot be read."""
        first = self._first_attempt(question)
        body = await self._complete(question, first, timeout_s)
        try:
            return await self._answer(body, question)
        except ReplyError as error:
            if reply.was_withheld(body):
                raise
            attempt = self._otherwise(body, error, first.budget)
            _log.debug("%s: asking once more: %s", self.label, error)
        return await self._answer(await self._complete(question, attempt, timeout_s), question)

    async def _together(self, question: Question, timeout_s: float) -> Answer:
        """The same about several pictures: those of which nothing could be read are asked about once more."""
        answer = replace(await self._alone(question, timeout_s), together=True)
        places = open_places(answer)
        if not places:
            return answer
        _log.debug(
            "%s: asking once more about %d of %d pictures",
            self.label,
            len(places),
            len(question.times_s),
        )
        rest = question.about(places)
        try:
            body = await self._complete(rest, self._first_attempt(rest), timeout_s)
            own = await self._answer(body, rest)
            return filled(answer, places, own) if own.model == answer.model else answer
        except (ClientError, OneAtATimeError) as error:
            _log.debug("%s: they stay unjudged: %s", self.label, error)
            return answer  # what was answered is not to be paid for again

    async def _one_by_one(self, question: Question, timeout_s: float) -> Answer:
        """Each picture by itself, until something comes in the way; what is left then is left without verdicts."""
        pictures = len(question.times_s)
        told: Answer | None = None
        for place in range(pictures):
            try:
                own = await self._alone(question.about([place]), timeout_s)
            except (ReplyError, RequestError) as error:
                if told is None and place == pictures - 1:
                    raise
                _log.debug("%s: picture %d stays unjudged: %s", self.label, place + 1, error)
                continue
            except ClientError as error:
                if told is None:
                    raise
                _log.debug("%s: the rest stays unjudged: %s", self.label, error)
                return told
            if (
                told is None or told.model == own.model
            ):  # an answer has one model; that of another is left out
                told = filled(told or blank(own, pictures), [place], own)
        assert told is not None  # else the last picture's error was raised
        return told

    def _first_attempt(self, question: Question) -> RequestOptions:
        longest = longest_answer(question.tags, len(question.times_s))
        return RequestOptions(
            self._features, self._within(max(self._model.max_new_tokens, longest))
        )

    async def _answer(self, body: Any, question: Question) -> Answer:
        try:
            read = reply.read(body, question, self._model.synonyms)
        except ReplyError as error:
            raw = shown(error.raw, self._key)
            words = f'{error.args[0]}: "{raw}"' if raw else error.args[0]
            raise ReplyError(
                words, endpoint=self.label, raw=raw
            ) from None  # its cause holds all that was said
        if not read.has_tokens and not self.unsure:
            self.unsure = True
            level = logging.INFO if self._model.model_return_confidence else logging.DEBUG
            _log.log(
                level,
                "%s: it does not tell how sure its model is, so its answers have no confidence",
                self.label,
            )
        await self._look_again()
        context_tokens = self.capabilities.context_tokens
        if context_tokens and read.prompt_tokens >= context_tokens:
            raise OneAtATimeError if question.more else no_room(self._target(), context_tokens)
        model, text = shown(read.model or self._name, self._key), redacted(read.text, self._key)
        answer = Answer(
            read.verdicts,
            text,
            model,
            self.label,
            read.prompt_tokens,
            read.answer_tokens,
            read.more,
        )
        return replace(answer, by_another_model=self._is_stand_in(model))

    def _is_stand_in(self, model: str) -> bool:
        """Whether another model answered than was asked for; says so once."""
        is_another = self.capabilities.is_another(self._configured_name, model)
        if is_another and model not in self._stand_ins:
            self._stand_ins.add(model)
            _log.warning(
                "%s: the model %r answers, and not %r; its answers are kept as its own. Load that one there, or correct MODEL "
                "(model_id of this endpoint)",
                self.label,
                model,
                self._configured_name,
            )
        return is_another

    def _otherwise(self, body: Any, error: ReplyError, budget: int) -> RequestOptions:
        """A larger budget for what was cut off; no schema for what was unreadable, or ran on in blanks, with it."""
        cut_off = reply.was_cut_off(body)
        ran_on = len(error.raw) < min(budget // 4, 100)
        features = self._features if cut_off and not ran_on else self._features - {Feature.SCHEMA}
        return RequestOptions(
            features, self._within(max(budget, min(4 * budget, MOST_TOKENS))) if cut_off else budget
        )

    def _within(self, budget: int) -> int:
        """At most half the context: some servers refuse a question whose answer might not fit beside it."""
        context_tokens = self.capabilities.context_tokens
        return min(budget, context_tokens // 2) if context_tokens else budget

    async def _complete(self, question: Question, attempt: RequestOptions, timeout_s: float) -> Any:
        """The body of a chat completion, after giving up at most every feature that the server complains about."""
        wanted = attempt.features
        while True:
            payload = self._bodies.encoded(question, self._name, attempt)
            response = await self._send("POST", "/chat/completions", timeout_s, payload)
            if not response.is_error:
                self._learn(wanted - attempt.features, response)
                return response.body
            error = await self._error(response)
            feature = _to_blame(error, response, attempt.features, bool(question.more))
            if feature is None:
                raise error
            if feature is Feature.SEVERAL:
                raise OneAtATimeError from error
            _log.debug("%s: asking without %s: %s", self.label, feature.value, error)
            attempt = replace(attempt, features=attempt.features - {feature})

    def _learn(self, given_up: Set[Feature], response: Response) -> None:
        self._give_up(given_up)
        if "x-litellm-version" in response.headers and not self.capabilities.finishes_abandoned:
            self._take(replace(self.capabilities, finishes_abandoned=True, server="LiteLLM"))

    def _give_up(self, features: Set[Feature]) -> None:
        fresh = features & self._features
        if fresh:
            self._features -= fresh
            names = ", ".join(sorted(feature.value for feature in fresh))
            _log.info("%s: it does not take %s; asking without from now on", self.label, names)

    async def _send(
        self, method: str, path: str, timeout_s: float, payload: bytes | None = None
    ) -> Response:
        if not self._key.isprintable():
            raise unusable_key(self._target())
        try:
            return await self._transport.request(method, path, timeout_s, payload)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise from_exception(error, self._target(), timeout_s) from error

    async def _error(self, response: Response) -> ClientError:
        error = from_response(response, self._target())
        if isinstance(error, WrongModelError):
            return from_response(response, self._target(await self._offered()))
        if isinstance(error, NoVisionError) and self.capabilities.vision:
            return no_picture(error, self._target())
        return error

    async def _offered(self) -> tuple[str, ...]:
        try:
            return await self.check()
        except ClientError:
            return ()  # only for the message, which then names no models

    def _target(self, offered: tuple[str, ...] = ()) -> Target:
        return Target(
            self.label, self.url, shown(self._name, self._key), self._key, self._shown(offered)
        )

    def _shown(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(shown(name, self._key) for name in names[:_MOST_NAMED])


def _to_blame(
    error: ClientError, response: Response, carried: Set[Feature], together: bool
) -> Feature | None:
    """A complaint can be about a feature only where the error has no plainer meaning.

    Where several pictures went ``together``, a server that has no room, or says it takes no pictures, may mean their number.
    """
    words = response.text[:2000]
    if together and (is_no_room(error) or blamed(response.status, words, {Feature.SEVERAL})):
        return Feature.SEVERAL
    plain = type(error) in (RequestError, ServerError)
    return blamed(response.status, words, carried - {Feature.SEVERAL}) if plain else None


def _seen(task: asyncio.Task[Capabilities]) -> None:
    """Whoever waited for it may be gone by the time it fails."""
    if not task.cancelled():
        task.exception()
