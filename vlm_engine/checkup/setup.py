"""The check of a whole set-up: all endpoints and the machine, at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlm_engine.checkup.endpoint import EndpointCheck, check_endpoint
from vlm_engine.checkup.machine import machine_section
from vlm_engine.checkup.values import Section
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig


@dataclass(frozen=True, slots=True)
class SetupCheck:
    """Results of a check: those of each endpoint in the order of the settings, and the machine."""

    endpoints: tuple[EndpointCheck, ...]
    machine: Section

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections."""
        return (*(check.section for check in self.endpoints), self.machine)


async def check_setup(config: EngineConfig, data_file: Path | None) -> SetupCheck:
    """Check every endpoint that a run would use, and this machine. Ends within 60 seconds.

    ``data_file``: the file that keeps the answers, None if they are not kept. Raises
    ``ConfigError`` for endpoints to which nothing can be sent.
    """
    checks = [check_endpoint(endpoint, model) for endpoint, model in used_endpoints(config)]
    endpoints, machine = await asyncio.gather(
        asyncio.gather(*checks), asyncio.to_thread(machine_section, data_file)
    )
    return SetupCheck(tuple(endpoints), machine)


def used_endpoints(config: EngineConfig) -> Sequence[tuple[EndpointConfig, ModelConfig]]:
    """Return the endpoints of all models that are asked, and scan for others, each once."""
    models = list(config.active_models().values())
    models += [config.scanner_for(model) for model in models if model.scan_model]
    pairs = [(endpoint, model) for model in models for endpoint in model.endpoints()]
    once = {(one.base_url, one.model_id or model.model_id): (one, model) for one, model in pairs}
    return tuple(once.values())
