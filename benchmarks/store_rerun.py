"""A video that was searched before, under other rules of the user's: all of it from the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sandbox.videos import SPORT_TAGS, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig, SearchConfig
from vlm_engine.testing import Behaviour, SandboxVLM

_SLOTS = 16
_RULES: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "thresholds": {"TagThreshold": 0.95},
    "gaps": {"MaxGap": "20s"},
    "shortest markers": {"MinMarkerDuration": "30s"},
    "required durations": {"RequiredDuration": "15%"},
    "names": {"RenamedTag": "Something else"},
}


@dataclass(frozen=True, slots=True)
class Rerun:
    """One run under rules of that ``name`` (none for the first): questions asked, and ``spans``
    that became markers.
    """

    name: str
    calls: int
    seconds: float
    spans: int


async def run_again(store: Path, video_s: float, answers: int, folder: Path) -> tuple[Rerun, ...]:
    """Tag a generated video with about that many questions, then again under each kind of rules."""
    spec = VideoSpec(duration_s=video_s, width=160, height=96, frame_rate=Fraction(5), seed=3)
    video = generate(spec, folder / "match.mp4")
    reruns = []
    async with SandboxVLM(Behaviour(slots=_SLOTS, miss_rate=0.05, false_alarm_rate=0.005)) as vlm:
        model = ModelConfig(
            model_id="sandbox-vlm",
            model_category="plays",
            multiplexer_endpoints=[{"base_url": vlm.url, "max_concurrent": _SLOTS}],
            tag_list=SPORT_TAGS,
        )
        for name, rule in _RULES.items():
            config = EngineConfig(
                models={"vlm": model},
                store_path=str(store),
                category_config={"plays": dict.fromkeys(SPORT_TAGS, rule)},
                search=SearchConfig(questions_per_hour=3600 * answers / video_s),
            )
            before, started = vlm.counters.answered, time.perf_counter()
            async with VLMEngine(config) as engine:
                result = await engine.tag_video(video.path)
            seconds = time.perf_counter() - started
            found = sum(
                len(spans) for by_tag in result.info.spans.values() for spans in by_tag.values()
            )
            reruns.append(Rerun(name, vlm.counters.answered - before, seconds, found))
    return tuple(reruns)
