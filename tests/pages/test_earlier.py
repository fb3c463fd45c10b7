"""Settings of an earlier plugin, taken over from its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from haven.settings.earlier import read_earlier
from haven.settings.settings import Settings
from vlm_engine import ConfigError

ROOT = Path(__file__).resolve().parents[2]
OTHERWISE = (
    *("VIDEO_FRAME_INTERVAL", "VIDEO_THRESHOLD", "CONCURRENT_TASK_LIMIT", "OUTPUT_DATA_DIR"),
    *("DELETE_INCORRECT_MARKERS", "VLM_INCORRECT_TAG_NAME"),
)
KEY = "sk-basket-1234567890"
RULE = {
    "RenamedTag": "Foul",
    "MinMarkerDuration": "1s",
    "MaxGap": "30s",
    "RequiredDuration": "1s",
    "TagThreshold": 0.5,
}
GOAL = {**RULE, "RenamedTag": "Goal scored", "TagThreshold": 0.7}
MODEL = {
    "type": "vlm_model",
    "model_category": "plays",
    "model_id": "qwen3-vl-8b",
    "multiplexer_endpoints": [
        {
            "base_url": "http://192.168.1.20:1234/v1",
            "api_key": KEY,
            "name": "gaming PC",
            "weight": 9,
            "is_fallback": False,
            "max_concurrent": 10,
        },
        {"base_url": "http://attic:11434/v1", "api_key": "", "name": "attic"},
        {"base_url": "https://models.example.com:443/v1", "api_key": "", "is_fallback": True},
    ],
    "tag_list": ["Foul", "Goal"],
}


def config(model=MODEL, more="", active=("plays_model",)):
    engine = {
        "active_ai_models": list(active),
        "models": {"plays_model": model, "result_finisher": {"type": "python"}},
        "category_config": {"plays": {"Foul": RULE, "Goal": GOAL}},
    }
    return f"""import os
raise SystemExit("this file is never run")
VLM_ENGINE_CONFIG = {engine!r}
VIDEO_THRESHOLD = 0.3
VLM_TAGME_TAG_NAME: str = "Watch"
VLM_TAGGED_TAG_NAME = "VLM_Tagged"
CREATE_MARKERS = True
PATH_MUTATION = {{"/data": "/mnt/media"}}
SERVER_TIMEOUT = int(os.environ["TIMEOUT"])
{more}"""


def test_the_user_s_own_choices_are_found():
    found = read_earlier(config())
    assert found.settings == {
        "ENDPOINTS": [
            {
                "base_url": "http://192.168.1.20:1234/v1",
                "name": "gaming PC",
                "weight": 9,
                "is_fallback": False,
                "max_concurrent": 10,
                "api_key": KEY,
            },
            {"base_url": "http://attic:11434/v1", "name": "attic"},
        ],
        "MODEL": "qwen3-vl-8b",
        "TAG_LIST": ["Foul", "Goal"],
        "TAG_RULES": {"Goal": {"TagThreshold": 0.7, "RenamedTag": "Goal scored"}},
        "VLM_TAGME_TAG_NAME": "Watch",
    }


def test_what_is_left_out_is_said():
    notes = "\n".join(read_earlier(config()).notes)
    assert "https://models.example.com:443/v1 is left out: it is outside your network" in notes
    assert "VIDEO_THRESHOLD is left out: confidences are other figures here." in notes
    assert "SERVER_TIMEOUT is left out: it is computed, and the file is not run." in notes
    assert "Paths on Stash's settings page: /data => /mnt/media" in notes


def test_a_public_endpoint_with_a_key_was_chosen():
    cloud = {"base_url": "https://models.example.com/v1", "api_key": KEY}
    found = read_earlier(config({**MODEL, "multiplexer_endpoints": [cloud]}))
    assert found.settings["ENDPOINTS"] == [cloud]


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("attic.local", True),
        ("10.1.2.3", True),
        ("100.64.0.7", True),
        ("[fd00::1]", True),
        ("[2606:4700::1111]", False),
        ("8.8.8.8", False),
        ("attic.example.com", False),
    ],
)
def test_the_own_network_is_told_from_the_internet(host, is_own):
    entry = {"base_url": f"http://{host}:1234/v1"}
    found = read_earlier(config({**MODEL, "multiplexer_endpoints": [entry]}))
    assert found.settings.get("ENDPOINTS", []) == ([entry] if is_own else [])


@pytest.mark.parametrize(
    "text",
    ["", "x = 1", "TAG_LIST = [", "(" * 5000, "-" * 100_000 + "1", "\0", "VLM_ENGINE_CONFIG = 7"],
)
def test_a_text_that_is_no_such_file_is_refused(text):
    with pytest.raises(ConfigError, match="file"):
        read_earlier(text)


def test_several_models_stay_for_the_local_file():
    two = config(active=("plays_model", "plays_model"))
    with pytest.raises(ConfigError, match="sets nothing"):
        read_earlier(two.replace('"Watch"', '"VLM_TagMe"'))
    assert "haven_vlm_config.local.yaml as it is" in "\n".join(read_earlier(two).notes)


def test_looking_writes_nothing_and_taking_over_writes_all(pages):
    arguments = {"revision": 0, "text": config()}
    seen = pages.value("earlier_settings", write=False, **arguments)
    assert not (pages.data_dir / "settings.json").exists()
    taken = pages.value("earlier_settings", write=True, **arguments)
    assert taken["taken"] == seen["taken"]
    assert taken["settings"]["revision"] == 1
    settings = Settings.load(data_dir=pages.data_dir)
    assert settings.tag_list == ("Foul", "Goal")
    assert settings.tag_names.tag_me == "Watch"
    (model,) = settings.engine.active_models().values()
    assert [one.key() for one in model.endpoints()] == [KEY, ""]


def test_no_key_of_the_file_comes_back(pages):
    reply = pages.value("earlier_settings", revision=0, text=config(), write=False)
    assert KEY not in json.dumps(reply)


def test_values_that_this_plugin_refuses_are_named_at_once(pages):
    text = config({**MODEL, "tag_list": ["Foul", "foul"]})
    code, message = pages.failure("earlier_settings", revision=0, text=text, write=False)
    assert code == "settings"
    assert "foul" in message


def test_the_page_on_upgrading_names_what_is_left_out():
    page = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
    text = "\n".join(f"{name} = 1" for name in OTHERWISE) + "\n" + config()
    left_out = [
        note.split(" ")[0] for note in read_earlier(text).notes if note.split(" ")[0].isupper()
    ]
    assert [name for name in left_out if name != "SERVER_TIMEOUT" and f"`{name}`" not in page] == []
    texts = (ROOT / "ui" / "app" / "texts.js").read_text(encoding="utf-8")
    assert "Take over settings of an earlier plugin" in page
    assert "Take over settings of an earlier plugin" in texts
