"""Apply other thresholds, gaps and names to a video that was tagged before, without an endpoint.

python examples/one_video.py game.mp4 --tags "Foul,Turnover,Goal" --keep game.json
python examples/new_rules.py game.mp4 game.json --tag Foul --rename "Personal foul" \\
    --threshold 0.8 --max-gap 5s --shortest 2s
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from vlm_engine import VLMEngine
from vlm_engine.config_models import EngineConfig, ModelConfig, TagRule


async def main(video: Path, kept: dict[str, Any], tag: str, rule: TagRule) -> None:
    tags = {
        name
        for seen in kept["metadata"]["seen"]["tags"]["observations"]
        for name in seen["verdicts"]
    }
    # A model needs an address, and a name, so that nobody has to be asked for one. Neither is used.
    model = ModelConfig(model_id="nobody", api_base_url="http://localhost:1", tag_list=sorted(tags))
    config = EngineConfig(models={"vlm": model}, category_config={"tags": {tag: rule}})
    async with VLMEngine(config) as engine:
        result = await engine.process_video(video, existing_json_data=kept)
    for name, spans in result["video_tag_info"]["tag_timespans"]["tags"].items():
        print(f"{name}: {', '.join('{start:.1f}-{end:.1f}'.format_map(span) for span in spans)}")
    print(f"{result['coverage']['calls']} questions")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Describes a video that was tagged before under another rule for one tag."
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("kept", type=Path, help="what one_video.py --keep wrote")
    parser.add_argument("--tag", required=True)
    parser.add_argument("--rename")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--max-gap", default="1s", help="12s, or 5%% of the video")
    parser.add_argument("--shortest", default="1s")
    given = parser.parse_args()
    rule = TagRule(
        RenamedTag=given.rename,
        TagThreshold=given.threshold,
        MaxGap=given.max_gap,
        MinMarkerDuration=given.shortest,
    )
    asyncio.run(main(given.video, json.loads(given.kept.read_text()), given.tag, rule))
