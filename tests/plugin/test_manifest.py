"""The manifest as Stash reads it: strictly, by the fields of its Go structs
(pkg/plugin/config.go).
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import haven_vlm_config
from haven.settings.layers import page_labels
from haven.settings.settings import Settings
from haven.tasks.task_list import TASKS

ROOT = Path(__file__).parents[2]
TOP = set("name description url version interface exec errLog tasks hooks ui settings".split())
TASK = {"name", "description", "execArgs", "defaultArgs"}
SETTING = {"type", "displayName", "description"}
TRY = {"STRING": "http://nas:7045", "NUMBER": 3, "BOOLEAN": True}
TRY_OF = {
    "tagNames": "Corner kick",
    "vrLayout": "tb-360",
    "mediaPaths": "/data => /mnt/nas",
    "workCluster": "tcp://nas:8786",
}


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "ahavenvlmconnector.yml").read_text(encoding="utf-8"))


def test_stash_knows_every_key(manifest):
    assert set(manifest) <= TOP
    assert all(set(task) <= TASK for task in manifest["tasks"])
    assert all(set(setting) == SETTING for setting in manifest["settings"].values())


def test_every_value_is_of_the_type_that_stash_decodes(manifest):
    assert all(
        isinstance(manifest[key], str)
        for key in ("name", "description", "version", "interface", "errLog")
    )
    assert manifest["interface"] == "raw"
    assert manifest["errLog"] in {"trace", "debug", "info", "warning", "error"}
    assert {setting["type"] for setting in manifest["settings"].values()} <= set(TRY)
    for task in manifest["tasks"]:
        assert all(isinstance(text, str) for pair in task["defaultArgs"].items() for text in pair)


def test_the_validator_of_community_scripts_takes_it(manifest):
    assert set(manifest) - TOP == set()
    assert {"name", "description", "version", "exec"} <= set(manifest)
    assert re.fullmatch(r"\d+(\.\d+)?(\.\d+)?", manifest["version"])
    ui = manifest["ui"]
    assert set(ui) <= {"css", "javascript", "requires", "assets", "csp", "settings"}
    assert set(ui) & {"css", "javascript"}
    for task in manifest["tasks"]:
        assert {"name", "description", "defaultArgs"} <= set(task)
    for setting in manifest["settings"].values():
        assert {"displayName", "type"} <= set(setting)


def test_name_description_and_version_are_lines_of_their_own(manifest):
    """The index of CommunityScripts is made by reading lines."""
    lines = (ROOT / "ahavenvlmconnector.yml").read_text(encoding="utf-8").splitlines()
    for key in ("name", "description", "version"):
        assert [line for line in lines if line.startswith(f"{key}:")] == [f"{key}: {manifest[key]}"]
    assert not lines[0].startswith("#")


def test_the_page_for_the_community_names_every_task(manifest):
    page = (ROOT / "docs" / "community" / "README.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ([A-Z][^|]+) \|", page, re.MULTILINE)
    assert {name for cell in cells for name in cell.split(", ")} == {
        task["name"] for task in manifest["tasks"]
    }


def test_it_runs_the_plugin(manifest):
    assert manifest["exec"] == ["python", "{pluginDir}/haven_vlm_connector.py"]
    assert {task["defaultArgs"]["mode"]: task["name"] for task in manifest["tasks"]} == {
        mode: task.name for mode, task in TASKS.items()
    }


def test_it_needs_no_other_plugin():
    assert "requires:" not in (ROOT / "ahavenvlmconnector.yml").read_text(encoding="utf-8")


def test_the_page_and_the_settings_know_the_same_keys_and_labels(manifest):
    labels = [(key, setting["displayName"]) for key, setting in manifest["settings"].items()]
    assert labels == list(page_labels().items()), "in the order in which Stash lists them"
    assert not any("." in key for key in manifest["settings"])


def test_every_setting_takes_what_its_type_gives(manifest, tmp_path):
    default = Settings.load(folder=tmp_path)
    for key, setting in manifest["settings"].items():
        assert (
            Settings.load({key: TRY_OF.get(key, TRY[setting["type"]])}, folder=tmp_path) != default
        ), key


def test_each_description_names_the_default_that_holds(manifest, tmp_path):
    settings = Settings.load(folder=tmp_path)
    defaults = {
        "endpoint": ", ".join(
            endpoint.base_url for endpoint in settings.engine.models["vlm"].endpoints()
        ),
        "endpointKey": ", ".join(settings.secrets()) or "none",
        "endpointModel": settings.engine.models["vlm"].model_id or "none",
        "mediaPaths": str(settings.path_mutation or "none"),
        "mediaStream": "on" if settings.stream_from_stash else "off",
        "tagNames": ", ".join(settings.tag_list),
        "tagsOnly": "off" if settings.create_markers else "on",
        "timeSlice": f"{settings.time_slice:g}",
        "videoInterval": str(settings.engine.search.frame_interval_s or 0),
        "videosAtOnce": str(settings.concurrent_task_limit),
        "vrLayout": settings.engine.video.vr_layout,
        "workCluster": str(settings.engine.cluster or "none"),
    }
    for key, setting in manifest["settings"].items():
        assert f"Default: {defaults[key]}" in setting["description"], key


def test_the_local_file_is_named_in_the_file_it_goes_before():
    assert "haven_vlm_config.local.yaml" in (haven_vlm_config.__doc__ or "")
