"""The evidence of a result: spans and verdicts before thresholds, as frozen values and packed.

Packed, a scene with 5,000 spans and 2,000 frames of 20 tags takes about 130 kB.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

from haven.stash.changes import Judgement
from haven.stash.values import ItemSnapshot
from vlm_engine import ModelIdentity, Span, Verdict

_FORM = 1
UNKNOWN_JUDGE = ModelIdentity("", "")


@dataclass(frozen=True, slots=True)
class TagSeen:
    """A tag that was looked for: its name in the tag list and in Stash, and the least confidence
    that its markers need.

    ``spans``: where it was seen, in order of time, also below the threshold.
    ``judge``: the model that judged it, and its words.
    """

    tag: str
    in_stash: str
    threshold: float
    spans: tuple[Span, ...] = ()
    judge: ModelIdentity = UNKNOWN_JUDGE


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A frame that was asked about, and the verdicts by tag. No verdict: it could not be
    judged.
    """

    time_s: float
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence of the latest run about an item. A picture has one frame, at 0 s, and no spans.

    ``looked_at_s``: when its result was written, in seconds since the epoch.
    ``gaps_s``: stretches, as (start, end), of which nothing is known.
    ``effort``: how hard a video was searched, 0 if unknown.
    Times are kept to the millisecond, confidences to a thousandth.
    """

    title: str
    task: str
    model: str
    tags: tuple[TagSeen, ...]
    frames: tuple[FrameSeen, ...]
    duration_s: float = 0.0
    gaps_s: tuple[tuple[float, float], ...] = ()
    looked_at_s: float = 0.0
    effort: float = 0.0

    def least_sure(self, most: int) -> Iterator[Span]:
        """Yield the spans of each tag that reach its threshold and have the lowest confidences, at
        most so many of each.
        """
        for seen in self.tags:
            known = [(one.confidence, one) for one in seen.spans if one.confidence is not None]
            reaching = [pair for pair in known if pair[0] >= seen.threshold]
            for _, span in sorted(reaching, key=lambda pair: pair[0])[:most]:
                yield span

    def pack(self) -> bytes:
        """Return it without ``looked_at_s``, compressed."""
        places = {seen.tag: place for place, seen in enumerate(self.tags)}
        parts = {
            "form": _FORM,
            "title": self.title,
            "task": self.task,
            "model": self.model,
            "duration": _thousandths(self.duration_s),
            "gaps": [[_thousandths(one) for one in gap] for gap in self.gaps_s],
            "effort": _thousandths(self.effort),
            "tags": [_packed_tag(seen) for seen in self.tags],
            "times": _steps(frame.time_s for frame in self.frames),
            "verdicts": [
                [
                    [places[tag] for tag in frame.verdicts],
                    [_packed_verdict(verdict) for verdict in frame.verdicts.values()],
                ]
                for frame in self.frames
            ],
        }
        text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        return zlib.compress(text.encode(), 9)

    @staticmethod
    def unpack(packed: bytes, looked_at_s: float) -> Evidence:
        """Return what ``pack`` packed. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for
        anything else.
        """
        try:
            parts = json.loads(zlib.decompress(packed))
        except zlib.error as error:
            raise ValueError(str(error)) from error
        tags = tuple(map(_tag_of, parts["tags"]))
        return Evidence(
            parts["title"],
            parts["task"],
            parts["model"],
            tags,
            tuple(
                FrameSeen(
                    time_s,
                    {
                        tags[place].tag: _verdict_of(value)
                        for place, value in zip(places, values, strict=True)
                    },
                )
                for time_s, (places, values) in zip(
                    _times(parts["times"]), parts["verdicts"], strict=True
                )
            ),
            parts["duration"] / 1000,
            tuple((start / 1000, end / 1000) for start, end in parts["gaps"]),
            looked_at_s,
            parts.get("effort", 0) / 1000,
        )

    def seen(self, tag: str) -> TagSeen | None:
        """Return what was seen of a tag, by its name in the tag list."""
        return next((one for one in self.tags if one.tag == tag), None)


def revision_of(
    item: ItemSnapshot, evidence: Evidence | None, judgements: Sequence[Judgement]
) -> int:
    """Return a number that changes with anything that decisions about the item depend on."""
    markers = sorted(
        (one.id, one.title, one.start_s, one.end_s, one.primary.id, sorted(one.tag_ids))
        for one in item.markers
    )
    looked_at_s = evidence.looked_at_s if evidence else None
    decided = [(one.id, one.plan_id) for one in judgements]
    content = repr((markers, sorted(item.tag_ids), looked_at_s, decided))
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:6])  # JavaScript's numbers end


def _packed_tag(seen: TagSeen) -> list[object]:
    spans = seen.spans
    return [
        seen.tag,
        seen.in_stash,
        seen.threshold,
        _steps(span.start_s for span in spans),
        [_thousandths(span.end_s) - _thousandths(span.start_s) for span in spans],
        [_packed_share(span.confidence) for span in spans],
        seen.judge.model,
        seen.judge.wording,
    ]


def _tag_of(parts: list[Any]) -> TagSeen:
    # The first evidence that was kept did not name the judge of each tag.
    tag, in_stash, threshold, steps, lengths, confidences, *judge = parts
    spans = tuple(
        Span(tag, start_s, round(start_s + length / 1000, 3), _share_of(share))
        for start_s, length, share in zip(_times(steps), lengths, confidences, strict=True)
    )
    return TagSeen(
        tag, in_stash, threshold, spans, ModelIdentity(*judge) if judge else UNKNOWN_JUDGE
    )


def _thousandths(value: float) -> int:
    return round(1000 * value)


def _steps(times_s: Iterable[float]) -> list[int]:
    """Return the differences of times in order: small numbers, which compress well."""
    return [later - earlier for earlier, later in pairwise((0, *map(_thousandths, times_s)))]


def _times(steps: Iterable[int]) -> Iterator[float]:
    return (time / 1000 for time in accumulate(steps))


def _packed_share(share: float | None) -> int:
    return -1 if share is None else _thousandths(share)


def _share_of(packed: int) -> float | None:
    return None if packed < 0 else packed / 1000


def _packed_verdict(verdict: Verdict) -> int:
    return 2 * (1 + _packed_share(verdict.probability)) + verdict.present


def _verdict_of(packed: int) -> Verdict:
    return Verdict(bool(packed % 2), _share_of(packed // 2 - 1))
