"""*Check Set-up* in a sandbox Stash: what it finds, proposes and forecasts, and leaves alone."""

from __future__ import annotations

import json
import shutil

import pytest

from sandbox.pictures import write_zip
from sandbox.plugin import PLUGIN_ID
from sandbox.stash import Credentials
from sandbox.stash_client import ask
from tests.end_to_end.conftest import TAGS, texts
from vlm_engine.testing import Fault, Sight

CHECK = "Check Set-up"
KEY = "sk-of-the-league"


def section(theatre, kind):
    """Return the findings of the last report about this subject, by what was checked."""
    (found,) = [each for each in theatre.reports()[-1]["checks"] if each["kind"] == kind]
    return {finding["what"]: finding for finding in found["findings"]}


def forecast_of_the_page(theatre):
    """Return the findings of the forecast that the plugin's page shows, by what was forecast."""
    document = "mutation ($args: Map) { runPluginOperation(plugin_id: %s, args: $args) }"
    arguments = {"mode": "pages", "api": 1, "calls": [{"op": "forecast"}]}
    sent = ask(theatre.stash.url, document % json.dumps(PLUGIN_ID), {"args": arguments})
    (reply,) = sent.data["runPluginOperation"]["replies"]
    (found,) = reply["value"]["sections"]
    return {finding["what"]: finding for finding in found["findings"]}


def test_a_sound_set_up_is_told_whole_and_nothing_is_written(theatre):
    vlm = theatre.install()
    theatre.queue(0, 1, 2)
    before = theatre.stash.library.snapshot()
    job = theatre.run(CHECK)
    assert job.error is None
    assert str(job.output).startswith("The set-up is in order")
    assert theatre.stash.library.snapshot() == before
    assert not theatre.stash.requests.mutations
    assert vlm.counters.answered == 10
    assert job.progress[-1] == 1
    assert [each["kind"] for each in theatre.reports()[-1]["checks"]] == [
        "endpoint",
        "machine",
        "stash",
        "forecast",
    ]
    stash = section(theatre, "stash")
    assert stash["queue"]["text"] == "3 scenes with VLM_TagMe or VLM_UpdateMe"
    assert stash["files"]["text"] == "3 of 3 sampled files can be read here"
    forecast = section(theatre, "forecast")
    assert forecast["queue"]["figures"]["scenes"] == 3
    assert forecast["questions"]["figures"]["questions"] > 10
    assert "done at" in forecast["time"]["text"]
    assert "test pictures: sound: " in texts(job, "info")


def test_another_copy_and_an_empty_queue_are_noted(theatre):
    theatre.install()
    other = theatre.stash.config_folder / "plugins" / "by hand" / "AHavenVLMConnector"
    other.mkdir(parents=True)
    (other / "AHavenVLMConnector.yml").touch()
    (other / "haven_vlm_config.local.yaml").touch()
    theatre.run(CHECK)
    note = section(theatre, "stash")["other copy"]
    assert note["severity"] == "note"
    assert note["text"].startswith(f"{other} is another copy of the plugin; Stash loads only this")
    assert "move that file here" in note["text"]
    assert section(theatre, "stash")["queue"]["severity"] == "note"
    assert section(theatre, "forecast")["time"]["text"] == "nothing to do"


def test_an_unsound_endpoint_is_an_error_in_the_log(theatre):
    blind = theatre.endpoint(sight=Sight.DROPPED)
    theatre.install(blind)
    theatre.queue(0)
    job = theatre.run(CHECK)
    assert job.error is None
    assert "test pictures: blind: its answers do not depend on the picture" in texts(job, "error")
    assert str(job.output).startswith("1 fault and ")
    assert section(theatre, "forecast")["time"]["text"].startswith("no endpoint works")


def test_files_elsewhere_get_a_mapping_that_makes_them_readable(
    elsewhere, videos, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))  # one of the places that are searched
    here = tmp_path / "nas" / "sport" / "2024"
    here.mkdir(parents=True)
    theatre = elsewhere(here=tmp_path / "nas" / "sport", there="/data/sport")
    for number, video in enumerate(videos[:3]):
        shutil.copy(video.path, here / f"game {number}.mp4")
        theatre.stash.library.add_scene(here / f"game {number}.mp4", tags=["VLM_TagMe"])
    theatre.install()
    job = theatre.run(CHECK)
    files = section(theatre, "stash")["files"]
    assert files["severity"] == "wrong"
    assert "0 of 3 sampled files can be read here" in files["text"]
    proposed = files["figures"]["proposed"]
    assert proposed == f"/data/sport => {tmp_path / 'nas' / 'sport'}"
    assert proposed in texts(job, "error")
    theatre.run(CHECK, PATH_MUTATION=proposed)
    assert section(theatre, "stash")["files"]["severity"] == "ok"


def test_nothing_is_proposed_where_nothing_fits(theatre):
    theatre.install()
    theatre.lose()
    theatre.run(CHECK)
    files = section(theatre, "stash")["files"]
    assert files["figures"] == {"sampled": 1, "readable": 0, "proposed": None}
    assert "if this machine has them under other paths" in files["text"]


