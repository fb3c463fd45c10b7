"""What answers about cards mean, with models that err."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest

from vlm_engine.checkup.cards import CARD_TAGS, CARDS
from vlm_engine.checkup.diagnosis import CardAnswer, Sight, are_constant, diagnose, relation
from vlm_engine.errors import ReplyError, ReplyFault
from vlm_engine.types import Form

ALONE, AT_ONCE = CARDS[:5], (*CARDS[5:], CARDS[0])
NOISE = [(0.0, 0.0), (0.05, 0.01), (0.1, 0.02), (0.2, 0.05)]


def seen(card, noise, chance):
    """Return the shapes that a model with these error rates names."""
    missed, invented = noise
    return frozenset(
        tag
        for tag in CARD_TAGS
        if (chance.random() >= missed if tag in card.tags else chance.random() < invented)
    )


def sound(card, before, beside):
    return card


def stale(card, before, beside):
    return before[-1] if before else None


def stale_by_two(card, before, beside):
    return before[-2] if len(before) > 1 else None


def answering_about_the_first(card, before, beside):
    return before[0] if before else card


def swapping(card, before, beside):
    return beside[0] if beside else card


def answers(server, noise, seed):
    """Return the answers of a server that shows its model other cards than those it is sent."""
    chance = random.Random(seed)
    for place, card in enumerate((*ALONE, *AT_ONCE)):
        arrived = (*ALONE, *AT_ONCE)[:place]
        others = place - len(ALONE)
        beside = (*AT_ONCE[others + 1 :], *AT_ONCE[:others]) if others >= 0 else ()
        source = server(card, arrived, beside)
        named = seen(source, noise, chance) if source else frozenset()
        yield CardAnswer(card, named, before=arrived[: len(ALONE)], beside=beside)


def diagnoses(server, noise, runs):
    return Counter(diagnose([*answers(server, noise, seed)]) for seed in range(runs))


def test_two_cards_share_one_shape_at_most():
    assert all(len(card.tags) == 3 for card in CARDS)
    assert all(len(one.tags & other.tags) <= 1 for one, other in combinations(CARDS, 2))
    assert not CARDS[0].tags & CARDS[1].tags
    assert Counter(tag for card in CARDS for tag in card.tags) == dict.fromkeys(CARD_TAGS, 3)


@pytest.mark.parametrize("noise", NOISE)
def test_a_model_that_errs_is_never_called_anything_else(noise):
    assert diagnoses(sound, noise, 40) == {Sight.SOUND: 40}


@pytest.mark.thorough
@pytest.mark.parametrize("noise", [*NOISE, (0.3, 0.1)])
def test_no_sound_model_is_called_unsound_in_a_thousand_runs(noise):
    assert set(diagnoses(sound, noise, 1000)) <= {Sight.SOUND, Sight.WEAK}


@pytest.mark.parametrize(
    ("server", "sight"),
    [
        (stale, Sight.STALE),
        (stale_by_two, Sight.STALE),
        (answering_about_the_first, Sight.STALE),
        (swapping, Sight.SWAPPED),
    ],
)
@pytest.mark.parametrize("noise", NOISE[:2])
def test_answers_about_other_pictures_are_noticed(server, sight, noise):
    found = diagnoses(server, noise, 25)
    assert found[sight] >= 24


@pytest.mark.parametrize(("server", "sight"), [(stale, Sight.STALE), (swapping, Sight.SWAPPED)])
def test_so_they_are_of_a_model_that_errs_in_a_tenth(server, sight):
    assert diagnoses(server, NOISE[2], 25)[sight] >= 24


def test_a_weak_model_is_weak_and_not_barred():
    found = Counter()
    for seed in range(40):
        given = [*answers(sound, (0.45, 0.15), seed)]
        found[diagnose(given)] += 1
        assert not are_constant(given)
    assert found.keys() <= {Sight.WEAK, Sight.SOUND}
    assert found[Sight.WEAK] > 10


@pytest.mark.parametrize("always", [(), CARD_TAGS[:1], CARD_TAGS[:3], CARD_TAGS], ids=len)
def test_answers_that_never_change_are_blind(always):
    given = [CardAnswer(card, frozenset(always)) for card in CARDS]
    assert diagnose(given) is Sight.BLIND
    assert are_constant(given)


def test_a_blind_answer_may_differ_by_form():
    given = [CardAnswer(card, frozenset(CARD_TAGS[:1])) for card in CARDS[:4]]
    given.append(CardAnswer(CARDS[4], frozenset(), Form.VERDICTS))
    assert are_constant(given)
    assert diagnose(given) is Sight.BLIND


@pytest.mark.parametrize("share", [0.08, 0.3, 0.6])
def test_random_answers_are_blind_or_weak(share):
    found = Counter()
    for seed in range(40):
        chance = random.Random(seed)
        given = [
            replace(each, named=frozenset(tag for tag in CARD_TAGS if chance.random() < share))
            for each in answers(sound, NOISE[0], seed)
        ]
        found[diagnose(given)] += 1
    assert found[Sight.BLIND] > 20
    assert found.keys() <= {Sight.BLIND, Sight.WEAK}


def test_answers_whose_probabilities_vary_depend_on_the_picture():
    sure = (0.1,) * len(CARD_TAGS)
    given = [CardAnswer(card, frozenset(), probabilities=sure) for card in CARDS[:4]]
    assert are_constant(given)
    given.append(CardAnswer(CARDS[4], frozenset(), probabilities=(0.2, *sure[1:])))
    assert not are_constant(given)


def test_a_right_verdict_depends_on_the_picture():
    given = [CardAnswer(card, frozenset(CARD_TAGS)) for card in CARDS[:4]]
    given.append(CardAnswer(CARDS[4], CARDS[4].tags, Form.VERDICTS))
    assert not are_constant(given)


def test_empty_answers_with_excuses_are_refusals():
    excuse = 'I cannot help with that. {"tags": []}'
    given = [CardAnswer(card, frozenset(), raw=excuse) for card in CARDS]
    assert diagnose(given) is Sight.REFUSING
    assert diagnose([replace(each, raw='{"tags": []}') for each in given]) is Sight.BLIND


def test_the_relation_is_that_of_youden():
    right = [CardAnswer(card, card.tags) for card in CARDS]
    assert relation(right) == 1
    assert relation([CardAnswer(card, frozenset(CARD_TAGS)) for card in CARDS]) == 0
    assert relation([CardAnswer(card, frozenset(CARD_TAGS) - card.tags) for card in CARDS]) == -1


@pytest.mark.parametrize(
    ("error", "sight"),
    [
        (ReplyError("x", fault=ReplyFault.WITHHELD), Sight.REFUSING),
        (ReplyError("x", fault=ReplyFault.REFUSED), Sight.REFUSING),
        (ReplyError("x", fault=ReplyFault.ONLY_THOUGHT), Sight.THINKING),
        (ReplyError("x", raw="I'm sorry, but I can't help with that."), Sight.REFUSING),
        (ReplyError("x", raw="I cannot assist with this request."), Sight.REFUSING),
        (ReplyError("x", raw="Es tut mir leid, dabei kann ich nicht helfen."), Sight.REFUSING),
        (ReplyError("x", raw="Извините, я не могу помочь с этим."), Sight.REFUSING),
        (ReplyError("x", raw='{"tags": ["circles", "square"]}'), Sight.WRONG_FORM),
        (ReplyError("x", raw="The picture has a red circle on it."), Sight.WRONG_FORM),
        (ReplyError("x", raw="qz %% the the 4fk"), Sight.GIBBERISH),
    ],
)
def test_answers_that_cannot_be_read_have_a_kind(error, sight):
    given = [CardAnswer(card, None, error=error) for card in CARDS[:2]]
    assert diagnose(given) is sight


def test_few_answers_say_nothing():
    assert diagnose([]) is Sight.UNKNOWN
    assert diagnose([CardAnswer(CARDS[0], frozenset())]) is Sight.UNKNOWN
    assert diagnose([CardAnswer(card, frozenset()) for card in CARDS[:2]]) is Sight.UNKNOWN
