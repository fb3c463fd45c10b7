from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from vlm_engine.config.models import (
    EndpointConfig,
    EngineConfig,
    Length,
    ModelConfig,
    SearchConfig,
    TagRule,
    parse,
)
from vlm_engine.errors import ConfigError

MODEL = {
    "type": "vlm_model",
    "api_base_url": "http://localhost:1234",
    "tag_list": ["Foul", "Turnover"],
}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost:1234", "http://localhost:1234/v1"),
        ("localhost:1234", "http://localhost:1234/v1"),
        ("http://localhost:1234/", "http://localhost:1234/v1"),
        ("http://localhost:1234/v1/", "http://localhost:1234/v1"),
        ("http://localhost:1234/v1/chat/completions", "http://localhost:1234/v1"),
        ("https://host.example/openai", "https://host.example/openai/v1"),
        ("https://host.example/v1beta/openai/", "https://host.example/v1beta/openai"),
    ],
)
def test_an_address_may_be_written_with_or_without_its_version(written, meant):
    assert EndpointConfig(base_url=written).base_url == meant


@pytest.mark.parametrize(
    "written",
    ["localhost", "ftp://host", "http://", "http://user:secret@host", "http://host/v1?key=secret"],
)
def test_a_wrong_address_is_refused_without_its_secret(written):
    with pytest.raises(ConfigError) as caught:
        parse(EndpointConfig, {"base_url": written}, "ENDPOINTS[0]")
    assert "ENDPOINTS[0].base_url" in str(caught.value) or "secret" not in str(caught.value)
    assert "user:secret" not in str(caught.value)


@pytest.mark.parametrize(
    "written",
    ["http://court:99999", "court:99999", "http://court:y", "http://court:0/v1", "http://[::1]:-1"],
)
def test_a_port_that_cannot_be_is_named_with_its_address(written):
    with pytest.raises(
        ConfigError,
        match=r"ENDPOINTS\[0\].base_url: '.*"
        + re.escape(written)
        + "' has no port from 1 to 65535",
    ):
        parse(EndpointConfig, {"base_url": written}, "ENDPOINTS[0]")
    assert EndpointConfig(base_url="http://court:65535").base_url == "http://court:65535/v1"


@pytest.mark.parametrize(("written", "meant"), [(None, None), (4, 4), ("4", 4), ("auto", "auto")])
def test_an_endpoints_slots_are_a_number_or_found_out(written, meant):
    assert (
        EndpointConfig(base_url="http://court:1234", max_concurrent=written).max_concurrent == meant
    )


@pytest.mark.parametrize("written", [0, 1025, -1, 2.5, True, "many", [4]])
def test_other_slots_are_refused_in_one_sentence(written):
    with pytest.raises(ConfigError) as caught:
        parse(
            EndpointConfig,
            {"base_url": "http://court:1234", "max_concurrent": written},
            "ENDPOINTS[0]",
        )
    assert (
        str(caught.value) == 'ENDPOINTS[0].max_concurrent: write a number from 1 to 1024, or "auto"'
    )


def test_every_fault_is_reported_at_once_with_its_key():
    data = {
        "models": {"vlm": {**MODEL, "temperature": 9, "tag_lst": []}},
        "search": {"edge_tolerance_s": -1},
        "loglevel": "LOUD",
    }
    with pytest.raises(ConfigError) as caught:
        parse(EngineConfig, data, "VLM_ENGINE_CONFIG")
    message = str(caught.value)
    assert (
        "VLM_ENGINE_CONFIG.models.vlm: unknown key 'tag_lst'; did you mean 'tag_list'?" in message
    )
    assert "VLM_ENGINE_CONFIG.search.edge_tolerance_s" in message
    assert "VLM_ENGINE_CONFIG.loglevel" in message


def test_unknown_keys_are_refused_by_the_constructor_too():
    with pytest.raises(ValidationError, match="did you mean 'weight'"):
        EndpointConfig(base_url="http://localhost:1", wieght=3)


