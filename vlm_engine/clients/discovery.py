"""Finds out what an endpoint can do: recognises the server by its list of models, and reads the pages that it has beside it.

A server that is not recognised is asked for all of them. None needs to be there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one endpoint says it can do; None, or empty, where it does not say.

    ``models``: the names it offers, and ``sighted`` those of them that it says see pictures. ``model``: the one that the
    rest is about: the configured one, else the one it has loaded, else the first that is for conversation. ``names``: all
    names of that one, as it lists them.
    ``slots``: how many questions it works on at once. ``context_tokens``: how much one question and its answer may take.
    ``vision``: whether the model sees pictures. ``loaded``: False while the model is loaded only when it is first asked; slots
    and context may be told only afterwards. ``finishes_abandoned``: the endpoint goes on with a request that the
    client has given up, so its slot stays taken for a while. ``server``: the program, where it is recognised.
    """

    models: tuple[str, ...] = ()
    slots: int | None = None
    context_tokens: int | None = None
    vision: bool | None = None
    finishes_abandoned: bool = False
    model: str = ""
    sighted: tuple[str, ...] = ()
    loaded: bool | None = None
    server: str = ""
    names: tuple[str, ...] = ()

    def is_another(self, asked: str, answered: str) -> bool:
        """Whether ``answered``, the model of a reply, is another than the one that was asked for.

        A name that the endpoint lists may stand for a model with another name, unless it lists that one beside it.
        """
        if not asked or not answered or _are_alike(asked, answered):
            return False
        if asked in self.names:
            return answered in self.models and answered not in self.names
        return True

    def __str__(self) -> str:
        """One line for a log."""
        told = [
            self.server,
            f"model {self.model}" if self.model else "",
            f"{self.slots} slots" if self.slots else "",
            f"{self.context_tokens} tokens of context" if self.context_tokens else "",
            {True: "sees pictures", False: "sees no pictures", None: ""}[self.vision],
        ]
        return ", ".join(part for part in told if part) or "tells nothing of itself"


_RELEASE = r"\d{3,8}(-\d\d){0,2}|\d\d-\d{4}|latest|free|\d{5}-of-\d{5}"
_PACKING = r"(ud-)?i?q\d(-[0-9a-z]{1,3}){0,3}|b?fp?(8|16|32)|awq|gptq|mlx|gguf|[348]bit|int[48]|nvfp4|mxfp4"
_BEHIND = re.compile(rf"(-({_RELEASE}|{_PACKING}))*")


def _are_alike(one: str, other: str) -> bool:
    """Whether one name is the other but for its folder, its file's ending, and a date, a release, or the packing behind it.

    What else stands behind a name makes another model: ``gpt-4o-mini`` is not ``gpt-4o``, nor ``qwen2.5`` ``qwen2``.
    """
    shorter, longer = sorted((_stem(one), _stem(other)), key=len)
    return longer.startswith(shorter) and _BEHIND.fullmatch(longer, len(shorter)) is not None


def _stem(name: str) -> str:
    file = re.split(r"[/\\]", name.casefold())[-1]
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\.gguf$|[:-]latest$", "", file)).strip("-")


MOST_SLOTS = 32
"""Servers that batch name hundreds of slots; beyond this many, more in flight gains no speed worth its memory."""
_MOST_ENTRIES = 5000  # no server lists more; what comes after is not read
_NOT_FOR_CHAT = re.compile(r"embed|rerank|whisper|tts|\bbge\b|moderation", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Offer:
    """One model of a server, as far as it is told. ``names``: all that it answers to, the usual one first.

    Without a name, it holds for every model of the server.
    """

    names: tuple[str, ...] = ()
    vision: bool | None = None
    context_tokens: int | None = None
    slots: int | None = None
    loaded: bool | None = None
    is_for_chat: bool | None = None

    @property
    def name(self) -> str:
        """The usual name; "" where it holds for all."""
        return self.names[0] if self.names else ""

    @property
    def chats(self) -> bool:
        """Whether it is for conversation, as its server says, else as its name tells."""
        return not _NOT_FOR_CHAT.search(self.name) if self.is_for_chat is None else self.is_for_chat

    def filled(self, other: Offer) -> Offer:
        """This, and what ``other`` tells where this says nothing."""
        ours = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self,
            **{name: getattr(other, name) for name, value in ours.items() if value in (None, ())},
        )


