"""The way from a call of the engine to the HTTP request: short, typed, and for any client."""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.stills import saved
from tests.engine.engines import plays
from vlm_engine import VLMEngine
from vlm_engine.clients import OpenAIClient
from vlm_engine.config.models import EndpointConfig
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs

ROOT = Path(__file__).resolve().parents[2]
ENGINE = str(ROOT / "vlm_engine")
MOST_CALLS = 16


@pytest.mark.parametrize("slots", [1, 4])
async def test_one_client_serves_as_the_engines_client(clip, slots):
    async with SandboxVLM(Behaviour(slots=slots)) as vlm:
        model = plays(vlm).models["vlm"]
        client = OpenAIClient(EndpointConfig(base_url=vlm.url, max_concurrent=slots), model)
        async with VLMEngine(plays(vlm), client=client) as engine, VLMEngine(plays(vlm)) as usual:
            assert engine.slots == slots
            given = await engine.process_video(clip.path)
            assert (
                given["video_tag_info"] == (await usual.process_video(clip.path))["video_tag_info"]
            )
            picture = glyphs.picture(["Foul"], width=320, height=180)
            image = await engine.process_image(saved(picture, "PNG"))
            assert image["image_tag_info"]["image_tags"] == {"plays": ["Foul"]}
        assert vlm.counters.in_flight_max <= slots + 4  # the usual engine's too


began_by: ContextVar[tuple[str, ...]] = ContextVar("began_by", default=())
"""The engine's calls that led to the start of the task or callback that runs."""


def engine_calls() -> Iterator[str]:
    """Yield the engine's functions that led here, the outermost first."""
    frame, names = sys._getframe(1), list[str]()
    while frame is not None:
        if frame.f_code.co_filename.startswith(ENGINE) and not frame.f_code.co_name.startswith("<"):
            names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    yield from (*began_by.get(), *reversed(names))


def follow(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each task, and each callback given to ``call_soon``, know the calls that led to it."""

    def started(loop: Any, coroutine: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        token = began_by.set(tuple(engine_calls()))
        try:
            return asyncio.Task(coroutine, loop=loop, **more)  # copies the context
        finally:
            began_by.reset(token)

    call_soon = loop.call_soon

    def soon(callback: Callable[..., Any], *arguments: Any, **more: Any) -> asyncio.Handle:
        if not (getattr(callback, "__module__", "") or "").startswith("vlm_engine"):
            return call_soon(callback, *arguments, **more)
        token = began_by.set(tuple(engine_calls()))
        try:
            return call_soon(callback, *arguments, **more)
        finally:
            began_by.reset(token)

    loop.set_task_factory(started)
    monkeypatch.setattr(loop, "call_soon", soon)


@pytest.mark.parametrize("call", ["process_video", "tag_video"])
async def test_the_request_is_few_calls_deep(clip, call, monkeypatch):
    """Count the engine's functions on the stack when the first question is sent, and those on the
    stack when its task was created or its callback scheduled, and so on back to the call.
    """
    chains: list[list[str]] = []
    request = aiohttp.ClientSession._request

    async def counted(session: Any, method: str, url: Any, **more: Any) -> Any:
        if method == "POST":
            chains.append([*engine_calls()])
        return await request(session, method, url, **more)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", counted)
    follow(asyncio.get_running_loop(), monkeypatch)
    async with SandboxVLM(Behaviour(slots=1)) as vlm, VLMEngine(plays(vlm)) as engine:
        await getattr(engine, call)(clip.path)
    chain = chains[0]
    assert chain[0] == f"VLMEngine.{call}"
    assert "EndpointPool.ask" in chain
    assert len(chain) <= MOST_CALLS, "\n".join(chain)


def test_the_main_road_is_typed():
    """No ``Any`` and no ``assert isinstance`` between the engine's typed calls and the pool."""
    for module in ("video", "search_run", "category_search", "cached_client", "image", "requests"):
        path = ROOT / "vlm_engine" / "tagging" / f"{module}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Name) and node.id == "Any"), f"{path}:{node.lineno}"
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
