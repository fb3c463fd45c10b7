"""From answers about cards to a diagnosis of the endpoint. Pure.

Every answer is compared with its own card, with the card of the request before, and with the cards
that were in flight beside it. An endpoint is called stale or swapped only where the other cards
explain the answers 10,000 times as well as their own ones do, each under the errors that fit
best: a weak model errs, but not towards just these cards.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from vlm_engine.checkup.cards import CARD_TAGS, Card
from vlm_engine.errors import ReplyError, ReplyFault
from vlm_engine.types import Form

_FOREIGN = math.log(1e4)
_FOREIGN_IF_UNRELATED = math.log(30)
_ERRORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
_SHARES = (0.5, 1.0)  # of foreign answers
_SEES = 0.45
_UNRELATED = 0.05
_LEAST_ANSWERS = 5
_LEAST_CARDS = 4
_REFUSAL = re.compile(
    r"sorry|apolog|(can ?no|can')t |unable|won't|not able|refuse|decline|against .{0,20}polic"
    r"|leider|désol|lo siento|desculpe|mi dispiace|抱歉|无法|申し訳",
    re.IGNORECASE,
)


class Sight(StrEnum):
    """Diagnosis of an endpoint. The values are shown to users."""

    SOUND = "sound"
    WEAK = "weak"
    BLIND = "blind"
    STALE = "stale"
    SWAPPED = "swapped"
    REFUSING = "refusing"
    THINKING = "thinking"
    WRONG_FORM = "wrong form"
    GIBBERISH = "gibberish"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CardAnswer:
    """An answer to the question about one card.

    ``named``: the tags that it says are there, None if it could not be read; then ``error`` says
    why. ``form``: that of the question. ``before``: the card of the request before, if that had
    ended. ``beside``: the cards that were in flight at the same time.
    """

    card: Card
    named: frozenset[str] | None
    form: Form = Form.LIST
    before: Card | None = None
    beside: tuple[Card, ...] = ()
    error: ReplyError | None = None


def diagnose(answers: Sequence[CardAnswer]) -> Sight:
    """Return the diagnosis from these answers; ``UNKNOWN`` if there are too few of them."""
    readable = [answer for answer in answers if answer.named is not None]
    unreadable = [answer.error for answer in answers if answer.error is not None]
    if len(unreadable) >= 2 and len(unreadable) > len(readable):
        kinds = Counter(map(_unreadable_kind, unreadable))
        return kinds.most_common(1)[0][0]
    if len(readable) < 2:
        return Sight.UNKNOWN
    related = relation(readable)
    is_constant = are_constant(readable)
    foreign, by_factor = _foreign_sight(readable)
    is_unrelated = related < _UNRELATED and not is_constant
    if by_factor > _FOREIGN or (is_unrelated and by_factor > _FOREIGN_IF_UNRELATED):
        return foreign
    if related >= _SEES:
        return Sight.SOUND
    if is_constant or (len(readable) >= _LEAST_ANSWERS and is_unrelated):
        return Sight.BLIND
    return Sight.WEAK if len(readable) >= _LEAST_ANSWERS else Sight.UNKNOWN


def relation(answers: Sequence[CardAnswer]) -> float:
    """Return how much answers depend on their cards: 1 for perfect ones, about 0 for chance.

    It is the share of shapes found, less the share of absent shapes that are named: Youden's J.
    """
    counts = [_Counts.of(answer, answer.card) for answer in answers]
    present = sum(each.found + each.missed for each in counts)
    absent = sum(each.invented + each.absent for each in counts)
    found = sum(each.found for each in counts)
    invented = sum(each.invented for each in counts)
    return found / max(1, present) - invented / max(1, absent)


def _foreign_sight(answers: Sequence[CardAnswer]) -> tuple[Sight, float]:
    """Return which other cards explain the answers best, and the logarithm of how many times as
    well as their own cards.
    """
    by_itself = _log_likelihood_of(answers, lambda _: ())
    by_others = {
        Sight.STALE: _log_likelihood_of(answers, _others_if_stale),
        Sight.SWAPPED: _log_likelihood_of(answers, _others_if_swapped),
    }
    likeliest = max(by_others, key=lambda sight: by_others[sight])
    return likeliest, by_others[likeliest] - by_itself


def are_constant(answers: Sequence[CardAnswer]) -> bool:
    """Return whether the answers in one form are the same for at least four cards.

    So they are from a server that drops the picture: at temperature 0, nothing else varies.
    """
    for form in Form:
        in_form = [each for each in answers if each.form is form and each.named is not None]
        if len({each.card for each in in_form}) >= _LEAST_CARDS:
            return len({each.named for each in in_form}) == 1
    return False


def _others_if_stale(answer: CardAnswer) -> Sequence[Card]:
    return (answer.before,) if answer.before else answer.beside


def _others_if_swapped(answer: CardAnswer) -> Sequence[Card]:
    return answer.beside


def _log_likelihood_of(
    answers: Sequence[CardAnswer], others: Callable[[CardAnswer], Sequence[Card]]
) -> float:
    """Return the logarithm of the likelihood of all answers, under the error rates that fit best.

    All answers that have ``others`` are about one of these, or about half of them: not every answer
    need be foreign. Errors are as likely in all answers.
    """
    by_answer = [
        [[_Counts.of(answer, card) for card in cards] for cards in ([answer.card], others(answer))]
        for answer in answers
    ]
    return max(
        sum(_mixed(counts, others, share, errors) for counts, others in by_answer)
        for *errors, share in product(_ERRORS, _ERRORS, _SHARES)
    )


def _mixed(
    counts: Sequence[_Counts], foreign: Sequence[_Counts], share: float, errors: Sequence[float]
) -> float:
    by_itself, by_others = (
        [math.exp(each.log_likelihood(*errors)) for each in some] for some in (counts, foreign)
    )
    if not by_others:
        return math.log(by_itself[0])
    return math.log((1 - share) * by_itself[0] + share * sum(by_others) / len(by_others))


@dataclass(frozen=True, slots=True)
class _Counts:
    found: int = 0
    missed: int = 0
    invented: int = 0
    absent: int = 0

    @classmethod
    def of(cls, answer: CardAnswer, card: Card) -> _Counts:
        """Return the counts of an answer, compared with this card."""
        named = answer.named or frozenset()
        found, invented = len(named & card.tags), len(named - card.tags)
        missed = len(card.tags) - found
        return cls(found, missed, invented, len(CARD_TAGS) - found - missed - invented)

    def log_likelihood(self, missed: float, invented: float) -> float:
        """Return the likelihood under these error rates."""
        return (
            self.found * math.log(1 - missed)
            + self.missed * math.log(missed)
            + self.invented * math.log(invented)
            + self.absent * math.log(1 - invented)
        )


def _unreadable_kind(error: ReplyError) -> Sight:
    kinds = {
        ReplyFault.WITHHELD: Sight.REFUSING,
        ReplyFault.REFUSED: Sight.REFUSING,
        ReplyFault.ONLY_THOUGHT: Sight.THINKING,
    }
    if error.fault in kinds:
        return kinds[error.fault]
    if _REFUSAL.search(error.raw):
        return Sight.REFUSING
    names_a_tag = any(tag.casefold() in error.raw.casefold() for tag in CARD_TAGS)
    return Sight.WRONG_FORM if names_a_tag else Sight.GIBBERISH
