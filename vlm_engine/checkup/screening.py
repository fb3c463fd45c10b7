"""Test of an endpoint before a run gives it its first question: two cards, and more in doubt."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing

from vlm_engine.checkup.cards import card_model, in_built_in_words
from vlm_engine.checkup.diagnosis import Sight
from vlm_engine.checkup.endpoint import sight_text
from vlm_engine.checkup.examination import Examination, Examiner
from vlm_engine.clients import OpenAIClient
from vlm_engine.clients.member import Screened
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    BusyError,
    ClientError,
    EndpointError,
    NoVisionError,
    StoreError,
    TimedOutError,
    UnsoundError,
)
from vlm_engine.store import Store
from vlm_engine.tagging.styles import usual_style

_KEPT_S = 24 * 3600.0
_PASSES = (Sight.SOUND, Sight.WEAK)
_log = logging.getLogger(__name__)


class Screening:
    """Tests of the endpoints of an engine, one at a time of each model on a server.

    A server that confuses pictures would confuse those of two tests. An outcome counts for all
    pools of the engine; a good one is stored, and counts for a day.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._outcomes: dict[str, Screened] = {}
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def screen(
        self, model: ModelConfig, endpoint: EndpointConfig, limit_s: float
    ) -> Screened:
        """Return what to do with an endpoint, and warn of what is odd about its answers.

        Only answers that do not depend on the picture, or belong to another one, leave it out. One
        that cannot be reached, is busy or does not answer within ``limit_s`` is left to its pool.
        """
        ends_at = asyncio.get_running_loop().time() + limit_s
        lock = self._locks[endpoint.base_url, endpoint.model_id or model.model_id]
        try:
            async with asyncio.timeout_at(ends_at), lock:
                return await self._outcome(model, endpoint, ends_at)
        except TimeoutError:
            return Screened(failure=_too_late(endpoint.label))
        except StoreError as error:
            _log.debug("%s: it is not tested: %s", endpoint.label, error)
        except ClientError as error:
            return _untested(error)
        return Screened()

    async def _outcome(
        self, model: ModelConfig, endpoint: EndpointConfig, ends_at: float
    ) -> Screened:
        words = in_built_in_words(card_model(model))
        async with aclosing(OpenAIClient(endpoint, words, is_quiet=True)) as client:
            await client.discover()
            for name in await _names(client):
                if (known := await self._known(name)) is not None:
                    return known
            left_s = ends_at - asyncio.get_running_loop().time()
            found = await Examiner(client, 0.9 * left_s, usual_style(model).form).screen()
            name, *_ = await _names(client)
        if not found.answers or isinstance(found.error, EndpointError | BusyError):
            return _untested(found.error or _too_late(endpoint.label))
        self._outcomes[name] = _consequence(endpoint.label, found)
        if found.sight in _PASSES:
            await asyncio.to_thread(self._store.set_screening, name, found.sight.value)
        return self._outcomes[name]

    async def _known(self, name: str) -> Screened | None:
        if name not in self._outcomes:
            stored = await asyncio.to_thread(self._store.screening, name, _KEPT_S)
            return None if stored is None else Screened()
        return self._outcomes[name]


async def _names(client: OpenAIClient) -> Sequence[str]:
    """Return the names of the tests that suffice for an endpoint, that of its next one first."""
    name = f"{client.url} {await client.model_name()}"
    names = f"{name} one at a time", f"{name} several at once"
    return names[1:] if client.may_get_several else names


def _too_late(label: str) -> TimedOutError:
    return TimedOutError("it did not answer about test pictures in time", endpoint=label)


def _untested(error: ClientError) -> Screened:
    """Return the outcome of a test that failed. Questions would meet other errors themselves."""
    is_for_pool = isinstance(error, EndpointError | BusyError | TimedOutError)
    return Screened(failure=error) if is_for_pool else Screened()


def _consequence(label: str, found: Examination) -> Screened:
    sight = found.sight
    if sight is Sight.STALE or found.is_constant:
        kind = UnsoundError if sight is Sight.STALE else NoVisionError
        override = "To use it all the same, set CHECK_ENDPOINTS: false (check_endpoints)"
        return Screened(kind(f"{sight_text(found)}. {override}", endpoint=label))
    if sight not in {Sight.SOUND, Sight.UNKNOWN}:
        _log.warning("%s: test pictures: %s", label, sight_text(found))
    return Screened(is_one_at_a_time=sight is Sight.SWAPPED)
