"""``vlm-engine prompt``: what a model would be endpoints, without asking it."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import aclosing, closing
from functools import partial
from textwrap import indent
from typing import Any

from vlm_engine.cli.arguments import DONE, Program
from vlm_engine.cli.output import show, show_bytes
from vlm_engine.cli.settings import asked_endpoints, checked_tags, engine_config
from vlm_engine.clients import OpenAIClient
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import ConfigError, MediaUnreadableError
from vlm_engine.pictures import PictureReader, ViewKind
from vlm_engine.tagging.styles import still_style, usual_style
from vlm_engine.types import Frame, Purpose, Question, QuestionStyle
from vlm_engine.watchdog import Readers


async def show_prompt(given: Namespace, program: Program) -> int:
    """Run the command and return its exit code. Raise ``ConfigError``, and ``MediaError`` for a
    bad picture.
    """
    config = checked_tags(engine_config(given, program))
    endpoints = asked_endpoints(config)
    if given.body and (len(endpoints) > 1 or given.picture is None):
        raise ConfigError("--body: it shows one request, whole; name one endpoint, and a --picture")
    for endpoint, model in endpoints:
        await _show(endpoint, model, given)
    return DONE


async def _show(endpoint: EndpointConfig, model: ModelConfig, given: Namespace) -> None:
    purpose = Purpose(given.purpose)
    frame = await _frame(given, model, purpose)
    async with aclosing(OpenAIClient(endpoint, model)) as client:
        body = client.first_body(_question(given, model, purpose, frame.jpeg if frame else b""))
    if given.body:
        show_bytes(body)
        return
    show("\n".join(_lines(endpoint, json.loads(body), _size(frame, model, purpose))) + "\n\n")


def _question(given: Namespace, model: ModelConfig, purpose: Purpose, jpeg: bytes) -> Question:
    """Return the question; for several frames at once, with the same picture several times, some
    seconds apart.
    """
    together = model.frames_per_question if purpose is Purpose.SCAN else 1
    more = tuple(Frame(given.time + 4 * number, 0, 0, jpeg) for number in range(1, together))
    time_s = None if purpose is Purpose.STILL else given.time
    return Question(model.tag_list, _style(model, purpose).form, jpeg, time_s=time_s, more=more)


def _style(model: ModelConfig, purpose: Purpose) -> QuestionStyle:
    return still_style(model) if purpose is Purpose.STILL else usual_style(model)


async def _frame(given: Namespace, model: ModelConfig, purpose: Purpose) -> Frame | None:
    if given.picture is None:
        return None
    with closing(PictureReader(frames=1)) as reader:
        views = await Readers(1).call(
            given.picture, partial(reader.views, given.picture, _style(model, purpose).shape)
        )
    if views.kind is ViewKind.VIDEO:
        raise MediaUnreadableError(f"{given.picture}: a video; name a picture")
    return views.frames[0]


def _size(frame: Frame | None, model: ModelConfig, purpose: Purpose) -> str:
    if frame is not None:
        return f"a JPEG of {frame.width} x {frame.height} pixels, {len(frame.jpeg):,} bytes"
    wanted = _style(model, purpose).shape
    return f"a JPEG, its longest side at most {wanted.max_side} pixels, of quality {wanted.quality}"


def _lines(endpoint: EndpointConfig, body: dict[str, Any], size: str) -> Iterator[str]:
    yield f"{endpoint.label}: POST {endpoint.base_url}/chat/completions"
    yield f"with {'the key of this endpoint' if endpoint.key() else 'no key'}"
    for message in body.pop("messages"):
        yield f"\n{message['role']}:"
        for text in _texts(message["content"], size):
            yield indent(text, "    ")
    yield "\neverything else:"
    yield json.dumps(body, ensure_ascii=False, indent=2)
    if "model" not in body:
        yield '"model" is added once the server has told which one it has loaded.'
    yield "What the server refuses of this is left out from then on."


def _texts(content: str | list[dict[str, Any]], size: str) -> Iterator[str]:
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        yield part["text"] if part["type"] == "text" else f"({size})"
