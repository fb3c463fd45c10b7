"""Endpoints, asked with their stored keys: their models, and their check."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from haven.pages.context import PageContext
from haven.pages.contract import (
    CheckArguments,
    EndpointArguments,
    FindingValue,
    ModelOffer,
    Models,
    Sections,
    SectionValue,
)
from haven.pages.errors import NotFoundError
from haven.pages.measurements import keep_measurement
from vlm_engine import (
    EndpointConfig,
    ModelConfig,
    Section,
    check_endpoint,
    machine_section,
    measurements,
    offered_models,
)


def models(context: PageContext, arguments: EndpointArguments) -> Models:
    """Return what the endpoint offers. Raises ``NotFoundError`` and ``ClientError``."""
    offered, server = asyncio.run(offered_models(*_used(context, arguments.endpoint)))
    return Models(tuple(ModelOffer(name, sees) for name, sees in offered.items()), server)


def check(context: PageContext, arguments: CheckArguments) -> Sections:
    """Return the check of an endpoint, within 45 seconds; without one, that of the machine, of a
    cluster that is set, and of Stash. Raises ``NotFoundError``, ``ConfigError`` and ``StashError``.
    """
    if arguments.endpoint is None:
        return values_of([machine_section(context.store_path), *context.check_stash(context)])
    endpoint, model = _used(context, arguments.endpoint)
    checked = asyncio.run(check_endpoint(endpoint, model))
    keep_measurement(context.data_dir, endpoint, next(measurements(checked), None))
    return values_of([checked.section])


def values_of(sections: Sequence[Section]) -> Sections:
    """Return sections as the page gets them."""
    return Sections(
        tuple(
            SectionValue(
                section.kind.value,
                section.title,
                section.works,
                tuple(
                    FindingValue(one.severity.value, one.what, one.text, one.figures)
                    for one in section.findings
                ),
            )
            for section in sections
        )
    )


def _used(context: PageContext, index: int) -> tuple[EndpointConfig, ModelConfig]:
    """Return the endpoint at this place in the settings, with its model."""
    used = context.settings().engine.used_endpoints()
    if index >= len(used):
        raise NotFoundError("There is no such endpoint any more. Look at the settings again.")
    return used[index]
