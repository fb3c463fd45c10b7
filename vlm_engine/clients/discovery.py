"""Discovery of what an endpoint can do: recognises the server and reads its own pages.

A server that is not recognised is asked for the pages of all servers. Every page may be missing,
and every field of it may be missing or of another type. A reader yields offers only for
its own page, if an empty one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Abilities of one endpoint, as it states them; None or empty if it does not.

    ``models``: the names it offers; ``sighted``: those that see pictures; ``blind``: those that
    do not.
    ``model``: the model that the rest is about: the configured one, else the loaded one, else the
    first for conversation. ``names``: all names of that model, as listed.
    ``slots``: how many questions it works on at once.
    ``context_tokens``: how many tokens a question and its answer may take.
    ``vision``: whether the model sees pictures.
    ``loaded``: False if the first question loads the model; slots and context may be known only
    then.
    ``finishes_abandoned``: it goes on with abandoned requests, so that their slots stay taken.
    ``server``: the program, if recognised.
    """

    models: tuple[str, ...] = ()
    slots: int | None = None
    context_tokens: int | None = None
    vision: bool | None = None
    finishes_abandoned: bool = False
    model: str = ""
    sighted: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    loaded: bool | None = None
    server: str = ""
    names: tuple[str, ...] = ()

    def is_another(self, requested: str, answered: str) -> bool:
        """Return whether ``answered``, the model of a reply, is another than the requested one.

        A listed name may be an alias of another name, unless both are listed.
        """
        if not requested or not answered or are_alike(requested, answered):
            return False
        if requested in self.names:
            return answered in self.models and answered not in self.names
        return True

    def __str__(self) -> str:
        """Return one line for a log."""
        parts = [
            self.server,
            f"model {self.model}" if self.model else "",
            f"{self.slots} slots" if self.slots else "",
            f"{self.context_tokens} tokens of context" if self.context_tokens else "",
            {True: "sees pictures", False: "sees no pictures", None: ""}[self.vision],
        ]
        return ", ".join(part for part in parts if part) or "tells nothing of itself"


_RELEASE = r"\d{3,8}(-\d\d){0,2}|\d\d-\d{4}|latest|free|\d{5}-of-\d{5}"
_QUANTISATION = (
    r"(ud-)?i?q\d(-[0-9a-z]{1,3}){0,3}|b?fp?(8|16|32)|awq|gptq|mlx|gguf|[348]bit|int[48]"
    r"|nvfp4|mxfp4"
)
_SUFFIX = re.compile(rf"(-({_RELEASE}|{_QUANTISATION}))*")


def are_alike(one: str, other: str) -> bool:
    """Return whether two names differ only in folder, file type, date, release or quantisation.

    Any other suffix makes another model: ``gpt-4o-mini`` is not ``gpt-4o``.
    """
    shorter, longer = sorted((_stem(one), _stem(other)), key=len)
    return longer.startswith(shorter) and _SUFFIX.fullmatch(longer, len(shorter)) is not None


def _stem(name: str) -> str:
    file = re.split(r"[/\\]", name.casefold())[-1]
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\.gguf$|[:-]latest$", "", file)).strip("-")


