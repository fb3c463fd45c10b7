"""One endpoint that speaks the OpenAI protocol: what it is asked, and what it has been found not to take."""

from __future__ import annotations

import logging
import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import aiohttp

from vlm_engine import reply
from vlm_engine.clients.features import Feature, blamed
from vlm_engine.clients.mapping import Response, Target, from_exception, from_response
from vlm_engine.clients.transport import Transport
from vlm_engine.config_models import EndpointConfig, ModelConfig
from vlm_engine.errors import ClientError, ReplyError, RequestError, ServerError, WrongModelError
from vlm_engine.prompt import Wording, longest_answer, messages, schema
from vlm_engine.types import Answer, Question

CHECK_TIMEOUT_S = 5.0
SEED = 1
TOP_LOGPROBS = 10
MOST_TOKENS = 4096
_NOT_FOR_CHAT = re.compile(r"embed|rerank|whisper|tts|\bbge\b|moderation", re.IGNORECASE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How a question is put: the features that the request carries, and the tokens that the answer may take."""

    features: frozenset[Feature]
    budget: int


class OpenAIClient:
    """Asks one endpoint. A ``Client`` by itself; a pool holds several.

    A field that the server refuses is left out, the question asked again, and the field left out for good
    once that has helped. A reply that is cut off or unreadable is asked for once more, in another way.
    """

    def __init__(self, endpoint: EndpointConfig, model: ModelConfig) -> None:
        self._key = endpoint.key().strip()
        self._transport = Transport(endpoint.base_url, self._key)
        self._wording = Wording.of(model)
        self._model = model
        self._name = endpoint.model_id or model.model_id
        wanted = set(Feature) if model.model_return_confidence else set(Feature) - {Feature.LOGPROBS}
        self._features = frozenset(wanted)
        self.label = endpoint.label
        self.url = endpoint.base_url
        self.slots = endpoint.max_concurrent or 1

    def __repr__(self) -> str:
        return f"OpenAIClient({self.label!r}, {self.url!r})"

    async def ask(self, question: Question, *, timeout_s: float | None = None) -> Answer:
        """The answer. ``timeout_s`` bounds each request, ``request_timeout`` of the model by default.

        Raises every kind of ``ClientError``, with the endpoint's name.
        """
        timeout_s = timeout_s or self._model.request_timeout
        budget = max(self._model.max_new_tokens, longest_answer(question.tags))
        body = await self._complete(question, _Attempt(self._features, budget), timeout_s)
        try:
            return self._answer(body, question)
        except ReplyError as error:
            attempt = self._otherwise(body, error, budget)
            _log.debug("%s: asking once more: %s", self.label, error)
        return self._answer(await self._complete(question, attempt, timeout_s), question)

    async def check(self, *, timeout_s: float = CHECK_TIMEOUT_S) -> tuple[str, ...]:
        """The names of the models that the endpoint offers. Raises ``ClientError`` when it does not tell."""
        response = await self._send("GET", "/models", timeout_s)
        listed = response.body.get("data") if isinstance(response.body, dict) else None
        if response.is_error or not isinstance(listed, list):
            raise from_response(response, self._target())
        names = [entry.get("id") for entry in listed if isinstance(entry, dict)]
        return tuple(name for name in names if isinstance(name, str))

    async def model_name(self) -> str:
        """The model that is asked: the configured one, or what the endpoint offers. Raises ``ClientError`` as ``check`` does."""
        await self._find_model()
        return self._name

    async def aclose(self) -> None:
        """Ends what is under way and closes every connection."""
        await self._transport.aclose()

    def _answer(self, body: Any, question: Question) -> Answer:
        try:
            read = reply.read(body, question)
        except ReplyError as error:
            raise ReplyError(error.args[0], endpoint=self.label, raw=error.raw) from error
        model = read.model or self._name
        return Answer(read.verdicts, read.text, model, self.label, read.prompt_tokens, read.answer_tokens)

    def _otherwise(self, body: Any, error: ReplyError, budget: int) -> _Attempt:
        """A larger budget for what was cut off; no schema for what was unreadable, or ran on in blanks, with it."""
        cut_off = reply.was_cut_off(body)
        ran_on = len(error.raw) < min(budget // 4, 100)
        features = self._features if cut_off and not ran_on else self._features - {Feature.SCHEMA}
        return _Attempt(features, max(budget, min(4 * budget, MOST_TOKENS)) if cut_off else budget)

    async def _complete(self, question: Question, attempt: _Attempt, timeout_s: float) -> Any:
        """The body of a chat completion, after giving up at most every feature that the server complains about."""
        await self._find_model()
        given_up: set[Feature] = set()
        while True:
            carried = attempt.features - given_up
            payload = self._payload(question, carried, attempt.budget)
            response = await self._send("POST", "/chat/completions", timeout_s, payload)
            if not response.is_error:
                self._learn(given_up)
                return response.body
            error = await self._error(response)
            feature = _to_blame(error, response, carried)
            if feature is None:
                raise error
            _log.debug("%s: asking without %s: %s", self.label, feature.value, error)
            given_up.add(feature)

    def _learn(self, given_up: Set[Feature]) -> None:
        fresh = given_up & self._features
        if fresh:
            self._features -= fresh
            names = ", ".join(sorted(feature.value for feature in fresh))
            _log.info("%s: it does not take %s; asking without from now on", self.label, names)

    def _payload(self, question: Question, carried: Set[Feature], budget: int) -> dict[str, Any]:
        strict = Feature.SCHEMA in carried
        tokens = "max_tokens" if Feature.MAX_TOKENS in carried else "max_completion_tokens"
        payload: dict[str, Any] = {
            "messages": messages(question, self._wording, system=Feature.SYSTEM in carried, strict=strict),
            "stream": False,
            tokens: budget,
        }
        if self._name:
            payload["model"] = self._name
        if strict:
            form = {"name": "answer", "strict": True, "schema": schema(question.tags, question.form)}
            payload["response_format"] = {"type": "json_schema", "json_schema": form}
        optional: dict[Feature, dict[str, Any]] = {
            Feature.TEMPERATURE: {"temperature": self._model.temperature},
            Feature.SEED: {"seed": SEED},
            Feature.LOGPROBS: {"logprobs": True, "top_logprobs": TOP_LOGPROBS},
            Feature.REASONING: {"reasoning_effort": "none"},
            Feature.TEMPLATE: {"chat_template_kwargs": {"enable_thinking": False}},
        }
        for feature in optional.keys() & carried:
            payload |= optional[feature]
        return payload

    async def _send(self, method: str, path: str, timeout_s: float, payload: dict[str, Any] | None = None) -> Response:
        try:
            return await self._transport.request(method, path, timeout_s, payload)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise from_exception(error, self._target(), timeout_s) from error

    async def _error(self, response: Response) -> ClientError:
        error = from_response(response, self._target())
        if isinstance(error, WrongModelError):
            return from_response(response, self._target(await self._offered()))
        return error

    async def _offered(self) -> tuple[str, ...]:
        try:
            return await self.check()
        except ClientError:
            return ()  # only for the message, which then names no models

    async def _find_model(self) -> None:
        """Where no model is configured: the first one offered that is not plainly for something else."""
        if self._name:
            return
        offered = await self.check()
        self._name = next((name for name in offered if not _NOT_FOR_CHAT.search(name)), "")
        if not self._name:
            message = "it offers no model that sees pictures; load one, or set MODEL (model_id of this endpoint)"
            raise WrongModelError(message, endpoint=self.label)
        _log.info("%s: no model is configured; asking %r", self.label, self._name)

    def _target(self, offered: tuple[str, ...] = ()) -> Target:
        return Target(self.label, self.url, self._name, self._key, offered)


def _to_blame(error: ClientError, response: Response, carried: Set[Feature]) -> Feature | None:
    """A complaint can be about a feature only where the error has no plainer meaning."""
    plain = type(error) in (RequestError, ServerError)
    return blamed(response.status, response.text[:2000], carried) if plain else None
