"""List when tags apply in a video.

python examples/one_video.py game.mp4 --endpoint http://localhost:1234 \\
    --tags "Foul,Turnover,Goal" --keep game.json
"""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

from vlm_engine import VLMEngine
from vlm_engine.config_models import EngineConfig, ModelConfig


async def tagged(video: Path, endpoint: str, tags: list[str]) -> dict[str, Any]:
    model = ModelConfig(
        api_base_url=endpoint, api_key=os.environ.get("VLM_API_KEY", ""), tag_list=tags
    )
    async with VLMEngine(EngineConfig(models={"vlm": model})) as engine:
        return await engine.process_video(video, progress_callback=show_progress)


def show_progress(percent: int) -> None:
    print(f"\r{percent:3} %", end="", flush=True)


def show(result: dict[str, Any]) -> None:
    print()
    for tag, spans in result["video_tag_info"]["tag_timespans"]["tags"].items():
        for span in spans:
            print(f"{span['start']:8.1f} {span['end']:8.1f}  {tag}")
    print(
        "{frames_answered} of {frames_asked} frames judged, {calls} questions".format_map(
            result["coverage"]
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prints when each tag applies in a video.")
    parser.add_argument("video", type=Path)
    parser.add_argument(
        "--endpoint", default=os.environ.get("VLM_ENDPOINT", "http://localhost:1234")
    )
    parser.add_argument(
        "--tags", default="Basketball point,Foul,Break-away,Turnover", help="separated by commas"
    )
    parser.add_argument("--keep", type=Path, help="a file for what was seen; new_rules.py takes it")
    given = parser.parse_args()
    result = asyncio.run(tagged(given.video, given.endpoint, given.tags.split(",")))
    show(result)
    if given.keep:
        given.keep.write_text(json.dumps(result["json_result"]))
