"""Two servers: the second is asked only while the first does not work.

python examples/with_fallback.py game.mp4 --endpoint http://localhost:1234 \\
    --fallback https://models.example.com/v1
"""

import argparse
import asyncio
import logging
import os
from pathlib import Path

from vlm_engine import VLMEngine
from vlm_engine.config_models import EndpointConfig, EngineConfig, ModelConfig


async def main(video: Path, endpoint: str, fallback: str, tags: list[str]) -> None:
    first = EndpointConfig(base_url=endpoint, name="own", max_concurrent="auto")
    spare = EndpointConfig(
        base_url=fallback, name="spare", api_key=os.environ.get("VLM_API_KEY", ""), is_fallback=True
    )
    model = ModelConfig(multiplexer_endpoints=[first, spare], tag_list=tags)
    async with VLMEngine(EngineConfig(models={"vlm": model})) as engine:
        found = await engine.tag_video(video)
        stats = engine.endpoint_stats()
    for tag, spans in found.info.spans["tags"].items():
        print(f"{tag}: {', '.join(f'{span.start_s:.1f}-{span.end_s:.1f}' for span in spans)}")
    for name, done in stats.items():
        print(
            f"{name} ({done.state}): {done.served} answers; failed: {dict(done.failed) or 'none'}"
        )


if __name__ == "__main__":
    # The engine's log tells when an endpoint stops working, and when it works again.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = argparse.ArgumentParser(
        description="Tags a video with two servers, one of them a fallback."
    )
    parser.add_argument("video", type=Path)
    parser.add_argument(
        "--endpoint", default=os.environ.get("VLM_ENDPOINT", "http://localhost:1234")
    )
    parser.add_argument("--fallback", required=True)
    parser.add_argument(
        "--tags", default="Basketball point,Foul,Break-away,Turnover", help="separated by commas"
    )
    given = parser.parse_args()
    asyncio.run(main(given.video, given.endpoint, given.fallback, given.tags.split(",")))
