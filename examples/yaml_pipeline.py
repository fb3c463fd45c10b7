"""A pipeline from a YAML file: plays.yaml makes one tag of several and leaves one out.

python examples/yaml_pipeline.py game.mp4 --pipeline examples/plays.yaml \\
    --endpoint http://localhost:1234
"""

import argparse
import asyncio
import os
from pathlib import Path

from vlm_engine import VLMEngine
from vlm_engine.config_models import EngineConfig, ModelConfig, PipelineConfig


async def main(video: Path, pipeline: Path, endpoint: str, tags: list[str]) -> None:
    model = ModelConfig(
        api_base_url=endpoint, api_key=os.environ.get("VLM_API_KEY", ""), tag_list=tags
    )
    config = EngineConfig(
        models={"vlm": model}, pipelines={"plays": PipelineConfig.from_yaml(pipeline)}
    )
    async with VLMEngine(config) as engine:
        result = await engine.process_video(video, pipeline_name="plays")
    for tag, seconds in result["video_tag_info"]["tag_totals"]["tags"].items():
        print(f"{seconds:8.1f} s  {tag}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Prints how long each tag applies, as a pipeline from a file finds it."
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--pipeline", type=Path, default=Path(__file__).with_name("plays.yaml"))
    parser.add_argument(
        "--endpoint", default=os.environ.get("VLM_ENDPOINT", "http://localhost:1234")
    )
    parser.add_argument(
        "--tags",
        default="Basketball point,Free throw,Goal,Timeout,Foul",
        help="separated by commas",
    )
    given = parser.parse_args()
    asyncio.run(main(given.video, given.pipeline, given.endpoint, given.tags.split(",")))
