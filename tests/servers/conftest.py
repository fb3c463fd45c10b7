"""The servers of the contract tests.

Sandbox endpoints that behave like six servers are always there. Real ones need their programs:
``pytest tests/servers --llama-server PATH --litellm PATH --vllm PATH``, or the environment
variables LLAMA_SERVER, LITELLM, VLLM.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.subjects import KEY, VLLM, LiteLLM, LlamaCpp, Server, Subject
from vlm_engine.testing import MODEL, Behaviour, Profile, SandboxVLM
from vlm_engine.testing.threads import running

SLOTS, CONTEXT_TOKENS = 3, 4096
SUBJECTS = {
    Profile.LM_STUDIO: Subject(
        "", MODEL, "LM Studio", tells_confidence=False, slots=SLOTS, context_tokens=CONTEXT_TOKENS
    ),
    Profile.OLLAMA: Subject("", MODEL, "Ollama", asks_for_key=False, context_tokens=CONTEXT_TOKENS),
    Profile.LLAMA_CPP: Subject(
        "", MODEL, "llama.cpp", knows_every_model=True, slots=SLOTS, context_tokens=CONTEXT_TOKENS
    ),
    Profile.VLLM: Subject("", MODEL, "vLLM", context_tokens=CONTEXT_TOKENS, vision=None),
    Profile.SGLANG: Subject(
        "", MODEL, "SGLang", knows_every_model=True, slots=SLOTS, context_tokens=CONTEXT_TOKENS
    ),
    Profile.LITELLM: Subject("", MODEL, "LiteLLM", vision=None, finishes_abandoned=True),
}
REAL = ("llama.cpp", "LiteLLM", "vLLM")
BLIND = ("llama.cpp", "LiteLLM")


@dataclass
class Played:
    """A sandbox endpoint as a subject."""

    vlm: SandboxVLM
    subject: Subject

    def kill(self) -> None:
        self.vlm.stop()

    def start(self) -> None:
        self.vlm.start()


def behaviour(profile: Profile, **more: object) -> Behaviour:
    fields = {"profile": profile, "api_key": KEY, "slots": SLOTS, "context_tokens": CONTEXT_TOKENS}
    return Behaviour(**{**fields, **more})


def played(profile: Profile, **more: object) -> Iterator[Played]:
    with running(SandboxVLM(behaviour(profile, **more))) as vlm:
        fields = {
            field: getattr(SUBJECTS[profile], field) for field in Subject.__dataclass_fields__
        }
        yield Played(vlm, Subject(**{**fields, "url": vlm.url}))


def program(request: pytest.FixtureRequest, option: str) -> Path:
    variable = option.removeprefix("--").replace("-", "_").upper()
    named = request.config.getoption(option) or os.environ.get(variable, "")
    if not named:
        pytest.skip(f"not installed: name the program with {option} PATH or in {variable}")
    found = shutil.which(named)
    if found is None:
        pytest.fail(f"{named} is not a program")
    return Path(found).absolute()


@pytest.fixture(scope="session")
def llama_server(request: pytest.FixtureRequest) -> Path:
    return program(request, "--llama-server")


@pytest.fixture(scope="session")
def real_llama_cpp(
    llama_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaCpp]:
    with LlamaCpp(
        llama_server, tmp_path_factory.mktemp("llama"), slots=SLOTS, context_tokens=CONTEXT_TOKENS
    ) as server:
        yield server


@pytest.fixture(scope="session")
def blind_llama_cpp(
    llama_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaCpp]:
    with LlamaCpp(llama_server, tmp_path_factory.mktemp("blind"), vision=False) as server:
        yield server


@pytest.fixture(scope="session")
def real_vllm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VLLM]:
    with VLLM(
        program(request, "--vllm"), tmp_path_factory.mktemp("vllm"), context_tokens=CONTEXT_TOKENS
    ) as server:
        yield server


@pytest.fixture(scope="session")
def real_litellm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiteLLM]:
    found = program(request, "--litellm")
    with (
        running(SandboxVLM(behaviour(Profile.LLAMA_CPP))) as behind,
        LiteLLM(found, tmp_path_factory.mktemp("lite"), behind.url) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="session")
def blind_litellm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiteLLM]:
    found, behind = (
        program(request, "--litellm"),
        SandboxVLM(behaviour(Profile.LLAMA_CPP, vision=False)),
    )
    with running(behind) as vlm, LiteLLM(found, tmp_path_factory.mktemp("lite"), vlm.url) as proxy:
        yield proxy


@pytest.fixture(params=[*SUBJECTS, *(f"real {name}" for name in REAL)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose model sees."""
    if request.param in SUBJECTS:
        yield from played(request.param)
    else:
        yield request.getfixturevalue(request.param.replace(" ", "_").replace(".", "_").lower())


@pytest.fixture(params=[*SUBJECTS, *(f"blind {name}" for name in BLIND)])
def blind(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The same with a model that does not."""
    if request.param in SUBJECTS:
        yield from played(request.param, vision=False)
    else:
        yield request.getfixturevalue(request.param.replace(" ", "_").replace(".", "_").lower())
