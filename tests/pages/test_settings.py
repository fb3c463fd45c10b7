"""Settings as the page reads and changes them."""

from __future__ import annotations

import json
import stat
import threading

import pytest

from haven.settings.overlay import read_overlay, write_overlay
from haven.settings.settings import Settings
from haven.setup.files import task_under_way

KEY, OTHER_KEY = "sk-basket-1234567890", "sk-whistle-0987654321"
HERE, THERE = "http://here:1234/v1", "http://there:1234/v1"


def rows(value):
    return {row["name"]: row for row in value["values"]}


def changed(pages, revision=0, **settings):
    changes = [
        {"name": name, "value": None if value is None else json.dumps(value)}
        for name, value in settings.items()
    ]
    return pages.reply("change_settings", revision=revision, changes=changes)


def entry(base_url=HERE, key="none", **more):
    return {"base_url": base_url, "key": key, **more}


def stored_keys(pages):
    settings = Settings.load(data_dir=pages.data_dir)
    (model,) = settings.engine.active_models().values()
    return {one.base_url: one.key() for one in model.endpoints()}


def test_every_setting_has_a_value_and_a_source(pages):
    pages.stash.plugins.settings["ahavenvlmconnector"] = {"tagNames": "Foul; Goal"}
    found = rows(pages.value("settings"))
    assert json.loads(found["TAG_LIST"]["value"]) == ["Foul", "Goal"]
    assert found["TAG_LIST"]["source"] == "Tags on the settings page"
    assert found["VIDEO_THRESHOLD"]["value"] == found["VIDEO_THRESHOLD"]["default"] == "0.5"
    assert found["CREATE_MARKERS"]["kind"] == "switch"
    assert {name for name, row in found.items() if not row["is_editable"]} == {
        *("API_KEY", "VLM_ENGINE_CONFIG", "PATH_MUTATION", "REPORT_FOLDER", "CLUSTER")
    }


def test_a_change_is_there_with_the_next_revision(pages):
    rule = {"Foul": {"TagThreshold": 0.7, "MaxGap": "5s"}}
    reply = changed(pages, TAG_LIST=["Foul"], TAG_RULES=rule, VIDEO_THRESHOLD=0.6)
    assert reply["value"]["revision"] == 1
    found = rows(reply["value"])
    assert json.loads(found["TAG_RULES"]["value"]) == rule
    assert found["VIDEO_THRESHOLD"]["source"] == "settings.json in the data folder: VIDEO_THRESHOLD"
    assert Settings.load(data_dir=pages.data_dir).tag_list == ("Foul",)
    back = changed(pages, revision=1, VIDEO_THRESHOLD=None)
    assert rows(back["value"])["VIDEO_THRESHOLD"]["value"] == "0.5"


def test_a_change_against_an_older_revision_is_refused(pages):
    changed(pages, VIDEO_THRESHOLD=0.6)
    assert changed(pages, VIDEO_THRESHOLD=0.7)["code"] == "changed"
    assert read_overlay(pages.data_dir).settings == {"VIDEO_THRESHOLD": 0.6}


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({"COFFEE": 1}, "bad_request", "COFFEE"),
        ({"REPORT_FOLDER": "/etc"}, "bad_request", "REPORT_FOLDER"),
        ({"PATH_MUTATION": {"/": "/etc"}}, "bad_request", "PATH_MUTATION"),
        ({"CLUSTER": "tcp://evil:8786"}, "bad_request", "CLUSTER"),
        ({"API_KEY": KEY}, "bad_request", "API_KEY"),
        ({"VLM_ENGINE_CONFIG": {}}, "bad_request", "VLM_ENGINE_CONFIG"),
        ({"VIDEO_THRESHOLD": 7}, "settings", "VIDEO_THRESHOLD"),
        ({"TAG_LIST": ["VLM_TagMe"]}, "settings", "VLM_TAGME_TAG_NAME"),
        ({"TAG_LIST": [], "VIDEO_THRESHOLD": 0.7}, "settings", "TAG_LIST"),
        ({"ENDPOINTS": [entry("gopher://x")]}, "settings", "address"),
        ({"ENDPOINTS": [entry(api_key_env="HOME")]}, "bad_request", "api_key_env"),
        ({"ENDPOINTS": [entry(ca_file="/etc/passwd")]}, "bad_request", "ca_file"),
        ({"ENDPOINTS": [entry(key="keep")]}, "bad_request", "no key to keep"),
        ({"ENDPOINTS": [entry(was=9)]}, "bad_request", "was"),
    ],
)
def test_a_wrong_change_changes_nothing(pages, changes, code, word):
    reply = changed(pages, **changes)
    assert reply["code"] == code
    assert word in reply["message"]
    assert read_overlay(pages.data_dir).revision == 0


