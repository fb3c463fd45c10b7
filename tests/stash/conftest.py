"""A real Stash for the tests beside this file: ``pytest tests/stash --stash-binary PATH`` (or
``STASH_BINARY=PATH``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.plugin import install
from sandbox.real_stash import RealStash, WatchedJob
from sandbox.stash import ItemState, LogLine
from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

PLUGIN = "ahavenvlmconnector"
TAGS = ("Foul", "Turnover", "Goal", "Timeout")
MEDIA = "Spiele der Saison – Größe & Übung"
DATA = "haven_vlm_connector"
_SAID_BY_US = "[Plugin / Haven VLM Connector] "
_NOT_A_REFUSAL = ("Plugin returned error: ", "Couldn't retrieve latest version: ")


@pytest.fixture(scope="session")
def binary(request: pytest.FixtureRequest) -> Path:
    named = request.config.getoption("--stash-binary") or os.environ.get("STASH_BINARY", "")
    if not named:
        pytest.skip(
            "no Stash to test against: name its binary with --stash-binary PATH or in STASH_BINARY"
        )
    found = shutil.which(named)
    if found is None:
        pytest.fail(f"{named} is not a program")
    lacking = [tool for tool in ("ffmpeg", "ffprobe") if not shutil.which(tool)]
    if lacking:
        pytest.skip(f"Stash scans nothing without {' and '.join(lacking)} on the PATH")
    return Path(found).absolute()


@dataclass
class Arena:
    """A Stash with the plugin installed and scenes scanned from ``videos``, both in the order of
    their files' names.
    """

    stash: RealStash
    videos: Sequence[LabelledVideo]
    first_line: int = 0

    @contextmanager
    def fresh(self) -> Iterator[Arena]:
        """Start without tags and markers. Fail if Stash had to refuse a request."""
        self.reset()
        yield self
        assert self.refusals() == []

    def reset(self) -> None:
        """Remove tags and markers, and all that the plugin has stored."""
        self.stash.forget(PLUGIN, DATA)
        self.first_line = len(self.stash.log())

    def scene(self, video: LabelledVideo) -> ItemState:
        """Return the scene of a video as it is now."""
        return self.stash.scenes()[video.path.stem]

    def queue(self, *videos: LabelledVideo) -> None:
        """Give the scenes of these videos the tag that queues them."""
        for video in videos:
            self.stash.add_tags(self.scene(video).id, ["VLM_TagMe"])

    def start(self, task: str = "Tag Videos") -> str:
        """Start a task. Return the id of its job."""
        return self.stash.run_task(PLUGIN, task)

    def run(self, task: str = "Tag Videos") -> WatchedJob:
        """Run a task to its end."""
        return self.stash.watch(self.start(task))

    def work_by_hand(self) -> None:
        """Give every scene a tag and a marker, as a person would."""
        for video in self.videos:
            scene = self.scene(video).id
            self.stash.add_tags(scene, ["Home game"])
            self.stash.add_marker(scene, "Interview", 3.0, 9.5, title="Coach")

    def content(self, video: LabelledVideo) -> tuple[Any, ...]:
        """Return tags and markers of a video's scene; markers without their ids."""
        scene = self.scene(video)
        return scene.tags, [
            (m.title, m.seconds, m.end_seconds, m.primary_tag, m.tags) for m in scene.markers
        ]

    def contents(self) -> list[tuple[Any, ...]]:
        return [self.content(video) for video in self.videos]

    def tag_names(self) -> set[str]:
        return {tag["name"] for tag in self.stash.ask("{ allTags { name } }")["allTags"]}

    def log(self) -> list[LogLine]:
        """Return Stash's log since the test began."""
        return self.stash.log()[self.first_line :]

    def said(self, *levels: str) -> list[str]:
        """Return what the plugin logged at one of these levels."""
        return [
            text.removeprefix(_SAID_BY_US)
            for level, text in self.log()
            if text.startswith(_SAID_BY_US) and level in levels
        ]

    def refusals(self) -> list[str]:
        """Return Stash's own errors, such as a request that it could not carry out; not what
        became of the plugin's process.
        """
        harmless = (_SAID_BY_US, *_NOT_A_REFUSAL)
        return [
            text
            for level, text in self.log()
            if level in ("error", "fatal") and not text.startswith(harmless)
        ]


def furnish(stash: RealStash, *specs: VideoSpec) -> Arena:
    """Put videos and the plugin into a running Stash."""
    folder = stash.media / MEDIA
    folder.mkdir()
    videos = [
        generate(spec, folder / f"Spiel {number} – Köln.mp4")
        for number, spec in enumerate(specs, 1)
    ]
    stash.scan()
    install(stash.plugins / PLUGIN)
    stash.ask("mutation { reloadPlugins }")
    return Arena(stash, videos)


def short_video(seed: int) -> VideoSpec:
    """Describe a video of under a minute, with something of every tag."""
    return VideoSpec(
        duration_s=45, width=320, height=180, tags=TAGS, seed=seed, shot_median_s=6, gop_s=4
    )


@pytest.fixture(scope="session")
def furnished(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with RealStash(binary, tmp_path_factory.mktemp("stash")) as stash:
        yield furnish(stash, short_video(1), short_video(2))


@pytest.fixture
def arena(furnished: Arena) -> Iterator[Arena]:
    with furnished.fresh() as arena:
        yield arena


@pytest.fixture
def endpoint() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=4))) as vlm:
        yield vlm


@pytest.fixture
def configure(arena: Arena, endpoint: SandboxVLM) -> Callable[..., None]:
    """Save the settings page: the endpoint, the tags, and further settings that it offers."""
    plugins = arena.stash.ask("{ plugins { id settings { name } } }")["plugins"]
    offered = {
        setting["name"]
        for plugin in plugins
        if plugin["id"] == PLUGIN
        for setting in plugin["settings"]
    }

    def save(**settings: Any) -> None:
        page = {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS), **settings}
        assert set(page) <= offered
        arena.stash.configure(PLUGIN, page)

    return save


@pytest.fixture
def pages(arena: Arena) -> str:
    """The address of a Stash that has its web pages, whose news were read."""
    reply = requests.get(f"{arena.stash.url}/", timeout=10)
    if 'id="root"' not in reply.text:
        pytest.skip("this binary was built without Stash's web pages")
    arena.stash.skip_news()
    return arena.stash.url
