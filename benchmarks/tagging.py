"""Measure the whole engine on generated videos: what it finds, in how much of the model's
time (``make bench-tagging``).

Ten-minute 720p videos with eight tags, decoded for real and asked through a sandbox endpoint, for a
model without mistakes and for one that makes some. Writes its table into README.md and
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from benchmarks.deployments import RATES, Deployment, Usage
from benchmarks.filmed import Mistakes, Replay
from sandbox.videos import SPORT_TAGS, LabelledVideo, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.spans import match
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import VideoResult

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
NOISE = {
    "none": (0.0, 0.0),
    "5 % missed, 0.5 % invented": (0.05, 0.005),
    "10 % missed, 2 % invented": (0.1, 0.02),
}
_SLOTS = 8


@dataclass(frozen=True, slots=True)
class Score:
    """One video under one noise."""

    matched: int
    matched_closely: int
    found: int
    wanted: int
    edge_errors_s: tuple[float, ...]
    usage: Usage
    hours: float
    cpu_s_per_hour: float


async def measure(video: LabelledVideo, miss_rate: float, false_alarm_rate: float) -> Score:
    """Tag one video with an endpoint that makes such mistakes."""
    behaviour = Behaviour(
        slots=_SLOTS, miss_rate=miss_rate, false_alarm_rate=false_alarm_rate, seed=video.spec.seed
    )
    async with SandboxVLM(behaviour) as vlm:
        model = ModelConfig(
            multiplexer_endpoints=[{"base_url": vlm.url, "max_concurrent": _SLOTS}],
            tag_list=SPORT_TAGS,
        )
        async with VLMEngine(EngineConfig(models={"vlm": model})) as engine:
            cpu_s = time.process_time()
            result = await engine.tag_video(video.path)
            cpu_s = time.process_time() - cpu_s
    replayed = Replay(result, video, Mistakes(miss_rate, false_alarm_rate).endpoint(video))
    return _score(video, result, replayed.bill.total, cpu_s)


def _score(video: LabelledVideo, result: VideoResult, usage: Usage, cpu_s: float) -> Score:
    matched = closely = found = wanted = 0
    errors_s: list[float] = []
    for tag, truth in video.truth.items():
        found_spans = [
            (span.start_s, span.end_s) for span in result.info.spans["tags"].get(tag, ())
        ]
        pairs = match(found_spans, truth, 0.5)
        matched, found, wanted = matched + len(pairs), found + len(found_spans), wanted + len(truth)
        closely += len(match(found_spans, truth, 0.75))
        errors_s += [abs(found_spans[i][end] - truth[j][end]) for i, j in pairs for end in (0, 1)]
    hours = result.info.duration_s / 3600
    return Score(
        matched,
        closely,
        found,
        wanted,
        tuple(errors_s),
        usage,
        hours,
        cpu_s / hours,
    )


def table(scores: Iterable[tuple[str, Sequence[Score]]]) -> str:
    """Return the scores of each noise, all videos together, as a Markdown table."""
    rows = [
        "| mistakes of the model | F1, tIoU ≥ .5 | F1, tIoU ≥ .75 | edge error, median | mean | "
        f"model time per hour of video: {' / '.join(Deployment)} | calls per hour | CPU per hour |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for noise, found_spans in scores:
        all_spans = sum(score.found + score.wanted for score in found_spans)
        errors_s = [error for score in found_spans for error in score.edge_errors_s]
        cells = (
            noise,
            f"{2 * sum(score.matched for score in found_spans) / all_spans:.3f}",
            f"{2 * sum(score.matched_closely for score in found_spans) / all_spans:.3f}",
            f"{median(errors_s):.2f} s",
            f"{mean(errors_s):.2f} s",
            " / ".join(
                f"{mean(rates.seconds(score.usage) / score.hours for score in found_spans):.0f} s"
                for rates in RATES.values()
            ),
            f"{mean(score.usage.calls / score.hours for score in found_spans):.0f}",
            f"{mean(score.cpu_s_per_hour for score in found_spans):.0f} s",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _show(text: str, page: Path) -> None:
    pattern = r"(<!-- tagging: made by make bench-tagging -->\n).*?(<!-- end of tagging -->)"
    text = re.sub(
        pattern,
        lambda part: f"{part[1]}{text}\n{part[2]}",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, prints the table and puts it on the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="one video for each"
    )
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = [
            generate(VideoSpec(seed=seed), Path(folder) / f"{seed}.mp4") for seed in given.seeds
        ]
        scores = [
            (noise, [asyncio.run(measure(video, *rates)) for video in videos])
            for noise, rates in NOISE.items()
        ]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = (
        f"{table(scores)}\n\n{len(videos)} videos; peak memory of the whole process, generation "
        f"included: {peak_mb:.0f} MB."
    )
    for page in PAGES:
        _show(text, page)
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
