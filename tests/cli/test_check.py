"""``vlm-engine check``: what each endpoint can do, and what to do where one cannot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from vlm_engine.cli import check
from vlm_engine.testing import Behaviour, Profile, SandboxVLM, glyphs
from vlm_engine.testing.answers import Token
from vlm_engine.testing.dialects import ServerDialect
from vlm_engine.testing.threads import running


def findings(out: str) -> dict[str, tuple[str, str]]:
    """Return each check of one endpoint with its outcome and text."""
    lines = [line.split(maxsplit=1) for line in out.splitlines()[1:]]
    return {rest.split(": ", 1)[0]: (outcome, rest.split(": ", 1)[1]) for outcome, rest in lines}


@pytest.mark.parametrize(
    ("profile", "server"),
    [(Profile.LM_STUDIO, "LM Studio"), (Profile.LLAMA_CPP, "llama.cpp"), (Profile.VLLM, "vLLM")],
)
def test_what_a_server_tells_of_itself(command, profile, server):
    with running(SandboxVLM(Behaviour(profile=profile, slots=3, context_tokens=8192))) as vlm:
        done = command("check", "--endpoint", vlm.url)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{vlm.url.split('/')[2]} ({vlm.url})\n")
    found = findings(done.out)
    assert found["reachable"] == ("ok", f"{server}, and offers sandbox-vlm")
    assert found["model"] == ("ok", "sandbox-vlm")
    assert found["context"] == ("ok", "8192 tokens")
    slots = (
        "3, as it tells"
        if profile is not Profile.VLLM
        else "1: it does not tell; set max_concurrent if it takes more"
    )
    assert found["requests at once"] == ("ok", slots)
    assert vlm.counters.answered == 1


def test_an_answer_that_is_not_right_is_noted(command, vlm):
    """The sandbox sees only what it drew itself, so a red card is nothing to it."""
    outcome, text = findings(command("check", "--endpoint", vlm.url).out)["test question"]
    assert outcome == "note"
    assert "did not recognise a red card" in text
    assert "tokens read" in text


def test_an_answer_that_is_right_is_not_noted(command):
    with running(CardReader(Behaviour(), sees=True)) as vlm:
        outcome, text = findings(command("check", "--endpoint", vlm.url).out)["test question"]
    assert (outcome, text.split(";")[0]) == ("ok", "answered rightly")
    assert text.endswith("tells how sure it is")


def test_logprobs_without_alternatives_count_as_confidence(command, vlm, monkeypatch):
    def bare(dialect: ServerDialect, stream: Sequence[Token], alternatives: int) -> Any:
        return {
            "content": [
                {"token": token.text, "logprob": -0.1, "top_logprobs": []} for token in stream
            ]
        }

    monkeypatch.setattr(ServerDialect, "logprobs", bare)
    assert findings(command("check", "--endpoint", vlm.url).out)["test question"][1].endswith(
        "; tells how sure it is"
    )
    vlm.behaviour.offers_logprobs = False
    assert findings(command("check", "--endpoint", vlm.url).out)["test question"][1].endswith(
        "; does not tell how sure it is"
    )


class CardReader(SandboxVLM):
    """Sees a red card, and then in each question about several pictures red and yellow ones in
    turn; or red ones only.
    """

    def __init__(self, behaviour: Behaviour, *, sees: bool) -> None:
        super().__init__(behaviour)
        self._beliefs = 0
        self._sees = sees

    def belief(self, tag: str, contents: glyphs.Shown) -> float:
        pictures = self._beliefs // 2
        self._beliefs += 1
        is_red = pictures in (0, 1, 3) or not self._sees
        return 0.97 if tag == (check.SHOWN if is_red else check.NOT_SHOWN) else 0.02


@pytest.mark.parametrize(
    ("most_pictures", "sees", "outcome", "text"),
    [
        (16, True, "ok", "told 3 pictures apart"),
        (16, False, "note", "it did not tell 3 pictures apart, so set frames_per_question to 1"),
        (1, True, "note", "it takes them one by one, so frames_per_question saves nothing here"),
    ],
)
def test_several_frames_per_question_are_tried(
    command, engine_yaml, most_pictures, sees, outcome, text
):
    with running(CardReader(Behaviour(most_pictures=most_pictures), sees=sees)) as vlm:
        file = engine_yaml(api_base_url=vlm.url, frames_per_question=3)
        done = command("check", "--config", file)
    assert done.code == 0
    found, words = findings(done.out)["several frames"]
    assert (found, words.partition("; ")[0]) == (outcome, text)


@pytest.mark.parametrize(
    ("behaviour", "what", "remedy"),
    [
        (Behaviour(api_key="sk-of-the-league"), "reachable", "set api_key of this endpoint"),
        (
            Behaviour(vision=False),
            "test question",
            "its model cannot see pictures; load one that can",
        ),
        (
            Behaviour(models=("referee:7b",)),
            "test question",
            "correct MODEL, or model_id of this endpoint; it offers referee:7b",
        ),
    ],
    ids=["no key", "no vision", "no such model"],
)
def test_what_is_wrong_comes_with_a_remedy(command, behaviour, what, remedy):
    with running(SandboxVLM(behaviour)) as vlm:
        done = command("check", "--endpoint", vlm.url, "--model", "sandbox-vlm")
    assert done.code == 3
    outcome, text = findings(done.out)[what]
    assert outcome == "wrong"
    assert remedy in text


def test_one_endpoint_of_two_that_fails_exits_with_1(command, vlm, engine_yaml):
    with running(SandboxVLM()) as gone:
        pass
    servers = [
        {"base_url": vlm.url, "name": "gaming PC", "max_concurrent": "auto"},
        {"base_url": gone.url, "name": "old server"},
    ]
    file = engine_yaml(multiplexer_endpoints=servers)
    done = command("check", "--config", file)
    assert done.code == 1
    first, second = done.out.split("\n\n")
    assert first.startswith("gaming PC (")
    assert findings(first)["requests at once"][1] == "as many as pay (max_concurrent is auto)"
    outcome, text = findings(second)["reachable"]
    assert outcome == "wrong"
    assert "is the server running" in text
    both = json.loads(command("check", "--config", file, "--json").out)
    assert [(report["name"], report["works"]) for report in both] == [
        ("gaming PC", True),
        ("old server", False),
    ]
