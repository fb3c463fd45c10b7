"""A small model scans and a large one judges what is in doubt: few questions to the large one.

python examples/scan_and_judge.py game.mp4 --scout http://192.168.1.30:11434 \\
    --endpoint http://192.168.1.20:1234 --alone
"""

import argparse
import asyncio
import os
from pathlib import Path

from vlm_engine import VLMEngine
from vlm_engine.config_models import EngineConfig, ModelConfig
from vlm_engine.types import VideoResult


async def tagged(video: Path, models: dict[str, ModelConfig]) -> VideoResult:
    async with VLMEngine(EngineConfig(models=models)) as engine:
        return await engine.tag_video(video)


def show(result: VideoResult) -> None:
    for tag, spans in result.info.spans["tags"].items():
        print(f"{tag}: {', '.join(f'{span.start_s:.1f}-{span.end_s:.1f}' for span in spans)}")
    print(
        "questions: "
        f"{', '.join(f'{calls} to the {name}' for name, calls in result.calls.items())}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Tags a video with a small model that scans and a large one that judges."
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--scout", required=True, help="address of the small model's server")
    parser.add_argument(
        "--endpoint", default=os.environ.get("VLM_ENDPOINT", "http://localhost:1234")
    )
    parser.add_argument(
        "--tags", default="Basketball point,Foul,Break-away,Turnover", help="separated by commas"
    )
    parser.add_argument(
        "--alone", action="store_true", help="also ask the large one alone, to compare"
    )
    given = parser.parse_args()
    key, tags = os.environ.get("VLM_API_KEY", ""), given.tags.split(",")
    scout = ModelConfig(api_base_url=given.scout, api_key=key)
    judge = ModelConfig(api_base_url=given.endpoint, api_key=key, tag_list=tags, scan_model="scout")
    show(asyncio.run(tagged(given.video, {"scout": scout, "judge": judge})))
    if given.alone:
        show(
            asyncio.run(
                tagged(given.video, {"judge": judge.model_copy(update={"scan_model": None})})
            )
        )
