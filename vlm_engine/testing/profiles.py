"""The servers that people run, as the sandbox plays them."""

# ruff: noqa: D102 -- what each method is for is said in Manners

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlm_engine.testing.answers import Token
from vlm_engine.testing.behaviour import Behaviour, Profile, Refusal, RefusalError
from vlm_engine.testing.dialect import Body, ServerDialect, Written


class Plain(ServerDialect):
    """Tells, with its models, whether they see."""

    def listed(self, name: str, how: Behaviour) -> dict[str, Any]:
        return {**super().listed(name, how), "architecture": {"input_modalities": _modalities(how)}}


class LMStudio(ServerDialect):
    """Takes schemas and no ``json_object``, tells no log-probabilities, and files a thinker's answer with its thoughts."""

    owner = "organization_owner"

    def page(self, path: str, how: Behaviour) -> Any:
        if path != "/api/v1/models":
            return None
        config = {
            "context_length": how.context_tokens,
            "eval_batch_size": 512,
            "parallel": how.slots,
        }
        models = [
            {
                "type": "llm",
                "key": name,
                "display_name": name,
                "loaded_instances": [{"id": name, "config": config}] if how.loaded else [],
                "max_context_length": 131072,
                "capabilities": {"vision": how.vision, "trained_for_tool_use": True},
            }
            for name in how.models
        ]
        return {
            "models": [
                *models,
                {"type": "embedding", "key": "text-embedding-nomic", "loaded_instances": []},
            ]
        }

    def lacks(self) -> tuple[int, Any]:
        return 200, {"error": "Unexpected endpoint or method. (GET). Returning 200 anyway"}

    def check_format(self, form: Body, how: Behaviour) -> None:
        if form.get("type", "text") not in ("json_schema", "text"):
            raise RefusalError(Refusal.FORMAT)

    def refusal(self, error: RefusalError, how: Behaviour) -> tuple[int, Any]:
        status, message = self.said(error, how)
        if error.kind is Refusal.FORMAT:
            return status, {"error": message}
        code = {Refusal.KEY: "invalid_api_key", Refusal.MODEL: "model_not_found"}.get(error.kind)
        return status, {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": code,
            }
        }

    def said(self, error: RefusalError, how: Behaviour) -> tuple[int, str]:
        words = {
            Refusal.KEY: (
                401,
                "Malformed LM Studio API token provided. See the page on authentication.",
            ),
            Refusal.MODEL: (
                400,
                f'Invalid model identifier "{error.detail}". Please specify a valid downloaded model.',
            ),
            Refusal.VISION: (400, "Model does not support images. Please use a model that does."),
            Refusal.IMAGE: (400, f"failed to process image: {error.detail}"),
            Refusal.FORMAT: (400, "'response_format.type' must be 'json_schema' or 'text'"),
        }
        return words.get(error.kind) or super().said(error, how)

    def overflow(self, tokens: int, how: Behaviour) -> None:
        raise RefusalError(
            Refusal.LENGTH,
            f"Trying to keep the first {tokens} tokens when context the overflows. However, the model is loaded with context "
            f"length of only {how.context_tokens} tokens, which is not enough.",
        )

    def write(self, tokens: Sequence[Token], body: Body, how: Behaviour) -> Written:
        written = super().write(tokens, body, how)
        if written.thought and body.get("response_format"):
            return Written("", written.stream, written.content)
        return written

    def logprobs(self, stream: Sequence[Token], alternatives: int) -> Any:
        return None


