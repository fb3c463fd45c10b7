"""The pages on which servers tell of their models, read into one form. Pure.

Every field may be missing or of another type in some version of some server; what cannot be read tells nothing. A reader
that is given its own page gives an offer, if an empty one; given anything else, it gives none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

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


def listing(page: Any) -> Iterator[Offer]:
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


def is_litellm(page: Any) -> bool:
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
