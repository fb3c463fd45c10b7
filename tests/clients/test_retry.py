"""What a question ends with."""

from vlm_engine.clients.member import Member
from vlm_engine.clients.retry import TRIES, RetryState
from vlm_engine.errors import BusyError, ServerError, WrongModelError


def test_a_question_ends_with_its_own_failure_not_with_an_endpoints():
    turn, failing, other, third = RetryState(), Member("failing"), Member("other"), Member("third")
    for _ in range(TRIES):
        turn.failed(failing, ServerError("it failed"))
    assert turn.end(ServerError("it failed"), another=True) is None
    for member, error in ((other, WrongModelError("no such model")), (third, BusyError("later"))):
        turn.failed(member, error)
        assert str(turn.end(error, another=False)) == "it failed"
