"""``VLMEngine``: settings become clients and a store; a video or picture goes in, a result comes
out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vlm_engine.clients import EndpointPool
from vlm_engine.clients.base import Client
from vlm_engine.clients.member import Servers, Shares, unique
from vlm_engine.config.models import EngineConfig, ModelConfig, PipelineConfig
from vlm_engine.errors import ConfigError
from vlm_engine.files import InMemoryFile
from vlm_engine.models import Model
from vlm_engine.models.custom import custom_models
from vlm_engine.store import AnswerStore, Store
from vlm_engine.tagging.cached_client import CachedClient, Cascade
from vlm_engine.tagging.requests import ImageRequest, VideoRequest
from vlm_engine.tagging.results import PercentCallback, image_dict, read_earlier, video_dict
from vlm_engine.tagging.tuning import fitted_rules
from vlm_engine.tasks import CloseWithLoop
from vlm_engine.types import (
    EndpointStats,
    ImageResult,
    OnProgress,
    Source,
    StyleComparison,
    VideoResult,
    ZipEntry,
)

if TYPE_CHECKING:  # what decodes is imported when it is used: to make an engine stays quick
    from vlm_engine.checkup.agreement import FrameComparison
    from vlm_engine.checkup.frames import OnFraction, VideoFile
    from vlm_engine.checkup.screening import Screening
    from vlm_engine.pipeline import Pipeline
    from vlm_engine.tagging.image import ImageTagger

_log = logging.getLogger(__name__)
_MOST_NAMED = 10


class VLMEngine:
    """Finds which of the user's tags apply to videos and pictures, and when.

    Use it in ``async with``, or close it with ``aclose``; it opens on first use. What is left open
    is closed when the event loop ends. Safe for any number of ``process_…`` calls at once on one
    event loop.

    ``config``: the settings.
    ``client``: a ``vlm_engine.clients.base.Client`` that is asked instead of the endpoints.
    ``models``: stages for pipelines, as objects or classes, by the name that pipelines call them.
    ``store``: keeps the answers instead of the file at ``EngineConfig.store_path``; closed with the
    engine. ``shares``: what this process may have of servers that other processes ask, too.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        client: Client | None = None,
        models: Mapping[str, Model | type[Model]] | None = None,
        store: Store | None = None,
        shares: Shares | None = None,
    ) -> None:
        self._config = config
        self._client = client
        self._given_models = dict(models or {})
        self._given_store = store
        self._shares = shares
        self._pools: list[tuple[str, EndpointPool]] = []
        self._opened: _Opened | None = None
        self._stack = AsyncExitStack()
        self._close_with_loop: CloseWithLoop | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def initialize(self) -> None:
        """Check the pipelines, and open the answer store and a pool of endpoints for each model.

        Sends no request. Raises ``ConfigError`` and ``StoreError``.
        """
        self._closed = False
        await self._open()

    async def aclose(self) -> None:
        """Cancel what is in flight and close everything. Harmless when repeated."""
        self._closed = True
        if self._opening is not None and not self._opening.done():
            await asyncio.wait((self._opening,))
        self._opened = None
        await self._stack.aclose()
        if self._close_with_loop is not None:
            await self._close_with_loop.close()

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
        """Tag one video.

        ``path``: the file, or a ``Source`` that sends it.
        ``frame_interval``: the longest time between two frames of the scan, in seconds; None or 0:
        as ``SearchConfig`` says.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as
        ``default_rule`` says.
        ``return_timestamps``: whether ``video_tag_info`` has the spans of each tag,
        ``tag_timespans``.
        ``return_confidence``: whether these have their confidence, ``totalConfidence``.
        ``vr_video``: whether this is a VR video, of which only what one eye sees ahead is looked
        at.
        ``progress_callback``: called, or awaited, with whole per cent as they grow, each once, 100
        at the end.
        ``existing_json_data``: an earlier ``json_result`` of this video; what it covers is not
        asked again.
        ``skipped_categories``: categories that are left out.
        ``pipeline_name``: ``video``, or one of ``EngineConfig.pipelines``, whose output is
        returned.

        Returns ``video_tag_info``, ``json_result`` and ``coverage``. Raises ``MediaError``,
        ``NoEndpointError`` and ``CoverageError``.
        """
        async with PercentCallback(progress_callback) as on_progress:
            request = VideoRequest(
                path,
                frame_interval=frame_interval,
                threshold=_checked_threshold(threshold),
                vr_video=vr_video,
                skipped_categories=self._checked_categories(skipped_categories),
                earlier=read_earlier(existing_json_data) if existing_json_data else None,
                on_progress=on_progress,
            )
            result = await self.run_video(
                request,
                pipeline_name,
                existing_json_data=existing_json_data,
                return_timestamps=return_timestamps,
                return_confidence=return_confidence,
            )
        if not isinstance(result, VideoResult):
            return dict(result)
        return video_dict(result, timestamps=return_timestamps, confidence=return_confidence)

    async def tag_video(
        self,
        path: str | Path | Source,
        *,
        identity: str | None = None,
        frame_interval: float | None = None,
        least_effort: float = 0.0,
        threshold: float | None = None,
        vr_video: bool = False,
        on_progress: OnProgress | None = None,
    ) -> VideoResult:
        """Tag one video as ``process_video`` does, and return typed values.

        ``path``: the file, or a ``Source`` that sends it.
        ``identity``: names the video in the answer store; None: it follows from the file's size,
        time of change and ends.
        ``frame_interval``: the longest time between two frames of the scan, in seconds; None or 0:
        as ``SearchConfig`` says.
        ``least_effort``: the effort of the search if ``SearchConfig`` has less, at most 10.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as
        ``default_rule`` says.
        ``vr_video``: whether this is a VR video, of which only what one eye sees ahead is looked
        at.
        ``on_progress``: called with a ``Progress`` after every frame.

        Raises as ``process_video``.
        """
        request = VideoRequest(
            path,
            identity=identity,
            frame_interval=frame_interval,
            least_effort=least_effort,
            threshold=_checked_threshold(threshold),
            vr_video=vr_video,
            on_progress=on_progress,
        )
        result = await self.run_video(request, "video")
        if isinstance(result, VideoResult):
            return result
        raise ConfigError("pipeline 'video': its output is no VideoResult")

    async def run_video(
        self, request: VideoRequest, pipeline_name: str, **values: object
    ) -> VideoResult | Mapping[str, Any]:
        """Return the output of this pipeline: what ``process_video`` and ``tag_video`` rest on.

        ``values``: those of the call that the pipeline may take.
        """
        from vlm_engine.tagging.video import describe, probe, search

        opened = await self._open()
        pipeline = opened.custom_pipeline(pipeline_name, "video")
        if pipeline is not None:
            output: VideoResult | Mapping[str, Any] = await pipeline.run(
                _values_of(request) | values
            )
            return output
        video = await probe(request, self._config)
        found = await search(video, opened.cascades, request, self._config)
        return describe(found, self._config, request.threshold)

    async def process_image(
        self,
        image: str | Path | bytes | bytearray | memoryview | ZipEntry | InMemoryFile,
        threshold: float | None = None,
        return_confidence: bool = True,
        skipped_categories: Iterable[str] | None = None,
        pipeline_name: str = "image",
    ) -> dict[str, Any]:
        """Tag one picture.

        ``image``: a path, the file's bytes (``InMemoryFile``: with a name for messages), or an
        entry of a zip.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as
        ``default_rule`` says.
        ``return_confidence``: whether the result has the confidence of each tag, ``confidences``.
        ``skipped_categories``: categories that are left out.
        ``pipeline_name``: ``image``, or one of ``EngineConfig.pipelines``, whose output is
        returned.

        Returns ``image_tag_info`` and ``coverage``. Raises ``MediaError``, ``ClientError`` when
        this picture cannot be judged, and ``NoEndpointError``.
        """
        request = ImageRequest(
            _immutable(image),
            threshold=_checked_threshold(threshold),
            skipped_categories=self._checked_categories(skipped_categories),
        )
        result = await self.run_image(request, pipeline_name, return_confidence=return_confidence)
        if not isinstance(result, ImageResult):
            return dict(result)
        return image_dict(result, confidence=return_confidence)

    async def tag_image(
        self,
        source: str | Path | bytes | bytearray | memoryview | ZipEntry | InMemoryFile,
        *,
        identity: str | None = None,
        threshold: float | None = None,
    ) -> ImageResult:
        """Tag one picture as ``process_image`` does, and return typed values.

        ``source``: as ``image`` there.
        ``identity``: names the picture in the answer store; None: it follows from the content,
        which must then be read even where nothing is left to ask.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as
        ``default_rule`` says.

        Raises as ``process_image``.
        """
        request = ImageRequest(
            _immutable(source), identity=identity, threshold=_checked_threshold(threshold)
        )
        result = await self.run_image(request, "image")
        if isinstance(result, ImageResult):
            return result
        raise ConfigError("pipeline 'image': its output is no ImageResult")

    async def run_image(
        self, request: ImageRequest, pipeline_name: str, **values: object
    ) -> ImageResult | Mapping[str, Any]:
        """Return the output of this pipeline: what ``process_image`` and ``tag_image`` rest on.

        ``values``: those of the call that the pipeline may take.
        """
        opened = await self._open()
        pipeline = opened.custom_pipeline(pipeline_name, "image")
        if pipeline is None:
            return await opened.images.tag(request, opened.cascades)
        output: ImageResult | Mapping[str, Any] = await pipeline.run(_values_of(request) | values)
        return output

    @property
    def slots(self) -> int:
        """Number of questions worth having in flight at once, as far as is known now."""
        if self._client is not None:
            return self._client.slots
        return max(1, sum(pool.slots for _, pool in self._pools))

    @property
    def videos_at_once(self) -> int | None:
        """Number of videos worth having in flight at once; None: a few, for this machine's sake."""
        return None

    def get_performance_stats(self) -> dict[str, Any]:
        """Return what each endpoint did since ``initialize``, by its name: the fields of
        ``EndpointStats``, and ``model``, which of the models it was asked for.
        """
        return {
            label: {"model": model, **asdict(stats)}
            for label, (model, stats) in self.labelled_stats().items()
        }

    def endpoint_stats(self) -> Mapping[str, EndpointStats]:
        """Return what each endpoint did, by its name. Empty where ``client`` is given."""
        return {label: stats for label, (_, stats) in self.labelled_stats().items()}

    def style_comparisons(self) -> tuple[StyleComparison, ...]:
        """Return what is known of the styles of asking each model, as of the last video: how often
        it saw a tag in small pictures and in full ones, in lists and by verdicts.

        Empty before a video was tagged, and for models whose settings leave nothing open.
        """
        cascades = self._opened.cascades if self._opened else ()
        clients = [client for cascade in cascades for client in cascade.members]
        return tuple(one for client in clients for one in client.comparisons)

    async def compare_styles(
        self,
        videos: Iterable[VideoFile],
        frames: int = 40,
        on_progress: OnFraction | None = None,
    ) -> tuple[FrameComparison, ...]:
        """Ask each active model about frames of these videos in every style: small and full
        pictures; verdicts, lists and bare names. Return how far the styles agree, and what each
        costs.

        ``videos``: those whose frames may be taken, such as all that are to be tagged.
        ``frames``: the number of frames, of as many videos as possible. Each is asked about six
        times. The same videos give the same frames.
        ``on_progress``: called with the share that is done, from 0 to 1.

        Answers are stored, so what was asked before is not asked again, here or when the video is
        tagged. Videos that cannot be read are skipped and named. Raises ``NoEndpointError``.
        """
        from vlm_engine.checkup.frames import compare_styles

        if frames < 1:
            raise ConfigError(f"frames: {frames} is too few; compare 1 or more")

        cascades = (await self._open()).cascades
        clients = [client for cascade in cascades for client in cascade.members]
        return await compare_styles(
            clients, videos, frames, self._config, on_progress or (lambda _: None)
        )

    def labelled_stats(self) -> dict[str, tuple[str, EndpointStats]]:
        """Return the model of each endpoint and its statistics, by the endpoint's name, followed by
        that of the model where there are several.
        """
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
        """Return the rules that make the markers of an earlier ``json_result`` most like spans that
        a person has tuned.

        ``existing_json_data``: that earlier ``json_result``.
        ``desired_timespan_data``: {tag: [{"start": s, "end": s}, …]}, or {category: {tag: […]}},
        with the tags' names as the model was asked; no spans where a tag should have none.

        Returns for each tag, by the same names, the best ``TagThreshold``, ``MaxGap``,
        ``MinMarkerDuration`` and ``RequiredDuration``, and ``precision_before``, ``recall_before``,
        ``f1_before`` and the same ``…_after``: a marker is right that shares at least half of the
        time that it and a tuned span cover. Asks no model. Raises ``ConfigError``.
        """
        return await asyncio.to_thread(
            fitted_rules, self._config, existing_json_data, desired_timespan_data
        )

    # Opening.

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("the engine is closed; `await engine.initialize()` opens it again")

    async def _open(self) -> _Opened:
        self._check_open()
        if self._close_with_loop is not None and self._close_with_loop.is_closed:
            self._opened = None  # with the event loop that it was opened on
        if self._opened is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.create_task(self._initialize())
                self._opening.add_done_callback(_retrieve_error)
            await asyncio.shield(self._opening)  # others may wait for it, too
        if self._opened is None:
            raise ConfigError("the engine was closed while it opened")
        return self._opened

    async def _initialize(self) -> None:
        from vlm_engine.pipeline import all_pipelines
        from vlm_engine.tagging.image import ImageTagger

        config = self._config
        if config.loglevel is not None:
            logging.getLogger("vlm_engine").setLevel(config.loglevel)
        pipelines = all_pipelines(config.pipelines)
        async with AsyncExitStack() as stack:
            store = self._given_store
            if store is None:
                store = await asyncio.to_thread(opened_store, config)
            stack.push_async_callback(asyncio.to_thread, store.close)
            cascades = self._cascades(store, stack)
            custom = custom_models(config, self._given_models)
            for stage in custom.values():
                stack.push_async_callback(stage.aclose)
            images = ImageTagger(config)
            stack.push_async_callback(images.aclose)
            self._opened = self._with_stages(pipelines, cascades, images, custom)
            self._stack = stack.pop_all()
            self._close_with_loop = CloseWithLoop(self, self._stack)
            await self._close_with_loop.start()
        unused = config.unused_rules()
        if unused and not custom:  # a custom stage may find other tags
            more = f" and {len(unused) - _MOST_NAMED} more" if len(unused) > _MOST_NAMED else ""
            _log.warning(
                "category_config: there are rules for tags that are not looked for: %s%s",
                ", ".join(unused[:_MOST_NAMED]),
                more,
            )

    def _with_stages(
        self,
        configs: Mapping[str, PipelineConfig],
        cascades: Mapping[str, Cascade],
        images: ImageTagger,
        custom: Mapping[str, Model],
    ) -> _Opened:
        from vlm_engine.models.stages import built_in_stages, model_stage
        from vlm_engine.pipeline import Pipeline, kind_of

        active = tuple(cascades[name] for name in self._config.active_models())
        built_in = built_in_stages(active, self._config, images)
        pipelines = {}
        for name, config in configs.items():
            models = {
                model: model_stage(model, kind_of(config), cascade, self._config, images)
                for model, cascade in cascades.items()
            }
            pipelines[name] = Pipeline(name, config, {**models, **built_in, **custom})
        return _Opened(active, images, pipelines, bool(built_in.keys() & custom.keys()))

    def _cascades(self, store: Store, stack: AsyncExitStack) -> dict[str, Cascade]:
        """Return the clients of each model that is active or a stage of a pipeline, by its name."""
        active = self._config.active_models()
        if not active:
            raise ConfigError(
                'models: there is none to ask; a model that is asked is of type "vlm_model"'
            )
        servers, self._pools = Servers(self._shares), []
        screening = self._screening(store)
        if self._client is not None:
            stack.push_async_callback(self._client.aclose)

        def cached(name: str, model: ModelConfig) -> CachedClient:
            client = self._client_for(name, model, servers, screening, stack)
            return CachedClient(client, store, model, name)

        def cascade(name: str, model: ModelConfig) -> Cascade:
            judge = cached(name, model)
            if not model.scan_model:
                return Cascade(judge)
            return Cascade(judge, cached(model.scan_model, self._config.scanner_for(model)))

        staged = {
            stage.name for pipeline in self._config.pipelines.values() for stage in pipeline.models
        }
        as_stages = {
            name: model
            for name, model in self._config.models.items()
            if name in staged and model.type == "vlm_model"
        }
        return {name: cascade(name, model) for name, model in {**active, **as_stages}.items()}

    def _screening(self, store: Store) -> Screening | None:
        """Return what tests endpoints before their first question, unless that is turned off."""
        if not self._config.check_endpoints:
            return None
        from vlm_engine.checkup.screening import Screening

        return Screening(store)

    def _client_for(
        self,
        name: str,
        model: ModelConfig,
        servers: Servers,
        screening: Screening | None,
        stack: AsyncExitStack,
    ) -> Client:
        if self._client is not None:
            return self._client
        try:
            screen = None if screening is None else partial(screening.screen, model)
            pool = EndpointPool.from_config(model, servers, screen, name)
        except ConfigError as error:
            raise ConfigError(f"models.{name}: {error}") from error
        stack.push_async_callback(pool.aclose)
        self._pools.append((name, pool))
        return pool

    def _checked_categories(self, skipped: Iterable[str] | None) -> tuple[str, ...]:
        if isinstance(skipped, str):
            raise ConfigError(
                f"skipped_categories: {skipped!r} is a text; "
                f"write a list of categories: [{skipped!r}]"
            )
        known = sorted({model.category for model in self._config.models.values()})
        names = tuple(skipped or ())
        for name in names:
            if name not in known:
                there = ", ".join(known)
                raise ConfigError(
                    f"skipped_categories: there is no category {name!r}; there are: {there}"
                )
        return names


