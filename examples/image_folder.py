"""List which tags each picture of a folder shows.

python examples/image_folder.py photos/ --endpoint http://localhost:1234 \\
    --tags "Foul,Turnover,Goal"
"""

import argparse
import asyncio
import os
from pathlib import Path

from vlm_engine import VLMEngine
from vlm_engine.config_models import EngineConfig, ModelConfig
from vlm_engine.errors import ClientError, MediaError

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


async def main(paths: list[Path], endpoint: str, tags: list[str], store: Path) -> None:
    model = ModelConfig(
        api_base_url=endpoint, api_key=os.environ.get("VLM_API_KEY", ""), tag_list=tags
    )
    # The store makes it cheap to run this again: only new or changed pictures are asked about.
    config = EngineConfig(models={"vlm": model}, store_path=str(store))
    async with VLMEngine(config) as engine:
        lines = await asyncio.gather(*(described(engine, path) for path in paths))
    print("\n".join(lines))


async def described(engine: VLMEngine, path: Path) -> str:
    try:
        found = await engine.tag_image(path)
    except (
        MediaError,
        ClientError,
    ) as error:  # of this one picture; where nobody can be asked at all, the program ends
        return f"{path.name}: failed: {error}"
    tags = [
        f"{tag} ({sure:.0%})" if sure is not None else tag
        for tag, sure in found.info.confidences["tags"].items()
    ]
    return f"{path.name}: {', '.join(tags) or 'nothing'}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Prints which tags each picture of a folder shows."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--endpoint", default=os.environ.get("VLM_ENDPOINT", "http://localhost:1234")
    )
    parser.add_argument(
        "--tags", default="Basketball point,Foul,Break-away,Turnover", help="separated by commas"
    )
    given = parser.parse_args()
    pictures = sorted(path for path in given.folder.rglob("*") if path.suffix.lower() in PICTURES)
    asyncio.run(
        main(pictures, given.endpoint, given.tags.split(","), given.folder / "answers.sqlite")
    )