def test_a_fault_elsewhere_does_not_stop_a_change(pages):
    pages.data_dir.mkdir()
    write_overlay(pages.data_dir, {"TAG_LIST": ["VLM_TagMe"]}, 0)
    assert len(pages.value("settings")["faults"]) == 1
    assert changed(pages, revision=1, VIDEO_THRESHOLD=0.6)["ok"]
    assert changed(pages, revision=2, TAG_LIST=["Foul"])["value"]["faults"] == []


def test_a_key_is_written_and_never_read(pages):
    endpoints = [entry(key={"set": KEY}, name="A"), entry(THERE, max_concurrent="auto")]
    value = changed(pages, ENDPOINTS=endpoints)["value"]
    assert [(one["name"], one["address"], one["key"]) for one in value["endpoints"]] == [
        ("A", HERE, "set"),
        ("", THERE, "none"),
    ]
    assert value["endpoints"][1]["max_concurrent"] == "auto"
    assert json.loads(rows(value)["ENDPOINTS"]["value"]) == [
        {"base_url": HERE, "name": "A"},
        {"base_url": THERE, "name": ""},
    ]
    assert stored_keys(pages) == {HERE: KEY, THERE: ""}
    assert KEY not in json.dumps([value, pages.value("settings")])
    assert stat.S_IMODE((pages.data_dir / "settings.json").stat().st_mode) == 0o600


def test_keys_follow_their_endpoint_when_the_list_changes(pages):
    changed(pages, ENDPOINTS=[entry(key={"set": KEY}), entry(THERE, key={"set": OTHER_KEY})])
    moved = [entry(THERE, key="keep", was=1), entry(HERE, key="keep", was=0, name="Second")]
    assert changed(pages, revision=1, ENDPOINTS=moved)["ok"]
    assert stored_keys(pages) == {THERE: OTHER_KEY, HERE: KEY}
    assert changed(pages, revision=2, ENDPOINTS=[entry(HERE, was=1)])["ok"]
    assert stored_keys(pages) == {HERE: ""}


def test_an_endpoint_keeps_the_worker_that_asks_it(pages):
    pages.data_dir.mkdir()
    of_worker = {"base_url": HERE, "worker": "gpu-1", "api_key_env": "KEY_OF_GPU_1"}
    write_overlay(pages.data_dir, {"ENDPOINTS": [of_worker, {"base_url": THERE}]}, 0)
    value = pages.value("settings")
    assert [one["address"] for one in value["endpoints"]] == [HERE, THERE]
    assert value["faults"] == []
    (section,) = pages.value("check", endpoint=0)["sections"]
    assert "only the worker gpu-1 asks it" in section["findings"][0]["text"]
    changes = [entry(key="keep", was=0, name="Its own"), entry(THERE, was=1)]
    assert changed(pages, revision=1, ENDPOINTS=changes)["ok"]
    (model,) = Settings.load(data_dir=pages.data_dir).engine.active_models().values()
    assert [(one.base_url, one.worker, one.name) for one in model.every_endpoint()] == [
        (HERE, "gpu-1", "Its own"),
        (THERE, "", ""),
    ]


def test_a_page_is_told_the_cluster(pages):
    pages.stash.plugins.settings["ahavenvlmconnector"] = {"workCluster": "tcp://nas:8786"}
    assert rows(pages.value("settings"))["CLUSTER"]["value"] == '"tcp://nas:8786"'
    pages.stash.plugins.settings["ahavenvlmconnector"] = {}
    cluster = {"address": "local:2", "paths": {"*": {"/data": "/mnt"}}}
    write_overlay(pages.data_dir, {"CLUSTER": cluster}, 0)
    assert json.loads(rows(pages.value("settings"))["CLUSTER"]["value"]) == cluster


def test_a_stored_key_never_goes_to_another_address(pages):
    changed(pages, ENDPOINTS=[entry(key={"set": KEY})])
    reply = changed(pages, revision=1, ENDPOINTS=[entry("http://evil/v1", key="keep", was=0)])
    assert reply["code"] == "settings"
    assert "not sent to another address" in reply["message"]
    assert changed(pages, revision=1, ENDPOINTS=[entry("http://evil/v1", was=0)])["ok"]
    assert stored_keys(pages) == {"http://evil/v1": ""}


def test_the_key_for_all_endpoints_stays_with_them(pages):
    """Also the one that a configuration file has for every endpoint without its own."""
    pages.data_dir.mkdir()
    both = {"ENDPOINTS": [{"base_url": HERE}, {"base_url": THERE}], "API_KEY": KEY}
    write_overlay(pages.data_dir, both, 0)
    new = [entry(HERE, key="keep", was=0), entry("http://evil/v1")]
    assert changed(pages, revision=1, ENDPOINTS=new)["ok"]
    assert stored_keys(pages) == {HERE: KEY, "http://evil/v1": ""}


