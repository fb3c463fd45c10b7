"""The configuration classes under the name that scripts import: see ``vlm_engine.config``."""

from vlm_engine.config.models import (
    ClusterConfig,
    EndpointConfig,
    EngineConfig,
    ImageConfig,
    Length,
    ModelConfig,
    PipelineConfig,
    PipelineModelConfig,
    SearchConfig,
    TagRule,
    VideoConfig,
    clean_tags,
    normal_url,
    parse,
)

__all__ = [
    "ClusterConfig",
    "EndpointConfig",
    "EngineConfig",
    "ImageConfig",
    "Length",
    "ModelConfig",
    "PipelineConfig",
    "PipelineModelConfig",
    "SearchConfig",
    "TagRule",
    "VideoConfig",
    "clean_tags",
    "normal_url",
    "parse",
]