def test_keys_appear_nowhere(elsewhere):
    theatre = elsewhere(credentials=Credentials("referee", "whistle"), api_key="stash-key-of-mine")
    vlm = theatre.endpoint(api_key=KEY)
    theatre.install({"base_url": vlm.url, "api_key": KEY, "name": "hall"})
    theatre.queue(0)
    job = theatre.run(CHECK)
    assert job.error is None
    written = json.dumps(theatre.reports()) + str(job.log) + str(job.output)
    folder = theatre.stash.config_folder / "haven_vlm_connector" / "reports"
    written += "".join(page.read_text("utf-8") for page in folder.glob("*.html"))
    for secret in (KEY, "whistle", "stash-key-of-mine"):
        assert secret not in written
    assert "with its API key" in section(theatre, "stash")["version"]["text"]


def test_a_scene_that_is_vr_and_images_in_zips_are_counted(theatre, tmp_path):
    theatre.stash.ui["vrTag"] = "VR"
    theatre.install()
    theatre.queue(0, tags=("VR",))
    theatre.queue(1)
    theatre.add(*write_zip(tmp_path / "album.zip", 3, TAGS))
    theatre.run(CHECK)
    stash = section(theatre, "stash")
    assert stash["VR"]["figures"] == {"scenes": 1}
    assert stash["zips"]["figures"] == {"sampled": 3, "zipped": 3}
    assert section(theatre, "forecast")["queue"]["figures"]["images"] == 3


@pytest.mark.thorough
def test_it_ends_within_a_minute_whatever_the_servers_do(theatre):
    hanging = theatre.endpoint(fault=Fault.HANG)
    theatre.install(hanging)
    theatre.queue(0)
    job = theatre.stash.run_task(CHECK).wait(60)
    assert "no answer in time" in texts(job, "error")


def test_frames_are_compared_and_the_cheapest_style_is_set(theatre):
    vlm = theatre.install()
    theatre.queue(0, 1, 2)
    job = theatre.run(CHECK, frames="60", write="yes")
    assert job.error is None
    (found,) = [each for each in theatre.reports()[-1]["checks"] if each["kind"] == "frames"]
    findings = {finding["what"]: finding for finding in found["findings"]}
    assert findings["frames"]["figures"]["videos"] == 3
    assert findings["settings"]["text"].startswith("set for every later run: ")
    overlay = json.loads(
        (theatre.stash.config_folder / "haven_vlm_connector" / "settings.json").read_text("utf-8")
    )
    assert overlay["revision"] == 1
    assert overlay["settings"] == findings["settings"]["figures"]
    asked_about = vlm.counters.answered
    theatre.run(CHECK, frames="60")
    assert vlm.counters.answered == asked_about + 10  # test pictures, and no frame


def test_a_wrong_number_of_frames_is_refused(theatre):
    vlm = theatre.install()
    job = theatre.run(CHECK, frames="many")
    assert "task arguments: frames: 'many' is not a number from 0 to 1000" in str(job.error)
    assert vlm.counters.requests == 0


def test_the_check_of_a_cluster_says_what_each_worker_can_read(elsewhere, videos):
    """This machine need not have the files where Stash has them, nor where workers have them."""
    folder = videos[0].path.parent
    theatre = elsewhere(folder, "/data/sport")
    cluster = {"address": "local:2", "paths": {"0": {"/data/sport": str(folder)}}}
    one = theatre.endpoint()
    endpoints = [{"base_url": one.url}, {"base_url": one.url, "worker": "gpu-9", "model_id": "big"}]
    theatre.install(ENDPOINTS=endpoints, CLUSTER=cluster)
    theatre.queue(0, 1, 2)
    job = theatre.run(CHECK)
    assert job.error is None
    checks = theatre.reports()[-1]["checks"]
    kinds = ["endpoint", "endpoint", "machine", "cluster", "stash", "forecast"]
    assert [each["kind"] for each in checks] == kinds
    assert "files" not in section(theatre, "stash")
    found = checks[3]["findings"]
    assert (found[0]["what"], found[0]["text"]) == ("workers", "2 of 2 can be used")
    by_text = {one["text"]: one["severity"] for one in found[1:]}
    (sound,) = [text for text in by_text if "3 of 3 sampled files can be read there" in text]
    (lacking,) = [text for text in by_text if "0 of 3 sampled files can be read there" in text]
    assert sound.startswith("worker 0 at ")
    assert lacking.startswith("worker 1 at ")
    assert "/data/sport/Spiel" in lacking
    assert by_text[lacking] == "wrong"
    (unknown,) = [text for text in by_text if "no worker is called gpu-9 now" in text]
    assert by_text[unknown] == "note"
    told, on_the_page = section(theatre, "forecast"), forecast_of_the_page(theatre)
    assert on_the_page["time"]["figures"] == told["time"]["figures"]
    assert "cluster" not in on_the_page