def test_a_key_on_stashs_page_is_not_given_to_new_endpoints(pages):
    pages.stash.plugins.settings["ahavenvlmconnector"] = {"endpointKey": KEY}
    reply = changed(pages, ENDPOINTS=[entry("http://evil/v1")])
    assert reply["code"] == "settings"
    assert "http://evil/v1" in reply["message"]
    assert KEY not in reply["message"]


def test_the_environments_key_is_kept_by_its_name(pages, monkeypatch):
    monkeypatch.setenv("BASKET_KEY", KEY)
    pages.data_dir.mkdir()
    write_overlay(
        pages.data_dir, {"ENDPOINTS": [{"base_url": HERE, "api_key_env": "BASKET_KEY"}]}, 0
    )
    assert pages.value("settings")["endpoints"][0]["key"] == "environment"
    assert changed(pages, revision=1, ENDPOINTS=[entry(HERE, key="keep", was=0)])["ok"]
    assert KEY not in (pages.data_dir / "settings.json").read_text()
    assert stored_keys(pages) == {HERE: KEY}


def test_of_two_changes_at_once_one_is_made(pages):
    pages.data_dir.mkdir()
    replies = []
    threads = [
        threading.Thread(
            target=lambda value=value: replies.append(changed(pages, VIDEO_THRESHOLD=value))
        )
        for value in (0.6, 0.7, 0.8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.get("code", "done") for reply in replies) == ["changed", "changed", "done"]
    assert read_overlay(pages.data_dir).revision == 1


def test_a_damaged_overlay_is_named(pages):
    pages.data_dir.mkdir()
    (pages.data_dir / "settings.json").write_text("{")
    code, message = pages.failure("settings")
    assert (code, "settings.json" in message) == ("settings", True)


def test_the_last_change_is_undone_and_brought_back(pages):
    assert pages.value("settings")["can_undo"] is False
    changed(pages, ENDPOINTS=[entry(key={"set": KEY}, name="Court")])
    changed(pages, revision=1, ENDPOINTS=[entry(THERE)], VIDEO_THRESHOLD=0.7)
    value = pages.value("undo_settings", revision=2)
    assert (value["revision"], value["can_undo"]) == (3, True)
    assert [(one["name"], one["key"]) for one in value["endpoints"]] == [("Court", "set")]
    assert stored_keys(pages) == {HERE: KEY}
    assert rows(value)["VIDEO_THRESHOLD"]["value"] == "0.5"
    assert rows(pages.value("undo_settings", revision=3))["VIDEO_THRESHOLD"]["value"] == "0.7"
    mode = stat.S_IMODE((pages.data_dir / "settings.before.json").stat().st_mode)
    assert mode == 0o600


def test_an_undo_from_another_tab_is_refused(pages):
    assert pages.failure("undo_settings", revision=0)[0] == "settings"
    changed(pages, VIDEO_THRESHOLD=0.6)
    changed(pages, revision=1, VIDEO_THRESHOLD=0.7)
    assert pages.failure("undo_settings", revision=1)[0] == "changed"
    assert read_overlay(pages.data_dir).settings == {"VIDEO_THRESHOLD": 0.7}


def test_a_value_says_which_other_places_it_hides(pages):
    pages.stash.plugins.settings["ahavenvlmconnector"] = {"tagNames": "Foul; Goal"}
    changed(pages, TAG_LIST=["Timeout"], VIDEO_THRESHOLD=0.6)
    found = rows(pages.value("settings"))
    assert found["TAG_LIST"]["source"] == "Tags on the settings page"
    assert found["TAG_LIST"]["hides"] == ["settings.json in the data folder: TAG_LIST"]
    assert found["VIDEO_THRESHOLD"]["hides"] == found["MODEL"]["hides"] == []


def test_the_default_servers_name_stays_behind_when_its_address_changes(pages):
    (default,) = pages.value("settings")["endpoints"]
    assert default["name"] == "LM Studio"
    moved = entry("http://desk:8080/v1", was=0, name="LM Studio")
    assert changed(pages, ENDPOINTS=[moved])["value"]["endpoints"][0]["name"] == ""
    named = entry("http://desk:8080/v1", was=0, name="Desk")
    assert changed(pages, revision=1, ENDPOINTS=[named])["ok"]
    other = entry("http://attic:8080/v1", was=0, name="Desk")
    value = changed(pages, revision=2, ENDPOINTS=[other])["value"]
    assert value["endpoints"][0]["name"] == "Desk"


def test_a_task_that_only_looks_is_seen_to_run(pages):
    pages.data_dir.mkdir()
    assert pages.value("status")["is_running"] is False
    with task_under_way(pages.data_dir):
        assert pages.value("status")["is_running"] is True
    assert pages.value("status")["is_running"] is False
    (pages.data_dir / "task-0.lock").touch()  # of a process that was killed
    assert pages.value("status")["is_running"] is False
    with task_under_way(pages.data_dir):
        assert len(list(pages.data_dir.glob("task-*.lock"))) == 1
