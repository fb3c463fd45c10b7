"""Media as people have it, on a real Stash: VR scenes, and files that only Stash gets at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.real_stash import RealStash
from tests.stash.conftest import MEDIA, PLUGIN, TAGS, Arena, furnish, short_video
from tests.stash.test_tagging import likeness
from vlm_engine.testing import SandboxVLM

KEY_QUERY = "mutation { generateAPIKey(input: {}) }"


@pytest.fixture(scope="module")
def library(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A VR video and a plain one, in a Stash that asks who is there."""
    plain = replace(short_video(4), duration_s=40, frame_rate=8)
    vr = replace(plain, width=600, height=300, vr="sbs-180")
    with RealStash(binary, tmp_path_factory.mktemp("stash")) as stash:
        arena = furnish(stash, vr, plain)
        stash.demand_login("referee", "whistle")
        yield arena


@pytest.fixture
def arena(library: Arena) -> Iterator[Arena]:
    with library.fresh() as arena:
        yield arena


def configure(arena: Arena, endpoint: SandboxVLM, **settings: object) -> None:
    arena.stash.configure(
        PLUGIN, {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS), **settings}
    )


def test_scenes_with_the_vr_tag_are_seen_through_one_eye(arena, endpoint):
    vr, plain = arena.videos
    arena.stash.ask(
        "mutation($ui: Map!) { configureUI(partial: $ui) }", {"ui": {"vrTag": "Virtual Reality"}}
    )
    arena.stash.add_tags(arena.scene(vr).id, ["Virtual Reality"])
    configure(arena, endpoint)
    arena.queue(vr, plain)
    arena.run()
    assert [likeness(arena.scene(video), video) > 0.8 for video in (vr, plain)] == [True, True]
    lines = [line for line in arena.said("info") if "a VR video" in line]
    assert len(lines) == 1
    assert lines[0].endswith(f"{vr.path.name}: a VR video, read as sbs-180")


@pytest.mark.parametrize("with_key", [False, True], ids=["by its session", "by its API key"])
def test_what_only_stash_gets_at_is_read_through_it(arena, endpoint, with_key):
    video = arena.videos[1]
    key = str(arena.stash.ask(KEY_QUERY)["generateAPIKey"]) if with_key else ""
    nowhere = arena.stash.folder / "nowhere"
    configure(arena, endpoint, mediaPaths=f"{arena.stash.media} => {nowhere}")
    arena.queue(video)
    arena.run()
    (fault,) = [line for line in arena.said("error") if "no such file here" in line]
    assert (
        f"{nowhere / MEDIA / video.path.name}: there is no such file here: {nowhere.parent} "
        f"exists, {nowhere} does not" in fault
    )
    assert f"Stash calls it {video.path}; Paths on the settings page" in fault
    configure(arena, endpoint, mediaPaths=f"{arena.stash.media} => {nowhere}", mediaStream=True)
    arena.run()
    assert "VLM_Tagged" in arena.scene(video).tags
    assert likeness(arena.scene(video), video) > 0.8
    assert any("it is read through Stash" in line for line in arena.said("info"))
    assert not with_key or not any(
        key in line for line in arena.said("error", "warning", "info", "debug")
    )
