"""Videos whose files this machine does not have: told with both paths and the setting, or read through Stash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash import Credentials, SandboxStash
from sandbox.videos import LabelledVideo
from tests.end_to_end.conftest import TAGS, Theatre
from tests.end_to_end.test_tag_videos import found, lines
from vlm_engine.spans import f1
from vlm_engine.testing.threads import running

Address = Callable[..., dict[str, Any]]
THERE = "/data/sport games"


@pytest.fixture
def elsewhere(videos: Sequence[LabelledVideo], tmp_path: Path) -> Iterator[Theatre]:
    """A Stash that asks who is there, and shows the videos' folder as one that this machine does not have."""
    shown_as = {str(videos[0].path.parent): THERE}
    with ExitStack() as servers:
        stash = servers.enter_context(
            running(SandboxStash(shown_as=shown_as, credentials=Credentials("referee", "red card")))
        )
        yield Theatre(stash, tmp_path, servers)


def test_such_a_video_is_read_through_stash(
    elsewhere: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    elsewhere.install(address(elsewhere.endpoint()), STREAM_FROM_STASH=True)
    scenes = elsewhere.queue(*videos)
    job = elsewhere.run()
    assert job.error is None, job.log
    for scene, video in zip(scenes, videos, strict=True):
        state = elsewhere.state(scene)
        present = [tag for tag in TAGS if video.truth[tag]]
        assert set(state.tags) == {*present, "VLM_Tagged"}
        assert sum(f1(found(state)[tag], video.truth[tag]) for tag in present) / len(present) > 0.8
    assert len(
        [text for level, text in job.log if level == "info" and "it is read through Stash" in text]
    ) == len(videos)
    assert lines(job, "error") == lines(job, "warning") == ""
    assert all(part.startswith("bytes=") for part in elsewhere.stash.requests.streamed)


def test_unless_it_is_set_nothing_is_sent(
    elsewhere: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    elsewhere.install(address(elsewhere.endpoint()))
    (scene,) = elsewhere.queue(videos[0])
    job = elsewhere.run()
    assert "VLM_Errored" in elsewhere.state(scene).tags
    assert (
        f"{THERE}/{videos[0].path.name}: there is no such file here: /data does not exist"
        in lines(job, "error")
    )
    assert "Paths on the settings page (PATH_MUTATION in haven_vlm_config.local.yaml)" in lines(
        job, "error"
    )
    assert elsewhere.stash.requests.streamed == []


def test_what_is_here_is_not_sent_and_what_was_answered_is_not_asked_again(
    elsewhere: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = elsewhere.endpoint()
    folder = str(videos[0].path.parent)
    elsewhere.install(address(vlm), STREAM_FROM_STASH=True, PATH_MUTATION=f"{THERE} => {folder}")
    (scene,) = elsewhere.queue(videos[0])
    elsewhere.run()
    first, calls = elsewhere.state(scene), vlm.counters.answered
    assert elsewhere.stash.requests.streamed == []
    elsewhere.install(address(vlm), STREAM_FROM_STASH=True)
    elsewhere.stash.library.tag_scene(scene, "VLM_TagMe")
    elsewhere.run()
    assert (elsewhere.state(scene), vlm.counters.answered) == (first, calls)
    assert elsewhere.stash.requests.streamed


def test_a_wrong_rule_is_named_with_what_it_made(
    elsewhere: Theatre, videos: Sequence[LabelledVideo], address: Address, tmp_path: Path
) -> None:
    (tmp_path / "media").mkdir()
    elsewhere.install(
        address(elsewhere.endpoint()), PATH_MUTATION={"/data": str(tmp_path / "media")}
    )
    elsewhere.queue(videos[0])
    told = lines(elsewhere.run(), "error")
    assert f"{tmp_path}/media exists, {tmp_path}/media/sport games does not" in told
    assert f"Stash calls it {THERE}/{videos[0].path.name}; Paths on the settings page" in told


def test_when_stash_lacks_it_too_the_scene_stays_queued(
    elsewhere: Theatre, videos: Sequence[LabelledVideo], address: Address, tmp_path: Path
) -> None:
    elsewhere.install(address(elsewhere.endpoint()), STREAM_FROM_STASH=True)
    lost = tmp_path / "lost.mp4"
    lost.write_bytes(videos[0].path.read_bytes())
    scene = elsewhere.stash.library.add_scene(lost, tags=["VLM_TagMe"])
    lost.unlink()
    job = elsewhere.run()
    assert set(elsewhere.state(scene).tags) == {"VLM_TagMe", "VLM_Errored"}
    assert f"{lost}: nor has Stash got this file" in lines(job, "error")