class Ollama(ServerDialect):
    """Knows no keys, and drops in silence what does not fit into its context."""

    owner = "library"
    thought_field = "reasoning"

    def page(self, path: str, how: Behaviour) -> Any:
        if path != "/api/ps":
            return None
        names = how.models[:1] if how.loaded else ()
        return {
            "models": [
                {"name": name, "model": name, "context_length": how.context_tokens}
                for name in names
            ]
        }

    def posted(self, path: str, body: Body, how: Behaviour) -> Any:
        if path != "/api/show" or body.get("model") not in how.models:
            return None
        return {
            "capabilities": ["completion", *(["vision"] if how.vision else [])],
            "parameters": "",
        }

    def lacks(self) -> tuple[int, Any]:
        return 404, "404 page not found"

    def check_key(self, header: str | None, how: Behaviour) -> None:
        """There are none."""

    def check_format(self, form: Body, how: Behaviour) -> None:
        """It takes every schema, and what it knows of it."""

    def said(self, error: RefusalError, how: Behaviour) -> tuple[int, str]:
        words = {
            Refusal.MODEL: (404, f'model "{error.detail}" not found, try pulling it first'),
            Refusal.VISION: (500, "this model is missing data required for image input"),
            Refusal.IMAGE: (400, "invalid image input"),
            Refusal.QUEUE: (
                503,
                "server busy, please try again.  maximum pending requests exceeded",
            ),
        }
        return words.get(error.kind) or super().said(error, how)

    def overflow(self, tokens: int, how: Behaviour) -> None:
        """Not a word."""


