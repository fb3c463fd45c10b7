"""The composition root: settings become stages, a video or picture goes in, a result comes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from vlm_engine.clients import EndpointPool
from vlm_engine.clients.base import Client
from vlm_engine.config_models import EngineConfig, ModelConfig, TagRule
from vlm_engine.errors import ConfigError
from vlm_engine.models import Model
from vlm_engine.models.custom import custom_models
from vlm_engine.models.image import JudgeImage
from vlm_engine.models.json_result import image_dict, read_observations, read_spans, video_dict, wanted_spans
from vlm_engine.models.judge import Judge
from vlm_engine.models.pipelines import all_pipelines
from vlm_engine.models.progress import Percent
from vlm_engine.models.search_run import OnProgress
from vlm_engine.models.video import DescribeVideo, ProbeVideo, SearchVideo
from vlm_engine.pipeline import Pipeline
from vlm_engine.spans import apply_rule, f1, fit_rule
from vlm_engine.store import AnswerStore
from vlm_engine.types import EndpointStats, ImageResult, Source, Span, VideoResult, ZipEntry


class VLMEngine:
    """Finds which of the user's tags apply to videos and pictures, and when.

    Use it in ``async with``, or call ``initialize`` first and ``aclose`` last. Safe for any number of ``process_…``
    calls at once on one event loop.

    ``config``: the settings.
    ``client``: a client of one's own (``vlm_engine.clients.base.Client``), which is asked instead of the endpoints.
    ``models``: stages of one's own, as objects or classes, by the name that pipelines call them.
    """

    def __init__(
        self, config: EngineConfig, *, client: Client | None = None, models: Mapping[str, Model | type[Model]] | None = None
    ) -> None:
        self._config = config
        self._client = client
        self._own_models = dict(models or {})
        self._pipelines: dict[str, Pipeline] = {}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def initialize(self) -> None:
        """Opens the answer store and the endpoints' pool, and checks the pipelines. Asks no endpoint anything.

        Raises ``ConfigError`` and ``StoreError``.
        """
        if self._pipelines:
            return
        if self._config.loglevel is not None:
            logging.getLogger("vlm_engine").setLevel(self._config.loglevel)
        model, pipelines = self._model(), all_pipelines(self._config.pipelines)
        store_path = Path(self._config.store_path) if self._config.store_path else None
        max_bytes = self._config.store_max_mb and self._config.store_max_mb * 1_000_000
        async with AsyncExitStack() as opening:
            store = await asyncio.to_thread(AnswerStore, store_path, max_bytes=max_bytes)
            opening.push_async_callback(asyncio.to_thread, store.close)
            if self._client is None:
                self._client = EndpointPool.from_config(model)
            opening.push_async_callback(self._client.aclose)
            stages = self._stages(Judge(self._client, store, model))
            for stage in stages.values():
                opening.push_async_callback(stage.aclose)
            self._pipelines = {name: Pipeline(name, config, stages) for name, config in pipelines.items()}
            self._open = opening.pop_all()

    async def aclose(self) -> None:
        """Ends what is under way and closes everything. Closing twice does nothing."""
        self._pipelines = {}
        await self._open.aclose()

    def _model(self) -> ModelConfig:
        usable = [name for name, model in self._config.models.items() if model.type == "vlm_model"]
        active = self._config.active_ai_models or tuple(usable)
        if len(active) != 1 or active[0] not in usable:
            known = ", ".join(usable) or 'none; a model needs type "vlm_model"'
            raise ConfigError(f"active_ai_models: name one model; there are: {known}")
        return self._config.models[active[0]]

    def _stages(self, judge: Judge) -> dict[str, Model]:
        return {
            "probe_video": ProbeVideo(self._config),
            "search_video": SearchVideo(judge, self._config),
            "describe_video": DescribeVideo(self._config),
            "judge_image": JudgeImage(judge, self._config),
            **custom_models(self._config, self._own_models),
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
                observations=read_observations(existing_json_data) if existing_json_data else {},
                skipped_categories=tuple(skipped_categories or ()),
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
        image: str | Path | bytes | ZipEntry,
        threshold: float | None = None,
        return_confidence: bool = True,
        skipped_categories: Iterable[str] | None = None,
        pipeline_name: str = "image",
    ) -> dict[str, Any]:
        """Tags one picture.

        ``image``: a path, the file's bytes, or an entry of a zip.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as ``default_rule`` says.
        ``return_confidence``: whether the result has the confidence of each tag, ``confidences``.
        ``skipped_categories``: categories that are left out.
        ``pipeline_name``: ``image``, or one of ``EngineConfig.pipelines``, whose output is returned.

        Returns ``image_tag_info`` and ``coverage``. Raises ``MediaError``, ``ClientError`` when this picture cannot be
        judged, and ``NoEndpointError``.
        """
        result = await self._run(
            pipeline_name,
            image=image,
            threshold=threshold,
            return_confidence=return_confidence,
            skipped_categories=tuple(skipped_categories or ()),
        )
        return image_dict(result, confidence=return_confidence) if isinstance(result, ImageResult) else dict(result)

    async def tag_image(
        self, source: str | Path | bytes | ZipEntry, *, identity: str | None = None, threshold: float | None = None
    ) -> ImageResult:
        """What ``process_image`` does with the built-in pipeline, as typed values.

        ``source``: a path, the file's bytes, or an entry of a zip.
        ``identity``: names the picture in the answer store; None: it follows from the content, which then has to be read even
        where nothing is left to ask.
        ``threshold``: the least confidence, from 0 to 1, for tags whose rule sets none; None: as ``default_rule`` says.

        Raises as ``process_image`` does.
        """
        result = await self._run("image", image=source, identity=identity, threshold=threshold)
        assert isinstance(result, ImageResult)
        return result

    async def _run(self, pipeline_name: str, **values: Any) -> Any:
        if not self._pipelines:
            raise ConfigError("the engine is not open: use it in `async with`, or call `await engine.initialize()` first")
        if pipeline_name not in self._pipelines:
            raise ConfigError(f"there is no pipeline {pipeline_name!r}; there are: {', '.join(self._pipelines)}")
        pipeline = self._pipelines[pipeline_name]
        unknown = [name for name in pipeline.inputs if name not in {**_DEFAULTS, **values}]
        if unknown:
            raise ConfigError(f"pipeline {pipeline_name!r}: nobody gives its input {unknown[0]!r} here")
        return await pipeline.run({**_DEFAULTS, **values})

    def get_performance_stats(self) -> dict[str, Any]:
        """What each endpoint did since ``initialize``, as ``EndpointStats`` tells, by its name: requests, failures, tokens."""
        return {name: asdict(stats) for name, stats in self.endpoint_stats().items()}

    @property
    def slots(self) -> int:
        """How many questions it is worth having under way at once, as far as is known now."""
        return self._client.slots if self._client is not None else 1

    def endpoint_stats(self) -> Mapping[str, EndpointStats]:
        """The same, typed. Empty for a client of one's own."""
        return self._client.stats() if isinstance(self._client, EndpointPool) else {}

    async def optimize_timeframe_settings(
        self, existing_json_data: Mapping[str, Any], desired_timespan_data: Mapping[str, Iterable[Mapping[str, Any]]]
    ) -> dict[str, Any]:
        """The rules that make the markers of an earlier ``json_result`` most like spans a person has tuned.

        ``existing_json_data``: that earlier ``json_result``.
        ``desired_timespan_data``: {tag: [{"start": s, "end": s}, …]}, with the tags' names as the model was asked.

        Returns {tag: {"TagThreshold", "MaxGap", "MinMarkerDuration", "f1_before", "f1_after"}}, F1 at a temporal IoU of
        at least .5. Asks no model. Raises ``ConfigError``.
        """
        category = self._model().category
        duration_s, by_tag = read_spans(existing_json_data)
        rule_of = self._config.rule_of(category)
        wanted = {tag: wanted_spans(desired) for tag, desired in desired_timespan_data.items()}
        return {
            tag: await asyncio.to_thread(_fit, by_tag.get(tag, []), own, rule_of(tag), duration_s) for tag, own in wanted.items()
        }


_DEFAULTS: Mapping[str, Any] = {
    "identity": None,
    "threshold": None,
    "frame_interval": None,
    "vr_video": False,
    "skipped_categories": (),
    "observations": {},
    "on_progress": None,
}


def _fit(spans: Sequence[Span], wanted: Sequence[tuple[float, float]], rule: TagRule, duration_s: float) -> dict[str, Any]:
    def score(candidate: TagRule) -> float:
        return f1([(span.start_s, span.end_s) for span in apply_rule(spans, candidate, duration_s)], wanted)

    fitted = fit_rule(spans, wanted, rule, duration_s)
    return {
        "TagThreshold": fitted.threshold,
        "MaxGap": fitted.max_gap.seconds(duration_s),
        "MinMarkerDuration": fitted.min_marker.seconds(duration_s),
        "f1_before": score(rule),
        "f1_after": score(fitted),
    }
