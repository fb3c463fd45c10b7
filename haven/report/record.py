"""A run as JSON, for other programs and for the index.

The first line holds everything but the scenes, which follow one to a line, and the groups of images; so a list of many runs is
made without reading them whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from haven.report.shares import shares
from haven.report.values import ImageGroup, ItemKind, RunReport, SceneReport
from vlm_engine import Span

SCHEMA_VERSION = 1
_PROGRAM = "Haven VLM Connector"
_END_OF_TIME = 3e10  # in the year 2920; Windows has no dates after 3000
_HEAD_END = '"scenes": ['
_OF_IMAGES = ("tags_added", "tags_removed", "kept_back")
_OF_SOME_IMAGES = ("stays_off", "left_alone")


@dataclass(frozen=True, slots=True)
class Summary:
    """One run as the index lists it. ``outcomes``: the number of scenes by outcome; ``images``: the same of images."""

    task: str
    started: float
    ended: float
    end: str
    end_line: str
    error: str
    outcomes: Mapping[str, int]
    waiting: int
    calls: int
    images: Mapping[str, int] = field(default_factory=dict)
    images_waiting: int = 0


def to_json(report: RunReport) -> str:
    """The whole run. ``report`` is cleaned."""
    head = json.dumps(_head(report), ensure_ascii=False).removesuffix("}")
    scenes = ",\n".join(json.dumps(_scene(scene), ensure_ascii=False) for scene in report.scenes)
    images = ",\n".join(json.dumps(_group(group), ensure_ascii=False) for group in report.images)
    return f'{head}, {_HEAD_END}\n{scenes}\n], "images": [\n{images}\n]}}\n'


def read_summary(first_line: str) -> Summary | None:
    """What the first line of such a file tells, or None where it is no such line."""
    try:
        head = json.loads(f"{first_line.rstrip()}]}}")
        if head["schema_version"] != SCHEMA_VERSION or head["program"] != _PROGRAM:
            return None
        if not all(0 <= head[moment] < _END_OF_TIME for moment in ("started", "ended")):
            return None
        return Summary(
            task=str(head["task"]),
            started=float(head["started"]),
            ended=float(head["ended"]),
            end=str(head["end"]),
            end_line=str(head["end_line"]),
            error=str(head["error"]),
            outcomes={str(outcome): int(count) for outcome, count in head["outcomes"].items()},
            waiting=int(head["waiting"]),
            calls=int(head["coverage"]["calls"]),
            images={
                str(outcome): int(count)
                for outcome, count in head.get("image_outcomes", {}).items()
            },
            images_waiting=int(head.get("images_waiting", 0)),
        )
    except (ValueError, ArithmeticError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _head(report: RunReport) -> dict[str, Any]:
    return {
        "program": _PROGRAM,
        "schema_version": SCHEMA_VERSION,
        "run_id": report.run_id,
        "task": report.task,
        "started": round(report.started, 3),
        "ended": round(report.ended, 3),
        "end": report.end.value,
        "end_line": report.end_line,
        "error": report.error,
        "waiting": report.waiting,
        "outcomes": Counter(scene.outcome.value for scene in report.scenes),
        "images_waiting": report.images_waiting,
        "image_outcomes": image_outcomes(report),
        "coverage": asdict(report.coverage),
        "endpoints": [
            asdict(share) | {"share": round(share.share, 4)} for share in shares(report.endpoints)
        ],
    }


def image_outcomes(report: RunReport) -> Mapping[str, int]:
    """The number of images by outcome; galleries are not counted."""
    counts: Counter[str] = Counter()
    for group in report.images:
        if group.kind is ItemKind.IMAGE:
            counts[group.outcome.value] += len(group.images)
    return counts


def _group(group: ImageGroup) -> dict[str, Any]:
    told = {
        "kind": group.kind.value,
        "outcome": group.outcome.value,
        "error": group.error,
        "note": group.note,
        "tags": group.tags,
    }
    every = asdict(group.change)
    change = {
        key: value
        for key, value in every.items()
        if key in _OF_IMAGES or (value and key in _OF_SOME_IMAGES)
    }
    return {**told, "change": change, "images": group.images}


def _scene(scene: SceneReport) -> dict[str, Any]:
    return {
        "scene_id": scene.scene_id,
        "title": scene.title,
        "path": scene.path,
        "duration_s": round(scene.duration_s, 3),
        "outcome": scene.outcome.value,
        "error": scene.error,
        "seconds": round(scene.seconds, 3),
        "spans": {tag: [_span(span) for span in spans] for tag, spans in scene.spans.items()},
        "gaps_s": scene.gaps_s,
        "coverage": asdict(scene.coverage),
        "change": asdict(scene.change),
    }


def _span(span: Span) -> dict[str, float]:
    told = {"start_s": span.start_s, "end_s": span.end_s, "confidence": span.confidence}
    return {key: round(value, 3) for key, value in told.items() if value is not None}
