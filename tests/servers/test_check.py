"""The check of real servers whose tiny model has random weights and sees nothing sensible."""

from __future__ import annotations

import pytest

from sandbox.subjects import KEY, LiteLLM
from tests.servers.conftest import program
from vlm_engine.checkup.diagnosis import Sight
from vlm_engine.checkup.endpoint import check_endpoint
from vlm_engine.config.models import EndpointConfig, ModelConfig

NONSENSE = {Sight.BLIND, Sight.GIBBERISH, Sight.WEAK, Sight.WRONG_FORM}


async def checked(subject):
    endpoint = EndpointConfig(base_url=subject.url, api_key=subject.key)
    model = ModelConfig(tag_list=["Foul", "Goal", "Turnover"], model_id=subject.model)
    return await check_endpoint(endpoint, model)


@pytest.fixture(scope="session")
def litellm_before_llama_cpp(request, real_llama_cpp, tmp_path_factory):
    found, folder = program(request, "--litellm"), tmp_path_factory.mktemp("lite")
    with LiteLLM(found, folder, real_llama_cpp.subject.url) as proxy:
        yield proxy


async def test_a_model_that_sees_is_sound_and_another_is_not(server):
    check = await checked(server.subject)
    if server.subject.sees:
        assert check.found.sight is Sight.SOUND
    else:
        assert check.found.sight in NONSENSE
    assert KEY not in str(check.section)


async def test_the_same_is_told_through_a_proxy(litellm_before_llama_cpp):
    check = await checked(litellm_before_llama_cpp.subject)
    assert check.found.sight in NONSENSE


async def test_a_model_without_eyes_is_wrong(blind):
    check = await checked(blind.subject)
    assert not check.section.works
    assert any("its model cannot see pictures" in each.text for each in check.section.findings)
