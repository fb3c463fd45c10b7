"""A run as data: cleaned of secrets, written as JSON, and read back for the index and the pages.

The first line of the JSON holds everything but scenes and images, which follow one to a line. So
the index is made without reading the files whole, and a page of items without parsing the others.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any

from haven.report.values import ItemGroup, ItemKind, ItemReport, Outcome, RunReport
from vlm_engine import EndpointStats, QuestionCost, SectionKind, Severity, Span

SCHEMA_VERSION = 1
_PROGRAM = "Haven VLM Connector"
_END_OF_TIME = 3e10  # in the year 2920; Windows has no dates after 3000
_GROUP_CHANGES = ("tags_added", "tags_removed", "kept_back")
_RARE_GROUP_CHANGES = ("stays_off", "left_alone")

# A quotation mark inside of a text has a backslash before it, so no title looks like this.
_OUTCOME = re.compile(r'"outcome": "([a-z ]+)"')
_BETWEEN = '], "images": ['
_RANK = {Outcome.FAILED.value: 0, Outcome.PARTLY.value: 1, Outcome.GONE.value: 2}

_LONGEST_TEXT = 2000
_HIDDEN = "***"
# Shorter "keys" are stand-ins for servers that need none; hiding them would hide ordinary words.
_SHORTEST_SECRET = 6
# Control characters, and the surrogates that stand for bytes of file names that are not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# What looks like a secret in a server's message.
_LOOKS_SECRET = re.compile(r"(?i)(\bbearer\s+|\b(?:api_?key|session|token)=)[^\s'\"&;,]{6,}")
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class Summary:
    """One run as the index lists it. ``run_id``: its number in the journal, 0 without one.
    ``outcomes`` counts scenes by outcome, ``images`` images.

    ``seconds``: its model seconds, 0 where they were not counted yet. ``endpoints``: how many were
    checked; ``findings`` counts those of all checks by severity.
    """

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
    seconds: float = 0.0
    endpoints: int = 0
    findings: Mapping[str, int] = field(default_factory=dict)
    run_id: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the report folder: ``stem`` is the name of its files without the ending."""

    stem: str
    summary: Summary
    has_page: bool


@dataclass(frozen=True, slots=True)
class Share:
    """One endpoint's part of the work.

    ``share``: its calls among those of all, in [0, 1]. ``failed``: failures by the error's name.
    ``seconds``: the time of a typical answer, None where it is not known. ``busy_s``: its model
    seconds; ``cost``: what a question costs, None where it is not known.
    """

    name: str
    calls: int
    share: float
    failed: Mapping[str, int]
    seconds: float | None
    prompt_tokens: int
    answer_tokens: int
    busy_s: float
    cost: QuestionCost | None


def shares(endpoints: Mapping[str, EndpointStats]) -> list[Share]:
    """Return each endpoint's part of the work, the largest first."""
    total = sum(stats.served for stats in endpoints.values())
    found = [
        Share(
            name=name,
            calls=stats.served,
            share=stats.served / total if total else 0.0,
            failed={kind: count for kind, count in stats.failed.items() if count},
            seconds=stats.seconds or None,
            prompt_tokens=stats.prompt_tokens,
            answer_tokens=stats.answer_tokens,
            busy_s=round(stats.busy_s, 3),
            cost=stats.cost,
        )
        for name, stats in endpoints.items()
    ]
    return sorted(found, key=lambda share: -share.calls)


