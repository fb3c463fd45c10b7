"""Stash reads the manifest, and what reaches the plugin from the settings page that Stash makes
of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.stash.conftest import PLUGIN, Arena

MANIFEST = Path(__file__).parents[2] / f"{PLUGIN}.yml"


def loaded(arena: Arena) -> dict[str, Any]:
    document = """{ plugins { id name description version enabled
      tasks { name description } settings { name display_name description type } } }"""
    (plugin,) = [
        plugin for plugin in arena.stash.ask(document)["plugins"] if plugin["id"] == PLUGIN
    ]
    return dict(plugin)


def test_the_manifest_is_loaded_with_its_task(arena):
    written, plugin = yaml.safe_load(MANIFEST.read_text(encoding="utf-8")), loaded(arena)
    assert plugin["enabled"]
    assert [plugin[key] for key in ("name", "description", "version")] == [
        written[key] for key in ("name", "description", "version")
    ]
    assert plugin["tasks"] == [
        {"name": task["name"], "description": task["description"]} for task in written["tasks"]
    ]
    assert "Tag Videos" in [task["name"] for task in plugin["tasks"]]


def test_every_setting_is_offered_with_its_type(arena):
    written = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["settings"]
    offered = {setting.pop("name"): setting for setting in loaded(arena)["settings"]}
    assert offered == {
        key: {
            "display_name": setting["displayName"],
            "description": setting["description"],
            "type": setting["type"],
        }
        for key, setting in written.items()
    }
    assert list(offered) == sorted(written)


def test_endpoint_tags_and_tags_only_reach_the_plugin(arena, endpoint, configure):
    video = arena.videos[0]
    wanted = [tag for tag, spans in video.truth.items() if spans][:2]
    endpoint.behaviour.api_key = "season-ticket-2026"
    configure(tagNames=",".join(wanted), tagsOnly=True, endpointKey="season-ticket-2026")
    arena.queue(video)
    arena.run()
    assert arena.scene(video).tags == tuple(sorted([*wanted, "VLM_Tagged"]))
    assert arena.scene(video).markers == ()
    assert endpoint.counters.answered > 0
    assert not any("season-ticket-2026" in text for _, text in arena.log())


def test_numbers_and_whole_settings_reach_the_plugin(arena, endpoint, configure):
    """At every second there is a look, so the truth is found to the second; and one scene at a
    time is announced.
    """
    configure(videoInterval=1, videosAtOnce=1, endpointModel=endpoint.behaviour.models[0])
    arena.queue(arena.videos[0])
    arena.run()
    seconds = {
        number // arena.videos[0].spec.frame_rate for number in endpoint.counters.frame_numbers
    }
    assert len(seconds) >= arena.videos[0].spec.duration_s - 1
    assert any("1 at a time" in line for line in arena.said("info"))


def test_a_wrong_setting_is_named_as_the_page_names_it(arena, configure):
    configure(videosAtOnce=-3)
    arena.queue(arena.videos[0])
    arena.run()
    assert any("Scenes at once" in line for line in arena.said("error"))
    assert arena.scene(arena.videos[0]).tags == ("VLM_TagMe",)
