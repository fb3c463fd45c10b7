"""A real Stash, started from the user's own binary with a configuration, a library and a database
of its own.

::

    with RealStash(Path("/usr/local/bin/stash"), folder) as stash:
        shutil.copy("match.mp4", stash.media)
        stash.scan()
        install(stash.plugins / "ahavenvlmconnector")
        stash.ask("mutation { reloadPlugins }")
        job = stash.watch(stash.run_task("ahavenvlmconnector", "Tag Videos"))

Nothing here builds or ships Stash. It needs ffmpeg and ffprobe on the PATH.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from sandbox import stash_client
from sandbox.stash import ItemState, LogLine, MarkerState

LOCALHOST = "127.0.0.1"
_START_S = 60.0
_END_S = 20.0
_POLL_S = 0.05
_PROMPT_S = 120.0
_LINE = re.compile(r'level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S*)')
_OVER = ("FINISHED", "CANCELLED", "FAILED")
_SCENES = """{ findScenes(filter: {per_page: -1, sort: "path"}) { scenes {
  id title files { basename } tags { name }
  scene_markers { id title seconds end_seconds primary_tag { name } tags { name } }
} } }"""
_IMAGES = """{ findImages(filter: {per_page: -1, sort: "path"}) { images {
  id title tags { name }
  visual_files { ... on ImageFile { basename } ... on VideoFile { basename } }
} } }"""
_GALLERIES = """{ findGalleries(filter: {per_page: -1, sort: "path"}) { galleries {
  id title tags { name } files { path } folder { path }
} } }"""


class RefusedByStashError(Exception):
    """Stash answered a request with errors."""


@dataclass(frozen=True)
class WatchedJob:
    """A job from its start to its end.

    ``progress``: every figure that was seen, in order, each once.
    """

    id: str
    status: str
    progress: tuple[float, ...]
    error: str | None


class RealStash:
    """A Stash server on 127.0.0.1 and a free port, for as long as the ``with`` block lasts.

    ``folder`` holds all of it, and becomes the one with Stash's configuration; its ``media`` is the
    library, its ``plugins`` the plugins. ``python`` is what runs them. ``config``: more of Stash's
    configuration.

    Every call that asks the server raises ``RefusedByStashError`` when it answers with errors.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        python: str = sys.executable,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.media = folder / "media"
        self.plugins = folder / "plugins"
        self.port = 0
        self._binary = binary
        self._python = python
        self._config = dict(config or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._cookie = ""

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return f"http://{LOCALHOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        for name in ("generated", "cache", "plugins", "scrapers", "media"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        config = self.folder / "config.json"
        config.write_text(json.dumps(self._configuration()), encoding="utf-8")
        self._process = subprocess.Popen(
            [self._binary],
            cwd=self.folder,
            env={**os.environ, "STASH_CONFIG_FILE": str(config)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until(
                self._answers,
                _START_S,
                lambda: f"{self._binary} does not answer; its log ends with {self.log()[-5:]}",
            )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def ask(self, document: str, variables: Mapping[str, Any] | None = None) -> Any:
        """Send one document and return its ``data``."""
        headers = {"Cookie": f"session={self._cookie}"} if self._cookie else {}
        reply = stash_client.ask(self.url, document, variables, headers=headers)
        self._cookie = reply.cookie or self._cookie
        if reply.messages or reply.data is None:
            raise RefusedByStashError(f"{reply.status}: {reply.body}")
        return reply.data

    def log(self) -> list[LogLine]:
        """Every line of Stash's log file so far."""
        path = self.folder / "stash.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return [LogLine(level, _unquoted(message)) for level, message in _LINE.findall(text)]

    def demand_login(self, username: str, password: str) -> None:
        """Set credentials, as the Security page does, and logs in with them."""
        self.ask(
            "mutation($input: ConfigGeneralInput!) "
            "{ configureGeneral(input: $input) { username } }",
            {"input": {"username": username, "password": password}},
        )
        form = {"username": username, "password": password, "returnURL": ""}
        response = requests.post(
            f"{self.url}/login", data=form, timeout=_END_S, allow_redirects=False
        )
        self._cookie = response.cookies["session"]

    def skip_news(self) -> None:
        """Mark the release notes as read. Else they cover the first page."""
        self.ask('mutation { configureUISetting(key: "lastNoteSeen", value: 99991231) }')

    def scan(self) -> None:
        """Scan the library, and return when that is done."""
        self.watch(self.ask("mutation { metadataScan(input: {}) }")["metadataScan"])

    def configure(self, plugin: str, settings: Mapping[str, Any]) -> None:
        """Save all settings of a plugin at once, as the settings page does."""
        self.ask(
            "mutation($id: ID!, $input: Map!) { configurePlugin(plugin_id: $id, input: $input) }",
            {"id": plugin, "input": dict(settings)},
        )

    def run_task(self, plugin: str, task: str) -> str:
        """Presses the button of a plugin's task. Returns the id of its job."""
        document = (
            "mutation($id: ID!, $task: String!) { runPluginTask(plugin_id: $id, task_name: $task) }"
        )
        return str(self.ask(document, {"id": plugin, "task": task})["runPluginTask"])

    def stop_job(self, job: str) -> None:
        """Presses Stop."""
        self.ask("mutation($id: ID!) { stopJob(job_id: $id) }", {"id": job})

    def watch(self, job: str, until: Callable[[float], bool] | None = None) -> WatchedJob:
        """Follows a job to its end, or until its progress makes ``until`` true.

        ``TimeoutError``: neither came in time.
        """
        seen: list[float] = []
        state: dict[str, Any] = {}

        def reached() -> bool:
            found = self.ask(
                "query($id: ID!) { findJob(input: {id: $id}) { status progress error } }",
                {"id": job},
            )
            state.update(found["findJob"])
            if state["progress"] is not None and state["progress"] not in seen[-1:]:
                seen.append(state["progress"])
            return state["status"] in _OVER or (until is not None and until(max(seen, default=0.0)))

        _wait_until(
            reached, _PROMPT_S, lambda: f"job {job} goes on; its log ends with {self.log()[-5:]}"
        )
        return WatchedJob(job, state["status"], tuple(seen), state["error"])

    def tag(self, name: str) -> str:
        """Return the id of the tag of exactly that name, which is made if need be."""
        for tag in self.ask("{ allTags { id name } }")["allTags"]:
            if tag["name"] == name:
                return str(tag["id"])
        document = "mutation($input: TagCreateInput!) { tagCreate(input: $input) { id } }"
        return str(self.ask(document, {"input": {"name": name}})["tagCreate"]["id"])

    def add_tags(
        self, item: str | Iterable[str], names: Iterable[str], kind: str = "Scene"
    ) -> None:
        """Put tags on a scene, or an item of another kind: ``Image``, ``Gallery``.

        Or on many of them, by their ids.
        """
        ids = [item] if isinstance(item, str) else list(item)
        change = {"ids": ids, "tag_ids": {"mode": "ADD", "ids": [self.tag(name) for name in names]}}
        self.ask(
            f"mutation($input: Bulk{kind}UpdateInput!) "
            f"{{ bulk{kind}Update(input: $input) {{ id }} }}",
            {"input": change},
        )

    def add_marker(
        self,
        scene: str,
        tag: str,
        seconds: float,
        end_seconds: float | None = None,
        *,
        title: str = "",
    ) -> str:
        """Make a marker by hand. Returns its id."""
        marker = {
            "scene_id": scene,
            "title": title,
            "seconds": seconds,
            "end_seconds": end_seconds,
            "primary_tag_id": self.tag(tag),
        }
        document = (
            "mutation($input: SceneMarkerCreateInput!) { sceneMarkerCreate(input: $input) { id } }"
        )
        return str(self.ask(document, {"input": marker})["sceneMarkerCreate"]["id"])

    def edit_marker(self, marker: str, **changes: Any) -> None:
        """Change a marker by hand, as ``title="…"`` or ``seconds=12.5``."""
        document = (
            "mutation($input: SceneMarkerUpdateInput!) { sceneMarkerUpdate(input: $input) { id } }"
        )
        self.ask(document, {"input": {"id": marker, **changes}})

    def scenes(self) -> dict[str, ItemState]:
        """Every scene by the name of its file, without its suffix, in the order of the paths."""
        return {
            Path(scene["files"][0]["basename"]).stem: _scene(scene)
            for scene in self.ask(_SCENES)["findScenes"]["scenes"]
        }

    def images(self) -> dict[str, ItemState]:
        """Every image by the name of its file, without its suffix, in the order of the paths."""
        found = self.ask(_IMAGES)["findImages"]["images"]
        return {
            Path(image["visual_files"][0]["basename"]).stem: _without_markers(image)
            for image in found
        }

    def galleries(self) -> dict[str, ItemState]:
        """Every gallery of a folder or zip file, by the name of that, without its suffix."""
        found = self.ask(_GALLERIES)["findGalleries"]["galleries"]
        places = [
            (gallery["files"] or [gallery["folder"] or {"path": ""}])[0]["path"]
            for gallery in found
        ]
        return {
            Path(place).stem: _without_markers(gallery)
            for place, gallery in zip(places, found, strict=True)
        }

    def forget(self, plugin: str, data: str) -> None:
        """Take away all tags, markers and settings of ``plugin``, and its folder ``data`` beside
        the configuration.
        """
        scenes = self.scenes().values()
        markers = [marker.id for scene in scenes for marker in scene.markers]
        tags = [tag["id"] for tag in self.ask("{ allTags { id } }")["allTags"]]
        self.ask("mutation($ids: [ID!]!) { sceneMarkersDestroy(ids: $ids) }", {"ids": markers})
        self.ask("mutation($ids: [ID!]!) { tagsDestroy(ids: $ids) }", {"ids": tags})
        self.configure(plugin, {})
        shutil.rmtree(self.folder / data, ignore_errors=True)

    def _configuration(self) -> dict[str, Any]:
        return {
            "host": LOCALHOST,
            "port": self.port,
            "database": str(self.folder / "stash.sqlite"),
            "generated": str(self.folder / "generated"),
            "cache": str(self.folder / "cache"),
            "blobs_storage": "DATABASE",
            "plugins_path": str(self.plugins),
            "scrapers_path": str(self.folder / "scrapers"),
            "python_path": self._python,
            "stash": [{"path": str(self.media), "excludevideo": False, "excludeimage": False}],
            "nobrowser": True,
            "loglevel": "Debug",
            "logfile": str(self.folder / "stash.log"),
            **self._config,
        }

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(
                f"{self._binary} ended with {self._process.returncode}; its log ends with "
                f"{self.log()[-5:]}"
            )
        try:
            return bool(stash_client.ask(self.url, "{ systemStatus { status } }").data)
        except requests.ConnectionError:
            return False

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _without_markers(data: Mapping[str, Any]) -> ItemState:
    return ItemState(
        str(data["id"]), data["title"] or "", tuple(sorted(tag["name"] for tag in data["tags"]))
    )


def _scene(data: Mapping[str, Any]) -> ItemState:
    markers = (
        MarkerState(
            id=str(marker["id"]),
            title=marker["title"],
            seconds=marker["seconds"],
            end_seconds=marker["end_seconds"],
            primary_tag=marker["primary_tag"]["name"],
            tags=tuple(sorted(tag["name"] for tag in marker["tags"])),
        )
        for marker in data["scene_markers"]
    )
    return ItemState(
        id=str(data["id"]),
        title=data["title"] or "",
        tags=tuple(sorted(tag["name"] for tag in data["tags"])),
        markers=tuple(sorted(markers, key=lambda marker: (marker.seconds, marker.primary_tag))),
    )


def _free_port() -> int:
    # Stash takes a port number and no socket. If the port is taken meanwhile, its log says so.
    with socket.create_server((LOCALHOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _unquoted(message: str) -> str:
    # Go quotes strings as Python reads them.
    return str(ast.literal_eval(message)) if message.startswith('"') else message


def _wait_until(
    reached: Callable[[], bool], patience_s: float, complaint: Callable[[], str]
) -> None:
    deadline = time.monotonic() + patience_s
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint())
        time.sleep(_POLL_S)
