"""The plugin from a source of plugins, as Stash installs, updates and uninstalls it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from haven.setup import INCOMPLETE
from sandbox.plugin import ROOT, install
from sandbox.real_stash import RealStash, WatchedJob
from sandbox.videos import generate
from tests.stash.conftest import DATA, PLUGIN, TAGS, Arena, short_video
from tests.ui.programs import chromium, node
from tools.release import source_of_plugin

LOCAL = "haven_vlm_config.local.yaml"
DAY_S = 24 * 3600.0
_SOURCES = """mutation($input: ConfigGeneralInput!) {
  configureGeneral(input: $input) { pluginPackageSources { name } }
}"""
_JOB = """mutation($packages: [PackageSpecInput!]!) {
  job: %s(type: Plugin, packages: $packages)
}"""
_INSTALLED = """{ installedPackages(type: Plugin) {
  package_id version date source_package { version date }
} }"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Source:
    """A source of plugins on loopback, published ``days`` ago."""

    def __init__(self, folder: Path, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/index.yml"
        self.folder = folder

    def publish(self, days: float) -> None:
        time_s = time.time() - days * DAY_S
        source_of_plugin(ROOT, self.folder, time_s)
        # Stash reads an index again when its time in whole seconds has changed.
        os.utime(self.folder / "index.yml", (time_s, time_s))


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    folder = tmp_path / "source"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = Source(folder, server)
        source.publish(days=2)
        yield source
        server.shutdown()


@pytest.fixture
def stash(binary: Path, tmp_path: Path) -> Iterator[RealStash]:
    with RealStash(binary, tmp_path / "stash") as stash:
        yield stash


@pytest.fixture
def house(stash: RealStash, source: Source) -> Arena:
    """A Stash with a scene, and the source without a local path, as the docs say."""
    video = generate(short_video(1), stash.media / "Spiel 1.mp4")
    stash.scan()
    sources = [{"name": "Haven", "url": source.url}]
    stash.ask(_SOURCES, {"input": {"pluginPackageSources": sources}})
    return Arena(stash, [video])


def package_job(stash: RealStash, name: str, source: Source) -> str:
    variables = {"packages": [{"id": PLUGIN, "sourceURL": source.url}]}
    return str(stash.ask(_JOB % name, variables)["job"])


def packages(stash: RealStash, name: str, source: Source) -> WatchedJob:
    return stash.watch(package_job(stash, name, source))


def tag(arena: Arena, endpoint: str) -> None:
    arena.stash.configure(PLUGIN, {"endpoint": endpoint, "tagNames": ", ".join(TAGS)})
    arena.queue(*arena.videos)
    arena.run()
    assert "VLM_Tagged" in arena.scene(arena.videos[0]).tags


def kept(arena: Arena) -> dict[str, bytes]:
    """Return what must outlive the plugin: its data, and the user's file beside it."""
    data = arena.stash.folder / DATA
    files = [*data.rglob("*.html"), *data.rglob("*.json"), arena.stash.plugins / PLUGIN / LOCAL]
    return {str(path.relative_to(arena.stash.folder)): path.read_bytes() for path in files}


@pytest.fixture
def pages(stash: RealStash) -> str:
    """The address of a Stash that has its web pages, and whose news somebody has read."""
    if 'id="root"' not in requests.get(f"{stash.url}/", timeout=10).text:
        pytest.skip("this binary was built without Stash's web pages")
    stash.ask("mutation { configureUI(partial: {lastNoteSeen: 99999999}) }")
    return stash.url


def test_eight_clicks_lead_to_the_first_tags(stash, source, endpoint, pages):
    path = chromium()
    video = generate(short_video(1), stash.media / "Spiel 1.mp4")
    stash.scan()
    server = {"SOURCE": source.url, "ENDPOINT": endpoint.url}
    node("--test", "install/install.test.js", CHROMIUM=path, STASH=pages, **server)
    arena = Arena(stash, [video])
    assert "VLM_Tagged" in arena.scene(video).tags
    assert arena.scene(video).markers
    assert (stash.plugins / PLUGIN / "manifest").is_file()
    assert arena.refusals() == []


def test_stash_s_own_page_updates_and_uninstalls_it(house, source, pages):
    path = chromium()
    packages(house.stash, "installPackages", source)
    settings = house.stash.plugins / PLUGIN / LOCAL
    settings.touch()
    source.publish(days=1)
    node("--test", "install/manage.test.js", CHROMIUM=path, STASH=pages)
    assert not house.stash.ask("{ plugins { id } }")["plugins"]
    assert [each for each in settings.parent.rglob("*") if each.is_file()] == [settings]
    said = [text for _, text in house.log()]
    assert said.count(f"Updating package {PLUGIN}") == 1
    # The page may ask in the moment of the update.
    assert [text for text in house.refusals() if INCOMPLETE not in text] == []


def test_everything_of_a_user_survives_update_and_uninstall(house, source, endpoint):
    stash = house.stash
    packages(stash, "installPackages", source)
    (stash.plugins / PLUGIN / LOCAL).write_text("VIDEO_THRESHOLD: 0.4\n", encoding="utf-8")
    tag(house, endpoint.url)
    before, content, calls = kept(house), house.contents(), endpoint.counters.answered
    assert len(before) > 3
    on_page = stash.ask("{ configuration { plugins } }")["configuration"]["plugins"]
    assert endpoint.url in str(on_page)
    for step in ("updatePackages", "uninstallPackages", "installPackages"):
        source.publish(days=1)
        packages(stash, step, source)
        assert kept(house) == before
        assert stash.ask("{ configuration { plugins } }")["configuration"]["plugins"] == on_page
        is_there = (stash.plugins / PLUGIN / f"{PLUGIN}.yml").exists()
        assert is_there == (step != "uninstallPackages")
    house.stash.add_tags(house.scene(house.videos[0]).id, ["VLM_UpdateMe"])
    house.run("Update Tagged Videos")
    assert house.contents() == content
    assert endpoint.counters.answered == calls
    house.run("Undo Last Run")
    house.run("Undo Last Run")
    assert set(house.scene(house.videos[0]).tags) == {"VLM_TagMe", "VLM_UpdateMe"}
    assert house.refusals() == []


def test_an_update_waits_until_a_running_task_has_ended(house, source, endpoint):
    stash = house.stash
    packages(stash, "installPackages", source)
    stash.configure(PLUGIN, {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS)})
    house.queue(*house.videos)
    endpoint.behaviour.latency_s = 0.2
    task = house.start()
    stash.watch(task, until=lambda progress: progress > 0.05)
    source.publish(days=1)
    update = package_job(stash, "updatePackages", source)
    assert stash.watch(task).status == "FINISHED"
    stash.watch(update)
    assert "VLM_Tagged" in house.scene(house.videos[0]).tags
    (package,) = stash.ask(_INSTALLED)["installedPackages"]
    assert package["date"] == package["source_package"]["date"]
    assert house.said("warning", "error") == []


