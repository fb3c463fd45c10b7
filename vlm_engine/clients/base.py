"""The client interface: what one endpoint, a pool of them and a script in a test have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from vlm_engine.errors import ServerError, VLMEngineError
from vlm_engine.reply import shortened
from vlm_engine.types import Answer, Question, QuestionCost

Keep = Callable[[Answer], Awaitable[object]]
"""Stores an answer."""
_log = logging.getLogger(__name__)


class ClosedError(RuntimeError):
    """A request was made through a closed client."""


class Client(Protocol):
    """Answers questions about pictures. Safe for many tasks of one event loop at once."""

    @property
    def slots(self) -> int:
        """Number of questions worth having in flight at once; at least 1. May change."""

    async def ask(
        self, question: Question, keep: Keep | None = None, *, timeout_s: float | None = None
    ) -> Answer:
        """Return the answer, with one verdict for every tag of ``question``.

        ``keep`` stores the answer. It is awaited before this returns and before the slot takes
        another question, so a kill loses at most one answer per slot. It runs to its end even when
        the caller is cancelled. ``timeout_s`` limits each HTTP request; None: as configured.

        Raises ``RequestError`` or ``ReplyError`` when this question cannot be answered,
        ``ServerError`` when the server failed, and ``NoEndpointError`` when no endpoint is left,
        so that no other question would succeed. A client of one endpoint raises ``EndpointError``
        or ``BusyError`` where a pool would wait or ask another endpoint. A ``VLMEngineError`` of
        ``keep`` is raised as it is, any other error of it as ``ServerError``.
        """

    def question_cost(self, pixels: int) -> QuestionCost:
        """Return the cost of a question with a picture of so many pixels, as far as known.

        The defaults of ``QuestionCost`` hold before anything was measured.
        """
        return QuestionCost()

    async def model_name(self) -> str:
        """Return the model that answers, as the store records it. May send a request.

        Raises ``ClientError`` or ``NoEndpointError`` when no endpoint names one.
        """

    async def aclose(self) -> None:
        """Cancel what is in flight and close every connection. Asking afterwards is an error."""


async def keep_answer(keep: Keep, answer: Answer) -> None:
    """Await ``keep(answer)`` to its end; a cancellation takes effect afterwards.

    Raises its ``VLMEngineError``, and ``ServerError`` for any other error.
    """
    with unforeseen_as_server_error(answer.endpoint):
        await _to_its_end(keep(answer))


@contextmanager
def unforeseen_as_server_error(endpoint: str) -> Iterator[None]:
    """Raise an unforeseen error as a ``ServerError`` of ``endpoint``, whose reply caused it."""
    try:
        yield
    except (VLMEngineError, ClosedError):
        raise
    except Exception as error:
        _log.debug("An unforeseen error:", exc_info=error)
        words = shortened(str(error))
        raise ServerError(
            f'its reply cannot be used: {type(error).__name__} "{words}"', endpoint=endpoint
        ) from error


async def _to_its_end(work: Awaitable[object]) -> None:
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # marks it as seen: the cancellation takes precedence
        raise cancelled
    task.result()
