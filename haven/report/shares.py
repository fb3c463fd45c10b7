"""What each endpoint did of a run's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Share:
    """One endpoint: the calls that it answered, in [0, 1] the ``share`` that these are of all, and the failures by kind.

    ``seconds``: a typical answer's time, None where it is not known.
    """

    name: str
    calls: int
    share: float
    failed: Mapping[str, int]
    seconds: float | None
    prompt_tokens: int
    answer_tokens: int


def shares(endpoints: Mapping[str, Any]) -> tuple[Share, ...]:
    """Who did how much, whoever did most first. Of ``endpoints`` only these numbers are taken: no setting gets out."""
    served = sum(int(stats.get("served") or 0) for stats in endpoints.values())
    found = [_share(name, stats, served) for name, stats in endpoints.items()]
    return tuple(sorted(found, key=lambda share: -share.calls))


def _share(name: str, stats: Mapping[str, Any], served: int) -> Share:
    calls = int(stats.get("served") or 0)
    return Share(
        name=name,
        calls=calls,
        share=calls / served if served else 0.0,
        failed={
            str(kind): int(count) for kind, count in (stats.get("failed") or {}).items() if count
        },
        seconds=float(stats["seconds"]) if stats.get("seconds") else None,
        prompt_tokens=int(stats.get("prompt_tokens") or 0),
        answer_tokens=int(stats.get("answer_tokens") or 0),
    )
