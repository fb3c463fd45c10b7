"""A library for tasks that are killed or disturbed, and its state after that."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from sandbox.pictures import LabelledPicture
from sandbox.stash import ItemState, MarkerState, SandboxStash
from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.torture import child
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

TAGS = ("Foul", "Turnover", "Goal", "Timeout")
CONTROL = frozenset({"VLM", "VLM_TagMe", "VLM_UpdateMe", "VLM_Tagged", "VLM_Errored"})
State = dict[str, tuple[Any, ...]]
SCENES = 12
SLOTS = 4
LIMIT_S = 60.0
MOST_UNDOINGS = 12


def small_videos(folder: Path, count: int = SCENES) -> tuple[LabelledVideo, ...]:
    """One for each scene, of a few seconds, in which something happens."""
    spec = {
        "width": 160,
        "height": 96,
        "frame_rate": 5,
        "tags": TAGS,
        "shot_median_s": 3.0,
        "gop_s": 2.0,
    }
    return tuple(
        generate(VideoSpec(duration_s=4, seed=seed, **spec), folder / f"Spiel {seed}.mp4")
        for seed in range(count)
    )


@dataclass
class Killer:
    """Kills a process with SIGKILL once so many requests have come to either server since it was
    started, and a little later.
    """

    after_requests: int
    later_s: float


@dataclass
class World:
    """A Stash with 12 scenes of which people have made much already, an endpoint, and the
    plugin's data.
    """

    stash: SandboxStash
    vlm: SandboxVLM
    folder: Path
    processes: ForkServerContext
    kills: int = 0
    output: str = ""
    requests: list[int] = field(default_factory=list)

    @property
    def database(self) -> Path:
        """The plugin's file with answers and journal."""
        return self.folder / "haven_vlm_connector" / "haven.sqlite3"

    def answers(self) -> list[bytes]:
        """Return the stored answers."""
        with closing(sqlite3.connect(self.database)) as db:
            return [said for (said,) in db.execute("SELECT said FROM answer ORDER BY id")]

    def furnish(self, videos: Sequence[LabelledVideo]) -> None:
        """Queue every scene; most have tags and markers of people's, some of them on what
        the plugin looks for.
        """
        library, rng = self.stash.library, random.Random(7)
        for number, video in enumerate(videos):
            scene = library.add_scene(
                video.path, title=video.path.stem, tags=["VLM_TagMe", "Home game"]
            )
            library.add_marker(scene, "Interview", 3.0, 9.5, title="Coach", tags=["Home game"])
            present = [tag for tag, spans in video.truth.items() if spans]
            if number % 2 and present:
                tag = rng.choice(present)
                start_s, end_s = video.truth[tag][0]
                library.tag_scene(scene, tag)
                library.add_marker(
                    scene,
                    tag,
                    start_s,
                    end_s,
                    title="seen by eye",
                    tags=["VLM"] if number % 4 == 1 else [],
                )
            if number % 3 == 0:
                library.tag_scene(scene, "VLM_Errored")

    def furnish_images(self, pictures: Sequence[LabelledPicture]) -> None:
        """Queue images by themselves, by way of a gallery, or both; people have tagged some of
        them.
        """
        library, ids = self.stash.library, []
        for number, picture in enumerate(pictures):
            queue = () if picture.entry and number % 3 else ("VLM_TagMe",)
            by_hand = ("Home game", *sorted(picture.tags)[:1]) if number % 4 == 0 else ()
            failed = ("VLM_Errored",) if number % 5 == 0 else ()
            tags = [*queue, *by_hand, *failed]
            ids.append(library.add_image(picture.path, entry=picture.entry, tags=tags))
        in_zip = [image for image, picture in zip(ids, pictures, strict=True) if picture.entry]
        if in_zip:
            library.add_gallery("Finale", images=in_zip, tags=["VLM_TagMe", "Home game"])

    def start(
        self, mode: str, before: Callable[[], None] | None = None, **args: str
    ) -> ForkServerProcess:
        """Start a task. ``before``: what its process does first."""
        request = {
            "server_connection": self._connection(),
            "args": {
                "mode": mode,
                "ENDPOINTS": self.vlm.url,
                "MODEL": "sandbox-vlm",
                "TAG_LIST": ",".join(TAGS),
                # What questions cost depends on the load of the machine, and two courses are
                # compared.
                "VIDEO_LEARN_COSTS": "false",
                "CHECK_ENDPOINTS": "false",
                **args,
            },
        }
        return child.start(self.processes, request, self.folder, before)

    def attempt(
        self, mode: str = "tag_videos", before: Callable[[], None] | None = None, **args: str
    ) -> Mapping[str, str]:
        """Run a task to its end. Return its ``output`` or its ``error``, and its ``log``."""
        logged = len(child.log(self.folder))
        process = self.start(mode, before, **args)
        process.join(LIMIT_S)
        assert process.exitcode is not None, (
            f"{mode} hangs; its log ends with {child.log(self.folder)[-2000:]}"
        )
        end = child.outcome(self.folder, process.pid) or {}
        return {"output": "", "error": "", **end, "log": child.log(self.folder)[logged:]}

    def run(self, mode: str, killer: Killer | None = None, **args: str) -> bool:
        """Run a task to its end, or until it is killed: then False. Any other end is an error."""
        before = self._seen()
        process = self.start(mode, **args)
        if killer is not None:
            self.kill(process, killer, before)
        ended = self.ended(process)
        self.requests.append(self._seen() - before)
        return ended

    def ended(self, process: ForkServerProcess) -> bool:
        """Wait for a task's end. Return False if it was killed; any other end but a good one is
        an error.
        """
        process.join(LIMIT_S)
        assert process.exitcode is not None, (
            f"it hangs; its log ends with {child.log(self.folder)[-2000:]}"
        )
        if process.exitcode == -9:
            self.kills += 1
            return False
        end = child.outcome(self.folder, process.pid)
        assert process.exitcode == 0 and end is not None and "output" in end, (
            end,
            child.log(self.folder)[-3000:],
        )
        self.output = end["output"]
        return True

    def click(
        self, call: Mapping[str, Any], killer: Killer | None = None
    ) -> Mapping[str, Any] | None:
        """Call an operation of the pages in a process of its own. Return its reply; None if it was
        killed.
        """
        before = self._seen()
        process = child.start(
            self.processes,
            {
                "server_connection": self._connection(),
                "args": {"mode": "pages", "api": 1, "calls": [call]},
            },
            self.folder,
        )
        if killer is not None:
            self.kill(process, killer, before)
        process.join(LIMIT_S)
        if process.exitcode == -9:
            self.kills += 1
            return None
        end = child.outcome(self.folder, process.pid)
        assert process.exitcode == 0 and end is not None, child.log(self.folder)[-3000:]
        reply: Mapping[str, Any] = end["output"]["replies"][0]
        return reply

    def undo_all(self) -> None:
        """Undo one run after the other, until none is left."""
        for _ in range(MOST_UNDOINGS):
            assert self.run("undo_last_run")
            if "nothing to undo" in self.output:
                return
            assert " is undone: " in self.output
        raise AssertionError("there is always something left to undo")

    def _connection(self) -> dict[str, Any]:
        return {
            "Scheme": "http",
            "Host": "127.0.0.1",
            "Port": self.stash.port,
            "Dir": str(self.folder),
        }

    def _seen(self) -> int:
        return len(self.stash.requests.exchanges) + self.vlm.counters.requests

    def kill(self, process: ForkServerProcess, killer: Killer, before: int) -> None:
        """Kill a task at the killer's moment. ``before``: how many requests had come when it
        was started.
        """
        deadline = time.monotonic() + LIMIT_S
        while (
            self._seen() - before < killer.after_requests
            and process.is_alive()
            and time.monotonic() < deadline
        ):
            time.sleep(0.0005)
        process.join(killer.later_s)
        process.kill()

    def scenes(self) -> dict[str, tuple[Any, ...]]:
        """Return tags and markers of every scene, by id; markers without their ids."""
        return {scene.id: content(scene) for scene in self.stash.library.snapshot().scenes}

    def items(self) -> dict[str, ItemState]:
        """Return every scene, image and gallery, by kind and id."""
        library = self.stash.library.snapshot()
        kinds = {"scene": library.scenes, "image": library.images, "gallery": library.galleries}
        return {f"{kind} {item.id}": item for kind, items in kinds.items() for item in items}

    def state(self) -> State:
        """Return tags and markers of every item; markers without their ids."""
        return {key: content(item) for key, item in self.items().items()}

    def tags(self) -> set[str]:
        """Return the names of all tags in Stash but the control tags."""
        return {tag.name for tag in self.stash.library.snapshot().tags} - CONTROL


