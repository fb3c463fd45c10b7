"""A custom stage at the end of the pipeline: the spans become subtitles (WebVTT).

python examples/custom_stage.py game.mp4 --endpoint http://localhost:1234 \\
    --tags "Foul,Turnover,Goal" > game.vtt
"""

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlm_engine import VLMEngine
from vlm_engine.config_models import EngineConfig, ModelConfig, PipelineConfig, PipelineModelConfig
from vlm_engine.models import Model
from vlm_engine.types import VideoResult


class Subtitles(Model):
    """``described``, a ``VideoResult`` → ``{"vtt": text}``."""

    needs = ("described",)

    async def process(self, inputs: Mapping[str, Any]) -> dict[str, str]:
        result: VideoResult = inputs["described"]
        spans = [
            span
            for by_tag in result.info.spans.values()
            for spans in by_tag.values()
            for span in spans
        ]
        spans.sort(key=lambda span: span.start_s)
        cues = [f"{clock(span.start_s)} --> {clock(span.end_s)}\n{span.tag}\n" for span in spans]
        return {"vtt": "\n".join(["WEBVTT\n", *cues])}


def clock(time_s: float) -> str:
    minutes, seconds = divmod(time_s, 60)
    return f"{int(minutes // 60):02}:{int(minutes % 60):02}:{seconds:06.3f}"


PIPELINE = PipelineConfig(
    inputs=["video_path", "threshold"],
    models=[
        PipelineModelConfig("probe_video", "video_path", "video"),
        PipelineModelConfig("search_video", "video", "findings"),
        PipelineModelConfig("describe_video", ["findings", "threshold"], "described"),
        PipelineModelConfig("subtitles", "described", "results"),
    ],
)


async def main(video: Path, endpoint: str, tags: list[str]) -> None:
    model = ModelConfig(
        api_base_url=endpoint, api_key=os.environ.get("VLM_API_KEY", ""), tag_list=tags
    )
    config = EngineConfig(models={"vlm": model}, pipelines={"subtitles": PIPELINE})
    async with VLMEngine(config, models={"subtitles": Subtitles()}) as engine:
        print((await engine.process_video(video, pipeline_name="subtitles"))["vtt"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prints what is found in a video as WebVTT.")
    parser.add_argument("video", type=Path)
    parser.add_argument(
        "--endpoint", default=os.environ.get("VLM_ENDPOINT", "http://localhost:1234")
    )
    parser.add_argument(
        "--tags", default="Basketball point,Foul,Break-away,Turnover", help="separated by commas"
    )
    given = parser.parse_args()
    asyncio.run(main(given.video, given.endpoint, given.tags.split(",")))