def cleaned(report: RunReport, secrets: Iterable[str] = ()) -> RunReport:
    """Return the report with ``***`` for each of ``secrets``, and every text and number harmless.

    Texts are cut at 2000 characters; numbers that are not finite become 0.
    """
    hidden = sorted((one for one in secrets if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)

    def clean(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, _HIDDEN)
        text = _USER_IN_ADDRESS.sub(f"{_HIDDEN}@", _LOOKS_SECRET.sub(rf"\1{_HIDDEN}", text))
        return shortened(_UNPRINTABLE.sub("\ufffd", text), _LONGEST_TEXT)

    return RunReport(**_clean_fields(report, clean))


def shortened(text: str, longest: int) -> str:
    """Return the text, cut with an ellipsis where it is longer."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _clean_fields(value: Any, clean: Callable[[str], str]) -> dict[str, Any]:
    return {field.name: _clean(getattr(value, field.name), clean) for field in fields(value)}


def _clean(value: Any, clean: Callable[[str], str]) -> Any:
    match value:
        case Enum() | None | int():
            return value
        case float():
            return value if math.isfinite(value) else 0.0
        case str():
            return clean(value)
        case tuple() | list():
            return tuple(_clean(item, clean) for item in value)
        case Mapping():
            return {_clean(key, clean): _clean(item, clean) for key, item in value.items()}
        case _:
            return type(value)(**_clean_fields(value, clean))


def to_json(report: RunReport) -> str:
    """Return the whole run as JSON. ``report`` is cleaned."""
    head = _dump(_head(report)).removesuffix("}")
    scenes = ",\n".join(_dump(_scene(scene)) for scene in report.scenes)
    images = ",\n".join(_dump(_group(group)) for group in report.images)
    return f'{head}, "scenes": [\n{scenes}\n{_BETWEEN}\n{images}\n]}}\n'


def read_summary(first_line: str) -> Summary | None:
    """Return what the first line of a report's JSON holds; None for any other line."""
    try:
        head = json.loads(f"{first_line.rstrip()}]}}")
        if head["schema_version"] != SCHEMA_VERSION or head["program"] != _PROGRAM:
            return None
        if not all(0 <= head[moment] < _END_OF_TIME for moment in ("started", "ended")):
            return None
        checks = head.get("checks", ())
        return Summary(
            task=str(head["task"]),
            started=float(head["started"]),
            ended=float(head["ended"]),
            end=str(head["end"]),
            end_line=str(head["end_line"]),
            error=str(head["error"]),
            outcomes=_counts(head["outcomes"]),
            waiting=int(head["waiting"]),
            calls=int(head["coverage"]["calls"]),
            images=_counts(head.get("image_outcomes", {})),
            images_waiting=int(head.get("images_waiting", 0)),
            seconds=float(head["coverage"].get("seconds", 0.0)),
            endpoints=sum(section["kind"] == SectionKind.ENDPOINT for section in checks),
            findings=_severities(checks),
            run_id=int(head.get("run_id", 0)),
        )
    except (ValueError, ArithmeticError, TypeError, KeyError, AttributeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One item of a stored run. ``data``: what the run's JSON says of it, or of its group."""

    kind: str
    id: str
    title: str
    data: Mapping[str, Any]


class StoredRun:
    """A run that was read back. ``head``: everything but its items.

    ``text`` is that of a whole JSON file. Raises ``ValueError`` for any other, also later, when an
    item in it is damaged.
    """

    def __init__(self, text: str) -> None:
        first, *lines = text.rstrip().split("\n")
        if _BETWEEN not in lines or lines[-1] != "]}":
            raise ValueError("the file is not whole")
        head: dict[str, Any] = json.loads(f"{first}]}}")
        head.pop("scenes", None)
        self.head = head
        place = lines.index(_BETWEEN)
        self._items: list[tuple[str, str | StoredItem]] = [
            (found[1] if (found := _OUTCOME.search(line)) else "", line)
            for line in lines[:place]
            if line
        ]
        for line in filter(None, lines[place + 1 : -1]):
            group = json.loads(line.rstrip(","))
            self._items += [
                (group["outcome"], StoredItem(group["kind"], item_id, title, group))
                for item_id, title in group["images"]
            ]
        self._items.sort(key=lambda item: _RANK.get(item[0], len(_RANK)))

    def __len__(self) -> int:
        return len(self._items)

    def items(self, first: int, count: int) -> list[StoredItem]:
        """Return some of the items, those that failed before the others."""
        return [_stored(item) for _, item in self._items[first : first + count]]

    def failed(self) -> Iterator[StoredItem]:
        """Yield the items that failed."""
        return (_stored(item) for outcome, item in self._items if outcome == Outcome.FAILED)


def _stored(item: str | StoredItem) -> StoredItem:
    if isinstance(item, StoredItem):
        return item
    data = json.loads(item.rstrip(","))
    return StoredItem(ItemKind.SCENE.value, data["scene_id"], data["title"], data)


def _counts(outcomes: Mapping[str, int]) -> dict[str, int]:
    return {str(outcome): int(count) for outcome, count in outcomes.items()}


def _severities(checks: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    counts = Counter(finding["severity"] for section in checks for finding in section["findings"])
    return {severity.value: counts[severity] for severity in Severity if counts[severity]}


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


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
        "outcomes": report.scene_outcomes,
        "images_waiting": report.images_waiting,
        "image_outcomes": report.image_outcomes,
        "coverage": asdict(report.coverage),
        "endpoints": [
            asdict(share) | {"share": round(share.share, 4)} for share in shares(report.endpoints)
        ],
        "styles": [asdict(compared) for compared in report.styles],
        "checks": [section.as_dict() for section in report.checks],
    }


def _group(group: ItemGroup) -> dict[str, Any]:
    change = {
        key: value
        for key, value in asdict(group.change).items()
        if key in _GROUP_CHANGES or (value and key in _RARE_GROUP_CHANGES)
    }
    return {
        "kind": group.kind.value,
        "outcome": group.outcome.value,
        "error": group.error,
        "note": group.note,
        "tags": group.tags,
        "change": change,
        "images": group.items,
    }


def _scene(scene: ItemReport) -> dict[str, Any]:
    return {
        "scene_id": scene.id,
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
    values = {"start_s": span.start_s, "end_s": span.end_s, "confidence": span.confidence}
    return {key: round(value, 3) for key, value in values.items() if value is not None}