def content(scene: ItemState) -> tuple[Any, ...]:
    """Return all of a scene but the ids of its markers."""
    return scene.tags, tuple(sorted(marker_content(marker) for marker in scene.markers))


def marker_content(marker: MarkerState) -> tuple[Any, ...]:
    end_s = -1.0 if marker.end_seconds is None else round(marker.end_seconds, 3)
    return marker.primary_tag, round(marker.seconds, 3), end_s, marker.title, marker.tags


@dataclass(frozen=True, eq=False)
class Arena:
    """Videos, pictures and servers that all worlds of one module share."""

    videos: Sequence[LabelledVideo]
    vlm: SandboxVLM
    folder: Path
    processes: ForkServerContext
    pictures: Sequence[LabelledPicture] = ()

    @contextmanager
    def world(self, scenes: int = SCENES) -> Iterator[World]:
        """Furnish a new one, with the first ``scenes`` videos."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        with running(SandboxStash()) as stash:
            place = World(stash, self.vlm, folder, self.processes)
            place.furnish(self.videos[:scenes])
            place.furnish_images(self.pictures)
            yield place


@contextmanager
def arena_of_scenes(folder: Path, count: int) -> Iterator[Arena]:
    with running(SandboxVLM(Behaviour(slots=SLOTS))) as vlm:
        yield Arena(small_videos(folder, count), vlm, folder, child.context())
