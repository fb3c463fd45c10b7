"""Pipelines that users write: named stages with inputs and outputs; and the built-in two, written
the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from vlm_engine.config.models import PipelineConfig, PipelineModelConfig
from vlm_engine.errors import ConfigError
from vlm_engine.models import Model
from vlm_engine.models.stages import IMAGE_VALUES, VIDEO_VALUES
from vlm_engine.tasks import gather_or_cancel

_SEARCH = ("video", "frame_interval", "vr_video", "skipped_categories", "earlier", "on_progress")
_IMAGE = ("image", "identity", "threshold", "skipped_categories")
VIDEO_PIPELINE = PipelineConfig(
    inputs=("video_path", "identity", "threshold", *_SEARCH[1:]),
    short_name="video",
    models=(
        PipelineModelConfig("probe_video", ("video_path", "identity"), "video"),
        PipelineModelConfig("search_video", _SEARCH, "findings"),
        PipelineModelConfig("describe_video", ("findings", "threshold"), "results"),
    ),
)
IMAGE_PIPELINE = PipelineConfig(
    inputs=_IMAGE,
    short_name="image",
    models=(PipelineModelConfig("judge_image", _IMAGE, "results"),),
)
_OLDER = {"dynamic_video_ai": VIDEO_PIPELINE, "dynamic_image_ai": IMAGE_PIPELINE}
"""Stages of an older engine that did alone what a built-in pipeline does."""


def all_pipelines(configured: Mapping[str, PipelineConfig]) -> dict[str, PipelineConfig]:
    """Return the built-in pipelines and the configured ones, by name.

    A pipeline for an older engine becomes the built-in one. Raises ``ConfigError`` for an input
    that no call has.
    """
    pipelines = {"video": VIDEO_PIPELINE, "image": IMAGE_PIPELINE}
    for name, config in configured.items():
        older = [_OLDER[stage.name] for stage in config.models if stage.name in _OLDER]
        pipelines[name] = older[0] if older else config
    faults = [fault for name, config in pipelines.items() for fault in _faults(name, config)]
    if faults:
        raise ConfigError("\n".join(faults))
    return pipelines


def kind_of(config: PipelineConfig) -> str:
    """Return the kind of media that a pipeline is for: ``video`` or ``image``."""
    return "image" if "image" in config.inputs else "video"


def _faults(name: str, config: PipelineConfig) -> Iterator[str]:
    for_images = kind_of(config) == "image"
    kind, values = ("pictures", IMAGE_VALUES) if for_images else ("videos", VIDEO_VALUES)
    for wanted in config.inputs:
        if wanted not in values:
            there = ", ".join(values)
            message = f"nobody gives its input {wanted!r}; for {kind} there are: {there}"
            yield f"pipeline {name!r}: {message}"


class Pipeline:
    """One pipeline, ready to run.

    Raises ``ConfigError`` that names the stage without a model, or without an input that it needs.
    """

    def __init__(self, name: str, config: PipelineConfig, models: Mapping[str, Model]) -> None:
        self._name = name
        self._config = config
        self._models = models
        for stage in config.models:
            if stage.name not in models:
                there = ", ".join(sorted(models))
                raise self._error(f"there is no model {stage.name!r}; there are: {there}")
            for needed in models[stage.name].needs:
                if needed not in stage.inputs:
                    raise self._error(
                        f"stage {stage.name!r} works on {needed!r}, which is not among its inputs"
                    )

    @property
    def built_in_kind(self) -> str | None:
        """The kind of media for which this is the built-in pipeline, if it is one."""
        if self._config is VIDEO_PIPELINE:
            return "video"
        return "image" if self._config is IMAGE_PIPELINE else None

    async def run(self, values: Mapping[str, Any]) -> Any:
        """Return the pipeline's output. A stage runs as soon as its inputs exist; its error is
        raised.

        ``values`` are those of the call. Raises ``ConfigError`` when an input is not among them.
        """
        for name in self._config.inputs:
            if name not in values:
                raise self._error(f"nobody gives its input {name!r} here")
        loop = asyncio.get_running_loop()
        made = {
            name: loop.create_future() for stage in self._config.models for name in stage.outputs
        }
        given = {name: values[name] for name in self._config.inputs}
        await gather_or_cancel(
            [self._run_stage(stage, values, given, made) for stage in self._config.models]
        )
        output = self._config.output
        return given[output] if output in given else made[output].result()

    async def _run_stage(
        self,
        stage: PipelineModelConfig,
        values: Mapping[str, Any],
        given: Mapping[str, Any],
        made: Mapping[str, asyncio.Future[Any]],
    ) -> None:
        model = self._models[stage.name]
        inputs = {name: values[name] for name in model.takes if name in values}
        for name in stage.inputs:
            inputs[name] = given[name] if name in given else await made[name]
        result = await model.process(inputs)
        if len(stage.outputs) == 1:
            made[stage.outputs[0]].set_result(result)
            return
        for name in stage.outputs:
            if not isinstance(result, Mapping) or name not in result:
                raise self._error(
                    f"stage {stage.name!r} gave no {name!r}; "
                    "a stage with several outputs returns a mapping of them"
                )
            made[name].set_result(result[name])

    def _error(self, message: str) -> ConfigError:
        return ConfigError(f"pipeline {self._name!r}: {message}")
