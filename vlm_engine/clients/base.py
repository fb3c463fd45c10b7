"""What the engine asks of whatever answers questions: one endpoint, a pool of them, or a script in a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from vlm_engine.types import Answer, Question

Keep = Callable[[Answer], Awaitable[object]]
"""Puts an answer where it is safe."""


class Client(Protocol):
    """Answers questions about pictures. Safe to use from many tasks of one event loop at once."""

    @property
    def slots(self) -> int:
        """How many questions it is worth having under way at once."""

    async def ask(self, question: Question, keep: Keep | None = None) -> Answer:
        """The answer, with one verdict for every tag of ``question``.

        ``keep`` is awaited before this returns, and before the answer's slot takes another question: so a kill costs no more
        answers than there are slots. It runs to its end even when nobody waits any more. A ``VLMEngineError`` that it raises
        is raised; after any other the answer counts as unusable.

        Raises ``RequestError`` or ``ReplyError`` when this question cannot be answered, ``ServerError``
        when it failed on every endpoint that was tried, and ``NoEndpointError`` when nobody is left to
        ask: then no other question would fare better.
        """

    async def model_name(self) -> str:
        """The model that answers, as the store should remember it; may ask a server.

        Raises ``NoEndpointError`` when that needs a server and none answers.
        """

    async def aclose(self) -> None:
        """Ends what is under way and closes every connection. Asking afterwards is an error."""
