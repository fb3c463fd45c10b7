"""How long questions wait for endpoints, with the clock passed in."""

from vlm_engine.clients.member import Member
from vlm_engine.clients.scheduling import FIRST_PATIENCE_S, Patience
from vlm_engine.errors import BusyError, UnreachableError, WrongKeyError


def endpoint(answered=True):
    member = Member("court")
    if answered:
        member.health.succeeded(1.0, 0.0)
    return member


def test_it_lasts_as_long_as_it_is_set_to_and_begins_anew_after_each_return():
    one, two = endpoint(), endpoint()
    patience = Patience((one, two), 300.0)
    one.health.refused(UnreachableError("gone"), 0.0)
    patience.look(0.0)
    assert patience.changes_at() == []
    two.health.refused(UnreachableError("gone"), 100.0)
    patience.look(100.0)
    patience.look(399.0)
    assert not patience.ended
    assert 400.0 in patience.changes_at()
    one.health.on_trial()
    one.health.succeeded(1.0, 399.5)
    patience.look(399.5)
    one.health.refused(UnreachableError("gone"), 500.0)
    patience.look(500.0)
    patience.look(799.0)
    assert not patience.ended
    patience.look(800.0)
    assert patience.ended
    assert patience.changes_at() == []


def test_it_has_ended_until_an_endpoint_is_on_trial_and_again_when_that_fails():
    one = endpoint()
    patience = Patience((one,), 10.0)
    one.health.refused(UnreachableError("gone"), 0.0)
    for now in (0.0, 10.0):
        patience.look(now)
    assert patience.ended
    one.health.on_trial()
    patience.look(20.0)
    assert not patience.ended
    one.health.refused(UnreachableError("gone"), 21.0)
    patience.look(21.0)
    assert patience.ended


def test_it_is_short_where_nothing_was_ever_answered():
    one = endpoint(answered=False)
    patience = Patience((one,), 300.0)
    one.health.refused(UnreachableError("gone"), 0.0)
    patience.look(0.0)
    assert not patience.ended
    patience.look(FIRST_PATIENCE_S)
    assert patience.ended


def test_there_is_none_with_endpoints_that_only_the_user_can_mend():
    one = endpoint(answered=False)
    patience = Patience((one,), 300.0)
    one.health.refused(WrongKeyError("no"), 5.0)
    patience.look(5.0)
    assert patience.ended


def test_a_busy_endpoint_is_waited_for_as_long_as_it_asks_but_within_patience():
    one = endpoint()
    patience = Patience((one,), 300.0)
    one.health.refused(BusyError("later", retry_after_s=200.0), 0.0)
    patience.look(0.0)
    assert not patience.ended and patience.left_s(2.0) == 298.0
    patience.look(250.0)
    assert not patience.ended
    one.health.refused(BusyError("later", retry_after_s=200.0), 250.0)
    patience.look(250.0)
    assert patience.ended, "it asks for more than is left"


def test_a_wait_longer_than_patience_ends_it_at_once_unless_another_may_return():
    one, two = endpoint(), endpoint()
    one.health.refused(BusyError("later", retry_after_s=600.0), 0.0)
    alone, both = Patience((one,), 300.0), Patience((one, two), 300.0)
    two.health.succeeded(1.0, 0.0)
    two.health.refused(UnreachableError("gone"), 0.0)
    alone.look(0.0)
    both.look(0.0)
    assert alone.ended and not both.ended


def test_a_question_still_under_way_keeps_it_alive():
    one = endpoint()
    patience = Patience((one,), 10.0)
    one.begin(0.0)
    one.health.refused(UnreachableError("gone"), 0.0)
    for now in (0.0, 60.0):
        patience.look(now)
    assert not patience.ended
    one.end(0.0)
    patience.look(61.0)
    assert patience.ended


def test_it_says_how_long_it_will_last_now_and_then():
    one = endpoint()
    patience = Patience((one,), 120.0)
    assert patience.left_s(0.0) is None
    one.health.refused(UnreachableError("gone"), 0.0)
    told = []
    for now in range(130):
        patience.look(float(now))
        left_s = patience.left_s(float(now))
        if left_s is not None:
            told.append((now, left_s))
    assert told == [(2, 118.0), (32, 88.0), (62, 58.0), (92, 28.0)]
