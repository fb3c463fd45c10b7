"""The contract of the pages: parsed strictly, and the same at both ends."""

from __future__ import annotations

import pytest

from haven.pages.contract import OPERATIONS, DecideArguments, FramesArguments, Nothing
from haven.pages.errors import BadRequestError
from haven.pages.forms import parsed, to_json
from haven.pages.operations import FUNCTIONS
from tools.contract_types import contract_types
from tools.generated_docs import CONTRACT

DECISION = {"kind": "adjust", "tag": "Foul", "start_s": 1, "end_s": 2.5, "new_start_s": None}
FRAMES = {"scene": "7", "times_s": [1, 2.5], "width": 320}


def test_the_types_of_the_pages_are_up_to_date():
    assert CONTRACT.read_text(encoding="utf-8") == contract_types(), "run `make docs`"


def test_every_operation_of_the_contract_has_its_function():
    assert FUNCTIONS.keys() == OPERATIONS.keys()


def test_arguments_become_values():
    frames = parsed(FramesArguments, FRAMES, "calls[0]")
    assert (frames.scene, frames.times_s, frames.width) == ("7", (1.0, 2.5), 320)
    (decision,) = parsed(
        DecideArguments,
        {"kind": "scene", "id": "7", "revision": 3, "decisions": [DECISION]},
        "",
    ).decisions
    assert (decision.kind, decision.start_s, decision.marker_id) == ("adjust", 1.0, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scene": 7}, "calls[0].scene: write text"),
        ({"scene": "7" * 21}, "calls[0].scene: is longer than 20"),
        ({"path": "/etc/passwd"}, "calls[0].path: there is no such field"),
        ({"times_s": [1, "2"]}, "calls[0].times_s[1]: write a number"),
        ({"times_s": [True]}, "calls[0].times_s[0]: write a number"),
        ({"times_s": [float("nan")]}, "calls[0].times_s[0]: write a number of 0 or more"),
        ({"times_s": [10**400]}, "calls[0].times_s[0]: write a number of 0 or more"),
        ({"times_s": [1.0] * 25}, "calls[0].times_s: is longer than 24"),
        ({"width": -1}, "calls[0].width: write a number of 0 or more"),
        ({"width": 3.5}, "calls[0].width: write a whole number"),
        ({"width": 641}, "calls[0].width: write 640 at most"),
        ({"width": None}, "calls[0].width: write a number"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(BadRequestError) as caught:
        parsed(FramesArguments, {**FRAMES, **changes}, "calls[0]")
    assert str(caught.value) == message


def test_a_missing_argument_is_named():
    with pytest.raises(BadRequestError, match=r"calls\[0\]\.times_s: is missing"):
        parsed(FramesArguments, {"scene": "7", "width": 1}, "calls[0]")
    with pytest.raises(BadRequestError, match=r"kind: write one of keep, wrong"):
        parsed(
            DecideArguments,
            {
                "kind": "scene",
                "id": "7",
                "revision": 1,
                "decisions": [{**DECISION, "kind": "drop"}],
            },
            "calls[0]",
        )


def test_values_become_json_with_every_field():
    assert to_json(FramesArguments("7", (1.0, float("inf")), 3)) == {
        "scene": "7",
        "times_s": [1.0, None],
        "width": 3,
    }
    assert to_json(Nothing()) == {}


def test_no_operation_takes_a_path_an_address_or_a_key():
    names = {
        name for arguments, _ in OPERATIONS.values() for name in arguments.__dataclass_fields__
    }
    assert not names & {"path", "folder", "file", "address", "url", "base_url", "key", "api_key"}
