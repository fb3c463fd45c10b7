"""Tag the videos of a folder on the workers of a Dask cluster.

python examples/cluster.py videos/ --cluster tcp://nas:8786 --endpoint http://192.168.1.20:1234 \\
    --slots 16 --there /mnt/video

--cluster local:4 starts four workers on this machine.
"""

import argparse
import asyncio
import logging
import os
from pathlib import Path

from vlm_engine import VLMEngine
from vlm_engine.cluster import open_engine
from vlm_engine.config_models import ClusterConfig, EndpointConfig, EngineConfig, ModelConfig
from vlm_engine.errors import CoverageError, MediaError, WorkerLostError

VIDEOS = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".ts", ".wmv"}


def settings(given: argparse.Namespace) -> EngineConfig:
    key = os.environ.get("VLM_API_KEY", "")  # it travels to the workers with the settings
    # The workers share these slots: all of them together never ask more at once.
    endpoint = EndpointConfig(base_url=given.endpoint, api_key=key, max_concurrent=given.slots)
    model = ModelConfig(multiplexer_endpoints=[endpoint], tag_list=given.tags.split(","))
    folder = str(given.folder.absolute())
    paths = {"*": {folder: given.there}} if given.there else {}
    return EngineConfig(
        models={"vlm": model},
        store_path=str(given.folder / "answers.sqlite"),  # this program keeps it, not the workers
        cluster=ClusterConfig(address=given.cluster, paths=paths),
    )


async def main(given: argparse.Namespace) -> None:
    videos = sorted(path for path in given.folder.rglob("*") if path.suffix.lower() in VIDEOS)
    async with open_engine(settings(given)) as engine:
        # All at once: the engine hands out the longest first, as many as the workers take.
        async with asyncio.TaskGroup() as group:
            for video in videos:
                group.create_task(tagged(engine, video))
        calls = sum(stats.served for stats in engine.endpoint_stats().values())
    print(f"{calls} questions")


async def tagged(engine: VLMEngine, video: Path) -> None:
    try:
        found = await engine.tag_video(video)
    except (MediaError, CoverageError, WorkerLostError) as error:  # the others go on
        print(f"{video.name}: failed: {error}")
        return
    tags = sorted(tag for tag, spans in found.info.spans["tags"].items() if spans)
    print(f"{video.name}: {', '.join(tags) or 'nothing'}")


if __name__ == "__main__":
    # The engine's log tells when a worker joins or is lost, and what workers warn of.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = argparse.ArgumentParser(description="Tags the videos of a folder on a cluster.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cluster", default="local:2", metavar="ADDRESS")
    parser.add_argument("--there", metavar="FOLDER", help="the folder as the workers have it")
    parser.add_argument("--slots", type=int, default=4, help="questions that the endpoint takes")
    parser.add_argument(
        "--endpoint", default=os.environ.get("VLM_ENDPOINT", "http://localhost:1234")
    )
    parser.add_argument(
        "--tags", default="Basketball point,Foul,Break-away,Turnover", help="separated by commas"
    )
    asyncio.run(main(parser.parse_args()))