def opened_store(config: EngineConfig) -> AnswerStore:
    """Return the store that the settings name. Blocks. Raises ``StoreError``."""
    path = Path(config.store_path) if config.store_path else None
    return AnswerStore(path, max_bytes=config.store_max_mb and config.store_max_mb * 1_000_000)


@dataclass(frozen=True, slots=True)
class _Opened:
    """Parts of an open engine. ``cascades`` are those of the active models.

    ``has_replaced_stages``: whether a custom stage has the name of a built-in one.
    """

    cascades: tuple[Cascade, ...]
    images: ImageTagger
    pipelines: Mapping[str, Pipeline]
    has_replaced_stages: bool

    def custom_pipeline(self, name: str, kind: str) -> Pipeline | None:
        """Return the pipeline of this name; None if it is the built-in one for ``kind`` of media.

        Raises ``ConfigError`` when there is none.
        """
        pipeline = self.pipelines.get(name)
        if pipeline is None:
            there = ", ".join(self.pipelines)
            raise ConfigError(f"there is no pipeline {name!r}; there are: {there}")
        is_built_in = pipeline.built_in_kind == kind and not self.has_replaced_stages
        return None if is_built_in else pipeline


def _values_of(request: VideoRequest | ImageRequest) -> dict[str, Any]:
    """Return the request as the values that pipelines take."""
    values = {field.name: getattr(request, field.name) for field in fields(request)}
    source = values.pop("source")
    if isinstance(request, ImageRequest):
        return {"image": source, **values}
    return {"video_path": source, "time_interval": request.frame_interval, **values}


def _checked_threshold(threshold: object) -> float | None:
    if threshold is None or (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        return threshold
    raise ConfigError(f"threshold: {threshold!r} is not a number from 0 to 1")


def _immutable(
    image: str | Path | bytes | bytearray | memoryview | ZipEntry | InMemoryFile,
) -> str | Path | bytes | ZipEntry | InMemoryFile:
    return bytes(image) if isinstance(image, bytearray | memoryview) else image


def _retrieve_error(task: asyncio.Task[None]) -> None:
    """Keep asyncio from logging an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
