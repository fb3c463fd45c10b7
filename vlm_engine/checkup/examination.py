"""Asks one endpoint about cards: alone and at once, in every form and size, within limits.

At most ten chat completions are sent to an endpoint whose answers can be read, and no question is
begun that would probably end after the limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

from vlm_engine.checkup.cards import CARD_TAGS, CARDS, Card, together
from vlm_engine.checkup.diagnosis import CardAnswer, Sight, are_constant, diagnose, relation
from vlm_engine.clients import OpenAIClient
from vlm_engine.errors import (
    BusyError,
    ClientError,
    ReplyError,
    RequestError,
    ServerError,
    TimedOutError,
)
from vlm_engine.types import Answer, Form, Question, QuestionCost

SMALL, LARGE = 512, 1024
"""Widths of cards, in pixels."""
AT_ONCE = 4
_FIRST, _SECOND, _THIRD, _FOURTH, _LARGE_CARD = CARDS[:5]
_TOGETHER = (*CARDS[5:], CARDS[0])
_GIVE_UP_AFTER = 2  # unreadable replies, with nothing that can be read
_BUSY_S = 2.0
_CLEARLY = 0.45
_LETTERLESS = 24  # tokens of an answer that are none of its text: marks of the template


@dataclass(slots=True)
class Examination:
    """Answers of one endpoint about cards, and what they cost.

    ``alone_s``: seconds of a usual question with nothing else in flight, None if not known.
    ``at_once``: how many questions were in flight at the same time, and the seconds until all were
    answered; ``longest_at_once``: the tokens of the longest of these answers. ``prompt_tokens``:
    tokens of questions about small and large pictures, by width, and of their text alone under 0.
    ``answer_tokens``: those of each usual answer; ``thinking_tokens``: those of each answer that
    holds thoughts. ``readable`` and ``unreadable``: the forms in which answers could be read, and
    could not. ``models``: the names of the models that answered. ``several_right``: whether it told
    the pictures of one question apart, None if not asked. ``error``: why it could not go on.
    ``is_cut_short``: the time was up before all was asked.
    """

    answers: list[CardAnswer] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    at_once: tuple[int, float] | None = None
    longest_at_once: int = 0
    prompt_tokens: dict[int, int] = field(default_factory=dict)
    answer_tokens: list[int] = field(default_factory=list)
    thinking_tokens: list[int] = field(default_factory=list)
    readable: set[Form] = field(default_factory=set)
    unreadable: dict[Form, ReplyError] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    several_right: bool | None = None
    cost: QuestionCost | None = None
    error: ClientError | None = None
    is_cut_short: bool = False

    @property
    def sight(self) -> Sight:
        """The diagnosis."""
        return diagnose(self.answers)

    @property
    def is_constant(self) -> bool:
        """True if the answers are the same whatever the card shows."""
        return are_constant(self.answers)

    @property
    def alone_s(self) -> float | None:
        """Seconds of a usual question alone. The first may have loaded the model."""
        later = self.seconds[1:] or self.seconds
        return median(later) if later else None


class Examiner:
    """Examination of one endpoint, which ends ``limit_s`` seconds after it began.

    ``form``: that of most questions; ``frames``: the number of pictures that they will hold.
    """

    def __init__(
        self, client: OpenAIClient, limit_s: float, form: Form = Form.LIST, frames: int = 1
    ) -> None:
        self._client = client
        self._form = form
        self._frames = min(frames, len(CARDS))
        self._ends_at = time.monotonic() + limit_s
        self._before: tuple[Card, ...] = ()
        self._is_patient = False
        self.found = Examination()

    async def examine(self) -> Examination:
        """Ask in every way. Raises nothing that an endpoint may cause."""
        self._is_patient = True
        return await self._limited(self._ask_everything)

    async def screen(self) -> Examination:
        """Ask about two cards, and about more only where these leave doubt."""
        return await self._limited(self._ask_until_clear)

    async def _limited(self, ask: Callable[[], Awaitable[None]]) -> Examination:
        try:
            async with asyncio.timeout(self._left_s):
                await ask()
        except TimeoutError:
            self.found.is_cut_short = True
        except ClientError as error:
            self.found.error = error
        return self.found

    @property
    def _left_s(self) -> float:
        return max(0.01, self._ends_at - time.monotonic())

    async def _ask_everything(self) -> None:
        await self._ask(_FIRST)
        await self._ask(_SECOND)
        if self._gives_up:
            return
        at_once = self._client.slots if 1 < self._client.slots < AT_ONCE else AT_ONCE
        for first in range(0, AT_ONCE - at_once + 1, at_once):
            if self._has_time_for(at_once):
                await self._ask_at_once(_TOGETHER[first : first + at_once])
        third, fourth = (form for form in Form if form is not self._form)
        for card, form, width in (
            (_THIRD, third, SMALL),
            (_LARGE_CARD, self._form, LARGE),
            (_FOURTH, fourth, SMALL),
        ):
            if self._has_time_for(1):
                await self._ask(card, form, width)
        if self._has_time_for(1):
            with suppress(ClientError):  # not every server takes a question without a picture
                self.found.prompt_tokens[0] = await self._client.text_tokens(
                    _FIRST.question(self._form), timeout_s=self._left_s
                )
        if self._frames > 1 and self._has_time_for(self._frames):
            await self._ask_together(CARDS[: self._frames])

    async def _ask_until_clear(self) -> None:
        client = self._client
        if client.capabilities.loaded and client.may_get_several:
            await self._ask_at_once(CARDS[:2])
        else:
            await self._ask(_FIRST)  # some tell only then how many they take
            await (self._ask_at_once(CARDS[1:3]) if client.may_get_several else self._ask(_SECOND))
        if self._is_clear or self._gives_up:
            return
        for card in CARDS[3:5]:
            await self._ask(card)
        other = Form.LIST if self._form is Form.VERDICTS else Form.VERDICTS
        form = other if self.found.is_constant else self._form
        if client.may_get_several:
            await self._ask_at_once(CARDS[5:], form)
        else:
            for card in CARDS[5:]:
                await self._ask(card, form)

    @property
    def _is_clear(self) -> bool:
        """True if each answer so far is right, by and large."""
        answers = self.found.answers
        return len(answers) > 1 and all(
            answer.named is not None and relation([answer]) >= _CLEARLY for answer in answers
        )

    @property
    def _gives_up(self) -> bool:
        answers = self.found.answers
        return len(answers) >= _GIVE_UP_AFTER and all(answer.error for answer in answers)

    def _has_time_for(self, questions: int) -> bool:
        """Return whether so many more questions, one after the other, fit into the time."""
        has_time = questions * (self.found.alone_s or 0.0) < self._left_s
        self.found.is_cut_short |= not has_time
        return has_time

    async def _ask(self, card: Card, form: Form | None = None, width: int = SMALL) -> None:
        await self._ask_beside(card, form, width)
        self._before += (card,)

    async def _ask_at_once(self, cards: Sequence[Card], form: Form | None = None) -> None:
        for card in cards:
            card.question()  # so that its picture is drawn before the time counts
        known, started = len(self.found.answer_tokens), time.monotonic()
        results = await asyncio.gather(
            *(self._ask_beside(card, form, beside=_without(card, cards)) for card in cards),
            return_exceptions=True,
        )
        self._before += tuple(cards)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, BusyError):
                raise result
        if not any(results):
            self.found.at_once = len(cards), time.monotonic() - started
            self.found.longest_at_once = max(self.found.answer_tokens[known:], default=0)
        for card, result in zip(cards, results, strict=True):
            if result is not None:  # it takes fewer at once
                await self._ask_beside(card, form)

    async def _ask_beside(
        self,
        card: Card,
        form: Form | None = None,
        width: int = SMALL,
        beside: tuple[Card, ...] = (),
    ) -> None:
        form = form or self._form
        question, before = card.question(form, width), self._before
        try:
            answer = await self._answer(question, waits=not beside)
        except ReplyError as error:
            self.found.unreadable[form] = error
            self.found.answers.append(CardAnswer(card, None, form, before, beside, error))
            return
        except (RequestError, ServerError) as error:
            if self.found.error is not None or isinstance(error, TimedOutError):
                raise
            self.found.error = error  # of one question; a second one ends the examination
            return
        named = frozenset(tag for tag, verdict in answer.verdicts.items() if verdict.present)
        probabilities = tuple(answer.verdicts[tag].probability for tag in CARD_TAGS)
        self.found.answers.append(
            CardAnswer(card, named, form, before, beside, None, answer.raw, probabilities)
        )
        self._measure(answer, form, width, alone=not beside)

    async def _ask_together(self, cards: Sequence[Card]) -> None:
        """Ask about several cards in one question."""
        try:
            answer = await self._answer(together(cards))
        except (ReplyError, RequestError):
            self.found.several_right = False
            return
        named = [
            frozenset(tag for tag, verdict in verdicts.items() if verdict.present)
            for verdicts in answer.by_picture
        ]
        is_right = relation([*map(CardAnswer, cards, named)]) >= _CLEARLY
        self.found.several_right = is_right and answer.calls < len(cards)

    async def _answer(self, question: Question, *, waits: bool = True) -> Answer:
        """Return the answer. If it ``waits``, try again while the endpoint is busy, if there is
        time for that. A screening leaves the wait for its first answer to the pool.
        """
        waits &= self._is_patient or bool(self.found.answers)
        while True:
            try:
                return await self._client.ask(question, timeout_s=self._left_s)
            except BusyError as error:
                wait_s = error.retry_after_s or _BUSY_S
                if not waits or wait_s > self._left_s:
                    raise
                await asyncio.sleep(wait_s)

    def _measure(self, answer: Answer, form: Form, width: int, *, alone: bool) -> None:
        found = self.found
        found.readable.add(form)
        found.models.add(answer.model)
        if answer.answer_tokens > _LETTERLESS + len(answer.raw) or "<think" in answer.raw:
            found.thinking_tokens.append(answer.answer_tokens)
        if form is self._form and width == SMALL:
            found.answer_tokens.append(answer.answer_tokens)
            if alone:
                found.seconds.append(answer.seconds)
        if form is self._form and answer.prompt_tokens:
            found.prompt_tokens[width] = answer.prompt_tokens
        if self._client.prices.is_known:
            found.cost = self._client.question_cost(SMALL * SMALL * 9 // 16)


def _without(card: Card, cards: Sequence[Card]) -> tuple[Card, ...]:
    return tuple(other for other in cards if other is not card)
