"""The built-in pipelines, written as users write theirs, and what a pipeline may take as its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vlm_engine.config.models import PipelineConfig, PipelineModelConfig
from vlm_engine.errors import ConfigError

VIDEO_VALUES = (
    "video_path",
    "identity",
    "frame_interval",
    "time_interval",
    "threshold",
    "vr_video",
    "skipped_categories",
    "existing_json_data",
    "earlier",
    "return_timestamps",
    "return_confidence",
    "on_progress",
)
"""What there is when a video is processed. ``time_interval`` is ``frame_interval`` by an older name."""
IMAGE_VALUES = ("image", "identity", "threshold", "skipped_categories", "return_confidence")
"""What there is when a picture is processed."""

_SEARCH = ("video", "frame_interval", "vr_video", "skipped_categories", "earlier", "on_progress")

VIDEO_PIPELINE = PipelineConfig(
    inputs=("video_path", "identity", "threshold", *_SEARCH[1:]),
    output="results",
    short_name="video",
    models=(
        PipelineModelConfig(
            name="probe_video", inputs=("video_path", "identity"), outputs=("video",)
        ),
        PipelineModelConfig(name="search_video", inputs=_SEARCH, outputs=("findings",)),
        PipelineModelConfig(
            name="describe_video", inputs=("findings", "threshold"), outputs=("results",)
        ),
    ),
)
IMAGE_PIPELINE = PipelineConfig(
    inputs=("image", "identity", "threshold", "skipped_categories"),
    output="results",
    short_name="image",
    models=(
        PipelineModelConfig(
            name="judge_image",
            inputs=("image", "identity", "threshold", "skipped_categories"),
            outputs=("results",),
        ),
    ),
)
_OLDER = {"dynamic_video_ai": VIDEO_PIPELINE, "dynamic_image_ai": IMAGE_PIPELINE}
"""Stages of an older engine that did alone what these do."""


def all_pipelines(own: Mapping[str, PipelineConfig]) -> dict[str, PipelineConfig]:
    """The built-in pipelines and the user's own, by name; those written for an older engine become the built-in ones.

    Raises ``ConfigError`` for an input that nobody gives.
    """
    pipelines = {
        "video": VIDEO_PIPELINE,
        "image": IMAGE_PIPELINE,
        **{name: _current(config) for name, config in own.items()},
    }
    faults = [fault for name, config in pipelines.items() for fault in _faults(name, config)]
    if faults:
        raise ConfigError("\n".join(faults))
    return pipelines


def kind_of(config: PipelineConfig) -> str:
    """Whether a pipeline is for a ``video`` or an ``image``."""
    return "image" if "image" in config.inputs else "video"


def _current(config: PipelineConfig) -> PipelineConfig:
    return next((_OLDER[stage.name] for stage in config.models if stage.name in _OLDER), config)


def _faults(name: str, config: PipelineConfig) -> Iterator[str]:
    kind, values = (
        ("pictures", IMAGE_VALUES) if kind_of(config) == "image" else ("videos", VIDEO_VALUES)
    )
    for wanted in config.inputs:
        if wanted not in values:
            yield f"pipeline {name!r}: nobody gives its input {wanted!r}; for {kind} there are: {', '.join(values)}"
