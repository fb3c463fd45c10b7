"""``vlm-engine check``: lines for people, JSON for programs, exit codes, and no keys."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import CHECKED, TAGS, at
from vlm_engine.testing import Behaviour, SandboxVLM, Sight
from vlm_engine.testing.threads import running

KEY = "sk-of-the-league"


def test_endpoints_and_machine_are_checked(command, vlm):
    done = command("check", *at(vlm))
    assert done.code == 0, done.err
    endpoint, machine = done.out.split("\n\n")
    assert endpoint.startswith(f"{vlm.url.split('/')[2]} ({vlm.url})\n  ok ")
    assert "  ok     test pictures: sound: 9 of 9 answers" in endpoint
    assert machine.startswith("This machine\n")
    assert vlm.counters.answered == 10


def test_an_unsound_endpoint_exits_with_3_and_a_remedy(command, vlm):
    vlm.behaviour.sight = Sight.DROPPED
    done = command("check", *at(vlm))
    assert done.code == 3
    assert "  wrong  test pictures: blind: " in done.out
    assert "load a model that sees" in done.out


def test_one_endpoint_of_two_that_fails_exits_with_1(command, vlm, engine_yaml):
    with running(SandboxVLM()) as gone:
        pass
    servers = [
        {"base_url": vlm.url, "name": "gaming PC", "max_concurrent": "auto"},
        {"base_url": gone.url, "name": "old server"},
    ]
    file = engine_yaml(multiplexer_endpoints=servers, tag_list=TAGS)
    done = command("check", "--config", file)
    assert done.code == 1
    first, second, _ = done.out.split("\n\n")
    assert first.startswith("gaming PC (")
    assert "requests at once: as many as pay (max_concurrent is auto)" in first
    assert "  wrong  reachable: " in second
    assert "is the server running" in second
    sections = json.loads(command("check", "--config", file, "--json").out)
    assert [(each["kind"], each["title"].split(" (")[0], each["works"]) for each in sections] == [
        ("endpoint", "gaming PC", True),
        ("endpoint", "old server", False),
        ("machine", "This machine", True),
    ]
    findings = {each["what"]: each for each in sections[0]["findings"]}
    assert findings["test pictures"]["figures"]["sight"] == "sound"
    assert findings["test pictures"]["severity"] == "ok"


@pytest.mark.parametrize("key", [KEY, "sk-wrong-key"])
def test_no_key_is_printed(command, monkeypatch, key):
    monkeypatch.setenv("LEAGUE_KEY", key)
    with running(SandboxVLM(Behaviour(api_key=KEY))) as vlm:
        for form in ((), ("--json",)):
            done = command("check", *at(vlm), "--api-key-env", "LEAGUE_KEY", *form)
            assert done.code == (0 if key == KEY else 3)
            assert key not in done.out + done.err


def test_a_run_leaves_out_an_endpoint_that_does_not_see(command, vlm, photo):
    vlm.behaviour.sight = Sight.DROPPED
    done = command("tag", photo, *at(vlm), CHECKED)
    assert done.code == 3
    assert "its answers do not depend on the picture" in done.err
    tested = vlm.counters.answered
    assert command("tag", photo, *at(vlm)).code == 0
    assert vlm.counters.answered == tested + 1


def test_a_run_tests_a_sound_endpoint_once(tag, vlm, photo):
    done = tag(photo, *at(vlm), CHECKED)
    assert done.code == 0, done.err
    assert vlm.counters.answered == 1 + 2


def test_a_forecast_is_made_for_files(command, vlm, video, photo):
    done = command("check", *at(vlm), video.path.parent, photo)
    assert done.code == 0, done.err
    forecast = done.out.split("\n\n")[-1]
    assert forecast.startswith("Forecast\n  ok     queue: 1 video of 20 s and 1 image\n")
    assert "  ok     time: about 10 seconds, so done at " in forecast


def test_styles_are_compared_on_frames_and_answers_kept(command, vlm, video):
    done = command("check", *at(vlm), "--frames", "5", video.path)
    assert "Frames of your videos, asked of vlm\n" in done.out
    assert len(vlm.counters.frame_numbers) == 5 * 3  # the video is no larger than small pictures
    command("check", *at(vlm), "--frames", "5", video.path)
    assert len(vlm.counters.frame_numbers) == 5 * 3
    done = command("check", *at(vlm), "--frames", "5")
    assert done.code == 2
    assert "--frames: name the videos" in done.err
