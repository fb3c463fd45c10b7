import io
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import pytest
from PIL import Image

from sandbox import odd_files, videos
from sandbox.videos import VideoSpec, generate
from sandbox.world import SHORTEST_GAP_S, SHORTEST_SPAN_S, SPORT_TAGS, plan
from vlm_engine.testing import glyphs

SMALL = {"duration_s": 6.0, "width": 320, "height": 180}
KINDS = {
    "h264-mp4": {},
    "h264-mp4-b-frames": {"b_frames": 3},
    "h264-mkv": {"container": "mkv"},
    "h264-mpegts": {"container": "mpegts"},
    "hevc-mp4": {"codec": "hevc"},
    "vp9-webm": {"codec": "vp9", "container": "webm"},
    "mpeg4-avi": {"codec": "mpeg4", "container": "avi"},
    "audio": {"audio": True},
    "start-offset": {"start_offset_s": 5.0},
    "variable-rate": {"variable_rate": True},
    "pixel-aspect": {"pixel_aspect": Fraction(4, 3)},
    "ntsc": {"frame_rate": Fraction(30000, 1001)},
    "720p": {"width": 1280, "height": 720, "duration_s": 4.0},
}


def as_jpeg(image):
    written = io.BytesIO()
    image.save(written, "JPEG", quality=80)
    return Image.open(written)


def decoded(path):
    """Every frame of the first video stream: time from the first one, and what it shows."""
    with av.open(path) as container:
        frames = [
            (frame.time, glyphs.read(as_jpeg(frame.to_image())))
            for frame in container.decode(video=0)
        ]
    return [(time_s - frames[0][0], shown) for time_s, shown in frames]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_frame_shows_its_number_and_what_the_truth_says(kind, tmp_path):
    spec = VideoSpec(**{**SMALL, "seed": 3, **kind})
    video = generate(spec, tmp_path / f"match.{spec.container}")
    frames = decoded(video.path)
    codes = glyphs.codes(spec.tags)
    assert len(frames) == spec.frames or spec.variable_rate
    assert any(shown.codes for _, shown in frames)
    for time_s, shown in frames:
        true_time_s = float(shown.frame_number / Fraction(spec.frame_rate))
        assert time_s == pytest.approx(true_time_s, abs=0.002)  # containers round to milliseconds
        assert shown.codes == {codes[tag] for tag in video.tags_at(true_time_s)}


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_player_turns_a_rotated_video_upright(rotation, tmp_path):
    video = generate(
        VideoSpec(**SMALL | {"duration_s": 2.0}, rotation=rotation), tmp_path / "phone.mp4"
    )
    player = cv2.VideoCapture(str(video.path))  # heeds the display matrix of its own accord
    ok, picture = player.read()
    player.release()
    assert ok
    assert picture.shape[:2] == (180, 320)
    assert glyphs.read(Image.fromarray(picture[:, :, ::-1])).frame_number == 0


def test_stream_properties_are_as_specified(tmp_path):
    spec = VideoSpec(
        **SMALL, pixel_aspect=Fraction(4, 3), start_offset_s=2.0, rotation=0, audio=True
    )
    with av.open(generate(spec, tmp_path / "match.mp4").path) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (320, 180)
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        assert next(container.decode(stream)).time == pytest.approx(2.0)
        assert len(container.streams.audio) == 1


def test_a_video_without_audio_has_none(tmp_path):
    with av.open(generate(VideoSpec(**SMALL), tmp_path / "match.mp4").path) as container:
        assert not container.streams.audio


def test_variable_rate_leaves_frames_out_and_keeps_every_change(tmp_path):
    spec = VideoSpec(**SMALL, variable_rate=True, seed=3)
    numbers = {
        shown.frame_number for _, shown in decoded(generate(spec, tmp_path / "match.mp4").path)
    }
    assert spec.frames / 3 < len(numbers) < spec.frames * 0.9
    assert plan(spec).changes() - {spec.frames} <= numbers


def test_most_cuts_are_key_frames_and_some_are_not(tmp_path):
    video = generate(
        VideoSpec(**SMALL | {"duration_s": 240.0}, frame_rate=8, seed=1), tmp_path / "match.mp4"
    )
    with av.open(video.path) as container:
        stream = container.streams.video[0]
        keys = [
            packet.pts * stream.time_base
            for packet in container.demux(stream)
            if packet.pts is not None and packet.is_keyframe
        ]
    on_key = [cut for cut in video.cuts_s if any(abs(cut - key) < 0.01 for key in keys)]
    assert 0.5 * len(video.cuts_s) < len(on_key) < len(video.cuts_s)
    assert max(later - earlier for earlier, later in pairwise(keys)) <= video.spec.gop_s


