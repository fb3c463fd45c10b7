"""Cost of a question in seconds of an endpoint's time, learnt from the answers. No I/O, no clock.

    seconds = a + b * (tokens of the pictures + .57 * tokens of text not cached) + c * answer tokens

An answer's own time is not its cost: while several questions are in flight, each waits for the
others. So there are two accounts.

``ServerTime`` divides each moment evenly among the questions in flight (processor sharing). The
shares add up to the time that the server was busy, whatever it did in it. They are the model
seconds of an answer, a video and a run, and each endpoint learns on the clock of its own shares:
what other models on the same server do leaves it alone.

``PriceLearner`` has a, b and c fitted to the latest answers (``price_fit``). Three usual
deployments are the first guesses, later the last result. A first answer that took very long loaded
the model: it is left out, with all that waited beside it. Failed requests teach nothing.

Servers shrink and enlarge pictures: where the tokens of prompts are told, the tokens of a picture
are what they exceed the text by. The text is estimated from its letters; a constant error in that
becomes part of a. What a server reads of the text before the pictures is part of a, too, unless it
tells what it had in its cache.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import astuple
from operator import mul
from statistics import median

from vlm_engine.clients.server_time import Request, ServerTime
from vlm_engine.types import Answer, QuestionCost

_USUAL = ((0.2, 4e-3, 25e-3), (0.06, 6e-4, 12e-3), (0.015, 7e-5, 8e-4))
"""a, b and c of a laptop, a home computer with a graphics card, and a busy server."""
_TEXT = 0.57  # of a picture's token
_PIXELS_PER_TOKEN = 784
_LEAST_TOKENS = 16  # a server that tells fewer does not count pictures
_LETTERS_PER_TOKEN = 4
_KEPT = 96
_LEAST_ANSWERS = 4
_REFRESHED_AFTER = 64
_COLD = 3.0  # times as long as usual
_TYPICAL_PIXELS = 512 * 288


class PictureTokens:
    """Number of tokens of a picture, by its size."""

    def __init__(self) -> None:
        self._per_pixel: dict[int, float] = {}

    def learn(self, request: Request, answer: Answer) -> None:
        """Learn from the prompt tokens that the server tells."""
        pixels = sum(request.sizes)
        tokens = answer.prompt_tokens - request.letters / _LETTERS_PER_TOKEN
        if pixels and tokens >= _LEAST_TOKENS * len(request.sizes):
            size = _size(pixels / len(request.sizes))
            known = self._per_pixel.get(size, tokens / pixels)
            self._per_pixel[size] = known + 0.2 * (tokens / pixels - known)

    def of(self, pixels: int) -> float:
        """Return the tokens of a picture, by those of the most similar size."""
        if not self._per_pixel:
            return pixels / _PIXELS_PER_TOKEN
        nearest = min(self._per_pixel, key=lambda size: abs(size - _size(pixels)))
        return pixels * self._per_pixel[nearest]


def _size(pixels: float) -> int:
    """Return the class of a size: half an octave."""
    return round(2 * math.log2(max(1.0, pixels)))


class PriceLearner:
    """Cost of the questions to one endpoint. ``busy_s``: its share of the server's time so far."""

    def __init__(self, server: ServerTime | None = None) -> None:
        self.busy_s = 0.0
        self.answers = 0
        self._server = server or ServerTime()
        self._share_s = 0.0
        self._tokens = PictureTokens()
        self._in_flight: dict[Request, float] = {}
        self._answered: deque[Request] = deque()
        self._first: Request | None = None
        self._complete_from = 0.0
        self._guesses: tuple[tuple[float, float, float], ...] = _USUAL
        self._rates: tuple[float, float, float] | None = None

    @property
    def is_known(self) -> bool:
        """True once there were enough answers."""
        return len(self._usable()) >= _LEAST_ANSWERS

    @property
    def answers_per_s(self) -> float:
        """Recent answers in a second of its time."""
        recent = self._usable()
        return len(recent) / max(1e-9, sum(one.seconds for one in recent))

    def start(self, sizes: tuple[int, ...], letters: int, now: float) -> Request:
        """Record that a question about pictures of these sizes is sent."""
        self._advance(now, 1)
        read = sum(map(self._tokens.of, sizes))
        request = Request(sizes, letters, self.busy_s, read=read)
        self._in_flight[request] = self._share_s
        return request

    def end(self, request: Request, now: float) -> None:
        """Record that a request has ended, whatever came of it."""
        self._advance(now, -1)
        request.beside = len(self._in_flight)
        request.seconds = self._share_s - self._in_flight.pop(request)
        request.overtaken = sum(1 for other in self._in_flight if other.start < request.start)
        request.end = self.busy_s

    def learn(self, request: Request, answer: Answer) -> None:
        """Learn from the answer to a request that has ended."""
        self._tokens.learn(request, answer)
        request.read = _read(answer, sum(map(self._tokens.of, request.sizes)))
        request.written = answer.answer_tokens
        request.times = answer.timings
        self._first = self._first or request
        self._answered.append(request)
        if len(self._answered) > _KEPT:
            self._complete_from = self._answered.popleft().end
        self._rates = None
        self.answers += 1
        if self.answers % _REFRESHED_AFTER == 0:
            self._guesses = (self.rates(),)

    def cost(self, pixels: int = 0) -> QuestionCost:
        """Return the cost of a question with a picture of this size, 0 for the latest one's."""
        if not pixels:
            sizes = self._answered[-1].sizes if self._answered else ()
            pixels = max(sizes, default=0) or _TYPICAL_PIXELS
        call_s, read_s, written_s = self.rates()
        return QuestionCost(call_s, read_s * self._tokens.of(pixels), _TEXT * read_s, written_s)

    def rates(self) -> tuple[float, float, float]:
        """Return a, b and c."""
        if self._rates is None:
            self._rates = self._fitted() or self._guesses[len(self._guesses) // 2]
        return self._rates

    def _fitted(self) -> tuple[float, float, float] | None:
        from vlm_engine.clients.price_fit import fitted_rates  # needs numpy

        if not self.is_known:
            return None
        known = [*self._answered, *self._in_flight]
        return fitted_rates(self._usable(), known, self._guesses)

    def _advance(self, now: float, questions: int) -> None:
        share_s = self._server.change(now, questions)
        self.busy_s += (share_s - self._share_s) * len(self._in_flight)
        self._share_s = share_s

    def _usable(self) -> list[Request]:
        """Return the answers without a cold start, and without those older than what is kept."""
        since, first = self._complete_from, self._first
        if first is not None and since < first.end:
            later = [one.seconds for one in self._answered if one.start >= first.end]
            if not later or first.seconds > _COLD * median(later):
                since = first.end
        return [one for one in self._answered if one.start >= since]


def mean_cost(learners: Sequence[PriceLearner], pixels: int) -> QuestionCost:
    """Return the mean cost of a question that any of them may get, the fast ones more often."""
    costs = [learner.cost(pixels) for learner in learners]
    speeds = [learner.answers_per_s if learner.is_known else 1.0 for learner in learners]
    parts = zip(*map(astuple, costs), strict=True)
    return QuestionCost(*(sum(map(mul, speeds, part)) / sum(speeds) for part in parts))


def _read(answer: Answer, picture_tokens: float) -> float:
    """Return the tokens that were read; those of text count as much as they take."""
    if answer.cached_tokens is None or not answer.prompt_tokens:
        return picture_tokens
    read = max(0, answer.prompt_tokens - answer.cached_tokens)
    # If it read less than the pictures have, it knew them already.
    pictures = picture_tokens if read >= picture_tokens else 0.0
    return pictures + _TEXT * (read - pictures)
