"""Judgements and evidence follow a file to the scene or image that has it now."""

from __future__ import annotations

import shutil

import pytest

from sandbox.stash import SandboxStash
from tests.pages.conftest import Pages
from tests.pages.test_decisions import BOTH, FIRST, GOAL, SECOND, Case
from tests.plugin.test_other_database import a_second_later
from tests.torture.world import small_videos
from vlm_engine.testing.threads import running


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return [video.path for video in small_videos(tmp_path_factory.mktemp("videos"), 2)]


@pytest.fixture
def case(pages, videos):
    """A scene with a file, of which one moment was called wrong, and one kept."""
    case = Case(pages, videos[0])
    case.run()
    case.decide("wrong", 50)
    case.decide("keep", 10)
    return case


JUDGED = [(10, 20, "kept"), (50, 60, "wrong"), (90, 95, "below")]


def test_they_follow_a_scene_that_was_merged_into_another(case, videos):
    library = case.stash.library
    a_second_later()
    other = library.add_scene(videos[1], tags=["VLM_TagMe"])
    library.merge_scene(case.scene, other)
    case.scene = other
    assert (case.view()["title"], case.spans()) == ("Final", JUDGED)
    case.run()
    assert (case.content, case.spans()) == ((BOTH, [FIRST, GOAL]), JUDGED)
    case.undo()
    assert case.spans()[0] == (10, 20, "marker")
    case.undo()
    assert case.content == (BOTH, [FIRST, SECOND, GOAL])


def test_they_follow_to_a_database_that_was_made_anew(case, videos):
    a_second_later()
    with running(SandboxStash()) as stash:
        anew = Pages(stash, case.pages.folder)
        shutil.copytree(case.pages.data_dir, anew.data_dir)
        stash.library.add_scene(videos[1])
        other = Case(anew, videos[0])
        assert other.view()["model"] == "sandbox-vlm"
        assert ("Foul", "wrong") in {
            (tag["tag"], span["state"]) for tag in other.view()["tags"] for span in tag["spans"]
        }
        other.run()
        assert other.content == (BOTH, [FIRST, GOAL])
        other.undo()
        other.undo()
        other.run()
        assert other.content == (BOTH, [FIRST, SECOND, GOAL])


def test_they_stay_with_a_scene_that_still_has_the_file(case, videos, tmp_path):
    a_second_later()
    copy = Case(case.pages, shutil.copy(videos[0], tmp_path / "Copy.mp4"))
    assert copy.view()["looked_at"] is None
    copy.run()
    assert copy.content == (BOTH, [FIRST, SECOND, GOAL])
    assert case.spans() == JUDGED