MOST_SLOTS = 32
"""Limit for servers that name hundreds of slots: more in flight costs memory and gains no speed."""
_MOST_ENTRIES = 5000  # no server lists more
_NOT_FOR_CHAT = re.compile(r"embed|rerank|whisper|tts|\bbge\b|moderation", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Offer:
    """One model of a server, as far as known. ``names``: all its names, the usual one first.

    Without a name, it applies to every model of the server.
    """

    names: tuple[str, ...] = ()
    vision: bool | None = None
    context_tokens: int | None = None
    slots: int | None = None
    loaded: bool | None = None
    is_for_chat: bool | None = None

    @property
    def name(self) -> str:
        """The usual name; "" if it applies to all."""
        return self.names[0] if self.names else ""

    @property
    def chats(self) -> bool:
        """True if it is for conversation, by its server, else by its name."""
        return not _NOT_FOR_CHAT.search(self.name) if self.is_for_chat is None else self.is_for_chat

    def filled(self, other: Offer) -> Offer:
        """Return a copy with what ``other`` knows in place of what this does not."""
        unknown = [each.name for each in fields(self) if getattr(self, each.name) in (None, ())]
        return replace(self, **{name: getattr(other, name) for name in unknown})


def listed_models(page: Any) -> Iterator[Offer]:
    """Read ``GET /v1/models`` of any server, with the extra fields of some."""
    for entry in _entries(page, "data"):
        inputs = _get(entry, "architecture", "input_modalities")
        status = _get(entry, "status", "value")
        yield Offer(
            _names(entry.get("id"), *_list(entry.get("aliases"))),
            "image" in inputs
            if isinstance(inputs, list)
            else _flag(_get(entry, "capabilities", "vision")),
            _count(entry.get("max_model_len"))
            or _count(_get(entry, "meta", "n_ctx"))
            or _count(entry.get("context_length")),
            loaded=status == "loaded" if isinstance(status, str) else None,
        )
    for entry in _entries(page, "models"):  # llama.cpp repeats its list in Ollama's form
        capabilities = entry.get("capabilities")
        if isinstance(capabilities, list):
            yield Offer(_names(entry.get("name"), entry.get("model")), "multimodal" in capabilities)


def _lm_studio(page: Any) -> Iterator[Offer]:
    """Read ``GET /api/v1/models``: the models on disk, and how those in memory are loaded."""
    for entry in _entries(page, "models"):
        if "loaded_instances" in entry:
            instances = list(_entries(entry, "loaded_instances"))
            config = instances[0].get("config") if instances else None
            yield Offer(
                _names(entry.get("key"), *(instance.get("id") for instance in instances)),
                _flag(_get(entry, "capabilities", "vision")),
                _count(_get(config, "context_length")),
                _slots(_get(config, "parallel")),
                bool(instances),
                entry.get("type") != "embedding",
            )


def _lm_studio_before(page: Any) -> Iterator[Offer]:
    """Read ``GET /api/v0/models`` of LM Studio before 0.4."""
    for entry in _entries(page, "data"):
        kind, state = entry.get("type"), entry.get("state")
        if isinstance(state, str):
            yield Offer(
                _names(entry.get("id")),
                kind == "vlm",
                _count(entry.get("loaded_context_length")),
                loaded=state == "loaded",
                is_for_chat=kind != "embeddings",
            )


def _llama_cpp_props(page: Any) -> Iterator[Offer]:
    """Read ``GET /props``, about the one model of the server."""
    if isinstance(page, dict) and "total_slots" in page:
        yield Offer(
            vision=_flag(_get(page, "modalities", "vision")),
            context_tokens=_count(_get(page, "default_generation_settings", "n_ctx")),
            slots=_slots(page["total_slots"]),
        )


def _llama_cpp_slots(page: Any) -> Iterator[Offer]:
    """Read ``GET /slots``: an entry for each slot, with its part of the context."""
    slots = [entry for entry in _list(page) if isinstance(entry, dict) and "n_ctx" in entry]
    if slots:
        contexts = filter(None, (_count(slot["n_ctx"]) for slot in slots))
        yield Offer(context_tokens=min(contexts, default=None), slots=_slots(len(slots)))


def _ollama_loaded(page: Any) -> Iterator[Offer]:
    """Read ``GET /api/ps``: the models in memory, with their context there."""
    if isinstance(_get(page, "models"), list):
        yield Offer()
    for entry in _entries(page, "models"):
        names = _names(entry.get("name"), entry.get("model"))
        yield Offer(names, context_tokens=_count(entry.get("context_length")), loaded=True)


def _ollama_model(page: Any, name: str) -> Iterator[Offer]:
    """Read ``POST /api/show`` of one model."""
    capabilities = _get(page, "capabilities")
    if isinstance(capabilities, list):
        is_for_chat = "completion" in capabilities
        yield Offer((name,), "vision" in capabilities, is_for_chat=is_for_chat)


def _sglang_model(page: Any) -> Iterator[Offer]:
    """Read ``GET /get_model_info``, or ``/model_info`` of newer versions."""
    if isinstance(_get(page, "model_path"), str):
        yield Offer(vision=_flag(page.get("has_image_understanding")))


def _sglang_server(page: Any) -> Iterator[Offer]:
    """Read ``GET /get_server_info``, or ``/server_info`` of newer versions."""
    if isinstance(_get(page, "model_path"), str):
        running = "effective_max_running_requests_per_dp"
        states = _entries(page, "internal_states")
        slots = sum(_count(state.get(running)) or 0 for state in states)
        yield Offer(
            context_tokens=_count(page.get("context_length")),
            slots=_slots(slots or page.get("max_running_requests")),
        )


def _get(page: Any, *names: str) -> Any:
    for name in names:
        page = page.get(name) if isinstance(page, dict) else None
    return page


def _list(value: Any) -> list[Any]:
    return value[:_MOST_ENTRIES] if isinstance(value, list) else []


def _entries(page: Any, name: str) -> Iterator[dict[str, Any]]:
    return (entry for entry in _list(_get(page, name)) if isinstance(entry, dict))


def _names(*names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_count else None


def _slots(value: Any) -> int | None:
    slots = _count(value)
    return slots and min(slots, MOST_SLOTS)


Fetch = Callable[[str, dict[str, Any] | None], Awaitable[Any]]
"""Requests a path below the server's root, by POST if there is a payload; returns JSON or None."""

_MOST_MODELS_SHOWN = 8
_LITELLM_CREATED = {1677610602}  # the date that LiteLLM gives to every model


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of one kind of server. ``alternative``: its place in other versions."""

    path: str
    read: Callable[[Any], Iterable[Offer]]
    alternative: _Page | None = None


@dataclass(frozen=True, slots=True)
class _Server:
    """A kind of server. ``owner``: its ``owned_by`` in a list of models.

    ``loads_first``: it lists a model only after it has loaded it.
    """

    name: str
    owner: str
    pages: tuple[_Page, ...] = ()
    loads_first: bool = False


_SERVERS = (
    _Server(
        "LM Studio",
        "organization_owner",
        (_Page("/api/v1/models", _lm_studio, _Page("/api/v0/models", _lm_studio_before)),),
    ),
    _Server("Ollama", "library", (_Page("/api/ps", _ollama_loaded),)),
    _Server(
        "llama.cpp",
        "llamacpp",
        (_Page("/props", _llama_cpp_props), _Page("/slots", _llama_cpp_slots)),
        loads_first=True,
    ),
    _Server("vLLM", "vllm", loads_first=True),
    _Server(
        "SGLang",
        "sglang",
        (
            _Page("/get_model_info", _sglang_model, _Page("/model_info", _sglang_model)),
            _Page("/get_server_info", _sglang_server, _Page("/server_info", _sglang_server)),
        ),
        loads_first=True,
    ),
)
_OLLAMA, _LLAMA_CPP = _SERVERS[1:3]
_LITELLM = _Server("LiteLLM", "")


async def discover(listing: Any, model: str, fetch: Fetch) -> Capabilities:
    """Return what the endpoint can do. Never fails.

    ``listing``: the JSON of its ``/v1/models``. ``model``: the configured model; "" for any.
    """
    server = await _recognised(listing, fetch)
    kinds = (server,) if server else _SERVERS
    found = await asyncio.gather(*(_read_all(kind.pages, fetch) for kind in kinds))
    server = server or next((kind for kind, each in zip(kinds, found, strict=True) if each), None)
    offers = _merged([*(offer for each in found for offer in each), *listed_models(listing)])
    if server is _OLLAMA:
        offers = await _with_ollama_details(offers, model, fetch)
    return _capabilities(offers, model, server)


async def is_litellm(fetch: Fetch) -> bool:
    """Return whether the server is a LiteLLM proxy, which says so without a key."""
    page = await fetch("/health/readiness", None)
    return (
        isinstance(page, dict)
        and isinstance(page.get("status"), str)
        and ("db" in page or "litellm_version" in page)
    )


async def _recognised(listing: Any, fetch: Fetch) -> _Server | None:
    entries = list(_entries(listing, "data"))
    created = {entry["created"] for entry in entries if isinstance(entry.get("created"), int)}
    if created == _LITELLM_CREATED and await is_litellm(fetch):
        return _LITELLM
    owners = [entry.get("owned_by") for entry in entries]
    return next((server for server in _SERVERS if server.owner in owners), None)


async def _read_all(pages: Iterable[_Page], fetch: Fetch) -> list[Offer]:
    found = await asyncio.gather(*(_read(page, fetch) for page in pages))
    return [offer for offers in found for offer in offers]


async def _read(page: _Page, fetch: Fetch) -> list[Offer]:
    offers = list(page.read(await fetch(page.path, None)))
    return await _read(page.alternative, fetch) if page.alternative and not offers else offers


async def _with_ollama_details(offers: list[Offer], model: str, fetch: Fetch) -> list[Offer]:
    """Add what Ollama's page says about ``model``, or about the first few to choose from."""
    names = [offer.name for offer in offers if offer.name][:_MOST_MODELS_SHOWN]
    if model:
        names = [_find(offers, model, _OLLAMA).name or model]
    pages = await asyncio.gather(*(fetch("/api/show", {"model": name}) for name in names))
    details = [
        offer
        for name, page in zip(names, pages, strict=True)
        for offer in _ollama_model(page, name)
    ]
    return [replace(offer, loaded=bool(offer.loaded)) for offer in _merged([*offers, *details])]


def _merged(offers: Iterable[Offer]) -> list[Offer]:
    """Return one offer for each model, and one that applies to all; earlier offers win."""
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


def _capabilities(offers: list[Offer], model: str, server: _Server | None) -> Capabilities:
    named = [offer for offer in offers if offer.names]
    general = next((offer for offer in offers if not offer.names), Offer())
    chosen = (_find(named, model, server) if model else _best(named)).filled(general)
    if server and server.loads_first and chosen.names:
        chosen = chosen.filled(Offer(loaded=True))
    return Capabilities(
        models=tuple(offer.name for offer in named),
        slots=chosen.slots,
        context_tokens=chosen.context_tokens,
        vision=chosen.vision,
        finishes_abandoned=server is _LITELLM,
        model=model or chosen.name,
        sighted=tuple(offer.name for offer in named if offer.vision),
        blind=tuple(offer.name for offer in named if offer.vision is False),
        loaded=chosen.loaded,
        server=server.name if server else "",
        names=chosen.names,
    )


def _find(offers: list[Offer], model: str, server: _Server | None) -> Offer:
    for offer in offers:
        if model in offer.names or f"{model}:latest" in offer.names:
            return offer
    answers_to_any = server is _LLAMA_CPP and len(offers) == 1
    return offers[0] if answers_to_any else Offer()


def _best(offers: list[Offer]) -> Offer:
    """Return the first offer for conversation that sees and is loaded, as far as known."""
    candidates = [offer for offer in offers if offer.chats]
    return min(
        candidates,
        key=lambda offer: (offer.vision is False, not offer.loaded, not offer.vision),
        default=Offer(),
    )
