"""Errors cross the borders of processes whole."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator

import pytest
from distributed.protocol.pickle import dumps, loads

from vlm_engine import errors
from vlm_engine.cluster.outcome import portable
from vlm_engine.errors import NoEndpointError, UnreachableError, VLMEngineError, WrongKeyError

MESSAGE = "gym: game.mp4 – „Ringer“ was lost"
VALUES = {
    "endpoint": "gym (vlm)",
    "reason": "it is lost",
    "retry_after_s": 2.5,
    "raw": "\N{GRINNING FACE} {",
    "seconds": 0.25,
    "fault": errors.ReplyFault.WITHHELD,
}
CAUSES = [
    UnreachableError("refused", endpoint="gym"),
    errors.BusyError("busy", endpoint="hall", retry_after_s=3.0),
]


def tree(kind: type[VLMEngineError] = VLMEngineError) -> Iterator[type[VLMEngineError]]:
    """Yield every error of the engine."""
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def made(kind: type[VLMEngineError]) -> VLMEngineError:
    """Return an error of this kind with every value that it takes."""
    if kind is NoEndpointError:
        return NoEndpointError(MESSAGE, CAUSES)
    names = [name for name in inspect.signature(kind.__init__).parameters if name in VALUES]
    return kind(MESSAGE, **{name: VALUES[name] for name in names})


def parts(error: BaseException) -> tuple[object, ...]:
    """Return all that an error says."""
    below = getattr(error, "exceptions", ())
    return type(error), str(error), repr(error), error.args[:1], vars(error), [*map(parts, below)]


@pytest.mark.parametrize(
    "send",
    [lambda e: pickle.loads(pickle.dumps(e)), lambda e: loads(dumps(e)), copy.copy],
    ids=["pickle", "dask", "copy"],
)
@pytest.mark.parametrize("kind", dict.fromkeys(tree()), ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_in_another_process(kind, send):
    error = made(kind)
    found = send(error)
    assert parts(found) == parts(error)
    if kind is NoEndpointError:
        assert [one.endpoint for one in found.exceptions] == ["gym", "hall"]
        assert found.exceptions[1].retry_after_s == 3.0
        refused, others = found.split(UnreachableError)
        assert type(refused) is type(others) is NoEndpointError


def test_every_error_of_the_module_is_in_the_tree():
    classes = {
        one
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, BaseException) and one.__module__ == errors.__name__
    }
    assert classes == {kind for kind in tree() if kind.__module__ == errors.__name__}
    assert len(classes) > 20


def test_an_error_of_another_library_is_told_in_words():
    found = portable(OSError(28, "No space left on device", "/media/game.mp4"))
    assert type(found) is VLMEngineError
    assert "No space left on device" in str(found)
    assert portable(error := WrongKeyError("no", endpoint="gym")) is error
