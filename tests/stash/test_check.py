"""*Check Set-up* on a real Stash."""

from __future__ import annotations

import json

from tests.stash.conftest import DATA
from vlm_engine.testing import Sight


def sections(arena):
    """Return the findings of the last report, by subject and what was checked."""
    folder = arena.stash.folder / DATA / "reports"
    report = json.loads(max(folder.glob("*.json")).read_text("utf-8"))
    return {
        each["kind"]: {finding["what"]: finding for finding in each["findings"]}
        for each in report["checks"]
    }


def test_a_sound_set_up_is_told_and_nothing_is_written(arena, configure, endpoint):
    configure()
    arena.queue(*arena.videos)
    before, tags = arena.contents(), arena.tag_names()
    arena.run("Check Set-up")
    found = sections(arena)
    assert found["endpoint"]["test pictures"]["figures"]["sight"] == "sound"
    assert found["stash"]["version"]["text"].startswith("v0.")
    assert found["stash"]["files"]["text"] == "2 of 2 sampled files can be read here"
    assert found["forecast"]["queue"]["figures"]["scenes"] == 2
    assert 80 < found["forecast"]["queue"]["figures"]["video_s"] < 100
    assert arena.said("error") == []
    assert arena.refusals() == []
    assert (arena.contents(), arena.tag_names()) == (before, tags)
    assert endpoint.counters.answered == 10


def test_a_blind_endpoint_gets_no_frame_and_scenes_stay_queued(arena, configure, endpoint):
    configure()
    endpoint.behaviour.sight = Sight.DROPPED
    arena.queue(*arena.videos)
    arena.run()
    assert endpoint.counters.frame_numbers == []
    assert any("its answers do not depend on the picture" in line for line in arena.said("error"))
    assert all("VLM_TagMe" in arena.scene(video).tags for video in arena.videos)
