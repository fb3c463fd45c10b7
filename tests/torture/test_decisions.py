"""Decisions of people at a scene's tab are killed with SIGKILL, in the middle of the clicks and
between runs with other thresholds.

Each click holds wholly or not at all, every later run obeys, and in the end all of it can be
undone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.torture.test_torture import jump
from tests.torture.world import TAGS, Arena, Killer, World, arena_of_scenes, content

RUNS = max(1, int(os.environ.get("HAVEN_TORTURE_RUNS", "1")) // 2)
SCENES = 2
CLICKS = 3
REQUESTS = 14
THRESHOLDS = ("0.05", "0.5", "0.9")
KINDS = ("wrong", "wrong", "keep", "adjust", "bring_back", "undo")


class Tab:
    """A scene's tab, each call in a process of its own, which may be killed. ``seen``: what it shows,
    from the last ``view``.
    """

    def __init__(self, place: World, scene: str) -> None:
        self.place, self.scene = place, scene
        self.seen: Mapping[str, Any] = {}

    @property
    def item(self) -> Mapping[str, str]:
        return {"kind": "scene", "id": self.scene}

    def view(self) -> Mapping[str, Any]:
        reply = self.place.click({"op": "scene", "id": self.scene})
        assert reply is not None
        assert reply["ok"], reply
        self.seen = reply["value"]
        return self.seen

    def click(self, rng: random.Random, killer: Killer | None) -> None:
        """Decide something about a span, or undo; what is decided is random."""
        call = self._call(rng)
        if call is not None:
            self.place.click({**call, **self.item}, killer)

    def undo_all(self) -> None:
        """Undo one decision after the other, until none is left."""
        shown = self.view()
        for _ in range(2 * CLICKS * len(KINDS)):
            call = {"op": "undo_decision", "revision": shown["revision"]}
            reply = self.place.click({**call, **self.item})
            assert reply is not None
            if not reply["ok"]:
                assert "no decision" in reply["message"]
                return
            shown = reply["value"]
        raise AssertionError("there is always a decision left to undo")

    def state(self) -> tuple[Any, ...]:
        """Tags and markers, and each span with its state; markers without their ids."""
        spans = [
            (tag["tag"], *(span[name] for name in ("start_s", "end_s", "state", "by_person")))
            for tag in self.view()["tags"]
            for span in tag["spans"]
        ]
        return content(self.place.stash.library.scene_state(self.scene)), tuple(spans)

    def _call(self, rng: random.Random) -> dict[str, Any] | None:
        view, kind = self.seen, rng.choice(KINDS)
        if kind == "undo":
            return {"op": "undo_decision", "revision": view["revision"]}
        spans = [
            (tag["tag"], span)
            for tag in view["tags"]
            for span in tag["spans"]
            if (span["state"] == "wrong") == (kind == "bring_back")
        ]
        if not spans:
            return None
        tag, span = rng.choice(spans)
        decision = {"kind": kind, "tag": tag, "start_s": span["start_s"], "end_s": span["end_s"]}
        decision["marker_id"] = span["marker_id"]
        if kind == "adjust":
            start_s = round(rng.uniform(0, 3), 3)
            decision |= {"new_start_s": start_s, "new_end_s": start_s + 0.5}
        return {"op": "decide", "revision": view["revision"], "decisions": [decision]}


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with arena_of_scenes(tmp_path_factory.mktemp("decisions"), SCENES) as arena:
        yield arena


def judged(tab: Tab) -> set[tuple[Any, ...]]:
    """Return the spans that hold as a person judged them."""
    return {span for span in tab.state()[1] if span[3] in {"wrong", "kept", "adjusted"}}


@pytest.mark.expects_errors  # the servers' library reports clients killed in mid-request
@pytest.mark.parametrize("seed", range(RUNS))
def test_clicks_that_are_killed_hold_wholly_or_not_at_all(arena, seed):
    rng = random.Random(seed)
    with arena.world() as place:
        assert place.run("tag_videos")
        tabs = [Tab(place, scene.id) for scene in place.stash.library.snapshot().scenes]
        first = [tab.state() for tab in tabs]
        for number, tab in enumerate(tabs):
            last = first[number]
            for _ in range(CLICKS):
                jump(place, rng)
                killer = Killer(rng.randint(0, REQUESTS), rng.uniform(0, 0.02))
                tab.click(rng, killer if rng.random() < 0.6 else None)
                after = tab.state()
                assert after == tab.state(), "it is complete once it is read"
                assert (after[0] == last[0]) or (after[1] != last[1])
                last = after
        held = [judged(tab) for tab in tabs]
        for threshold in rng.sample(THRESHOLDS, 2):
            for tab in tabs:
                place.stash.library.tag_scene(tab.scene, "VLM_UpdateMe")
            assert place.run("update_videos", VIDEO_THRESHOLD=threshold)
            assert [judged(tab) for tab in tabs] == held
            for tab in tabs:
                check_obeyed(tab)
        for _ in range(2):
            assert place.run("undo_last_run")
        assert [judged(tab) for tab in tabs] == held
        for tab, state in zip(tabs, first, strict=True):
            tab.undo_all()
            assert content_of(tab.state()) == content_of(state)


def content_of(state: tuple[Any, ...]) -> tuple[Any, ...]:
    (tags, markers), _ = state
    return tuple(tag for tag in tags if not tag.startswith("VLM_")), markers


def check_obeyed(tab: Tab) -> None:
    """Check that no marker of the plugin is where a person said that there is none, in what the tab
    has last shown.
    """
    for tag in tab.seen["tags"]:
        wrong = [span for span in tag["spans"] if span["state"] == "wrong"]
        made = [one for one in tag["spans"] if one["marker_id"] and not one["by_person"]]
        for one in wrong:
            assert not [
                each
                for each in made
                if max(one["start_s"], each["start_s"]) < min(one["end_s"], each["end_s"])
            ]
    assert {tag["tag"] for tag in tab.seen["tags"]} >= set(TAGS)
