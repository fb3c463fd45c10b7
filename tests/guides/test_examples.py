"""Every example runs as its user would run it, against an endpoint on loopback."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine.testing import Behaviour, Fault, SandboxVLM, glyphs
from vlm_engine.testing.threads import running

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
TAGS = ("Foul", "Turnover", "Goal", "Timeout", "Free throw")

Example = Callable[..., str]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(
        duration_s=40, width=320, height=180, tags=TAGS, seed=4, shot_median_s=6, gop_s=2
    )
    return generate(spec, tmp_path_factory.mktemp("video") / "game.mp4")


@pytest.fixture(scope="module")
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=8))) as server:
        yield server


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Example:
    """Run an example with these arguments, and returns what it prints."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def true_tags(video: LabelledVideo) -> set[str]:
    return {tag for tag, spans in video.truth.items() if spans}


def test_one_video_and_then_new_rules_without_an_endpoint(example, video, vlm, tmp_path):
    said = example(
        "one_video.py",
        video.path,
        "--endpoint",
        vlm.url,
        "--tags",
        ",".join(TAGS),
        "--keep",
        tmp_path / "game.json",
    )
    assert set(re.findall(r"^ +[\d.]+ +[\d.]+  (.+)$", said, re.MULTILINE)) == true_tags(video)
    assert re.search(r"(\d+) of \1 frames judged, \1 questions", said)
    calls = vlm.counters.requests
    rule = ("--tag", "Foul", "--rename", "Personal foul", "--max-gap", "5%", "--shortest", "2s")
    said = example("new_rules.py", video.path, tmp_path / "game.json", *rule)
    assert "\n0 questions" in said
    assert "Personal foul: " in said
    assert vlm.counters.requests == calls


def test_a_folder_of_pictures_one_of_which_is_broken(example, vlm, tmp_path):
    for name, tags in {"first": ["Foul"], "second": ["Goal", "Turnover"], "third": []}.items():
        glyphs.picture(tags, width=320, height=180).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    command = ("image_folder.py", tmp_path, "--endpoint", vlm.url, "--tags", ",".join(TAGS))
    said = example(*command)
    assert re.search(r"^first\.png: Foul \(\d+%\)$", said, re.MULTILINE)
    assert re.search(r"^second\.png: Turnover \(\d+%\), Goal \(\d+%\)$", said, re.MULTILINE)
    assert "third.png: nothing\n" in said
    assert "broken.jpg: failed: " in said
    calls = vlm.counters.answered
    assert example(*command) == said
    assert vlm.counters.answered == calls


def test_a_fallback_takes_over(example, video, vlm):
    with running(SandboxVLM(Behaviour(slots=8))) as dying:
        dying.behaviour.fault, dying.behaviour.fault_requests = Fault.DROP, None
        arguments = ("--endpoint", dying.url, "--fallback", vlm.url, "--tags", ",".join(TAGS))
        said = example("with_fallback.py", video.path, *arguments)
    assert set(re.findall(r"^(.+): \d+\.\d-", said, re.MULTILINE)) == true_tags(video)
    assert re.search(
        r"^own \((not working|on trial)\): 0 answers; failed: {'UnreachableError': \d+}$",
        said,
        re.MULTILINE,
    )
    assert re.search(r"^spare \(working\): \d+ answers; failed: none$", said, re.MULTILINE)


def test_a_small_model_scans_and_a_large_one_judges(example, video, vlm):
    with running(
        SandboxVLM(Behaviour(slots=8, miss_rate=0.1, seed=1, offers_logprobs=False))
    ) as scout:
        said = example(
            "scan_and_judge.py",
            video.path,
            "--scout",
            scout.url,
            "--endpoint",
            vlm.url,
            "--tags",
            ",".join(TAGS),
            "--alone",
        )
    both, alone = said.strip().split("\n\n")
    for lines in (both, alone):
        assert set(re.findall(r"^(.+): \d+\.\d-", lines, re.MULTILINE)) == true_tags(video)
    fewer, more = (int(re.findall(r"(\d+) to the judge", lines)[0]) for lines in (both, alone))
    assert fewer < more
    assert "to the scout" in both


def test_a_folder_on_the_workers_of_a_cluster(example, video, vlm, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    shutil.copyfile(video.path, here / "game.mp4")
    (here / "broken.mp4").write_bytes(b"no video")
    there.symlink_to(here)
    arguments = ("--endpoint", vlm.url, "--there", there, "--tags", ",".join(TAGS))
    said = example("cluster.py", here, "--cluster", "local:2", "--slots", 8, *arguments)
    assert "broken.mp4: failed: " in said
    assert f"game.mp4: {', '.join(sorted(true_tags(video)))}\n" in said
    assert re.search(r"^[1-9]\d* questions$", said, re.MULTILINE)
    assert (here / "answers.sqlite").exists()


def test_a_pipeline_from_a_file(example, video, vlm):
    said = example("yaml_pipeline.py", video.path, "--endpoint", vlm.url, "--tags", ",".join(TAGS))
    merged = {"Score" if tag in {"Goal", "Free throw"} else tag for tag in true_tags(video)}
    assert set(re.findall(r"^ +[\d.]+ s  (.+)$", said, re.MULTILINE)) == merged - {"Timeout"}


def test_a_stage_of_ones_own(example, video, vlm):
    said = example("custom_stage.py", video.path, "--endpoint", vlm.url, "--tags", ",".join(TAGS))
    assert said.startswith("WEBVTT\n\n00:00:")
    cues = re.findall(
        r"^(\d\d:\d\d:\d\d\.\d{3}) --> \d\d:\d\d:\d\d\.\d{3}\n(.+)\n", said, re.MULTILINE
    )
    assert {tag for _, tag in cues} == true_tags(video)
    assert [start for start, _ in cues] == sorted(start for start, _ in cues)


def test_every_example_is_listed_short_and_tested():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tested = Path(__file__).read_text(encoding="utf-8")
    files = [path for path in EXAMPLES.iterdir() if path.suffix in {".py", ".yaml"}]
    assert len(files) > 6
    for path in files:
        assert f"]({path.name})" in listed, path.name
        assert len(path.read_text(encoding="utf-8").splitlines()) < 80, path.name
        assert path.suffix != ".py" or f'"{path.name}"' in tested, path.name
    for target in re.findall(r"\]\(([^)#]+)", listed):
        assert (EXAMPLES / target).exists(), target
