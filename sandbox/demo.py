"""The main job from end to end, on this machine alone: ``make demo``.

Two labelled videos are generated and put into a sandbox Stash, tagged ``VLM_TagMe``; the plugin is
run as Stash runs it, against two sandbox endpoints; then what it wrote is printed beside the truth.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from sandbox.plugin import install
from sandbox.stash import ItemState, Job, SandboxStash
from sandbox.videos import SPORT_TAGS, LabelledVideo, VideoSpec, generate
from vlm_engine.spans import match
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
SCENES = ("City derby", "Cup final")
_LATENCIES_S = (0.2, 0.35)
_WAIT_S = 300.0


def main() -> int:
    """Run the demo; 0 when every scene was tagged."""
    started = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "media").mkdir(parents=True)
    _say(
        f"Generating {len(SCENES)} videos of three minutes, with their truth beside them, in "
        f"{FOLDER / 'media'}"
    )
    videos = [
        generate(
            VideoSpec(duration_s=180, width=960, height=540, seed=seed),
            FOLDER / "media" / f"{title}.mp4",
        )
        for seed, title in enumerate(SCENES, 1)
    ]
    with ExitStack() as servers:
        endpoints = [
            servers.enter_context(running(SandboxVLM(Behaviour(latency_s=seconds))))
            for seconds in _LATENCIES_S
        ]
        stash = servers.enter_context(running(SandboxStash()))
        scenes = [
            stash.library.add_scene(video.path, title=title, tags=["VLM_TagMe"])
            for video, title in zip(videos, SCENES, strict=True)
        ]
        _say(
            f"A sandbox Stash at {stash.url}; endpoints at "
            f"{' and '.join(endpoint.url for endpoint in endpoints)}\n"
        )
        job = _run_task(stash, endpoints)
        for scene, video in zip(scenes, videos, strict=True):
            _compare(stash.library.scene_state(scene), video)
        served = [endpoint.counters.answered for endpoint in endpoints]
        _say(f"Calls: {sum(served)} in all, {' and '.join(map(str, served))} by endpoint.")
        tagged = all("VLM_Tagged" in stash.library.scene_state(scene).tags for scene in scenes)
    _say(f"The whole demo took {time.monotonic() - started:.0f} s.\n\n{_NEXT}")
    return 0 if tagged and job.error is None else 1


def _run_task(stash: SandboxStash, endpoints: Sequence[SandboxVLM]) -> Job:
    settings = {
        "ENDPOINTS": [
            {"base_url": endpoint.url, "name": f"endpoint {number}", "max_concurrent": 4}
            for number, endpoint in enumerate(endpoints, 1)
        ],
        "TAG_LIST": list(SPORT_TAGS),
    }
    stash.load_plugin(install(FOLDER / "plugins" / "ahavenvlmconnector", settings))
    _say("Tasks page: Haven VLM Connector > Tag Videos. What Stash's log shows:")
    job = stash.run_task("Tag Videos").wait(_WAIT_S)
    for level, text in job.log:
        _say(f"  {level:<8} {text}")
    _say(
        f"Progress was reported {len(job.progress)} times, up to "
        f"{max(job.progress, default=0):.0%}.\n"
    )
    return job


def _compare(scene: ItemState, video: LabelledVideo) -> None:
    _say(f"{scene.title}: tags {', '.join(tag for tag in scene.tags if tag in video.truth)}")
    found = _markers(scene)
    matched = wanted = made = 0
    for tag, truth in video.truth.items():
        spans = found.get(tag, [])
        pairs = {true: span for span, true in match(spans, truth, 0.5)}
        matched, wanted, made = matched + len(pairs), wanted + len(truth), made + len(spans)
        for index, (start_s, end_s) in enumerate(truth):
            seen = f"{_clock(*spans[pairs[index]])}" if index in pairs else "not found"
            _say(f"  {tag:<18} true {_clock(start_s, end_s)}   found {seen}")
        for index, span in enumerate(spans):
            if index not in pairs.values():
                _say(f"  {tag:<18} true {'-':<13}   found {_clock(*span)}")
    _say(
        f"  {matched} of {wanted} events found (half of the time shared, or more), "
        f"{made - matched} markers without an event.\n"
    )


def _markers(scene: ItemState) -> Mapping[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for marker in scene.markers:
        found.setdefault(marker.primary_tag, []).append(
            (marker.seconds, marker.end_seconds or marker.seconds)
        )
    return found


def _clock(start_s: float, end_s: float) -> str:
    return f"{start_s:6.1f}-{end_s:6.1f}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


_NEXT = """\
Where to look next
  your own endpoint   .venv/bin/python haven_vlm_connector.py tag VIDEO.mp4 \\
                          --endpoint http://localhost:1234/v1 \\
                          --tags "Basketball point,Foul,Break-away,Turnover"
  your own Stash      README.md, "Install": put the plugin into Stash's plugins folder, give
                      scenes the tag VLM_TagMe, and start Tag Videos on the Tasks page"""

if __name__ == "__main__":
    sys.exit(main())
