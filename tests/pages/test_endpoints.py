"""Endpoints as the page asks them: models, check, forecast, and where keys go."""

from __future__ import annotations

import json

import pytest

from haven.settings.overlay import write_overlay
from sandbox.videos import VideoSpec, generate
from vlm_engine.testing import Behaviour, SandboxVLM, Sight
from vlm_engine.testing.threads import running

KEY = "sk-basket-1234567890"


@pytest.fixture
def vlm():
    with running(SandboxVLM(Behaviour(slots=2, api_key=KEY))) as server:
        yield server


@pytest.fixture
def known(pages, vlm):
    """The pages, with one endpoint and its key."""
    pages.data_dir.mkdir()
    endpoints = [{"base_url": vlm.url, "name": "Box", "api_key": KEY}]
    write_overlay(pages.data_dir, {"ENDPOINTS": endpoints, "TAG_LIST": ["Foul", "Goal"]}, 0)
    return pages


def findings(section):
    return {finding["what"]: finding for finding in section["findings"]}


def test_a_server_offers_models(known, vlm):
    found = known.value("models", endpoint=0)
    assert [model["name"] for model in found["models"]] == list(vlm.behaviour.models)
    assert found["models"][0]["vision"] in (True, None)


def test_an_endpoint_that_is_gone_is_told(known, vlm):
    assert known.failure("models", endpoint=1)[0] == "not_found"
    assert known.failure("check", endpoint=1)[0] == "not_found"
    vlm.behaviour.api_key = "another"
    code, message = known.failure("models", endpoint=0)
    assert (code, "API key" in message, KEY in message) == ("endpoint", True, False)


def test_a_check_of_one_endpoint_is_a_section(known, vlm):
    (section,) = known.value("check", endpoint=0)["sections"]
    assert (section["kind"], section["works"]) == ("endpoint", True)
    assert findings(section)["test pictures"]["figures"]["sight"] == "sound"
    assert KEY not in json.dumps(section)


def test_without_an_endpoint_none_is_asked(known, vlm):
    sections = known.value("check", endpoint=None)["sections"]
    assert [section["kind"] for section in sections] == ["machine", "stash"]
    assert findings(sections[1])["queue"]["severity"] == "note"
    assert vlm.counters.requests == 0


def test_a_cluster_is_checked_with_the_machine(known):
    address = "tls://nas:8786"
    write_overlay(known.data_dir, {"TAG_LIST": ["Foul"], "CLUSTER": address}, 1)
    _, cluster, stash = known.value("check", endpoint=None)["sections"]
    assert (cluster["kind"], cluster["title"], cluster["works"]) == (
        "cluster",
        f"Cluster {address}",
        False,
    )
    assert "needs certificates" in findings(cluster)["workers"]["text"]
    assert stash["kind"] == "stash"


def test_a_page_installs_no_packages_for_a_cluster(known):
    write_overlay(known.data_dir, {"TAG_LIST": ["Foul"], "CLUSTER": "local:2"}, 1)
    with (known.plugin / "requirements-cluster.txt").open("a", encoding="utf-8") as file:
        file.write("\nno-such-package\n")
    (reply,) = known.send(calls=[{"op": "check", "endpoint": None}])["replies"]
    _, cluster, _ = reply["value"]["sections"]
    assert "Start the task Check Set-up once" in findings(cluster)["packages"]["text"]


def test_a_forecast_uses_the_last_check_and_asks_nobody(known, vlm, tmp_path):
    spec = VideoSpec(duration_s=20, width=320, height=180, tags=("Foul", "Goal"), seed=3)
    video = generate(spec, tmp_path / "game.mp4").path
    known.stash.library.add_scene(video, tags=["VLM_TagMe", "VLM_UpdateMe"])
    (before,) = known.value("forecast")["sections"]
    assert findings(before)["time"]["severity"] == "note"
    assert "check the set-up" in findings(before)["time"]["text"]
    known.value("check", endpoint=0)
    requests = vlm.counters.requests
    (section,) = known.value("forecast")["sections"]
    assert findings(section)["queue"]["figures"]["scenes"] == 1
    assert findings(section)["time"]["figures"]["seconds"] > 0
    assert vlm.counters.requests == requests


def test_an_endpoint_that_became_blind_counts_no_more(known, vlm):
    known.value("check", endpoint=0)
    assert list((known.data_dir / "measured").iterdir())
    vlm.behaviour.sight = Sight.DROPPED
    known.value("check", endpoint=0)
    assert not list((known.data_dir / "measured").iterdir())


def test_a_new_address_is_asked_without_the_stored_key(known, vlm):
    """What a page of another site could do: name its own server, and have it asked."""
    with running(SandboxVLM(Behaviour(api_key=KEY))) as evil:
        entry = {"base_url": evil.url, "key": "none", "was": 0}
        change = {"name": "ENDPOINTS", "value": json.dumps([entry])}
        known.value("change_settings", revision=1, changes=[change])
        code, message = known.failure("models", endpoint=0)
        assert (code, "API key" in message) == ("endpoint", True)
        (section,) = known.value("check", endpoint=0)["sections"]
        assert not section["works"]
        assert evil.counters.answered == 0
