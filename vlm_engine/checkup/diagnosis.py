"""From answers about cards to a diagnosis of the endpoint. Pure.

Every answer is compared with its own card, with those of the requests before, and with the cards
that were in flight beside it. An endpoint is called stale or swapped only where the other cards
explain the answers 10,000 times as well as their own ones do, or 1,000 times if the answers have
nothing to do with their own ones. Each is judged under the errors that fit it best, up to those of
a model that names next to nothing: a weak model errs, but not towards just these cards.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import product

from vlm_engine.checkup.cards import CARD_TAGS, CARDS, Card
from vlm_engine.errors import ReplyError, ReplyFault
from vlm_engine.types import Form

_FOREIGN = math.log(1e4)
_FOREIGN_IF_UNRELATED = math.log(1e3)
_ERRORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 0.97)
_SHARES = (0.5, 1.0)  # of foreign answers
_SEES = 0.45
_UNRELATED = 0.05
_LEAST_ANSWERS = 5
_LEAST_CARDS = 4
_SAME = 0.05  # of probabilities: servers that batch do not repeat them exactly
_Counts = tuple[int, int]
_REFUSAL = re.compile(
    r"sorry|apolog|(can ?no|can')t |unable|won't|not able|refuse|decline|against .{0,20}polic"
    r"|leider|tut mir leid|désol|lo siento|desculp|mi dispiace|het spijt|przepraszam|förlåt"
    r"|извините|не могу|抱歉|无法|無法|不能|申し訳|できません|죄송|수 없",
    re.IGNORECASE,
)
_UNDERSTOOD = re.compile(
    rf"\b({'|'.join(' '.join(CARD_TAGS).split())})s?\b|\"tags\"", re.IGNORECASE
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
    why. ``raw``: its text. ``probabilities``: those of all tags, as far as told. ``form``: that of
    the question. ``before``: the cards of the requests that had ended, the latest last. ``beside``:
    the cards that were in flight at the same time.
    """

    card: Card
    named: frozenset[str] | None
    form: Form = Form.LIST
    before: tuple[Card, ...] = ()
    beside: tuple[Card, ...] = ()
    error: ReplyError | None = None
    raw: str = ""
    probabilities: tuple[float | None, ...] = ()


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
    if is_constant:
        is_excuse = all(_REFUSAL.search(answer.raw) for answer in readable)
        return Sight.REFUSING if is_excuse else Sight.BLIND
    poor = Sight.BLIND if is_unrelated else Sight.WEAK
    return poor if len(readable) >= _LEAST_ANSWERS else Sight.UNKNOWN


def relation(answers: Sequence[CardAnswer]) -> float:
    """Return how much answers depend on their cards: 1 for perfect ones, about 0 for chance.

    It is the share of shapes found, less the share of absent shapes that are named: Youden's J.
    """
    found, false = map(sum, zip(*(_counts(each, each.card) for each in answers), strict=True))
    present = sum(len(answer.card.tags) for answer in answers)
    return found / present - false / (len(CARD_TAGS) * len(answers) - present)


def _foreign_sight(answers: Sequence[CardAnswer]) -> tuple[Sight, float]:
    """Return which other cards explain the answers best, and the logarithm of how many times as
    well as their own cards.
    """
    by_itself = _log_likelihood_of(answers, lambda _: ())
    by_others = {
        Sight.STALE: max(
            _log_likelihood_of(answers, others) for others in (_last_before, _all_before)
        ),
        Sight.SWAPPED: _log_likelihood_of(answers, lambda answer: answer.beside),
    }
    likeliest = max(by_others, key=lambda sight: by_others[sight])
    return likeliest, by_others[likeliest] - by_itself


def are_constant(answers: Sequence[CardAnswer]) -> bool:
    """Return whether answers are the same whatever the card, and the probabilities told with them.

    So they are from a server that drops the picture: at temperature 0, nothing else varies. At
    least four cards were asked about in one form. An only answer in another form varies if it is
    exactly right.
    """
    by_form = [
        [each for each in answers if each.form is form and each.named is not None] for form in Form
    ]
    cards = [len({each.card for each in in_form}) for in_form in by_form]
    return max(cards) >= _LEAST_CARDS and all(map(_do_not_vary, filter(None, by_form)))


def _do_not_vary(answers: Sequence[CardAnswer]) -> bool:
    first = answers[0]
    if len(answers) == 1:
        return first.named != first.card.tags
    return all(
        each.named == first.named
        and all(
            one is None or other is None or abs(one - other) < _SAME
            for one, other in zip(each.probabilities, first.probabilities, strict=False)
        )
        for each in answers
    )


def _last_before(answer: CardAnswer) -> Sequence[Card]:
    return (*answer.before[-1:], *answer.beside)


def _all_before(answer: CardAnswer) -> Sequence[Card]:
    return (*answer.before, *answer.beside)


def _log_likelihood_of(
    answers: Sequence[CardAnswer], others: Callable[[CardAnswer], Sequence[Card]]
) -> float:
    """Return the logarithm of the likelihood of all answers, under the error rates that fit best.

    All answers that have ``others`` are about one of these, or about half of them: not every answer
    need be foreign. Errors are as likely in all answers.
    """
    counted = [
        (_counts(each, each.card), [_counts(each, card) for card in others(each)])
        for each in answers
    ]
    return max(
        math.log(math.prod(_mixed(likelihoods, share, *counts) for counts in counted))
        for likelihoods in map(_likelihoods, *zip(*product(_ERRORS, _ERRORS), strict=True))
        for share in _SHARES
    )


def _mixed(
    likelihoods: Mapping[_Counts, float], share: float, by_itself: _Counts, by_others: list[_Counts]
) -> float:
    likelihood = likelihoods[by_itself]
    if not by_others:
        return likelihood
    foreign = sum(likelihoods[counts] for counts in by_others) / len(by_others)
    return (1 - share) * likelihood + share * foreign


def _counts(answer: CardAnswer, card: Card) -> _Counts:
    """Return how many shapes of the card an answer names, and how many others."""
    named = answer.named or frozenset()
    return len(named & card.tags), len(named - card.tags)


@cache
def _likelihoods(missed: float, invented: float) -> Mapping[_Counts, float]:
    """Return the likelihood of an answer with these error rates, by its counts."""
    present = len(CARDS[0].tags)
    absent = len(CARD_TAGS) - present
    return {
        (found, false): (1 - missed) ** found
        * missed ** (present - found)
        * invented**false
        * (1 - invented) ** (absent - false)
        for found in range(present + 1)
        for false in range(absent + 1)
    }


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
    return Sight.WRONG_FORM if _UNDERSTOOD.search(error.raw) else Sight.GIBBERISH
