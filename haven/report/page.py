"""The pages: one for each run, and the index of all runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from haven.report.markup import (
    GENERATOR,
    badge,
    card,
    chips,
    clock,
    document,
    duration,
    moment,
    name,
    paragraph,
    percent,
    stretch,
    table,
    words,
)
from haven.report.record import Entry, Share, shares
from haven.report.timeline import timeline
from haven.report.values import (
    ItemChange,
    ItemGroup,
    ItemKind,
    ItemReport,
    Outcome,
    RunReport,
    by_severity,
    counted,
    model_seconds,
    plural,
    spent,
)
from vlm_engine import Coverage, Finding, QuestionCost, Section, Severity, StyleComparison

INDEX = "index.html"
# A browser on a phone must still open the page; the JSON file has all of it.
_MOST_OPEN = 10
_MOST_SCENES = 1000
_MOST_GROUPS = 300
_MOST_NAMES = 200
_MOST_GAPS = 20
_NEEDS_A_LOOK = (Outcome.FAILED, Outcome.PARTLY)


def index_page(entries: Sequence[Entry]) -> str:
    """Return the index. ``entries`` are newest first."""
    rows = "\n".join(f'<li class="card">{_run(entry)}</li>' for entry in entries)
    return document(
        GENERATOR,
        "<h1>What each run did</h1>",
        paragraph(f"{counted(len(entries), 'run')}, the newest first"),
        f'<ul class="runs">\n{rows}\n</ul>',
    )


def _run(entry: Entry) -> str:
    run = entry.summary
    facts = [
        f"{kind}: {words(', '.join(parts))}"
        for kind, outcomes, waiting in (
            ("scenes", run.outcomes, run.waiting),
            ("images", run.images, run.images_waiting),
        )
        if (parts := [f"{count:,} {outcome}" for outcome, count in _with(outcomes, waiting)])
    ]
    checked = [counted(run.endpoints, "endpoint")] if run.endpoints else []
    if checked or run.findings:
        facts.append(", ".join([*checked, *_severities(run.findings)]))
    facts = facts or ["nothing was queued"]
    if run.calls:
        facts.append(spent(Coverage(calls=run.calls, seconds=run.seconds)))
    facts.append(duration(run.ended - run.started))
    details = [" · ".join(facts), words(run.end_line) if run.end_line else ""]
    if run.error and run.error != run.end_line:
        details.append(words(run.error))
    return (
        f'<span class="soft">{moment(run.started)}</span>'
        f'<a href="{entry.stem}.{"html" if entry.has_page else "json"}"><b>{name(run.task)}</b></a>'
        f"<span>{badge(run.end)}</span>"
    ) + "".join(f'<span class="detail">{line}</span>' for line in details if line)


def _with(outcomes: Mapping[str, int], waiting: int) -> Iterable[tuple[str, int]]:
    return [*outcomes.items(), ("still waiting", waiting)] if waiting else outcomes.items()


def _severities(findings: Mapping[str, int]) -> Iterator[str]:
    """Yield ``12 ok``, ``3 notes``, ``1 wrong``."""
    for severity, count in findings.items():
        yield f"{count:,} {_severity(severity, count)}"


def _severity(severity: str, count: int) -> str:
    return plural(count, severity) if severity == Severity.NOTE else severity


def run_page(report: RunReport, json_name: str) -> str:
    """Return the page of a run. ``report`` is cleaned; ``json_name`` is the JSON file beside it."""
    return document(
        f"{report.task}, {report.end.value}",
        f'<p><a href="{INDEX}">All runs</a></p>',
        f"<h1>{name(report.task)} {badge(report.end.value)}</h1>",
        paragraph(f"{moment(report.started)}, {duration(report.ended - report.started)}"),
        paragraph(words(report.error), "error") if report.error else "",
        f"<p>{words(report.end_line)}</p>"
        if report.end_line and report.end_line != report.error
        else "",
        _tiles(report),
        *map(_section, report.checks),
        _endpoints(shares(report.endpoints)),
        *map(_style, report.styles),
        *_scenes(report.scenes),
        *_images(report.images),
        paragraph(f'Everything on this page, for programs: <a href="{json_name}">{json_name}</a>'),
    )


def _tiles(report: RunReport) -> str:
    tiles = [
        (f"{count:,}", f"{plural(count, noun)} {outcome}")
        for noun, outcomes, waiting in (
            ("scene", report.scene_outcomes, report.waiting),
            ("image", report.image_outcomes, report.images_waiting),
        )
        for outcome, count in _with(outcomes, waiting)
    ]
    tiles += [
        (f"{count:,}", _severity(severity, count))
        for severity, count in by_severity(*report.checks).items()
    ]
    tiles = tiles or [("0", "scenes or images")]
    coverage = report.coverage
    if coverage.asked:
        frames = "pictures" if report.images else "frames"
        tiles.append((percent(coverage.answered / coverage.asked), f"of the {frames} judged"))
        tiles.append((f"{coverage.calls:,}", "calls"))
        if coverage.seconds:
            number, label = model_seconds(coverage.seconds).split(" ", 1)
            tiles.append((number, label))
    cards = (
        f'<div class="card"><b>{value}</b><small>{label}</small></div>' for value, label in tiles
    )
    return f'<div class="tiles">{"".join(cards)}</div>'


def _section(section: Section) -> str:
    counts = ", ".join(_severities(by_severity(section)))
    return card(
        f'<span class="title">{name(section.title)}</span>'
        f"{'' if section.works else badge(Severity.WRONG.value)}<small>{counts}</small>",
        [
            table(
                (("result", ""), ("check", ""), ("details", "")),
                map(_finding, section.findings),
                css="findings",
            )
        ],
        is_open=True,
    )


def _finding(finding: Finding) -> tuple[str, ...]:
    return badge(finding.severity.value), name(finding.what), words(finding.text)


def _endpoints(found: Sequence[Share]) -> str:
    if not found:
        return ""
    columns = (
        ("endpoint", ""),
        ("calls", "number"),
        ("share", "share"),
        ("failed", ""),
        ("typical answer", "number"),
        ("model seconds", "number"),
        ("a call / a picture / a token of the answer", "number"),
        ("tokens in / out", "number"),
    )
    return f"<h2>Endpoints</h2>\n{table(columns, map(_endpoint, found))}"


def _endpoint(share: Share) -> tuple[str, ...]:
    bar = f'<path class="old" d="M0 0H{share.share * 100:.1f}V1H0z"/>' if share.calls else ""
    failures = ", ".join(f"{count:,} {_in_words(kind)}" for kind, count in share.failed.items())
    return (
        name(share.name),
        f"{share.calls:,}",
        f'{percent(share.share)}<svg viewBox="0 0 100 1" preserveAspectRatio="none"'
        f' aria-hidden="true">{bar}</svg>',
        words(failures or "0"),
        "–" if share.seconds is None else f"{share.seconds:.1f} s",
        f"{share.busy_s:,.0f}" if share.busy_s else "–",
        "–" if share.cost is None else _cost(share.cost),
        f"{share.prompt_tokens:,} / {share.answer_tokens:,}" if share.prompt_tokens else "–",
    )


def _cost(cost: QuestionCost) -> str:
    """Return the seconds of each part, with two digits."""
    parts = (cost.call_s, cost.picture_s, cost.answer_token_s)
    return " / ".join(f"{float(f'{part:.2g}'):g}" for part in parts) + " s"


def _style(compared: StyleComparison) -> str:
    """Return the table of a model that was asked about the same frames in two styles."""
    columns = (
        ("tag", ""),
        ("frames compared", "number"),
        (f"seen in {compared.usual}", "number"),
        (f"seen in {compared.other}", "number"),
    )
    rows = (
        (name(tag.tag), f"{tag.frames:,}", f"{tag.usual:,}", f"{tag.other:,}")
        for tag in sorted(compared.tags, key=lambda tag: tag.usual - tag.other)
    )
    return (
        f"<h2>{name(compared.model)}: {words(compared.usual)} or {words(compared.other)}</h2>\n"
        + paragraph(f"in use: {words(compared.in_use)}")
        + table(columns, rows)
    )


def _in_words(error: str) -> str:
    """Return ``timed out`` for ``TimedOutError``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", error.removesuffix("Error")).lower()


