"""The composition root: settings become stages, a video or picture goes in, a result comes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from vlm_engine.clients import EndpointPool
from vlm_engine.clients.base import Client
from vlm_engine.clients.member import Servers, unique
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.errors import ConfigError
from vlm_engine.files import InMemoryFile
from vlm_engine.models import Model
from vlm_engine.models.custom import custom_models
from vlm_engine.models.pipelines import all_pipelines, kind_of
from vlm_engine.pipeline import Pipeline
from vlm_engine.store import AnswerStore
from vlm_engine.tagging.cached_client import CachedClient
from vlm_engine.tagging.cascade import Cascade
from vlm_engine.tagging.json_result import image_dict, read_earlier, video_dict
from vlm_engine.tagging.progress import Percent
from vlm_engine.tagging.tuning import fitted_rules
from vlm_engine.tasks import CloseWithLoop
from vlm_engine.types import EndpointStats, ImageResult, OnProgress, Source, VideoResult, ZipEntry

_log = logging.getLogger(__name__)
_NAMED = 10


class VLMEngine:
    """Finds which of the user's tags apply to videos and pictures, and when.

    Use it in ``async with``, or close it with ``aclose``; it opens on first need. What is left open is closed when the event
    loop ends. Safe for any number of ``process_…`` calls at once on one event loop.

    ``config``: the settings.
    ``client``: a client of one's own (``vlm_engine.clients.base.Client``), which is asked instead of the endpoints.
    ``models``: stages of one's own, as objects or classes, by the name that pipelines call them.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        client: Client | None = None,
        models: Mapping[str, Model | type[Model]] | None = None,
    ) -> None:
        self._config = config
        self._client = client
        self._own_models = dict(models or {})
        self._pools: list[tuple[str, EndpointPool]] = []
        self._pipelines: dict[str, Pipeline] = {}
        self._open = AsyncExitStack()
        self._at_end: CloseWithLoop | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def initialize(self) -> None:
        """Checks the pipelines, and opens the answer store and a pool of endpoints for each model. Asks no endpoint anything.

        Raises ``ConfigError`` and ``StoreError``.
        """
        self._closed = False
        if self._pipelines and self._at_end is not None and not self._at_end.is_closed:
            return
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._initialize())
            self._opening.add_done_callback(_seen)
        await asyncio.shield(
            self._opening
        )  # others may wait for it, too: it goes on when this one is given up

    async def _initialize(self) -> None:
        if self._config.loglevel is not None:
            logging.getLogger("vlm_engine").setLevel(self._config.loglevel)
        pipelines = all_pipelines(self._config.pipelines)
        store_path = Path(self._config.store_path) if self._config.store_path else None
        max_bytes = self._config.store_max_mb and self._config.store_max_mb * 1_000_000
        async with AsyncExitStack() as opening:
            store = await asyncio.to_thread(AnswerStore, store_path, max_bytes=max_bytes)
            opening.push_async_callback(asyncio.to_thread, store.close)
            panels = self._panels(store, opening)
            own = custom_models(self._config, self._own_models)
            stages = {
                **self._stages([panels[name] for name in self._config.active_models()]),
                **own,
            }
            asking = {kind: self._asking(kind, panels) for kind in ("video", "image")}
            for stage in (*stages.values(), *asking["video"].values(), *asking["image"].values()):
                opening.push_async_callback(stage.aclose)
            self._pipelines = {
                name: Pipeline(name, config, {**asking[kind_of(config)], **stages})
                for name, config in pipelines.items()
            }
            self._open = opening.pop_all()
            self._at_end = CloseWithLoop(self, self._open)
            await self._at_end.start()
        unused = self._config.unused_rules()
        if unused and not own:  # a stage of one's own may tell of other tags
            shown = ", ".join(unused[:_NAMED]) + (
                f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
            )
            _log.warning(
                "category_config: there are rules for tags that are not looked for: %s", shown
            )

    async def aclose(self) -> None:
        """Ends what is under way and closes everything. Closing twice does nothing."""
        self._closed = True
        if self._opening is not None and not self._opening.done():
            await asyncio.wait((self._opening,))
        self._pipelines = {}
        await self._open.aclose()
        if self._at_end is not None:
            await self._at_end.close()

    def _panels(self, store: AnswerStore, opening: AsyncExitStack) -> dict[str, Cascade]:
        """Whom to ask, for each model that is active or a stage of a pipeline; what they hold is closed by ``opening``."""
        active = self._config.active_models()
        if not active:
            raise ConfigError(
                'models: there is none to ask; a model that is asked is of type "vlm_model"'
            )
        servers, self._pools = Servers(), []
        if self._client is not None:
            opening.push_async_callback(self._client.aclose)

        def judge(name: str, model: ModelConfig) -> CachedClient:
            return CachedClient(self._client_for(name, model, servers, opening), store, model, name)

        def panel(name: str, model: ModelConfig) -> Cascade:
            own = judge(name, model)
            return Cascade(
                own,
                judge(model.scan_model, self._config.scanner_for(model))
                if model.scan_model
                else None,
            )

        staged = {stage.name for own in self._config.pipelines.values() for stage in own.models}
        asked = {
            name: model
            for name, model in self._config.models.items()
            if name in staged and model.type == "vlm_model"
        }
        return {name: panel(name, model) for name, model in {**active, **asked}.items()}

    def _client_for(
        self, name: str, model: ModelConfig, servers: Servers, opening: AsyncExitStack
    ) -> Client:
        if self._client is not None:
            return self._client
        try:
            pool = EndpointPool.from_config(model, servers)
        except ConfigError as error:
            raise ConfigError(f"models.{name}: {error}") from error
        opening.push_async_callback(pool.aclose)
        self._pools.append((name, pool))
        return pool

    def _asking(self, kind: str, panels: Mapping[str, Cascade]) -> dict[str, Model]:
        """Each model by itself as a stage of a pipeline for videos, or for pictures."""
        from vlm_engine.models.asking import AskAboutPicture, AskAboutVideo

        make = AskAboutPicture if kind == "image" else AskAboutVideo
        return {name: make(name, panel, self._config) for name, panel in panels.items()}

    def _stages(self, panels: Sequence[Cascade]) -> dict[str, Model]:
        # What decodes is imported only now: to import the engine and to make one stays quick.
        from vlm_engine.models.image import JudgeImage
        from vlm_engine.models.video import DescribeVideo, ProbeVideo, SearchVideo

        return {
            "probe_video": ProbeVideo(self._config),
            "search_video": SearchVideo(panels, self._config),
            "describe_video": DescribeVideo(self._config),
            "judge_image": JudgeImage(panels, self._config),
        }

    async def process_video(  # noqa: PLR0913, PLR0917 - the order that scripts in the field rely on
        self,
        path: str | Path | Source,
        frame_interval: float | None = None,
        threshold: float | None = None,
        return_timestamps: bool = True,
        return_confidence: bool = True,
        vr_video: bool = False,
        progress_callback: Callable[[int], Any] | None = None,
        existing_json_data: Mapping[str, Any] | None = None,
        skipped_categories: Iterable[str] | None = None,
        pipeline_name: str = "video",
    ) -> dict[str, Any]:
        """Tags one video.

        ``path``: the file, or a ``Source`` that sends it.
        ``frame_interval``: the longest time between two looks of the scan, in seconds; None or 0: as ``SearchConfig`` says.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as ``default_rule`` says.
        ``return_timestamps``: whether ``video_tag_info`` has the spans of each tag, ``tag_timespans``.
        ``return_confidence``: whether these have their confidence, ``totalConfidence``.
        ``vr_video``: whether this is a VR video, of which only what one eye sees ahead is looked at.
        ``progress_callback``: called, or awaited, with whole per cent as they grow, each once, 100 at the end.
        ``existing_json_data``: an earlier ``json_result`` of this video; what it covers is not asked again.
        ``skipped_categories``: categories that are left out.
        ``pipeline_name``: ``video``, or one of ``EngineConfig.pipelines``, whose output is returned.

        Returns ``video_tag_info``, ``json_result`` and ``coverage``. Raises ``MediaError``, ``NoEndpointError`` and
        ``CoverageError``.
        """
        async with Percent(progress_callback) as percent:
            result = await self._run(
                pipeline_name,
                video_path=path,
                frame_interval=frame_interval,
                time_interval=frame_interval,
                threshold=threshold,
                return_timestamps=return_timestamps,
                return_confidence=return_confidence,
                vr_video=vr_video,
                existing_json_data=existing_json_data,
                earlier=read_earlier(existing_json_data) if existing_json_data else None,
                skipped_categories=skipped_categories or (),
                on_progress=percent,
            )
        if isinstance(result, VideoResult):
            return video_dict(result, timestamps=return_timestamps, confidence=return_confidence)
        return dict(result)

    async def tag_video(
        self,
        path: str | Path | Source,
        *,
        identity: str | None = None,
        frame_interval: float | None = None,
        threshold: float | None = None,
        vr_video: bool = False,
        on_progress: OnProgress | None = None,
    ) -> VideoResult:
        """What ``process_video`` does with the built-in pipeline, as typed values.

        ``path``: the file, or a ``Source`` that sends it.
        ``identity``: names the video in the answer store; None: it follows from the file's size, time of change and ends.
        ``frame_interval``: the longest time between two looks of the scan, in seconds; None or 0: as ``SearchConfig`` says.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as ``default_rule`` says.
        ``vr_video``: whether this is a VR video, of which only what one eye sees ahead is looked at.
        ``on_progress``: called with a ``Progress`` after every frame.

        Raises as ``process_video`` does.
        """
        result = await self._run(
            "video",
            video_path=path,
            identity=identity,
            frame_interval=frame_interval,
            threshold=threshold,
            vr_video=vr_video,
            on_progress=on_progress,
        )
        assert isinstance(result, VideoResult)
        return result

    async def process_image(
        self,
        image: str | Path | bytes | bytearray | memoryview | ZipEntry | InMemoryFile,
        threshold: float | None = None,
        return_confidence: bool = True,
        skipped_categories: Iterable[str] | None = None,
        pipeline_name: str = "image",
    ) -> dict[str, Any]:
        """Tags one picture.

        ``image``: a path, the file's bytes (``InMemoryFile``: with a name for messages), or an entry of a zip.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as ``default_rule`` says.
        ``return_confidence``: whether the result has the confidence of each tag, ``confidences``.
        ``skipped_categories``: categories that are left out.
        ``pipeline_name``: ``image``, or one of ``EngineConfig.pipelines``, whose output is returned.

        Returns ``image_tag_info`` and ``coverage``. Raises ``MediaError``, ``ClientError`` when this picture cannot be
        judged, and ``NoEndpointError``.
        """
        result = await self._run(
            pipeline_name,
            image=_unchanging(image),
            threshold=threshold,
            return_confidence=return_confidence,
            skipped_categories=skipped_categories or (),
        )
        return (
            image_dict(result, confidence=return_confidence)
            if isinstance(result, ImageResult)
            else dict(result)
        )

    async def tag_image(
        self,
        source: str | Path | bytes | bytearray | memoryview | ZipEntry | InMemoryFile,
        *,
        identity: str | None = None,
        threshold: float | None = None,
    ) -> ImageResult:
        """What ``process_image`` does with the built-in pipeline, as typed values.

        ``source``: as ``image`` there.
        ``identity``: names the picture in the answer store; None: it follows from the content, which then has to be read even
        where nothing is left to ask.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as ``default_rule`` says.

        Raises as ``process_image`` does.
        """
        result = await self._run(
            "image", image=_unchanging(source), identity=identity, threshold=threshold
        )
        assert isinstance(result, ImageResult)
        return result

    async def _run(self, pipeline_name: str, **values: Any) -> Any:
        if self._closed:
            raise ConfigError("the engine is closed; `await engine.initialize()` opens it again")
        await self.initialize()
        if pipeline_name not in self._pipelines:
            raise ConfigError(
                f"there is no pipeline {pipeline_name!r}; there are: {', '.join(self._pipelines)}"
            )
        pipeline = self._pipelines[pipeline_name]
        unknown = [name for name in pipeline.inputs if name not in {**_DEFAULTS, **values}]
        if unknown:
            raise ConfigError(
                f"pipeline {pipeline_name!r}: nobody gives its input {unknown[0]!r} here"
            )
        asked = {**_DEFAULTS, **values}
        skipped = _categories(
            asked["skipped_categories"], {model.category for model in self._config.models.values()}
        )
        return await pipeline.run(
            {**asked, "threshold": _share(asked["threshold"]), "skipped_categories": skipped}
        )

    def get_performance_stats(self) -> dict[str, Any]:
        """What each endpoint did since ``initialize``, by its name: what ``EndpointStats`` tells, as a dictionary, and
        ``model``, which of the models it was asked for.
        """
        return {
            label: {"model": model, **asdict(stats)}
            for label, (model, stats) in self._stats().items()
        }

    @property
    def slots(self) -> int:
        """How many questions it is worth having under way at once, as far as is known now."""
        if self._client is not None:
            return self._client.slots
        return max(1, sum(pool.slots for _, pool in self._pools))

    def endpoint_stats(self) -> Mapping[str, EndpointStats]:
        """What each endpoint did, typed. Empty for a client of one's own."""
        return {label: stats for label, (_, stats) in self._stats().items()}

    def _stats(self) -> dict[str, tuple[str, EndpointStats]]:
        """By the endpoint's name, which is followed by that of the model where there are several."""
        every = [
            (label, model, stats)
            for model, pool in self._pools
            for label, stats in pool.stats().items()
        ]
        labels = unique(
            [f"{label} ({model})" if len(self._pools) > 1 else label for label, model, _ in every]
        )
        return {
            label: (model, stats) for label, (_, model, stats) in zip(labels, every, strict=True)
        }

    async def optimize_timeframe_settings(
        self, existing_json_data: Mapping[str, Any], desired_timespan_data: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The rules that make the markers of an earlier ``json_result`` most like spans a person has tuned.

        ``existing_json_data``: that earlier ``json_result``.
        ``desired_timespan_data``: {tag: [{"start": s, "end": s}, …]}, or {category: {tag: […]}}, with the tags' names as the
        model was asked; no spans where a tag should have none.

        Returns for each tag, by the same names, the best ``TagThreshold``, ``MaxGap``, ``MinMarkerDuration`` and
        ``RequiredDuration``, and ``precision_before``, ``recall_before``, ``f1_before`` and the same ``…_after``: a marker is
        right that shares at least half of the time that it and a tuned span cover. Asks no model. Raises ``ConfigError``.
        """
        return await asyncio.to_thread(
            fitted_rules, self._config, existing_json_data, desired_timespan_data
        )


_DEFAULTS: Mapping[str, Any] = {
    "identity": None,
    "threshold": None,
    "frame_interval": None,
    "vr_video": False,
    "skipped_categories": (),
    "earlier": None,
    "on_progress": None,
}


def _share(threshold: Any) -> float | None:
    if threshold is None or (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        return threshold
    raise ConfigError(f"threshold: {threshold!r} is not a number from 0 to 1")


def _categories(skipped: Any, known: Collection[str]) -> tuple[str, ...]:
    if isinstance(skipped, str):
        raise ConfigError(
            f"skipped_categories: {skipped!r} is a text; write a list of categories: [{skipped!r}]"
        )
    names = tuple(skipped)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"skipped_categories: there is no category {name!r}; there are: {', '.join(sorted(known))}"
            )
    return names


def _unchanging(
    image: str | Path | bytes | bytearray | memoryview | ZipEntry | InMemoryFile,
) -> str | Path | bytes | ZipEntry | InMemoryFile:
    return bytes(image) if isinstance(image, bytearray | memoryview) else image


def _seen(task: asyncio.Task[None]) -> None:
    """Keeps asyncio from complaining of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
