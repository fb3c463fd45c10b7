"""The dialects of the servers that people run: their pages, refusals and forms of an answer.

Messages are those that the servers were seen to send, or that their users report.
"""

# ruff: noqa: D102 -- ServerDialect says what each method is for

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlm_engine.testing.answers import END, Token
from vlm_engine.testing.behaviour import Behaviour, Profile, Refusal, RefusalError

Body = Mapping[str, Any]
LETTERS_PER_TOKEN = 4
THOUGHT = "The user asks for tags. I look at the picture, and at each tag of the list in turn."

_MESSAGES = {
    Refusal.KEY: (401, "Incorrect API key provided."),
    Refusal.MODEL: (404, "The model `{detail}` does not exist. Valid aliases: {models}."),
    Refusal.VISION: (500, "image input is not supported by this model"),
    Refusal.IMAGE: (400, "Failed to load image: {detail}"),
    Refusal.LENGTH: (
        400,
        "This model's maximum context length is {limit} tokens, and your prompt has {detail}.",
    ),
    Refusal.FORMAT: (400, "response_format is not supported by this server"),
    Refusal.SCHEMA: (400, "{detail}"),
    Refusal.QUEUE: (503, "The request queue is full."),
    Refusal.REQUEST: (400, "{detail}"),
}


def thought_of(tokens: int) -> str:
    """Return a thought of so many tokens."""
    letters = LETTERS_PER_TOKEN * tokens
    return (f"{THOUGHT} " * (letters // len(THOUGHT) + 1))[:letters]


@dataclass(frozen=True, slots=True)
class WrittenAnswer:
    """Text of an answer, its thoughts, and the tokens whose log-probabilities are reported."""

    content: str
    stream: tuple[Token, ...]
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a prompt and of what was written, and the times that they took.

    ``cached``: those of the prompt that the server had read for the request before.
    """

    prompt: int
    written: int
    cached: int = 0
    prompt_s: float = 0.0
    written_s: float = 0.0


class ServerDialect:
    """A server without peculiarities, which the others are derived from.

    ``messages`` holds the status and the text of refusals that differ from ``_MESSAGES``:
    ``{detail}`` is the error's, ``{models}`` and ``{limit}`` are the endpoint's.
    """

    owner = "sandbox"
    created = 0
    takes_any_model = False
    finishes_abandoned = False
    drops_overflow = False  # cuts a prompt that is too long, and the picture with it
    lists_context = False
    thought_field = "reasoning_content"
    thinking_is_template = False
    headers: Mapping[str, str] = {}
    not_found: tuple[int, Any] = (404, {"detail": "Not Found"})
    messages: Mapping[Refusal, tuple[int, str]] = {}

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    def listing(self) -> dict[str, Any]:
        """Return the body of ``GET /v1/models``."""
        models = [self.listed(name) for name in self.behaviour.models]
        return {"object": "list", "data": models}

    def listed(self, name: str) -> dict[str, Any]:
        """Return the entry of one model."""
        entry = {"id": name, "object": "model", "created": self.created, "owned_by": self.owner}
        if self.lists_context:
            entry |= {"root": name, "max_model_len": self.behaviour.context_tokens}
        return entry

    def page(self, path: str, body: Body) -> Any:
        """Return the answer to a request outside of ``/v1``, or None if there is no such page."""
        return None

    def check_key(self, header: str | None) -> None:
        """Raise ``RefusalError`` if the ``Authorization`` header is not that of the key."""
        if self.behaviour.api_key and header != f"Bearer {self.behaviour.api_key}":
            raise RefusalError(Refusal.KEY, header or "")

    def check(self, body: Body) -> None:
        """Raise ``RefusalError`` for fields and values that the server does not take."""
        if not self.takes_any_model and body.get("model") not in self.behaviour.models:
            raise RefusalError(Refusal.MODEL, str(body.get("model")))
        wanted = body.get("top_logprobs") or 0
        if wanted > 20:
            message = (
                f"Requested sample logprobs of {wanted}, which is greater than max allowed: 20"
            )
            raise RefusalError(Refusal.REQUEST, message)
        self.check_format(body.get("response_format") or {})

    def check_format(self, form: Body) -> None:
        """Raise ``RefusalError`` for a ``response_format`` that the server does not take."""
        if form and not self.behaviour.offers_schema:
            raise RefusalError(Refusal.FORMAT)
        if "uniqueItems" in str(form):
            raise RefusalError(Refusal.SCHEMA, 'Grammar error: Unimplemented keys: ["uniqueItems"]')

    def refusal(self, error: RefusalError) -> tuple[int, Any]:
        """Return the status and the body (JSON or text) for a refused request."""
        status, message = self.message(error)
        return status, _error(message, "BadRequestError", status)

    def message(self, error: RefusalError) -> tuple[int, str]:
        """Return the status and the text for a refused request."""
        status, text = self.messages.get(error.kind) or _MESSAGES[error.kind]
        models, limit = ", ".join(self.behaviour.models), self.behaviour.context_tokens
        return status, text.format(detail=error.detail, models=models, limit=limit)

    def failed(self, status: int, message: str) -> dict[str, Any]:
        """Return the body for a failure of the server."""
        return _error(message, "server_error", status)

    def thought_tokens(self, body: Body) -> int:
        """Return how many tokens the model thinks before it answers this request."""
        thought = len(THOUGHT) // LETTERS_PER_TOKEN if self.thinks(body) else 0
        return self.behaviour.thought_tokens or thought

    def thinks(self, body: Body) -> bool:
        """Return True if the model thinks where the request lets it."""
        if self.thinking_is_template:
            template = body.get("chat_template_kwargs") or {}
            return self.behaviour.thinks and template.get("enable_thinking") is not False
        return self.behaviour.thinks and body.get("reasoning_effort") != "none"

    def write(self, tokens: Sequence[Token], body: Body, thought: str = "") -> WrittenAnswer:
        """Return the answer that the model gave as ``tokens``, after a thought."""
        content = "".join(token.text for token in tokens if token.text != END)
        return WrittenAnswer(content, tuple(tokens), thought)

    def reported(self, usage: Usage) -> dict[str, Any]:
        """Return the fields of a reply that tell what it took."""
        total = usage.prompt + usage.written
        tokens = {"prompt_tokens": usage.prompt, "completion_tokens": usage.written}
        return {"usage": {**tokens, "total_tokens": total}}

    def logprobs(self, stream: Sequence[Token], alternatives: int) -> Any:
        """Return the ``logprobs`` of a choice."""
        return {"content": [token.as_openai(alternatives) for token in stream]}

    def _modalities(self) -> dict[str, list[str]]:
        return {"input_modalities": ["text", "image"] if self.behaviour.vision else ["text"]}


def _error(message: str, kind: str, code: int | str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Plain(ServerDialect):
    """A server that lists whether its models can see."""

    def listed(self, name: str) -> dict[str, Any]:
        return {**super().listed(name), "architecture": self._modalities()}


class LMStudio(ServerDialect):
    """LM Studio: no ``json_object``, no log-probabilities, a thinker's answer as a thought."""

    owner = "organization_owner"
    not_found = (200, {"error": "Unexpected endpoint or method. (GET). Returning 200 anyway"})
    messages: Mapping[Refusal, tuple[int, str]] = {
        Refusal.KEY: (
            401,
            "Malformed LM Studio API token provided. See the page on authentication.",
        ),
        Refusal.MODEL: (
            400,
            'Invalid model identifier "{detail}". Please specify a valid downloaded model.',
        ),
        Refusal.VISION: (400, "Model does not support images. Please use a model that does."),
        Refusal.IMAGE: (400, "failed to process image: {detail}"),
        Refusal.FORMAT: (400, "'response_format.type' must be 'json_schema' or 'text'"),
        Refusal.LENGTH: (
            400,
            "Trying to keep the first {detail} tokens when context the overflows. However, the "
            "model is loaded with context length of only {limit} tokens, which is not enough.",
        ),
    }

    def page(self, path: str, body: Body) -> Any:
        if path != "/api/v1/models":
            return None
        config = {
            "context_length": self.behaviour.context_tokens,
            "eval_batch_size": 512,
            "parallel": self.behaviour.slots,
        }
        models: list[dict[str, Any]] = [
            {
                "type": "llm",
                "key": name,
                "display_name": name,
                "loaded_instances": [{"id": name, "config": config}]
                if self.behaviour.loaded
                else [],
                "max_context_length": 131072,
                "capabilities": {"vision": self.behaviour.vision, "trained_for_tool_use": True},
            }
            for name in self.behaviour.models
        ]
        other = {"type": "embedding", "key": "text-embedding-nomic", "loaded_instances": []}
        return {"models": [*models, other]}

    def check_format(self, form: Body) -> None:
        if form.get("type", "text") not in ("json_schema", "text"):
            raise RefusalError(Refusal.FORMAT)

    def refusal(self, error: RefusalError) -> tuple[int, Any]:
        status, message = self.message(error)
        if error.kind is Refusal.FORMAT:
            return status, {"error": message}
        codes = {Refusal.KEY: "invalid_api_key", Refusal.MODEL: "model_not_found"}
        return status, _error(message, "invalid_request_error", codes.get(error.kind))

    def write(self, tokens: Sequence[Token], body: Body, thought: str = "") -> WrittenAnswer:
        answer = super().write(tokens, body, thought)
        if thought and tokens and body.get("response_format"):
            return WrittenAnswer("", answer.stream, answer.content)
        return answer

    def logprobs(self, stream: Sequence[Token], alternatives: int) -> Any:
        return None


class Ollama(ServerDialect):
    """Ollama: no keys, every schema, and silence about a prompt that does not fit its context."""

    owner = "library"
    thought_field = "reasoning"
    drops_overflow = True
    not_found = (404, "404 page not found")
    messages: Mapping[Refusal, tuple[int, str]] = {
        Refusal.MODEL: (404, 'model "{detail}" not found, try pulling it first'),
        Refusal.VISION: (500, "this model is missing data required for image input"),
        Refusal.IMAGE: (400, "invalid image input"),
        Refusal.QUEUE: (503, "server busy, please try again.  maximum pending requests exceeded"),
    }

    def page(self, path: str, body: Body) -> Any:
        if path == "/api/ps":
            names, context = self.behaviour.models[:1], self.behaviour.context_tokens
            loaded = [{"name": name, "model": name, "context_length": context} for name in names]
            return {"models": loaded if self.behaviour.loaded else []}
        if path == "/api/show" and body.get("model") in self.behaviour.models:
            vision = ["vision"] if self.behaviour.vision else []
            return {"capabilities": ["completion", *vision], "parameters": ""}
        return None

    def check_key(self, header: str | None) -> None:
        pass

    def check_format(self, form: Body) -> None:
        pass


class LlamaCpp(ServerDialect):
    """llama.cpp: any model name, and tokens as if there were no schema, code fence and all.

    The token that ends a text without a schema is empty.
    """

    owner = "llamacpp"
    takes_any_model = True
    thinking_is_template = True
    not_found = (
        404,
        {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}},
    )
    messages: Mapping[Refusal, tuple[int, str]] = {
        Refusal.KEY: (401, "Invalid API Key"),
        Refusal.VISION: (
            500,
            "image input is not supported - hint: if this is unexpected, "
            "you may need to provide the mmproj",
        ),
        Refusal.IMAGE: (400, "Failed to load image or audio file"),
        Refusal.FORMAT: (
            500,
            "The model produced output that does not match the expected peg-native format",
        ),
        Refusal.LENGTH: (
            400,
            "request ({detail} tokens) exceeds the available context size ({limit} tokens), "
            "try increasing it",
        ),
    }

    def listing(self) -> dict[str, Any]:
        name = self.behaviour.models[0]
        capabilities = ["completion", *(["multimodal"] if self.behaviour.vision else [])]
        model = {"name": name, "model": name, "type": "model", "capabilities": capabilities}
        return {"models": [model], "object": "list", "data": [self.listed(name)]}

    def listed(self, name: str) -> dict[str, Any]:
        return {
            **super().listed(name),
            "aliases": [name],
            "architecture": self._modalities(),
            "meta": {"n_ctx": self.behaviour.context_tokens, "n_ctx_train": 131072},
        }

    def page(self, path: str, body: Body) -> Any:
        context, slots = self.behaviour.context_tokens, self.behaviour.slots
        if path == "/slots":
            return [{"id": n, "n_ctx": context, "is_processing": False} for n in range(slots)]
        if path == "/props":
            return {
                "default_generation_settings": {"n_ctx": context},
                "total_slots": slots,
                "modalities": {"vision": self.behaviour.vision, "audio": False},
            }
        return None

    def check_format(self, form: Body) -> None:
        if "nonsense" in str(form):
            raise RefusalError(
                Refusal.SCHEMA,
                "Unable to generate parser for this template. Automatic parser generation failed: "
                "JSON schema error at #: unrecognized type nonsense",
            )
        if form.get("type") == "json_object":
            raise RefusalError(Refusal.FORMAT)

    def refusal(self, error: RefusalError) -> tuple[int, Any]:
        status, message = self.message(error)
        kinds = {Refusal.KEY: "authentication_error", Refusal.LENGTH: "exceed_context_size_error"}
        other = "server_error" if status == 500 else "invalid_request_error"
        kind = kinds.get(error.kind, other)
        return status, {"error": {"code": status, "message": message, "type": kind}}

    def write(self, tokens: Sequence[Token], body: Body, thought: str = "") -> WrittenAnswer:
        answer = super().write(tokens, body, thought)
        if not tokens or not body.get("response_format"):
            return replace(answer, stream=tuple(map(_with_empty_end, tokens)))
        unmasked = [Token(token.text, _unmasked(token)) for token in tokens]
        stream = (Token("```json\n"), *unmasked, Token("\n```"))
        return replace(answer, stream=stream)

    def reported(self, usage: Usage) -> dict[str, Any]:
        fields = super().reported(usage)
        fields["usage"]["prompt_tokens_details"] = {"cached_tokens": usage.cached}
        timings = {"cache_n": usage.cached, "prompt_n": usage.prompt - usage.cached}
        timings |= {"predicted_n": usage.written}
        times = {"prompt_ms": 1e3 * usage.prompt_s, "predicted_ms": 1e3 * usage.written_s}
        return {**fields, "timings": {**timings, **times}}

    def logprobs(self, stream: Sequence[Token], alternatives: int) -> Any:
        logprobs: dict[str, Any] = super().logprobs(stream, alternatives)
        for number, entry in enumerate(logprobs["content"]):
            entry["id"] = number
            # The token that a schema forces is sometimes not among those the model would write.
            if alternatives and number % 5 == 4 and len(entry["top_logprobs"]) == 1:
                entry["top_logprobs"] = [{**entry["top_logprobs"][0], "token": "The"}]
        return logprobs


class VLLM(ServerDialect):
    """vLLM: only tokens that the schema admits, words that begin in several ways, an end marker."""

    owner = "vllm"
    thought_field = "reasoning"
    lists_context = True
    thinking_is_template = True

    def refusal(self, error: RefusalError) -> tuple[int, Any]:
        if error.kind is Refusal.KEY:
            return 401, {"error": "Unauthorized"}
        return super().refusal(error)

    def check(self, body: Body) -> None:
        super().check(body)
        budget, limit = body.get("max_tokens") or 0, self.behaviour.context_tokens
        if budget > limit:
            raise RefusalError(
                Refusal.REQUEST,
                f"max_tokens={budget} cannot be greater than max_model_len={limit}. "
                "Please request fewer output tokens.",
            )

    def message(self, error: RefusalError) -> tuple[int, str]:
        if error.kind is Refusal.VISION:
            return 400, f"{self.behaviour.models[0]} is not a multimodal model"
        if error.kind is Refusal.IMAGE and ("base64" in error.detail or "padding" in error.detail):
            return 400, "Non-base64 digit found"
        return super().message(error)

    def write(self, tokens: Sequence[Token], body: Body, thought: str = "") -> WrittenAnswer:
        answer = super().write(tokens, body, thought)
        if not tokens or not body.get("response_format"):
            return answer
        stream = (*(part for token in tokens for part in _split(token)), Token(END))
        return replace(answer, stream=stream)

    def logprobs(self, stream: Sequence[Token], alternatives: int) -> Any:
        logprobs: dict[str, Any] = super().logprobs(stream, alternatives)
        masked = {"token": "The", "logprob": -9999.0, "bytes": list(b"The")}
        for entry in logprobs["content"]:
            entry["top_logprobs"] += [masked] * (alternatives - len(entry["top_logprobs"]))
        return logprobs


class SGLang(ServerDialect):
    """SGLang: any model name, two pages about itself, errors in a flat form."""

    owner = "sglang"
    takes_any_model = True
    lists_context = True
    thinking_is_template = True
    messages: Mapping[Refusal, tuple[int, str]] = {
        Refusal.IMAGE: (
            400,
            "An exception occurred while loading multimodal data: "
            "cannot identify image file: {detail}",
        ),
        Refusal.LENGTH: (
            400,
            "The input ({detail} tokens) is longer than the model's context length "
            "({limit} tokens).",
        ),
    }

    def page(self, path: str, body: Body) -> Any:
        about = {"model_path": self.behaviour.models[0]}
        if path == "/model_info":
            return {
                **about,
                "is_generation": True,
                "has_image_understanding": self.behaviour.vision,
            }
        if path == "/server_info":
            state = {"effective_max_running_requests_per_dp": self.behaviour.slots}
            return {**about, "max_running_requests": None, "internal_states": [state]}
        return None

    def refusal(self, error: RefusalError) -> tuple[int, Any]:
        if error.kind is Refusal.KEY:
            return 401, {"error": "Unauthorized"}
        status, message = self.message(error)
        return status, {"object": "error", **_error(message, "BadRequest", status)["error"]}


class LiteLLM(LlamaCpp):
    """LiteLLM before a llama.cpp server: wraps its errors, finishes what a client has given up."""

    owner = "openai"
    created = 1677610602
    takes_any_model = False
    finishes_abandoned = True
    headers: Mapping[str, str] = {"x-litellm-version": "1.106.2", "x-litellm-call-id": "sandbox"}
    not_found = ServerDialect.not_found

    def listing(self) -> dict[str, Any]:
        return ServerDialect.listing(self)

    def listed(self, name: str) -> dict[str, Any]:
        return ServerDialect.listed(self, name)

    def page(self, path: str, body: Body) -> Any:
        return {"status": "healthy", "db": "Not connected"} if path == "/health/readiness" else None

    def refusal(self, error: RefusalError) -> tuple[int, Any]:
        kind = "invalid_request_error"
        if error.kind is Refusal.KEY:
            if not error.detail:
                return 500, "Internal Server Error"
            return 400, _error("No connected db.", "no_db_connection", "400")
        if error.kind is Refusal.MODEL:
            name, more = error.detail, "Call `/v1/models` to view others."
            message = f"/chat/completions: Invalid model name passed in model={name}. {more}"
            return 400, _error(message, kind, "400")
        status, message = self.message(error)
        if error.kind is Refusal.LENGTH:
            message = f"ContextWindowExceededError: OpenAIException - {message}"
            message = f"litellm.ContextWindowExceededError: litellm.BadRequestError: {message}"
            return status, _error(message, kind, str(status))
        return status, self.failed(status, message)

    def failed(self, status: int, message: str) -> dict[str, Any]:
        kind = "InternalServerError" if status >= 500 else "BadRequestError"
        more = "LiteLLM: model group 'tiny' failed with the error above. No fallback was attempted."
        message = f"litellm.{kind}: OpenAIException - {message}\n\n{more}"
        return _error(message, "invalid_request_error", str(status))


DIALECTS: Mapping[Profile, type[ServerDialect]] = {
    Profile.PLAIN: Plain,
    Profile.LM_STUDIO: LMStudio,
    Profile.OLLAMA: Ollama,
    Profile.LLAMA_CPP: LlamaCpp,
    Profile.VLLM: VLLM,
    Profile.SGLANG: SGLang,
    Profile.LITELLM: LiteLLM,
}


def _with_empty_end(token: Token) -> Token:
    likely = {"" if text == END else text: share for text, share in token.likely.items()}
    return Token("" if token.text == END else token.text, likely)


def _unmasked(token: Token) -> dict[str, float]:
    """Return the probabilities with a share for what the model would write without a schema."""
    if not token.likely:
        return {}
    scaled = {text: 0.7 * probability for text, probability in token.likely.items()}
    return scaled | {"The": 0.2, "```": 0.1}


def _split(token: Token) -> list[Token]:
    """Return a verdict as two tokens. The first may be the word or its first letter."""
    if not token.likely.keys() & {"yes", "no"}:
        return [token]
    likely: dict[str, float] = {}
    for word, probability in token.likely.items():
        likely |= {word: 0.4 * probability, word[:1]: 0.6 * probability}
    return [Token(token.text[:1], likely), Token(token.text[1:])]