def _scenes(scenes: Sequence[ItemReport]) -> Iterator[str]:
    if not scenes:
        return
    yield "<h2>Scenes</h2>"
    ordered = sorted(scenes, key=lambda scene: scene.outcome not in _NEEDS_A_LOOK)
    for place, scene in enumerate(ordered[:_MOST_SCENES]):
        yield _scene(scene, is_open=place < _MOST_OPEN)
    if rest := ordered[_MOST_SCENES:]:
        yield f"<h2>{counted(len(rest), 'scene')} more, in brief</h2>\n<ul>"
        yield from (f"<li>{_title(scene)}: {scene.outcome.value}</li>" for scene in rest)
        yield "</ul>"


def _scene(scene: ItemReport, *, is_open: bool) -> str:
    coverage = scene.coverage
    tags = sum(1 for spans in scene.spans.values() if spans)
    brief = [counted(tags, "tag")] if tags else []
    brief += [spent(coverage)] if coverage.asked else []
    facts = [f"scene {words(scene.id)}", words(scene.path or "no file")]
    facts += [clock(round(scene.duration_s))] if scene.duration_s else []
    facts += [f"worked on for {duration(scene.seconds)}"] if scene.seconds else []
    gaps = ", ".join(stretch(start, end) for start, end in scene.gaps_s[:_MOST_GAPS])
    more = " and more" if len(scene.gaps_s) > _MOST_GAPS else ""
    return card(
        f'<span class="title">{_title(scene)}</span>{badge(scene.outcome.value)}'
        f"<small>{', '.join(brief)}</small>",
        (
            paragraph(" · ".join(facts)),
            paragraph(words(scene.error), "error") if scene.error else "",
            timeline(scene),
            _change(scene.change, is_planned=scene.outcome is Outcome.PLANNED),
            paragraph(_coverage(coverage)) if coverage.asked else "",
            paragraph(f"Could not be read: {gaps}{more}.") if gaps else "",
        ),
        is_open=is_open,
    )


