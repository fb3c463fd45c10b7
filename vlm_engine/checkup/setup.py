"""The check of a whole set-up: all endpoints and the machine at the same time, and a forecast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vlm_engine.checkup.endpoint import LIMIT_S, EndpointCheck, check_endpoint
from vlm_engine.checkup.forecast import (
    EndpointSpeed,
    Forecast,
    ModelLoad,
    Workload,
    forecast,
    time_text,
)
from vlm_engine.checkup.machine import machine_section
from vlm_engine.checkup.values import Section, SectionKind, ok
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig
from vlm_engine.prompt import wording_fingerprint
from vlm_engine.store import AnswerStore


@dataclass(frozen=True, slots=True)
class Measurement:
    """Speed of an endpoint that was checked, and the names of the models that answered."""

    speed: EndpointSpeed
    models: tuple[str, ...]


def measurements(check: EndpointCheck) -> Iterator[Measurement]:
    """Yield what was measured at an endpoint, if a run would use it."""
    if (speed := check.speed) is not None:
        yield Measurement(speed, tuple(sorted(check.found.models)))


@dataclass(frozen=True, slots=True)
class SetupCheck:
    """Results of a check: those of each endpoint in the order of the settings, and the machine."""

    endpoints: tuple[EndpointCheck, ...]
    machine: Section

    @property
    def measured(self) -> tuple[Measurement, ...]:
        """Measurements of the endpoints that work."""
        return tuple(each for check in self.endpoints for each in measurements(check))

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections."""
        return (*(check.section for check in self.endpoints), self.machine)


async def check_setup(config: EngineConfig, data_file: Path | None) -> SetupCheck:
    """Check every endpoint that a run would use, and this machine. Ends within 60 seconds.

    ``data_file``: the file that keeps the answers, None if they are not kept.
    """
    pairs = config.used_endpoints()
    servers = {
        endpoint.base_url: [pair for pair in pairs if pair[0].base_url == endpoint.base_url]
        for endpoint, _ in pairs
    }
    by_server, machine = await asyncio.gather(
        asyncio.gather(*map(_checked, servers.values())),
        asyncio.to_thread(machine_section, data_file),
    )
    endpoints = [endpoint for endpoint, _ in pairs]
    checks = [check for checks in by_server for check in checks]
    checks.sort(key=lambda check: endpoints.index(check.endpoint))
    return SetupCheck(tuple(checks), machine)


async def _checked(pairs: Sequence[tuple[EndpointConfig, ModelConfig]]) -> list[EndpointCheck]:
    """Return the checks of models on one server.

    They are made one after the other, because the server may have to load each model in turn.
    """
    ends_at, found = time.monotonic() + LIMIT_S, list[EndpointCheck]()
    for endpoint, model in pairs:
        left_s = (ends_at - time.monotonic()) / (len(pairs) - len(found))
        found.append(await check_endpoint(endpoint, model, left_s))
    return found


async def forecast_section(
    measured: Sequence[Measurement],
    config: EngineConfig,
    lengths_s: Sequence[float],
    pictures: int,
    *,
    scenes: int | None = None,
    at_once: int,
    start: datetime,
) -> Section:
    """Return how long a queue will take on the endpoints that were measured.

    ``lengths_s``: the length of each video in seconds, or of some of them; then ``scenes`` is the
    number of all. ``pictures``: the number of stills.
    ``at_once`` videos are worked on at a time, from ``start`` on. Stored answers about earlier
    videos tell how many questions a video takes. Raises ``StoreError``.
    """
    answering = [name for each in measured for name in each.models]
    loads = await asyncio.to_thread(_loads, config, answering)
    load = Workload(loads, lengths_s, scenes, pictures, at_once)
    speeds = [each.speed for each in measured]
    found = await asyncio.to_thread(forecast, load, speeds, config.search)
    findings = [
        ok(
            "queue",
            _queue_text(found),
            scenes=found.scenes,
            video_s=round(found.video_s, 1),
            images=found.pictures,
        ),
        ok("questions", f"about {_rounded(found.questions):,}", questions=found.questions),
        ok(
            "time",
            time_text(found, start),
            seconds=found.seconds,
            low_s=found.low_s,
            high_s=found.high_s,
            model_s=found.model_s,
        ),
    ]
    return Section(SectionKind.FORECAST, "Forecast", tuple(findings))


def _queue_text(found: Forecast) -> str:
    videos = f"{found.scenes:,} video{'s' if found.scenes != 1 else ''} of {_hours(found.video_s)}"
    pictures = f"{found.pictures:,} image{'s' if found.pictures != 1 else ''}"
    return (
        " and ".join(
            text for number, text in ((found.scenes, videos), (found.pictures, pictures)) if number
        )
        or "empty"
    )


def _loads(config: EngineConfig, answering: Sequence[str]) -> list[ModelLoad]:
    models = config.active_models().values()
    path = Path(config.store_path) if config.store_path else None
    if path is None or not path.exists():
        return [ModelLoad(len(model.tag_list)) for model in models]
    with AnswerStore(path) as store:
        return [
            ModelLoad(
                len(model.tag_list),
                store.search_sizes(
                    model.model_id or next(iter(answering), ""), wording_fingerprint(model)
                ),
            )
            for model in models
        ]


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _rounded(number: int) -> int:
    """Return the number with two digits that count."""
    return int(round(number, 2 - len(str(number))))
