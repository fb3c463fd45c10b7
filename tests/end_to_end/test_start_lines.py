"""What a run says at its start, under Stash and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sandbox.videos import LabelledVideo
from tests.end_to_end.conftest import Theatre
from vlm_engine.testing import Behaviour

PLUGIN = "ahavenvlmconnector"
EXAMPLE = "Basketball point, Foul, Break-away, Turnover"
Address = Callable[..., dict[str, Any]]


def first_lines(theatre: Theatre, page: dict[str, Any]) -> tuple[str, str]:
    """What *Tag Videos* says with these settings on the page: at info, and at warning."""
    theatre.stash.plugins.settings[PLUGIN] = page
    job = theatre.run()
    assert job.error is None, job.log
    told = {
        level: "\n".join(text for own, text in job.log if own == level)
        for level in ("info", "warning")
    }
    return told["info"], told["warning"]


def test_a_run_says_what_it_looks_for_where_and_whom_it_asks(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint(Behaviour(slots=4, models=("vision-8b",)))
    theatre.install(address(vlm, name="gaming PC"), MODEL="vision-8b")
    theatre.queue(videos[0])
    info, warning = first_lines(theatre, {"tagNames": "Foul: a player hits; Goal:"})
    assert (
        "Looking for 2 tags (Tags on the settings page) in 1 scene with the tag VLM_TagMe: Foul (a player hits), Goal."
        in info
    )
    assert (
        f"Asking the model vision-8b: gaming PC at {vlm.url} (haven_vlm_config.local.yaml: ENDPOINTS)."
        in info
    )
    assert "example" not in info + warning


def test_a_run_without_tags_of_the_users_own_says_so(
    theatre: Theatre, videos: Sequence[LabelledVideo]
) -> None:
    vlm = theatre.endpoint()
    theatre.install(TAG_LIST=None, ENDPOINTS=None)
    theatre.queue(videos[0])
    info, warning = first_lines(theatre, {"endpoint": vlm.url, "endpointKey": "season-ticket"})
    assert (
        f"No tags are set, so this run looks for those of the built-in example, {EXAMPLE}."
        in warning
    )
    assert (
        "Name your own in Tags on the settings page (TAG_LIST in haven_vlm_config.local.yaml)"
        in warning
    )
    assert (
        f"Asking the model that is loaded there (none is set): {vlm.url} (Endpoint on the settings page)."
        in info
    )
    assert "season-ticket" not in info


def test_preview_and_images_say_it_too(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    theatre.install(address(theatre.endpoint()))
    theatre.queue(videos[0])
    job = theatre.stash.run_task("Preview").wait(60)
    told = "\n".join(text for level, text in job.log if level == "info")
    assert (
        "Looking for 4 tags (haven_vlm_config.local.yaml: TAG_LIST) in 1 scene with the tag VLM_TagMe or VLM_UpdateMe"
        in told
    )


def test_several_endpoints_in_one_field_share_the_work(
    theatre: Theatre, videos: Sequence[LabelledVideo]
) -> None:
    first, second = (
        theatre.endpoint(Behaviour(latency_s=0.02)),
        theatre.endpoint(Behaviour(latency_s=0.02)),
    )
    theatre.install(ENDPOINTS=None)
    theatre.queue(videos[0])
    info, _ = first_lines(theatre, {"endpoint": f"{first.url}; {second.url}"})
    assert f"{first.url}, {second.url} (Endpoint on the settings page)" in info
    assert first.counters.answered and second.counters.answered


def test_a_refused_field_is_named_and_nothing_changes(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Address
) -> None:
    vlm = theatre.endpoint()
    theatre.install(address(vlm))
    (scene,) = theatre.queue(videos[0])
    theatre.stash.plugins.settings[PLUGIN] = {"tagNames": "Foul | Goal"}
    job = theatre.run()
    assert job.error and job.error.startswith(
        "Tags on the settings page: 'Foul | Goal': separate tags by commas"
    )
    assert theatre.state(scene).tags == ("VLM_TagMe",)
    assert vlm.counters.answered == 0
