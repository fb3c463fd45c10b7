"""VR scenes from Stash to Stash: what marks them is the tag that is set for VR in Stash."""

from __future__ import annotations

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.end_to_end.conftest import TAGS, likeness, texts


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(
        duration_s=40,
        width=600,
        height=300,
        tags=TAGS,
        seed=4,
        shot_median_s=6,
        gop_s=4,
        frame_rate=8,
        vr="sbs-180",
    )
    return generate(spec, tmp_path_factory.mktemp("vr") / "Cup final_180_LR.mp4")


def test_a_scene_with_stashs_vr_tag_is_seen_through_one_eye(theatre, match, tmp_path):
    theatre.stash.ui["vrTag"] = "Virtual Reality"
    theatre.install()
    twin = tmp_path / match.path.name
    twin.write_bytes(match.path.read_bytes())
    (vr,) = theatre.queue(match, tags=("Virtual Reality",))
    plain = theatre.stash.library.add_scene(twin, tags=["VLM_TagMe", "Virtual"])
    job = theatre.run()
    assert job.error is None, job.log
    assert likeness(theatre.state(vr), match) > 0.8
    assert likeness(theatre.state(plain), match) < 0.5
    lines = [line for line in texts(job, "info").splitlines() if "a VR video" in line]
    assert lines == [f"{match.path}: a VR video, read as sbs-180"]


def test_a_layout_that_is_set_goes_before_the_name(theatre, match):
    theatre.stash.ui["vrTag"] = "VR"
    theatre.install(VR_LAYOUT="mono-360")
    (scene,) = theatre.queue(match, tags=("VR",))
    theatre.run()
    assert likeness(theatre.state(scene), match) < 0.5