def _title(scene: ItemReport) -> str:
    file_name = scene.path.replace("\\", "/").rpartition("/")[2]
    return name(scene.title or file_name or f"Scene {scene.id}")


def _coverage(coverage: Coverage) -> str:
    earlier = coverage.answered - coverage.calls
    judged = f"{coverage.answered:,} of {counted(coverage.asked, 'frame')} judged"
    parts = [
        f"{judged} ({earlier:,} from answers of an earlier run)" if earlier > 0 else judged,
        f"{coverage.failed:,} not judged" if coverage.failed else "",
        f"{coverage.unreadable:,} of those unreadable" if coverage.unreadable else "",
        spent(coverage),
    ]
    return ", ".join(filter(None, parts)) + "."


def _change(change: ItemChange, *, is_planned: bool) -> str:
    """Return what changed on an item, or would change."""
    would, stays = ("would be ", "would stay") if is_planned else ("", "stays")
    markers = {
        f"{would}added": len(change.markers_added),
        f"{would}removed": len(change.markers_removed),
        "kept": change.markers_kept,
    }
    kept_back = "".join(f"<li>{words(sentence)}</li>" for sentence in change.kept_back)
    rows = {
        f"Tags {would}added": chips(change.tags_added),
        f"Tags {would}removed": chips(change.tags_removed),
        "Markers": ", ".join(f"{count:,} {what}" for what, count in markers.items() if count),
        "Left as they are, because a person changed them": f"<ul>{kept_back}</ul>"
        if kept_back
        else "",
        f"Found, and {stays} off, because a person took it off": chips(change.stays_off),
        "Left alone, because it is not of this run's tag list": chips(change.left_alone),
    }
    body = "\n".join(f"<dt>{head}</dt><dd>{text}</dd>" for head, text in rows.items() if text)
    nothing = "Nothing would change." if is_planned else "Nothing changed."
    return f"<dl>\n{body}\n</dl>" if body else paragraph(nothing)


def _images(groups: Sequence[ItemGroup]) -> Iterator[str]:
    if not groups:
        return
    yield "<h2>Images</h2>"
    yield _by_tag([group for group in groups if group.kind is ItemKind.IMAGE])
    ordered = sorted(
        groups, key=lambda group: (group.outcome not in _NEEDS_A_LOOK, -len(group.items))
    )
    for place, group in enumerate(ordered[:_MOST_GROUPS]):
        yield _group(group, is_open=place < _MOST_OPEN and group.outcome in _NEEDS_A_LOOK)
    if rest := ordered[_MOST_GROUPS:]:
        yield paragraph(
            f"{counted(sum(len(group.items) for group in rest), 'image')} more, not shown here."
        )


def _by_tag(groups: Sequence[ItemGroup]) -> str:
    """Return a table of how many images show each tag, got it, and lost it."""
    found, added, removed = Counter[str](), Counter[str](), Counter[str]()
    for group in groups:
        for counter, tags in (
            (found, group.tags),
            (added, group.change.tags_added),
            (removed, group.change.tags_removed),
        ):
            counter.update(dict.fromkeys(tags, len(group.items)))
    if not (found or added or removed):
        return ""
    changed = [group for group in groups if group.change != ItemChange()]
    would = "would be " if all(group.outcome is Outcome.PLANNED for group in changed) else ""
    heads = ("images that show it", f"{would}added to", f"{would}removed from")
    return table(
        [("tag", ""), *((head, "number") for head in heads)],
        (
            (name(tag), *(f"{counter[tag]:,}" for counter in (found, added, removed)))
            for tag in sorted({*found, *added, *removed}, key=lambda tag: (-found[tag], tag))
        ),
    )


def _group(group: ItemGroup, *, is_open: bool) -> str:
    tags = chips(group.tags)
    was_judged = group.outcome in {Outcome.DONE, Outcome.PLANNED}
    if not tags and group.kind is ItemKind.IMAGE and was_judged:
        tags = "<small>none of the tags</small>"
    titles = ", ".join(
        name(title or f"{group.kind} {item_id}") for item_id, title in group.items[:_MOST_NAMES]
    )
    rest = len(group.items) - _MOST_NAMES
    return card(
        f'<span class="title">{counted(len(group.items), group.kind)}</span>'
        f"{badge(group.outcome.value)}{tags}",
        (
            paragraph(words(group.error), "error") if group.error else "",
            paragraph(words(group.note)) if group.note else "",
            ""
            if group.error
            else _change(group.change, is_planned=group.outcome is Outcome.PLANNED),
            f"<p>{titles}{f' and {rest:,} more' if rest > 0 else ''}</p>",
        ),
        is_open=is_open,
    )
