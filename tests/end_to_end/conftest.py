"""The plugin, installed and run as Stash runs it, on generated videos and sandbox endpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox.pictures import LabelledPicture, write_folder, write_zip
from sandbox.plugin import install
from sandbox.stash import Exchange, ItemState, Job, SandboxStash
from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine.spans import f1
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

TAGS = ("Foul", "Turnover", "Goal", "Timeout")
CONTROL = {"VLM_TagMe", "VLM_UpdateMe", "VLM_Tagged", "VLM_Errored"}
DATA = "haven_vlm_connector"


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledVideo, ...]:
    """Three videos of under a minute, in a folder whose name needs quoting."""
    folder = tmp_path_factory.mktemp("library") / "Média & Spiele"
    folder.mkdir()
    return tuple(
        generate(
            VideoSpec(
                duration_s=45, width=320, height=180, tags=TAGS, seed=seed, shot_median_s=6, gop_s=4
            ),
            folder / f"Spiel {seed} – Finale.mp4",
        )
        for seed in (1, 2, 3)
    )


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledPicture, ...]:
    """24 pictures in a folder and 16 in a zip, whose names need quoting."""
    place = tmp_path_factory.mktemp("images")
    return (
        *write_folder(place / "Fotos & Fouls", 24, TAGS),
        *write_zip(place / "Spiel „Finale“.zip", 16, TAGS, first=100),
    )


@dataclass
class Theatre:
    """A Stash with scenes and images, endpoints, and the plugin with the test's settings."""

    stash: SandboxStash
    folder: Path
    servers: ExitStack
    videos: tuple[LabelledVideo, ...]
    scenes: list[str] = field(default_factory=list)
    installed: int = 0

    def endpoint(self, **behaviour: Any) -> SandboxVLM:
        """One more endpoint."""
        return self.servers.enter_context(running(SandboxVLM(Behaviour(**behaviour))))

    def install(self, *endpoints: SandboxVLM | Mapping[str, Any], **settings: Any) -> SandboxVLM:
        """Install the plugin with these endpoints, or a new one, and return the first of them.

        The folder's name needs quoting.
        """
        self.installed += 1
        if not endpoints and "ENDPOINTS" not in settings:
            endpoints = (self.endpoint(),)
        written = [
            one if isinstance(one, Mapping) else {"base_url": one.url, "max_concurrent": 4}
            for one in endpoints
        ]
        folder = self.folder / f"plügins {self.installed}" / "ahavenvlmconnector"
        self.stash.plugins.loaded.clear()
        everything = {
            "ENDPOINTS": written,
            "TAG_LIST": list(TAGS),
            "CHECK_ENDPOINTS": False,  # tests count requests
            **settings,
        }
        self.stash.load_plugin(install(folder, everything))
        return endpoints[0] if endpoints else None  # type: ignore[return-value]

    def queue(self, *videos: LabelledVideo | int, tags: tuple[str, ...] = ()) -> list[str]:
        """Add a scene for each video, or number of a video, with ``VLM_TagMe`` and ``tags``."""
        new = []
        for one in videos:
            video = self.videos[one] if isinstance(one, int) else one
            tagged = ["VLM_TagMe", *tags]
            new.append(self.stash.library.add_scene(video.path, title=video.path.stem, tags=tagged))
        self.scenes += new
        return new

    def lose(self) -> tuple[str, Path]:
        """Add a queued scene whose file is deleted."""
        path = self.folder / "lost.mp4"
        path.write_bytes(self.videos[1].path.read_bytes())
        scene = self.stash.library.add_scene(path, title="lost", tags=["VLM_TagMe"])
        path.unlink()
        return scene, path

    def add(
        self, *pictures: LabelledPicture, tags: tuple[str, ...] = ("VLM_TagMe",)
    ) -> dict[str, LabelledPicture]:
        """Add an image for each picture, with ``tags``. Return the pictures by the images' ids."""
        library = self.stash.library
        return {
            library.add_image(one.path, entry=one.entry, title=f"Bild {one.number}", tags=tags): one
            for one in pictures
        }

    def run(self, task: str = "Tag Videos", **args: str) -> Job:
        """Run a task to its end."""
        return self.stash.run_task(task, args).wait(120)

    def state(self, scene: str) -> ItemState:
        """A scene as it is in Stash now."""
        return self.stash.library.scene_state(scene)

    def contents(self) -> list[tuple[Any, ...]]:
        """All scenes as they are in Stash now, without the ids of markers."""
        return [content(scene) for scene in self.stash.library.snapshot().scenes]

    def image_tags(self) -> dict[str, set[str]]:
        """Every image's tags as they are now."""
        return {image.id: set(image.tags) for image in self.stash.library.snapshot().images}

    def reports(self) -> list[dict[str, Any]]:
        """The reports of all runs, in their order."""
        folder = self.stash.config_folder / DATA / "reports"
        return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]

    def at_first(self, operation: str, act: Callable[[], None]) -> None:
        """``act`` when the first ``operation`` has come, before it is carried out."""

        def hook(exchange: Exchange) -> None:
            if exchange.operation == operation:
                self.stash.requests.on_request = None
                act()

        self.stash.requests.on_request = hook


@pytest.fixture
def elsewhere(
    tmp_path: Path, videos: tuple[LabelledVideo, ...]
) -> Iterator[Callable[..., Theatre]]:
    """Makes a theatre; its Stash may see a folder of this machine under another name."""
    with ExitStack() as servers:

        def build(here: Path | None = None, there: str = "", **stash: Any) -> Theatre:
            shown_as = {str(here): there} if here else {}
            made = servers.enter_context(running(SandboxStash(shown_as=shown_as, **stash)))
            return Theatre(made, tmp_path, servers, videos)

        yield build


@pytest.fixture
def theatre(elsewhere: Callable[..., Theatre]) -> Theatre:
    return elsewhere()


def content(scene: ItemState) -> tuple[Any, ...]:
    """A scene's tags and markers, without the ids of markers."""
    markers = [(m.title, m.seconds, m.end_seconds, m.primary_tag, m.tags) for m in scene.markers]
    return scene.tags, sorted(markers, key=str)


def likeness(scene: ItemState, video: LabelledVideo) -> float:
    """F1 of the markers, the mean over the tags that the video shows."""
    present = [tag for tag in TAGS if video.truth[tag]]
    found = {
        tag: [
            (m.seconds, m.end_seconds or m.seconds) for m in scene.markers if m.primary_tag == tag
        ]
        for tag in present
    }
    return sum(f1(found[tag], video.truth[tag]) for tag in present) / len(present)


def present(video: LabelledVideo) -> set[str]:
    """The tags that the video shows."""
    return {tag for tag, spans in video.truth.items() if spans}


def texts(job: Job, *levels: str) -> str:
    """The lines of the log with these levels."""
    return "\n".join(text for level, text in job.log if level in levels)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)
