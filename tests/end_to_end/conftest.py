"""The plugin, installed and run as Stash runs it, on generated videos and sandbox endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox.pictures import LabelledPicture
from sandbox.plugin import install
from sandbox.stash import ItemState, Job, SandboxStash
from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

TAGS = ("Foul", "Turnover", "Goal", "Timeout")
MEDIA = "Média & Spiele"


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledVideo, ...]:
    """Three videos of under a minute, in a folder whose name needs quoting."""
    folder = tmp_path_factory.mktemp("library") / MEDIA
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


@dataclass
class Theatre:
    """A Stash with scenes, endpoints, and the plugin installed with settings of the test's."""

    stash: SandboxStash
    folder: Path
    servers: ExitStack
    scenes: list[str] = field(default_factory=list)
    installed: int = 0

    def endpoint(self, behaviour: Behaviour | None = None) -> SandboxVLM:
        """One more endpoint."""
        return self.servers.enter_context(running(SandboxVLM(behaviour or Behaviour(slots=4))))

    def queue(self, *videos: LabelledVideo, tags: tuple[str, ...] = ()) -> list[str]:
        """Adds a scene for each video, with the tag that queues it and ``tags``."""
        new = [
            self.stash.library.add_scene(
                video.path, title=video.path.stem, tags=["VLM_TagMe", *tags]
            )
            for video in videos
        ]
        self.scenes += new
        return new

    def add(
        self, *pictures: LabelledPicture, tags: tuple[str, ...] = ("VLM_TagMe",)
    ) -> dict[str, LabelledPicture]:
        """Adds an image for each picture, with ``tags``. The pictures by the images' ids."""
        library = self.stash.library
        return {
            library.add_image(one.path, entry=one.entry, title=f"Bild {one.number}", tags=tags): one
            for one in pictures
        }

    def image_tags(self) -> dict[str, set[str]]:
        """Every image's tags as they are now."""
        return {image.id: set(image.tags) for image in self.stash.library.snapshot().images}

    def install(self, *endpoints: Mapping[str, Any], **settings: Any) -> None:
        """Installs the plugin with these endpoints and settings, in a folder whose name needs quoting."""
        self.installed += 1
        folder = self.folder / f"plügins {self.installed}" / "ahavenvlmconnector"
        written = {
            "ENDPOINTS": [dict(endpoint) for endpoint in endpoints],
            "TAG_LIST": list(TAGS),
            **settings,
        }
        self.stash.plugins.loaded.clear()
        self.stash.load_plugin(install(folder, written))

    def run(self, timeout_s: float = 60.0) -> Job:
        """Runs *Tag Videos* to its end."""
        return self.stash.run_task("Tag Videos").wait(timeout_s)

    def state(self, scene: str) -> ItemState:
        """A scene as it is in Stash now."""
        return self.stash.library.scene_state(scene)


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Theatre]:
    with ExitStack() as servers:
        stash = servers.enter_context(running(SandboxStash()))
        yield Theatre(stash, tmp_path, servers)


@pytest.fixture
def address() -> Callable[..., dict[str, Any]]:
    """An endpoint's settings."""

    def settings(endpoint: SandboxVLM, **more: Any) -> dict[str, Any]:
        return {"base_url": endpoint.url, "max_concurrent": 4, **more}

    return settings


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Callable[..., Theatre]]:
    """Makes a theatre whose Stash sees a folder of this machine under another name."""
    with ExitStack() as servers:

        def build(here: Path, there: str) -> Theatre:
            return Theatre(
                servers.enter_context(running(SandboxStash(shown_as={str(here): there}))),
                tmp_path,
                servers,
            )

        yield build