class LlamaCpp(ServerDialect):
    """Answers to any name; tells under a schema what the model would have written without it, fence and all."""

    owner = "llamacpp"
    knows_every_model = True

    def listing(self, how: Behaviour) -> dict[str, Any]:
        capabilities = ["completion", "multimodal"] if how.vision else ["completion"]
        models = [
            {"name": name, "model": name, "type": "model", "capabilities": capabilities}
            for name in how.models[:1]
        ]
        return {
            "models": models,
            "object": "list",
            "data": [self.listed(name, how) for name in how.models[:1]],
        }

    def listed(self, name: str, how: Behaviour) -> dict[str, Any]:
        more = {
            "architecture": {"input_modalities": _modalities(how)},
            "meta": {"n_ctx": how.context_tokens, "n_ctx_train": 131072},
        }
        return {**super().listed(name, how), "aliases": [name], **more}

    def page(self, path: str, how: Behaviour) -> Any:
        if path == "/slots":
            return [
                {"id": slot, "n_ctx": how.context_tokens, "is_processing": False}
                for slot in range(how.slots)
            ]
        if path == "/props":
            settings = {"n_ctx": how.context_tokens}
            modalities = {"vision": how.vision, "audio": False}
            return {
                "default_generation_settings": settings,
                "total_slots": how.slots,
                "modalities": modalities,
            }
        return None

    def lacks(self) -> tuple[int, Any]:
        return 404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}

    def check_format(self, form: Body, how: Behaviour) -> None:
        if "nonsense" in str(form):
            told = "Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at #: "
            raise RefusalError(Refusal.SCHEMA, f"{told}unrecognized type nonsense")
        if form.get("type") == "json_object":
            raise RefusalError(Refusal.FORMAT)

    def refusal(self, error: RefusalError, how: Behaviour) -> tuple[int, Any]:
        status, message = self.said(error, how)
        kinds = {Refusal.KEY: "authentication_error", Refusal.LENGTH: "exceed_context_size_error"}
        kind = kinds.get(error.kind) or (
            "server_error" if status == 500 else "invalid_request_error"
        )
        return status, {"error": {"code": status, "message": message, "type": kind}}

    def said(self, error: RefusalError, how: Behaviour) -> tuple[int, str]:
        words = {
            Refusal.KEY: (401, "Invalid API Key"),
            Refusal.VISION: (
                500,
                "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            ),
            Refusal.IMAGE: (400, "Failed to load image or audio file"),
            Refusal.FORMAT: (
                500,
                "The model produced output that does not match the expected peg-native format",
            ),
        }
        return words.get(error.kind) or super().said(error, how)

    def overflow(self, tokens: int, how: Behaviour) -> None:
        limit = how.context_tokens
        raise RefusalError(
            Refusal.LENGTH,
            f"request ({tokens} tokens) exceeds the available context size ({limit} tokens), try increasing it",
        )

    def thinks(self, body: Body, how: Behaviour) -> bool:
        return (
            how.thinks
            and (body.get("chat_template_kwargs") or {}).get("enable_thinking") is not False
        )

    def write(self, tokens: Sequence[Token], body: Body, how: Behaviour) -> Written:
        written = super().write(tokens, body, how)
        if not body.get("response_format"):
            return written
        loose = [Token(token.text, _unmasked(token)) for token in tokens]
        return Written(
            written.content, (Token("```json\n"), *loose, Token("\n```")), written.thought
        )

    def logprobs(self, stream: Sequence[Token], alternatives: int) -> Any:
        told: dict[str, Any] = super().logprobs(stream, alternatives)
        for number, entry in enumerate(told["content"]):
            entry["id"] = number
            if (
                alternatives and number % 5 == 4 and len(entry["top_logprobs"]) == 1
            ):  # a schema's own choice is not among the model's
                entry["top_logprobs"] = [{**entry["top_logprobs"][0], "token": "The"}]
        return told


class VLLM(ServerDialect):
    """Tells under a schema only what that admits, where a word may begin in several ways; counts its end marker as a token."""

    owner = "vllm"
    thought_field = "reasoning"

    def listed(self, name: str, how: Behaviour) -> dict[str, Any]:
        return {**super().listed(name, how), "root": name, "max_model_len": how.context_tokens}

    def refusal(self, error: RefusalError, how: Behaviour) -> tuple[int, Any]:
        return (
            (401, {"error": "Unauthorized"})
            if error.kind is Refusal.KEY
            else super().refusal(error, how)
        )

    def check(self, body: Body, how: Behaviour) -> None:
        super().check(body, how)
        budget, limit = body.get("max_tokens") or 0, how.context_tokens
        if budget > limit:
            told = f"max_tokens={budget} cannot be greater than max_model_len={limit}. Please request fewer output tokens."
            raise RefusalError(Refusal.LENGTH, told)

    def said(self, error: RefusalError, how: Behaviour) -> tuple[int, str]:
        if error.kind is Refusal.VISION:
            return 400, f"{how.models[0]} is not a multimodal model"
        if error.kind is Refusal.IMAGE and ("base64" in error.detail or "padding" in error.detail):
            return 400, "Non-base64 digit found"
        return super().said(error, how)

    def thinks(self, body: Body, how: Behaviour) -> bool:
        return (
            how.thinks
            and (body.get("chat_template_kwargs") or {}).get("enable_thinking") is not False
        )

    def write(self, tokens: Sequence[Token], body: Body, how: Behaviour) -> Written:
        written = super().write(tokens, body, how)
        if not body.get("response_format"):
            return written
        stream = [part for token in tokens for part in _begun(token)]
        return Written(written.content, (*stream, Token("<|im_end|>")), written.thought)

    def logprobs(self, stream: Sequence[Token], alternatives: int) -> Any:
        told: dict[str, Any] = super().logprobs(stream, alternatives)
        masked = {"token": "The", "logprob": -9999.0, "bytes": list(b"The")}
        for entry in told["content"]:
            entry["top_logprobs"] += [masked] * (alternatives - len(entry["top_logprobs"]))
        return told


class SGLang(ServerDialect):
    """Tells of itself on two pages, answers to any name, and reports errors flat."""

    owner = "sglang"
    knows_every_model = True

    def listed(self, name: str, how: Behaviour) -> dict[str, Any]:
        return {**super().listed(name, how), "root": name, "max_model_len": how.context_tokens}

    def page(self, path: str, how: Behaviour) -> Any:
        if path == "/model_info":
            return {
                "model_path": how.models[0],
                "is_generation": True,
                "has_image_understanding": how.vision,
            }
        if path == "/server_info":
            state = {"effective_max_running_requests_per_dp": how.slots}
            return {
                "model_path": how.models[0],
                "max_running_requests": None,
                "internal_states": [state],
            }
        return None

    def refusal(self, error: RefusalError, how: Behaviour) -> tuple[int, Any]:
        if error.kind is Refusal.KEY:
            return 401, {"error": "Unauthorized"}
        status, message = self.said(error, how)
        return status, {
            "object": "error",
            "message": message,
            "type": "BadRequest",
            "param": None,
            "code": status,
        }

    def said(self, error: RefusalError, how: Behaviour) -> tuple[int, str]:
        if error.kind is Refusal.IMAGE:
            return (
                400,
                f"An exception occurred while loading multimodal data: cannot identify image file: {error.detail}",
            )
        return super().said(error, how)

    def overflow(self, tokens: int, how: Behaviour) -> None:
        limit = how.context_tokens
        raise RefusalError(
            Refusal.LENGTH,
            f"The input ({tokens} tokens) is longer than the model's context length ({limit} tokens).",
        )

    def thinks(self, body: Body, how: Behaviour) -> bool:
        return (
            how.thinks
            and (body.get("chat_template_kwargs") or {}).get("enable_thinking") is not False
        )


class LiteLLM(LlamaCpp):
    """A proxy before a llama.cpp server: wraps what that says, and goes on with what its client has given up."""

    owner = "openai"
    created = 1677610602
    knows_every_model = False
    finishes_abandoned = True
    headers: Mapping[str, str] = {"x-litellm-version": "1.106.2", "x-litellm-call-id": "sandbox"}

    def listing(self, how: Behaviour) -> dict[str, Any]:
        return {
            "data": [ServerDialect.listed(self, name, how) for name in how.models],
            "object": "list",
        }

    def page(self, path: str, how: Behaviour) -> Any:
        return {"status": "healthy", "db": "Not connected"} if path == "/health/readiness" else None

    def lacks(self) -> tuple[int, Any]:
        return 404, {"detail": "Not Found"}

    def refusal(self, error: RefusalError, how: Behaviour) -> tuple[int, Any]:
        if error.kind is Refusal.KEY:
            if not error.detail:
                return 500, "Internal Server Error"
            return 400, {
                "error": {
                    "message": "No connected db.",
                    "type": "no_db_connection",
                    "param": None,
                    "code": "400",
                }
            }
        if error.kind is Refusal.MODEL:
            message = f"/chat/completions: Invalid model name passed in model={error.detail}. Call `/v1/models` to view others."
            return 400, {
                "error": {
                    "message": message,
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "400",
                }
            }
        status, message = self.said(error, how)
        if error.kind is Refusal.LENGTH:
            message = f"ContextWindowExceededError: OpenAIException - {message}"
            told = f"litellm.ContextWindowExceededError: litellm.BadRequestError: {message}"
            return status, {
                "error": {
                    "message": told,
                    "type": "invalid_request_error",
                    "param": None,
                    "code": str(status),
                }
            }
        return status, self.failed(status, message)

    def check_key(self, header: str | None, how: Behaviour) -> None:
        if how.api_key and header != f"Bearer {how.api_key}":
            raise RefusalError(Refusal.KEY, header or "")

    def failed(self, status: int, message: str) -> dict[str, Any]:
        kind = "InternalServerError" if status >= 500 else "BadRequestError"
        more = "LiteLLM: model group 'tiny' failed with the error above. No fallback was attempted."
        told = f"litellm.{kind}: OpenAIException - {message}\n\n{more}"
        return {
            "error": {
                "message": told,
                "type": "invalid_request_error",
                "param": None,
                "code": str(status),
            }
        }


MANNERS: Mapping[Profile, ServerDialect] = {
    Profile.PLAIN: Plain(),
    Profile.LM_STUDIO: LMStudio(),
    Profile.OLLAMA: Ollama(),
    Profile.LLAMA_CPP: LlamaCpp(),
    Profile.VLLM: VLLM(),
    Profile.SGLANG: SGLang(),
    Profile.LITELLM: LiteLLM(),
}


def _modalities(how: Behaviour) -> list[str]:
    return ["text", "image"] if how.vision else ["text"]


def _unmasked(token: Token) -> dict[str, float]:
    """With some of the probability on what the model would have written if the schema had let it."""
    if not token.likely:
        return {}
    return {text: 0.7 * probability for text, probability in token.likely.items()} | {
        "The": 0.2,
        "```": 0.1,
    }


def _begun(token: Token) -> list[Token]:
    """A verdict in all the ways in which it may begin: a word and its first letter are the same choice."""
    if not token.likely.keys() & {"yes", "no"}:
        return [token]
    likely: dict[str, float] = {}
    for word, probability in token.likely.items():
        likely |= {word: 0.4 * probability, word[:1]: 0.6 * probability}
    return [Token(token.text[:1], likely), Token(token.text[1:])]
