"""Generated videos show in every frame what their truth says."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import pytest
from PIL import Image

from sandbox import odd_files, videos
from sandbox.videos import VideoSpec, generate
from sandbox.world import SHORTEST_GAP_S, SHORTEST_SPAN_S, plan
from vlm_engine.testing import glyphs

SMALL: dict[str, Any] = {"duration_s": 6.0, "width": 320, "height": 180, "seed": 3}
KINDS: dict[str, dict[str, Any]] = {
    "h264-mp4": {"b_frames": 3, "audio": True},
    "h264-mkv": {"container": "mkv"},
    "h264-mpegts": {"container": "mpegts", "start_offset_s": 5.0},
    "hevc-mp4": {"codec": "hevc", "frame_rate": Fraction(30000, 1001)},
    "vp9-webm": {"codec": "vp9", "container": "webm"},
    "mpeg4-avi": {"codec": "mpeg4", "container": "avi"},
    "variable-rate": {"variable_rate": True, "pixel_aspect": Fraction(4, 3)},
}


def decoded(path: Path) -> list[tuple[float, glyphs.Shown]]:
    """Return every frame of the first video stream: its time and what it shows as a JPEG."""

    def sent(image: Image.Image) -> Image.Image:
        written = io.BytesIO()
        image.save(written, "JPEG", quality=80)
        return Image.open(written)

    with av.open(path) as container:
        frames = list(container.decode(video=0))
        first_s = frames[0].time
        return [(frame.time - first_s, glyphs.read(sent(frame.to_image()))) for frame in frames]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_frame_shows_what_the_truth_says(kind, tmp_path):
    spec = VideoSpec(**{**SMALL, **kind})
    video = generate(spec, tmp_path / f"match.{spec.container}")
    frames, codes = decoded(video.path), glyphs.codes(spec.tags)
    assert any(contents.codes for _, contents in frames)
    for time_s, contents in frames:
        true_time_s = float(contents.frame_number / Fraction(spec.frame_rate))
        assert time_s == pytest.approx(true_time_s, abs=0.002)  # containers round to milliseconds
        assert contents.codes == {codes[tag] for tag in video.tags_at(true_time_s)}
    numbers = {contents.frame_number for _, contents in frames}
    if spec.variable_rate:
        assert spec.frames / 3 < len(numbers) < spec.frames * 0.9
        assert plan(spec).changes() - {spec.frames} <= numbers
    else:
        assert len(frames) == len(numbers) == spec.frames
    assert videos.load(video.path) == video


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_player_turns_a_rotated_video_upright(rotation, tmp_path):
    spec = VideoSpec(**{**SMALL, "duration_s": 2.0, "rotation": rotation})
    player = cv2.VideoCapture(str(generate(spec, tmp_path / "phone.mp4").path))
    ok, picture = player.read()  # heeds the display matrix
    player.release()
    assert (ok, picture.shape[:2]) == (True, (180, 320))
    assert glyphs.read(Image.fromarray(picture[:, :, ::-1])).frame_number == 0


def test_most_cuts_are_key_frames_and_some_are_not(tmp_path):
    spec = VideoSpec(**{**SMALL, "duration_s": 120.0, "frame_rate": 8, "seed": 1})
    video = generate(spec, tmp_path / "match.mp4")
    with av.open(video.path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
        keys = [packet.pts * packet.time_base for packet in packets if packet.is_keyframe]
    on_key = [cut for cut in video.cuts_s if any(abs(cut - key) < 0.01 for key in keys)]
    assert 0.5 * len(video.cuts_s) < len(on_key) < len(video.cuts_s)
    assert max(later - earlier for earlier, later in pairwise(keys)) <= spec.gop_s


def test_the_world_keeps_its_rules():
    lengths, on_cut = [], []
    for seed in range(20):
        spec = VideoSpec(seed=seed)
        timeline = plan(spec)
        assert list(timeline.cuts) == sorted(set(timeline.cuts))
        assert 0 < timeline.cuts[0] < timeline.cuts[-1] < spec.frames
        assert sum(not spans for spans in timeline.spans.values()) == 1
        for spans in timeline.spans.values():
            assert all(0 <= first < end <= spec.frames for first, end in spans)
            assert all((end - first) / 15 > SHORTEST_SPAN_S - 0.1 for first, end in spans)
            assert all((b[0] - a[1]) / 15 > SHORTEST_GAP_S - 0.1 for a, b in pairwise(spans))
            lengths += [(end - first) / 15 for first, end in spans]
            edges = [edge for span in spans for edge in span if 0 < edge < spec.frames]
            on_cut += [edge in timeline.cuts for edge in edges]
    assert 0.2 < sum(length <= 12 for length in lengths) / len(lengths) < 0.7
    assert 0.1 < sum(length >= 60 for length in lengths) / len(lengths) < 0.5
    assert 0.5 < sum(on_cut) / len(on_cut) < 0.75
    assert plan(VideoSpec(seed=5)) == plan(VideoSpec(seed=5)) != plan(VideoSpec(seed=6))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 321}, "even"),
        ({"rotation": 45}, "quarter turn"),
        ({"tags": tuple(f"Player {n}" for n in range(41))}, "room for 40 tags"),
        ({"duration_s": 0.01}, "two frames"),
        ({"codec": "av2"}, "av2 in mp4; codecs: .*h264"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate(VideoSpec(**{**SMALL, **wrong}), tmp_path / "match.mp4")


def test_odd_files_are_as_odd_as_they_say(tmp_path):
    whole = {
        kind: generate(VideoSpec(**SMALL, container=kind), tmp_path / f"match.{kind}").path
        for kind in ("mp4", "mkv")
    }
    with av.open(odd_files.with_cover_art(whole["mp4"], tmp_path / "cover.mp4")) as container:
        _, cover = container.streams.video
        assert cover.disposition & av.stream.Disposition.attached_pic
    assert decoded(tmp_path / "cover.mp4") == decoded(whole["mp4"])
    with av.open(odd_files.audio_only(tmp_path / "anthem.mp4")) as container:
        assert not container.streams.video
        assert container.streams.audio
    cut = decoded(odd_files.truncated(whole["mkv"], tmp_path / "cut.mkv"))
    assert 1 < len(cut) < len(decoded(whole["mkv"]))
    for path in (
        odd_files.truncated(whole["mp4"], tmp_path / "cut.mp4"),
        odd_files.empty(tmp_path / "empty.mp4"),
    ):
        with pytest.raises(av.error.InvalidDataError):
            av.open(path)
