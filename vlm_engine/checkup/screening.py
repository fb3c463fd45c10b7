"""Test of an endpoint before a run gives it its first question: two cards, and more in doubt."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from vlm_engine.checkup.cards import card_model
from vlm_engine.checkup.diagnosis import Sight
from vlm_engine.checkup.endpoint import sight_text
from vlm_engine.checkup.examination import Examination, Examiner
from vlm_engine.clients import OpenAIClient
from vlm_engine.clients.member import Screened
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import ClientError, NoVisionError, StoreError, UnsoundError
from vlm_engine.store import AnswerStore

_KEPT_S = 24 * 3600.0
_LIMIT_S = 300.0  # its server may have to load the model
_PASSES = (Sight.SOUND, Sight.WEAK)
_log = logging.getLogger(__name__)


async def screened(model: ModelConfig, store: AnswerStore, endpoint: EndpointConfig) -> Screened:
    """Return what to do with an endpoint, and warn of what is odd about its answers.

    Only answers that do not depend on the picture, or belong to another one, leave it out. An
    endpoint that does not answer is left to its pool. A good result is stored, and counts for a
    day.
    """
    try:
        found = await _examined(model, store, endpoint)
    except (ClientError, StoreError) as error:
        _log.debug("%s: it is not tested: %s", endpoint.label, error)
        return Screened()
    return Screened() if found is None else _consequence(endpoint.label, found)


async def _examined(
    model: ModelConfig, store: AnswerStore, endpoint: EndpointConfig
) -> Examination | None:
    """Return what was found; None if a good result is stored."""
    async with aclosing(OpenAIClient(endpoint, card_model(model))) as client:
        await client.discover()
        at_once = "several at once" if client.slots > 1 else "one at a time"
        name = f"{endpoint.base_url} {await client.model_name()} {at_once}"
        if await asyncio.to_thread(store.screening, name, _KEPT_S) is not None:
            return None
        found = await Examiner(client, _LIMIT_S).screen()
    if found.sight in _PASSES or found.looks_sound:
        await asyncio.to_thread(store.set_screening, name, found.sight.value)
    return found


def _consequence(label: str, found: Examination) -> Screened:
    sight = found.sight
    if sight is Sight.STALE or found.is_constant:
        kind = UnsoundError if sight is Sight.STALE else NoVisionError
        override = "To use it all the same, set CHECK_ENDPOINTS: false (check_endpoints)"
        return Screened(kind(f"{sight_text(found)}. {override}", endpoint=label))
    if sight is Sight.SWAPPED or not (sight in {Sight.SOUND, Sight.UNKNOWN} or found.looks_sound):
        _log.warning("%s: test pictures: %s", label, sight_text(found))
    return Screened(is_one_at_a_time=sight is Sight.SWAPPED)
