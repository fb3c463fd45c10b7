"""The ways of one server: what it shows of itself, how it refuses, and how it writes down an answer.

The base class is a server without peculiarities; ``vlm_engine.testing.profiles`` has those that people run. Messages are those
that the servers were seen to send, or that their users report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlm_engine.testing.answers import Token
from vlm_engine.testing.behaviour import Behaviour, Refusal, RefusalError

Body = Mapping[str, Any]
THOUGHT = "The user asks for tags. I look at the picture, and at each tag of the list, one after the other."


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as the client gets it: ``content``, thoughts, and the tokens that the log-probabilities are told of."""

    content: str
    stream: tuple[Token, ...]
    thought: str = ""


class ServerDialect:
    """A server without peculiarities."""

    owner = "sandbox"
    created = 0
    knows_every_model = False
    finishes_abandoned = False
    thought_field = "reasoning_content"
    headers: Mapping[str, str] = {}

    def listing(self, how: Behaviour) -> dict[str, Any]:
        """``GET /v1/models``."""
        return {"object": "list", "data": [self.listed(name, how) for name in how.models]}

    def listed(self, name: str, how: Behaviour) -> dict[str, Any]:
        """One model of it."""
        return {"id": name, "object": "model", "created": self.created, "owned_by": self.owner}

    def page(self, path: str, how: Behaviour) -> Any:
        """What a GET beside ``/v1`` answers; None where there is nothing."""
        return None

    def posted(self, path: str, body: Body, how: Behaviour) -> Any:
        """What a POST beside ``/v1`` answers; None where there is nothing."""
        return None

    def lacks(self) -> tuple[int, Any]:
        """Status and body where there is nothing."""
        return 404, {"detail": "Not Found"}

    def check_key(self, header: str | None, how: Behaviour) -> None:
        """Raises ``RefusalError`` for a request with this ``Authorization``."""
        if how.api_key and header != f"Bearer {how.api_key}":
            raise RefusalError(Refusal.KEY)

    def check(self, body: Body, how: Behaviour) -> None:
        """Raises ``RefusalError`` for fields and values that the server does not take."""
        if not self.knows_every_model and body.get("model") not in how.models:
            raise RefusalError(Refusal.MODEL, str(body.get("model")))
        if (body.get("top_logprobs") or 0) > 20:
            told = f"Requested sample logprobs of {body['top_logprobs']}, which is greater than max allowed: 20"
            raise RefusalError(Refusal.REQUEST, told)
        self.check_format(body.get("response_format") or {}, how)

    def check_format(self, form: Body, how: Behaviour) -> None:
        """The part of ``check`` that is about ``response_format``."""
        if form and not how.offers_schema:
            raise RefusalError(Refusal.FORMAT)
        if "uniqueItems" in str(form):
            raise RefusalError(Refusal.SCHEMA, 'Grammar error: Unimplemented keys: ["uniqueItems"]')

    def overflow(self, tokens: int, how: Behaviour) -> None:
        """What becomes of a prompt of so many ``tokens`` that does not fit. To return is to drop the rest, the picture too."""
        told = f"This model's maximum context length is {how.context_tokens} tokens, and your prompt has {tokens}."
        raise RefusalError(Refusal.LENGTH, told)

    def refusal(self, error: RefusalError, how: Behaviour) -> tuple[int, Any]:
        """Status and body (JSON, or text) that an error comes to."""
        status, message = self.said(error, how)
        return status, {
            "error": {"message": message, "type": "BadRequestError", "param": None, "code": status}
        }

    def said(self, error: RefusalError, how: Behaviour) -> tuple[int, str]:
        """Status and words."""
        status, words = _WORDS[error.kind]
        offered = ", ".join(how.models)
        return status, words.format(error.detail, offered=offered)

    def thinks(self, body: Body, how: Behaviour) -> bool:
        """Whether the model thinks before this answer."""
        return how.thinks and body.get("reasoning_effort") != "none"

    def write(self, tokens: Sequence[Token], body: Body, how: Behaviour) -> Written:
        """The answer that the model gave as ``tokens``."""
        return Written(
            "".join(token.text for token in tokens),
            tuple(tokens),
            THOUGHT if self.thinks(body, how) else "",
        )

    def logprobs(self, stream: Sequence[Token], alternatives: int) -> Any:
        """The ``logprobs`` of a choice."""
        return {"content": [token.as_openai(alternatives) for token in stream]}

    def failed(self, status: int, message: str) -> dict[str, Any]:
        """The body of a failure that is not the request's fault."""
        return {
            "error": {"message": message, "type": "server_error", "param": None, "code": status}
        }


_WORDS = {
    Refusal.KEY: (401, "Incorrect API key provided."),
    Refusal.MODEL: (404, "The model `{0}` does not exist. Valid aliases: {offered}."),
    Refusal.VISION: (500, "image input is not supported by this model"),
    Refusal.IMAGE: (400, "Failed to load image: {0}"),
    Refusal.LENGTH: (400, "{0}"),
    Refusal.FORMAT: (400, "response_format is not supported by this server"),
    Refusal.SCHEMA: (400, "{0}"),
    Refusal.QUEUE: (503, "The request queue is full."),
    Refusal.REQUEST: (400, "{0}"),
}