def listed_models(page: Any) -> Iterator[Offer]:
    """``GET /v1/models`` of any server, with what some add: llama.cpp, vLLM, SGLang, and services that sell many models."""
    for entry in _entries(_get(page, "data")):
        inputs = _get(entry, "architecture", "input_modalities")
        capabilities = entry.get("capabilities")
        vision = (
            "image" in inputs if isinstance(inputs, list) else _flag(_get(capabilities, "vision"))
        )
        status = _get(entry, "status", "value")
        yield Offer(
            _names(entry.get("id"), *_list(entry.get("aliases"))),
            vision,
            _count(
                entry.get("max_model_len"),
                _get(entry, "meta", "n_ctx"),
                entry.get("context_length"),
            ),
            loaded=status == "loaded" if isinstance(status, str) else None,
        )
    for entry in _entries(_get(page, "models")):  # llama.cpp says it once more, in Ollama's form
        capabilities = entry.get("capabilities")
        if isinstance(capabilities, list):
            yield Offer(_names(entry.get("name"), entry.get("model")), "multimodal" in capabilities)


def lm_studio(page: Any) -> Iterator[Offer]:
    """``GET /api/v1/models``: every model on the disk, and how those in memory are loaded."""
    for entry in _entries(_get(page, "models")):
        if "loaded_instances" not in entry:
            continue
        instances = list(_entries(entry.get("loaded_instances")))
        config = _get(instances[0], "config") if instances else None
        yield Offer(
            _names(entry.get("key"), *(instance.get("id") for instance in instances)),
            _flag(_get(entry, "capabilities", "vision")),
            _count(_get(config, "context_length")),
            _slots(_get(config, "parallel")),
            bool(instances),
            entry.get("type") != "embedding",
        )


def lm_studio_before(page: Any) -> Iterator[Offer]:
    """``GET /api/v0/models`` of LM Studio before 0.4."""
    for entry in _entries(_get(page, "data")):
        kind, state = entry.get("type"), entry.get("state")
        if isinstance(state, str):
            context_tokens = _count(entry.get("loaded_context_length"))
            names = _names(entry.get("id"))
            yield Offer(
                names,
                kind == "vlm",
                context_tokens,
                loaded=state == "loaded",
                is_for_chat=kind != "embeddings",
            )


def llama_cpp_props(page: Any) -> Iterator[Offer]:
    """``GET /props``: of the one model that the server was started with."""
    if isinstance(page, dict) and "total_slots" in page:
        context_tokens = _count(_get(page, "default_generation_settings", "n_ctx"))
        yield Offer(
            (),
            _flag(_get(page, "modalities", "vision")),
            context_tokens,
            _slots(page.get("total_slots")),
        )


def llama_cpp_slots(page: Any) -> Iterator[Offer]:
    """``GET /slots``: one entry for each slot, with its part of the context."""
    slots = [entry for entry in _entries(page) if "n_ctx" in entry]
    if slots:
        contexts = [count for slot in slots if (count := _count(slot["n_ctx"]))]
        yield Offer((), None, min(contexts, default=None), _slots(len(slots)))


def ollama_loaded(page: Any) -> Iterator[Offer]:
    """``GET /api/ps``: the models in memory, with the context that they have there."""
    if isinstance(_get(page, "models"), list):
        yield Offer()
    for entry in _entries(_get(page, "models")):
        yield Offer(
            _names(entry.get("name"), entry.get("model")),
            None,
            _count(entry.get("context_length")),
            loaded=True,
        )


