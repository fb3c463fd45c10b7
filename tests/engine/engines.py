"""Settings, engines and endpoints that the tests of the engine share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sandbox.videos import LabelledVideo
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, parse
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import Span, VideoResult

TAGS = ("Foul", "Turnover", "Goal")


def model(vlm: SandboxVLM, tags: Iterable[object] = TAGS, **more: Any) -> dict[str, Any]:
    """Return the settings of a model that this endpoint serves."""
    endpoint = {"base_url": vlm.url, "max_concurrent": vlm.behaviour.slots}
    return {"multiplexer_endpoints": [endpoint], "tag_list": [*tags], **more}


def config(
    models: Mapping[str, Mapping[str, Any]], store: Path | None = None, **more: Any
) -> EngineConfig:
    """Return the settings of an engine, whose questions do not depend on how busy this machine is.

    ``more``: settings, of which those of ``search`` come on top.
    """
    search = {"learn_costs": False, **more.pop("search", {})}
    settings = {"models": models, "store_path": store and str(store), "search": search, **more}
    return parse(EngineConfig, settings, "")


def plays(
    vlm: SandboxVLM,
    tags: Iterable[object] = TAGS,
    store: Path | None = None,
    *,
    model_settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> EngineConfig:
    """Return the settings of an engine with one model, of the category ``plays``."""
    settings = model(vlm, tags, model_category="plays", **(model_settings or {}))
    return config({"vlm": settings}, store, **more)


@asynccontextmanager
async def play(
    behaviour: Behaviour | None = None, **settings: Any
) -> AsyncIterator[tuple[VLMEngine, SandboxVLM]]:
    """Open an engine and its one endpoint; ``settings`` as for ``plays``."""
    async with (
        SandboxVLM(behaviour or Behaviour(slots=4)) as vlm,
        VLMEngine(plays(vlm, **settings)) as engine,
    ):
        yield engine, vlm


def true_tags(video: LabelledVideo) -> set[str]:
    """Return the tags that the video shows."""
    return {tag for tag, spans in video.truth.items() if spans}


def bounds(result: VideoResult, tag: str) -> list[tuple[float, float]]:
    """Return (start, end) of the spans that were found for a tag of any category."""
    spans: list[Span] = [
        span for by_tag in result.info.spans.values() for span in by_tag.get(tag, ())
    ]
    return [(span.start_s, span.end_s) for span in spans]


def damaged(video: LabelledVideo, path: Path, first: float, last: float) -> Path:
    """Copy the video with the bytes from ``first`` to ``last`` (shares of the file) overwritten."""
    data = bytearray(video.path.read_bytes())
    start, end = int(first * len(data)), int(last * len(data))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    return path
