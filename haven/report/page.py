"""The page of one run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from haven.report.change import change_told
from haven.report.folder import INDEX
from haven.report.images import images_section
from haven.report.markup import (
    badge,
    clock,
    counted,
    document,
    moment,
    name,
    number,
    percent,
    stretch,
    took,
    words,
)
from haven.report.record import image_outcomes
from haven.report.shares import Share, shares
from haven.report.timeline import timeline
from haven.report.values import Outcome, RunReport, SceneReport
from vlm_engine import Coverage

# So many scenes are unfolded at first, and so many are there in full: a browser on a phone must still open the page.
_MOST_OPEN = 10
_MOST_IN_FULL = 1000
_MOST_GAPS = 20
_NEEDS_A_LOOK = (Outcome.FAILED, Outcome.PARTLY)


def run_page(report: RunReport, json_name: str) -> str:
    """The whole page. ``report`` is cleaned; ``json_name`` is the file beside it that holds everything."""
    return document(
        f"{report.task}, {report.end.value}",
        f'<p><a href="{INDEX}">All runs</a></p>',
        f"<h1>{name(report.task)} {badge(report.end.value)}</h1>",
        f'<p class="soft">{moment(report.started)}, {took(report.ended - report.started)}</p>',
        f'<p class="error">{words(report.error)}</p>' if report.error else "",
        f"<p>{words(report.end_line)}</p>"
        if report.end_line and report.end_line != report.error
        else "",
        _tiles(report),
        _endpoints(shares(report.endpoints)),
        *_scenes(report.scenes),
        *images_section(report.images),
        f'<p class="soft">Everything on this page, for programs: <a href="{json_name}">{json_name}</a></p>',
    )


def _tiles(report: RunReport) -> str:
    outcomes = Counter(scene.outcome for scene in report.scenes)
    tiles = [
        (number(outcomes[outcome]), f"{_noun(outcomes[outcome], 'scene')} {outcome.value}")
        for outcome in Outcome
        if outcomes[outcome]
    ]
    if report.waiting:
        tiles.append((number(report.waiting), f"{_noun(report.waiting, 'scene')} still waiting"))
    tiles += [
        (number(count), f"{_noun(count, 'image')} {outcome}")
        for outcome, count in image_outcomes(report).items()
    ]
    if report.images_waiting:
        tiles.append(
            (
                number(report.images_waiting),
                f"{_noun(report.images_waiting, 'image')} still waiting",
            )
        )
    if not tiles:
        tiles.append(("0", "scenes or images"))
    coverage = report.coverage
    if coverage.asked:
        looked_at = "pictures" if report.images else "frames"
        tiles.append((percent(coverage.answered / coverage.asked), f"of the {looked_at} judged"))
        tiles.append((number(coverage.calls), "calls"))
    return f'<div class="tiles">{"".join(_tile(value, label) for value, label in tiles)}</div>'


def _noun(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _tile(value: str, label: str) -> str:
    return f'<div class="card"><b>{value}</b><small>{label}</small></div>'


def _endpoints(found: Sequence[Share]) -> str:
    if not found:
        return ""
    heads = ("endpoint", "calls", "share", "failed", "typical answer", "tokens in / out")
    head = "".join(f"<th>{text}</th>" for text in heads)
    rows = "\n".join(f"<tr>{_endpoint(share, heads)}</tr>" for share in found)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return f'<h2>Endpoints</h2>\n<div class="card endpoints">\n{table}\n</div>'


def _endpoint(share: Share, heads: Sequence[str]) -> str:
    bar = f'<path class="old" d="M0 0H{share.share * 100:.1f}V1H0z"/>' if share.calls else ""
    drawn = f'<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'
    kinds = ", ".join(f"{number(count)} {_plainly(kind)}" for kind, count in share.failed.items())
    tokens = (
        f"{number(share.prompt_tokens)} / {number(share.answer_tokens)}"
        if share.prompt_tokens
        else "–"
    )
    cells = (
        f"<td>{name(share.name)}</td>",
        f'<td class="number" data-of="{heads[1]}">{number(share.calls)}</td>',
        f'<td class="share" data-of="{heads[2]}">{percent(share.share)}{drawn}</td>',
        f'<td data-of="{heads[3]}">{words(kinds) if kinds else "0"}</td>',
        f'<td class="number" data-of="{heads[4]}">{"–" if share.seconds is None else f"{share.seconds:.1f} s"}</td>',
        f'<td class="number" data-of="{heads[5]}">{tokens}</td>',
    )
    return "".join(cells)


def _plainly(error: str) -> str:
    """``timed out`` for ``TimedOutError``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", error.removesuffix("Error")).lower()