def ollama_model(page: Any, name: str) -> Iterator[Offer]:
    """``POST /api/show`` of one model."""
    capabilities = _get(page, "capabilities")
    if isinstance(capabilities, list):
        is_for_chat = "completion" in capabilities
        yield Offer(_names(name), "vision" in capabilities, is_for_chat=is_for_chat)


def sglang_model(page: Any) -> Iterator[Offer]:
    """``GET /get_model_info``, ``/model_info`` in newer versions."""
    if isinstance(_get(page, "model_path"), str):
        yield Offer((), _flag(page.get("has_image_understanding")))


def sglang_server(page: Any) -> Iterator[Offer]:
    """``GET /get_server_info``, ``/server_info`` in newer versions."""
    if isinstance(_get(page, "model_path"), str):
        states = _entries(page.get("internal_states"))
        running = [_count(state.get("effective_max_running_requests_per_dp")) for state in states]
        told = sum(count for count in running if count) or page.get("max_running_requests")
        yield Offer((), None, _count(page.get("context_length")), _slots(told))


def _is_litellm_page(page: Any) -> bool:
    """Whether ``GET /health/readiness`` is that of a LiteLLM proxy."""
    return (
        isinstance(page, dict)
        and isinstance(page.get("status"), str)
        and ("db" in page or "litellm_version" in page)
    )


def owners(page: Any) -> frozenset[str]:
    """Who, by a listing, made its models: most servers put their own name there."""
    return frozenset(
        entry["owned_by"]
        for entry in _entries(_get(page, "data"))
        if isinstance(entry.get("owned_by"), str)
    )


def birthdays(page: Any) -> frozenset[Any]:
    """When, by a listing, its models were made."""
    made = (entry.get("created") for entry in _entries(_get(page, "data")))
    return frozenset(when for when in made if isinstance(when, int))


def _get(page: Any, *names: str) -> Any:
    for name in names:
        page = page.get(name) if isinstance(page, dict) else None
    return page


def _list(value: Any) -> list[Any]:
    return value[:_MOST_ENTRIES] if isinstance(value, list) else []


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    return (entry for entry in _list(value) if isinstance(entry, dict))


def _names(*names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(*values: Any) -> int | None:
    """The first that is a count."""
    return next(
        (
            value
            for value in values
            if isinstance(value, int) and not isinstance(value, bool) and value > 0
        ),
        None,
    )


def _slots(value: Any) -> int | None:
    slots = _count(value)
    return None if slots is None else min(slots, MOST_SLOTS)


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
        (_Page("/api/v1/models", lm_studio, _Page("/api/v0/models", lm_studio_before)),),
    ),
    _Server("Ollama", "library", (_Page("/api/ps", ollama_loaded),)),
    _Server(
        "llama.cpp",
        "llamacpp",
        (_Page("/props", llama_cpp_props), _Page("/slots", llama_cpp_slots)),
        loads_first=True,
    ),
    _Server("vLLM", "vllm", loads_first=True),
    _Server(
        "SGLang",
        "sglang",
        (
            _Page("/get_model_info", sglang_model, _Page("/model_info", sglang_model)),
            _Page("/get_server_info", sglang_server, _Page("/server_info", sglang_server)),
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
    offers = _merged([*(offer for told in found for offer in told), *listed_models(listing)])
    if server is _OLLAMA:
        offers = await _shown(offers, asked, fetch)
    return _capabilities(offers, asked, server)


async def is_litellm(fetch: Fetch) -> bool:
    """Whether a LiteLLM proxy is there; it says so without a key."""
    return _is_litellm_page(await fetch("/health/readiness", None))


async def _recognised(listing: Any, fetch: Fetch) -> _Server | None:
    signed = owners(listing)
    if birthdays(listing) == _LITELLM_CREATED and await is_litellm(fetch):
        return _LITELLM
    return next((server for server in _SERVERS if server.owner in signed), None)


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
        offer for name, page in zip(names, shown, strict=True) for offer in ollama_model(page, name)
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
