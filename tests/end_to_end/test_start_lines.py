"""The first lines of a run, and settings of Stash's page."""

from __future__ import annotations

from typing import Any

from tests.end_to_end.conftest import Theatre, texts

EXAMPLE = "Basketball point, Foul, Break-away, Turnover"


def first_lines(theatre: Theatre, page: dict[str, Any]) -> tuple[str, str]:
    """The log of *Tag Videos* with these settings on the page: info, and warnings."""
    theatre.stash.plugins.settings["ahavenvlmconnector"] = page
    job = theatre.run()
    assert job.error is None, job.log
    return texts(job, "info"), texts(job, "warning")


def test_a_run_says_what_it_looks_for_where_and_whom_it_asks(theatre):
    vlm = theatre.endpoint(models=("vision-8b",))
    theatre.install({"base_url": vlm.url, "name": "gaming PC"}, MODEL="vision-8b")
    theatre.queue(0)
    info, warning = first_lines(theatre, {"tagNames": "Foul: a player hits; Goal:"})
    where = "Tags on the settings page) in 1 scene with the tag VLM_TagMe"
    assert f"Looking for 2 tags ({where}: Foul (a player hits), Goal." in info
    endpoint = f"gaming PC at {vlm.url} (haven_vlm_config.local.yaml: ENDPOINTS)"
    assert f"Asking the model vision-8b: {endpoint}." in info
    assert "example" not in info + warning


def test_a_run_with_the_example_tags_warns(theatre):
    vlm, other = theatre.endpoint(latency_s=0.02), theatre.endpoint(latency_s=0.02)
    theatre.install(TAG_LIST=None, ENDPOINTS=None)
    theatre.queue(0)
    page = {"endpoint": f"{vlm.url}; {other.url}", "endpointKey": "season-ticket"}
    info, warning = first_lines(theatre, page)
    example = f"No tags are set, so this run looks for those of the built-in example, {EXAMPLE}."
    assert example in warning
    place = "Tags on the settings page (TAG_LIST in haven_vlm_config.local.yaml)"
    assert f"Name your own in {place}" in warning
    endpoints = f"{vlm.url}, {other.url} (Endpoint on the settings page)"
    assert f"Asking the model that is loaded there (none is set): {endpoints}." in info
    assert "season-ticket" not in info
    assert vlm.counters.answered and other.counters.answered
