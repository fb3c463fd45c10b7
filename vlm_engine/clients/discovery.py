"""Finds out what an endpoint can do: recognises the server by its list of models, and reads the pages that it has beside it.

A server that is not recognised is asked for all of them. None needs to be there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from vlm_engine.clients import pages
from vlm_engine.clients.capabilities import Capabilities
from vlm_engine.clients.pages import Offer

Fetch = Callable[[str, dict[str, Any] | None], Awaitable[Any]]
"""Gets a page by its path below the server's root, with POST where there is something to send: its JSON, or None."""

_MOST_ASKED = 8
_LITELLM_CREATED = frozenset({1677610602})  # the date that LiteLLM gives to every model


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of one kind of server. ``older``: where it was in older versions, or is in newer ones."""

    path: str
    read: Callable[[Any], Iterable[Offer]]
    older: _Page | None = None


@dataclass(frozen=True, slots=True)
class _Server:
    """A kind of server. ``owner``: how it signs its list of models. ``loads_first``: it lists none before it has it in memory."""

    name: str
    owner: str
    pages: tuple[_Page, ...] = ()
    loads_first: bool = False


_SERVERS = (
    _Server(
        "LM Studio",
        "organization_owner",
        (
            _Page(
                "/api/v1/models", pages.lm_studio, _Page("/api/v0/models", pages.lm_studio_before)
            ),
        ),
    ),
    _Server("Ollama", "library", (_Page("/api/ps", pages.ollama_loaded),)),
    _Server(
        "llama.cpp",
        "llamacpp",
        (_Page("/props", pages.llama_cpp_props), _Page("/slots", pages.llama_cpp_slots)),
        loads_first=True,
    ),
    _Server("vLLM", "vllm", loads_first=True),
    _Server(
        "SGLang",
        "sglang",
        (
            _Page("/get_model_info", pages.sglang_model, _Page("/model_info", pages.sglang_model)),
            _Page(
                "/get_server_info", pages.sglang_server, _Page("/server_info", pages.sglang_server)
            ),
        ),
        loads_first=True,
    ),
)
_OLLAMA, _LLAMA_CPP = _SERVERS[1:3]
_LITELLM = _Server("LiteLLM", "")


async def discover(listing: Any, asked: str, fetch: Fetch) -> Capabilities:
    """What the endpoint tells, given the JSON of its ``/v1/models`` and the model that will be ``asked``, "" for any."""
    server = await _recognised(listing, fetch)
    kinds = (server,) if server else _SERVERS
    found = await asyncio.gather(*(_told(kind, fetch) for kind in kinds))
    server = server or next((kind for kind, told in zip(kinds, found, strict=True) if told), None)
    offers = _merged([*(offer for told in found for offer in told), *pages.listing(listing)])
    if server is _OLLAMA:
        offers = await _shown(offers, asked, fetch)
    return _capabilities(offers, asked, server)


async def is_litellm(fetch: Fetch) -> bool:
    """Whether a LiteLLM proxy is there; it says so without a key."""
    return pages.is_litellm(await fetch("/health/readiness", None))


async def _recognised(listing: Any, fetch: Fetch) -> _Server | None:
    owners = pages.owners(listing)
    if pages.birthdays(listing) == _LITELLM_CREATED and await is_litellm(fetch):
        return _LITELLM
    return next((server for server in _SERVERS if server.owner in owners), None)


async def _told(kind: _Server, fetch: Fetch) -> list[Offer]:
    """What the pages of one kind of server tell; nothing where they are not there."""
    told = await asyncio.gather(*(_read(page, fetch) for page in kind.pages))
    return [offer for offers in told for offer in offers]


async def _read(page: _Page, fetch: Fetch) -> list[Offer]:
    offers = list(page.read(await fetch(page.path, None)))
    return await _read(page.older, fetch) if page.older and not offers else offers


async def _shown(offers: list[Offer], asked: str, fetch: Fetch) -> list[Offer]:
    """With what Ollama's page for each model tells: for the one asked, or the first few to choose from."""
    names = (
        [_find(offers, asked, _OLLAMA).name or asked]
        if asked
        else [offer.name for offer in offers if offer.name][:_MOST_ASKED]
    )
    shown = await asyncio.gather(*(fetch("/api/show", {"model": name}) for name in names))
    read = [
        offer
        for name, page in zip(names, shown, strict=True)
        for offer in pages.ollama_model(page, name)
    ]
    return [replace(offer, loaded=bool(offer.loaded)) for offer in _merged([*offers, *read])]


def _merged(offers: Iterable[Offer]) -> list[Offer]:
    """One offer for each model, and one for what holds for all; what was told first counts."""
    merged: list[Offer] = []
    place_of: dict[str, int] = {}
    for offer in offers:
        names = offer.names or ("",)
        at = next((place_of[name] for name in names if name in place_of), len(merged))
        if at == len(merged):
            merged.append(offer)
        else:
            merged[at] = merged[at].filled(offer)
        place_of |= {name: at for name in names if name not in place_of}
    return merged


def _capabilities(offers: list[Offer], asked: str, server: _Server | None) -> Capabilities:
    named = [offer for offer in offers if offer.names]
    of_all = next((offer for offer in offers if not offer.names), Offer())
    chosen = (_find(named, asked, server) if asked else _best(named)).filled(of_all)
    if server and server.loads_first and chosen.names:
        chosen = chosen.filled(Offer(loaded=True))
    return Capabilities(
        models=tuple(offer.name for offer in named),
        slots=chosen.slots,
        context_tokens=chosen.context_tokens,
        vision=chosen.vision,
        finishes_abandoned=server is _LITELLM,
        model=asked or chosen.name,
        sighted=tuple(offer.name for offer in named if offer.vision),
        loaded=chosen.loaded,
        server=server.name if server else "",
        names=chosen.names,
    )


def _find(offers: list[Offer], asked: str, server: _Server | None) -> Offer:
    for offer in offers:
        if asked in offer.names or f"{asked}:latest" in offer.names:
            return offer
    answers_to_any = server is _LLAMA_CPP and len(offers) == 1
    return offers[0] if answers_to_any else Offer()


def _best(offers: list[Offer]) -> Offer:
    """For whoever names no model: one that sees and is loaded, as far as that is told; among equals the first."""
    candidates = [offer for offer in offers if offer.chats]
    return min(
        candidates,
        key=lambda offer: (offer.vision is False, not offer.loaded, not offer.vision),
        default=Offer(),
    )
