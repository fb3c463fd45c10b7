"""A fault that nobody foresaw: put into the installed plugin, since everybody knows how to provoke the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sandbox.videos import LabelledVideo
from tests.end_to_end.conftest import Theatre

FAULT = "\n\ndef plan_results(*_):\n    raise KeyError('home team')\n"


def test_it_costs_one_scene_and_the_log_shows_what_and_where(
    theatre: Theatre, videos: Sequence[LabelledVideo], address: Callable[..., dict[str, Any]]
) -> None:
    theatre.install(address(theatre.endpoint()))
    (plan,) = theatre.folder.glob("*/*/haven/stash/plan.py")
    plan.write_text(plan.read_text(encoding="utf-8") + FAULT, encoding="utf-8")
    (scene,) = theatre.queue(videos[0])
    job = theatre.run()
    assert set(theatre.state(scene).tags) == {"VLM_TagMe", "VLM_Errored"}
    assert any("KeyError: 'home team'" in text for text in job.texts("error"))
    assert not any("Traceback" in text for text in job.texts("error"))
    assert any("in plan_results" in text for text in job.texts("debug"))
    assert "1 failed" in str(job.output)