def _scenes(scenes: Sequence[SceneReport]) -> Iterator[str]:
    if not scenes:
        return
    yield "<h2>Scenes</h2>"
    in_order = sorted(scenes, key=lambda scene: scene.outcome not in _NEEDS_A_LOOK)
    for place, scene in enumerate(in_order[:_MOST_IN_FULL]):
        yield _scene(scene, is_open=place < _MOST_OPEN)
    rest = in_order[_MOST_IN_FULL:]
    if rest:
        yield f"<h2>{counted(len(rest), 'scene')} more, in brief</h2>\n<ul>"
        yield from (f"<li>{_title(scene)}: {scene.outcome.value}</li>" for scene in rest)
        yield "</ul>"


def _scene(scene: SceneReport, *, is_open: bool) -> str:
    head = f'<span class="title">{_title(scene)}</span>{badge(scene.outcome.value)}<small>{_in_short(scene)}</small>'
    parts = (
        f'<p class="soft">{_whereabouts(scene)}</p>',
        f'<p class="error">{words(scene.error)}</p>' if scene.error else "",
        timeline(scene),
        change_told(scene.change, is_planned=scene.outcome is Outcome.PLANNED),
        f'<p class="soft">{coverage_told(scene.coverage)}</p>' if scene.coverage.asked else "",
        _gaps(scene.gaps_s),
    )
    body = "\n".join(part for part in parts if part)
    return f'<details class="card scene"{" open" if is_open else ""}>\n<summary>{head}</summary>\n{body}\n</details>'


def _title(scene: SceneReport) -> str:
    return name(
        scene.title or scene.path.replace("\\", "/").rpartition("/")[2] or f"Scene {scene.scene_id}"
    )


def _in_short(scene: SceneReport) -> str:
    found = sum(1 for spans in scene.spans.values() if spans)
    calls = counted(scene.coverage.calls, "call") if scene.coverage.asked else ""
    return ", ".join(part for part in (counted(found, "tag") if found else "", calls) if part)


def _whereabouts(scene: SceneReport) -> str:
    parts = [f"scene {words(scene.scene_id)}", words(scene.path) if scene.path else "no file"]
    if scene.duration_s:
        parts.append(clock(round(scene.duration_s)))
    if scene.seconds:
        parts.append(f"worked on for {took(scene.seconds)}")
    return " · ".join(parts)


def coverage_told(coverage: Coverage) -> str:
    """Frames and calls as a sentence."""
    earlier = coverage.answered - coverage.calls
    judged = f"{number(coverage.answered)} of {counted(coverage.asked, 'frame')} judged"
    parts = [
        f"{judged} ({number(earlier)} from answers of an earlier run)" if earlier > 0 else judged,
        f"{number(coverage.failed)} not judged" if coverage.failed else "",
        f"{number(coverage.unreadable)} of those unreadable" if coverage.unreadable else "",
        counted(coverage.calls, "call"),
    ]
    return ", ".join(part for part in parts if part) + "."


def _gaps(gaps_s: Sequence[tuple[float, float]]) -> str:
    if not gaps_s:
        return ""
    told = ", ".join(stretch(start, end) for start, end in gaps_s[:_MOST_GAPS])
    return f'<p class="soft">Could not be read: {told}{" and more" if len(gaps_s) > _MOST_GAPS else ""}.</p>'
