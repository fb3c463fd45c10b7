"""``vlm-engine tag`` on files that can be read in part, or not at all, beside others that can."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import pytest

from sandbox.videos import LabelledVideo
from tests.cli.conftest import at
from tests.video.numbered import patched
from tests.video.test_key_frames import camera_file


def damaged(video: LabelledVideo, path: Path, start: float, end: float) -> Path:
    """A copy of which the packets shown between these shares of its length are overwritten."""
    content = bytearray(video.path.read_bytes())
    with av.open(video.path) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.size and packet.pos is not None and packet.pts is not None:
                share = float(packet.pts * packet.time_base) / video.spec.duration_s
                if start <= share < end:
                    content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    return path


def test_a_file_of_which_a_tenth_can_be_read_fails(command, vlm, video, photo, tmp_path):
    bad = damaged(video, tmp_path / "scratched.mp4", 0.1, 1)
    found = tmp_path / "found.json"
    done = command("tag", bad, video.path, photo, *at(vlm), "--json", found)
    assert done.code == 1
    assert f"{bad}: only " in done.err
    assert "frames could be judged, so its results would mislead: " in done.err
    assert [entry["path"] for entry in json.loads(found.read_text())] == [
        str(video.path),
        str(photo),
    ]
    assert "Foul" in done.out


def test_what_is_damaged_in_part_has_results_and_is_not_well(command, vlm, video, tmp_path):
    bad = damaged(video, tmp_path / "scratched.mp4", 0.4, 0.6)
    done = command("tag", bad, *at(vlm))
    assert done.code == 1
    assert "nothing could be read from 0:00:" in done.out
    assert f"{bad}: damaged: " in done.err
    assert "Nothing is said about what they show" in done.err


@pytest.mark.parametrize("kind", ["no decoder", "unknown error"])
def test_one_bad_file_costs_the_others_nothing(kind, command, vlm, video, tmp_path):
    bad = tmp_path / "bad.mp4"
    shutil.copy(video.path, bad)
    patched(bad, b"avc1", b"drmi" if kind == "no decoder" else b"avcX")
    done = command("tag", bad, video.path, *at(vlm), "--at-once", 2)
    assert done.code == 1
    assert f"{bad}: " in done.err
    assert f"{video.path} (0:00:20.0; " in done.out


def test_every_frame_of_a_cameras_open_groups_is_judged(command, vlm, tmp_path):
    found = tmp_path / "found.json"
    path = camera_file(tmp_path / "camera.mov")
    done = command("tag", path, *at(vlm), "--frame-interval", 0.5, "--json", found)
    assert (done.code, done.err) == (0, "")
    (result,) = json.loads(found.read_text())
    assert result["coverage"]["frames_answered"] == result["coverage"]["frames_asked"] >= 4
    assert result["json_result"]["metadata"]["gaps"] == []