@pytest.mark.parametrize("seed", range(20))
def test_the_world_keeps_its_rules(seed):
    spec = VideoSpec(seed=seed)
    timeline = plan(spec)
    frame = 1 / 15
    assert list(timeline.cuts) == sorted(set(timeline.cuts))
    assert 0 < timeline.cuts[0] < timeline.cuts[-1] < spec.frames
    assert sum(not spans for spans in timeline.spans.values()) == 1
    for spans in timeline.spans.values():
        assert all((end - first) * frame > SHORTEST_SPAN_S - 0.1 for first, end in spans)
        assert all((b[0] - a[1]) * frame > SHORTEST_GAP_S - 0.1 for a, b in pairwise(spans))
        assert all(0 <= first < end <= spec.frames for first, end in spans)


def test_over_many_videos_there_are_long_and_short_spans_on_and_off_cuts():
    lengths, on_cut = [], []
    for seed in range(20):
        timeline = plan(VideoSpec(seed=seed))
        for first, end in (span for spans in timeline.spans.values() for span in spans):
            lengths.append((end - first) / 15)
            on_cut += [edge in timeline.cuts for edge in (first, end) if 0 < edge < 9000]
    short = sum(length <= 12 for length in lengths) / len(lengths)
    long = sum(length >= 60 for length in lengths) / len(lengths)
    assert 0.2 < short < 0.7
    assert 0.1 < long < 0.5
    assert 0.5 < sum(on_cut) / len(on_cut) < 0.75


def test_a_seed_gives_the_same_world_and_another_seed_another():
    assert plan(VideoSpec(seed=5)) == plan(VideoSpec(seed=5)) != plan(VideoSpec(seed=6))


def test_few_tags_are_all_present():
    assert all(
        plan(VideoSpec(duration_s=30, tags=SPORT_TAGS[:4], seed=seed)).spans[tag]
        for seed in range(10)
        for tag in SPORT_TAGS[:4]
    )


def test_the_truth_is_loaded_as_it_was_written(tmp_path):
    spec = VideoSpec(
        **SMALL,
        frame_rate=Fraction(30000, 1001),
        pixel_aspect=Fraction(4, 3),
        tags=("Corner kick", "Foul"),
    )
    video = generate(spec, tmp_path / "Spiel ä 1.mp4")
    assert videos.load(video.path) == video


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 321}, "even"),
        ({"rotation": 45}, "quarter turn"),
        ({"tags": tuple(f"Player {n}" for n in range(41))}, "room for 40 tags"),
        ({"duration_s": 0.01}, "two frames"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        VideoSpec(**{**SMALL, **wrong})


def test_an_unknown_codec_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="av2 in mp4; codecs: .*h264"):
        generate(VideoSpec(**SMALL, codec="av2"), tmp_path / "match.mp4")


@pytest.fixture(scope="module")
def match(tmp_path_factory):
    folder = tmp_path_factory.mktemp("match")
    return {
        kind: generate(VideoSpec(**SMALL, container=kind), folder / f"match.{kind}").path
        for kind in ("mp4", "mkv")
    }


def test_cover_art_is_a_second_video_stream(match, tmp_path):
    with av.open(odd_files.with_cover_art(match["mp4"], tmp_path / "cover.mp4")) as container:
        film, cover = container.streams.video
        assert cover.disposition & av.stream.Disposition.attached_pic
        assert (cover.width, film.width) == (600, 320)
    assert decoded(tmp_path / "cover.mp4") == decoded(match["mp4"])


def test_an_audio_only_file_has_no_picture(tmp_path):
    with av.open(odd_files.audio_only(tmp_path / "anthem.mp4")) as container:
        assert not container.streams.video
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 2 * 44_100


def test_a_truncated_mkv_plays_up_to_where_it_breaks_off(match, tmp_path):
    whole, cut = (
        decoded(match["mkv"]),
        decoded(odd_files.truncated(match["mkv"], tmp_path / "cut.mkv")),
    )
    assert 1 < len(cut) < len(whole)
    assert cut[:-1] == whole[: len(cut) - 1]


def test_a_truncated_mp4_and_an_empty_file_cannot_be_opened(match, tmp_path):
    for path in (
        odd_files.truncated(match["mp4"], tmp_path / "cut.mp4"),
        odd_files.empty(tmp_path / "empty.mp4"),
    ):
        with pytest.raises(av.error.InvalidDataError):
            av.open(path)