def test_a_running_task_outlives_its_files(house, endpoint, tmp_path):
    """An update by hand does not wait."""
    folder = install(house.stash.plugins / PLUGIN)
    house.stash.ask("mutation { reloadPlugins }")
    house.stash.configure(PLUGIN, {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS)})
    house.queue(*house.videos)
    endpoint.behaviour.latency_s = 0.2
    task = house.start()
    house.stash.watch(task, until=lambda progress: progress > 0.05)
    folder.rename(tmp_path / "away")
    house.stash.watch(task)
    assert "VLM_Tagged" in house.scene(house.videos[0]).tags
    assert house.said("warning", "error") == []


def test_it_goes_over_an_older_copy_made_by_hand(house, source, endpoint):
    stash = house.stash
    folder = install(stash.plugins / PLUGIN, {"VIDEO_THRESHOLD": 0.4})
    (folder / "haven" / "old.py").write_text("raise ImportError", encoding="utf-8")
    manifest = folder / f"{PLUGIN}.yml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace("version: ", "version: 0."), encoding="utf-8")
    stash.ask("mutation { reloadPlugins }")
    tag(house, endpoint.url)
    before = kept(house)
    packages(stash, "installPackages", source)
    (plugin,) = stash.ask("{ plugins { id version } }")["plugins"]
    assert not plugin["version"].startswith("0.")
    assert kept(house) == before
    house.run("Undo Last Run")
    assert house.scene(house.videos[0]).tags == ("VLM_TagMe",)


def test_a_folder_of_the_machine_is_a_source(house, source):
    source.url = (source.folder / "index.yml").as_uri()
    sources = [{"name": "Haven", "url": source.url}]
    house.stash.ask(_SOURCES, {"input": {"pluginPackageSources": sources}})
    packages(house.stash, "installPackages", source)
    assert [plugin["id"] for plugin in house.stash.ask("{ plugins { id } }")["plugins"]] == [PLUGIN]


def test_a_second_copy_is_named_by_the_check(house, source, endpoint):
    stash = house.stash
    other = install(stash.plugins / "zz older", {"VIDEO_THRESHOLD": 0.4})
    packages(stash, "installPackages", source)
    assert [plugin["id"] for plugin in stash.ask("{ plugins { id } }")["plugins"]] == [PLUGIN]
    assert any(f"plugin ID {PLUGIN} already exists" in text for text in house.refusals())
    stash.configure(PLUGIN, {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS)})
    house.run("Check Set-up")
    (warned,) = [line for line in house.said("warning") if line.startswith("other copy: ")]
    assert str(other) in warned
    assert LOCAL in warned