@pytest.mark.parametrize(
    ("written", "seconds"), [("12s", 12.0), (12, 12.0), ("5%", 30.0), ("1.5", 1.5), (0, 0.0)]
)
def test_a_length_is_seconds_or_a_share_of_the_video(written, seconds):
    assert Length.model_validate(written).seconds(600) == seconds


@pytest.mark.parametrize("written", ["soon", "-1s", -1, "5 %%", True, float("nan"), 10**400])
def test_what_is_no_length_is_refused(written):
    with pytest.raises(ValidationError):
        Length.model_validate(written)


def test_a_tag_overrides_only_what_it_sets():
    config = EngineConfig(
        models={"vlm": ModelConfig(**MODEL)},
        default_rule=TagRule(MaxGap="9s", TagThreshold=0.6),
        category_config={"tags": {"Foul": {"MinMarkerDuration": "2s"}}},
    )
    foul, other = config.rule_of("tags", threshold=0.8)("Foul"), config.rule_of("tags")("Turnover")
    assert (foul.min_marker.value, foul.max_gap.value, foul.threshold) == (2, 9, 0.8)
    assert (other.min_marker.value, other.threshold) == (1, 0.6)


def test_a_rule_finds_its_tag_in_any_case():
    config = EngineConfig(
        models={"vlm": ModelConfig(**{**MODEL, "tag_list": ["Foul", "Corner kick"]})},
        category_config={
            "tags": {
                "foul": {"RenamedTag": "Personal foul"},
                " corner  Kick": {"TagThreshold": 0.7},
            }
        },
    )
    assert config.rule_of("tags")("Foul").renamed == "Personal foul"
    assert config.rule_of("tags")("Corner kick").threshold == 0.7
    assert not config.unused_rules()


def test_an_active_model_must_exist():
    with pytest.raises(ConfigError, match="'judge' is not among models: vlm"):
        parse(EngineConfig, {"models": {"vlm": MODEL}, "active_ai_models": ["judge"]}, "")


def test_the_key_comes_from_the_environment_and_never_shows(
    monkeypatch,
):
    endpoint = EndpointConfig(
        base_url="http://localhost:1", api_key_env="HAVEN_TEST_KEY", name="gym"
    )
    with pytest.raises(ConfigError, match="'gym'.*HAVEN_TEST_KEY"):
        endpoint.key()
    monkeypatch.setenv("HAVEN_TEST_KEY", "sk-secret-123")
    assert endpoint.key() == "sk-secret-123"
    assert "hush" not in repr(EndpointConfig(base_url="http://localhost:1", api_key="hush-hush"))


@pytest.mark.parametrize(
    ("settings", "interval_s"),
    [
        ({}, 12.0),
        ({"shortest_event_s": 3}, 4.0),
        ({"shortest_event_s": 10}, 8.0),
        ({"shortest_event_s": 60}, 16.0),
        ({"frame_interval_s": 2}, 2.0),
    ],
)
def test_the_scan_interval_follows_from_the_shortest_event(settings, interval_s):
    assert SearchConfig(**settings).interval_for(3600) == interval_s


@pytest.mark.parametrize(
    ("duration_s", "interval_s"), [(5, 3.0), (200, 5.0), (480, 12.0), (7200, 12.0)]
)
def test_a_short_video_is_scanned_more_closely(duration_s, interval_s):
    assert SearchConfig().interval_for(duration_s) == interval_s


def test_where_questions_go():
    several = [{"base_url": "http://a:1"}, {"api_base_url": "http://b:1", "is_fallback": True}]
    assert [e.base_url for e in ModelConfig(**MODEL).endpoints()] == ["http://localhost:1234/v1"]
    chosen = ModelConfig(**MODEL, use_multiplexer=True, multiplexer_endpoints=several).endpoints()
    assert [e.base_url for e in chosen] == ["http://a:1/v1", "http://b:1/v1"]
    assert [
        e.base_url for e in ModelConfig(**MODEL, multiplexer_endpoints=several).endpoints()
    ] == ["http://localhost:1234/v1"]
    assert ModelConfig(type="vlm_model").endpoints() == ()
