"""``ClusterEngine``: the engine whose videos and pictures the workers of a Dask cluster look at."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from vlm_engine.cluster.outcome import ImageOutput, VideoOutput, added
from vlm_engine.cluster.pictures import AT_ONCE
from vlm_engine.cluster.session import Session
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig
from vlm_engine.engine import VLMEngine, opened_store
from vlm_engine.errors import ConfigError, MediaOutOfReachError
from vlm_engine.paths import PathKind, place_of
from vlm_engine.tagging.requests import ImageRequest, VideoRequest, with_path
from vlm_engine.tasks import CloseWithLoop
from vlm_engine.types import EndpointStats, StyleComparison, VideoResult


class ClusterEngine(VLMEngine):
    """``VLMEngine`` whose videos and pictures are looked at by the workers of a Dask cluster.

    Methods, results and errors are those of ``VLMEngine``, and this process keeps the answer
    store. Of the videos that wait, the longest goes first. A file that one worker cannot read, or
    whose endpoints do not answer there, goes to another worker. Workers read files: a ``Source``
    that is none raises ``MediaOutOfReachError``. ``compare_styles`` looks from this process.

    ``config``: the settings; ``cluster`` must be set.
    """

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._settings = config
        self._session: Session | None = None
        self._closing: CloseWithLoop | None = None
        self._connecting = asyncio.Lock()

    async def initialize(self) -> None:
        """Open the answer store, connect to the cluster, and wait for its first worker.

        Raises ``ConfigError`` when no worker can be used, and ``StoreError``.
        """
        self._closed = False
        await self._connected()

    async def aclose(self) -> None:
        """Cancel what is in flight and close everything. Harmless when repeated."""
        self._closed = True
        async with self._connecting:
            self._session = None
            if self._closing is not None:
                await self._closing.close()
        await super().aclose()

    async def run_video(
        self, request: VideoRequest, pipeline_name: str, **values: object
    ) -> VideoOutput:
        """Return what a worker gives for this video. See ``VLMEngine``."""
        session = await self._connected()
        path = _path_of(request.source)
        sent = replace(with_path(request, _from_root), on_progress=None)
        size = await asyncio.to_thread(_size_of, path)
        found = await session.tag_video(sent, size, request.on_progress, pipeline_name, values)
        if isinstance(found, VideoResult):
            return replace(found, video=replace(found.video, path=path))
        return found

    async def run_image(
        self, request: ImageRequest, pipeline_name: str, **values: object
    ) -> ImageOutput:
        """Return what a worker gives for this picture. See ``VLMEngine``."""
        session = await self._connected()
        sent = with_path(request, _from_root)
        return await session.tag_image((sent, pipeline_name, values))

    @property
    def slots(self) -> int:
        """Number of pictures worth having in flight at once, as far as is known now."""
        return AT_ONCE * max(1, self._session.places if self._session else 0)

    @property
    def videos_at_once(self) -> int | None:
        """Number of videos worth having in flight at once, as far as is known now."""
        return self._session.places if self._session else None

    def labelled_stats(self) -> dict[str, tuple[str, EndpointStats]]:
        """Return what each endpoint did for all workers, as these told it last."""
        return added(self._session.dispatcher.states.values()) if self._session else {}

    def style_comparisons(self) -> tuple[StyleComparison, ...]:
        """Return what is known of the styles of asking each model, as of the last video."""
        return self._session.dispatcher.comparisons if self._session else ()

    async def _connected(self) -> Session:
        async with self._connecting:
            self._check_open()
            if self._closing is not None and self._closing.is_closed:
                self._session = None  # with the event loop that it was opened on
            if self._session is None:
                self._session = await self._connect()
            return self._session

    async def _connect(self) -> Session:
        cluster = self._settings.cluster
        if cluster is None:
            raise ConfigError("cluster: set the address of a scheduler, like tcp://host:8786")
        async with AsyncExitStack() as stack:
            store = await asyncio.to_thread(opened_store, self._settings)
            stack.push_async_callback(asyncio.to_thread, store.close)
            session = Session(for_workers(self._settings), cluster, store)
            await stack.enter_async_context(session)
            self._closing = CloseWithLoop(self, stack.pop_all())
            await self._closing.start()
        return session


def for_workers(config: EngineConfig) -> EngineConfig:
    """Return the settings as they travel: with the keys that this machine's environment holds, and
    without what is only for this process.
    """
    models = {name: _model(one) for name, one in config.models.items()}
    return config.model_copy(update={"models": models, "cluster": None, "store_path": None})


def _model(model: ModelConfig) -> ModelConfig:
    return model.model_copy(
        update={
            "use_multiplexer": True,
            "multiplexer_endpoints": tuple(map(_endpoint, model.every_endpoint())),
            "api_base_url": None,
            "api_key": SecretStr(""),
            "api_key_env": None,
        }
    )


def _endpoint(endpoint: EndpointConfig) -> EndpointConfig:
    if not endpoint.api_key_env or endpoint.api_key_env not in os.environ:
        return endpoint  # the worker's environment may have it
    return endpoint.model_copy(update={"api_key": SecretStr(endpoint.key()), "api_key_env": None})


def _path_of(source: object) -> str:
    if isinstance(source, str | Path):
        return str(source)
    raise MediaOutOfReachError(
        f"{getattr(source, 'name', source)}: the workers of a cluster read files only, and this "
        "is none: give them a path to it"
    )


def _from_root(path: str) -> str:
    """Return the path from the root: a worker stands in another folder."""
    is_relative = place_of(path).kind is PathKind.RELATIVE
    return os.path.abspath(path) if is_relative else path  # noqa: PTH100  (Path follows links)


def _size_of(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0  # a worker may have the file
