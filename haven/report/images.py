"""The part of a run's page that tells of images: counts by tag, then groups of images of which the same came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from haven.report.change import change_told, chips
from haven.report.markup import badge, name, number, words
from haven.report.values import ImageGroup, ItemChange, ItemKind, Outcome

# A browser on a phone must still open the page: the JSON file has all of it.
_MOST_OPEN = 10
_MOST_GROUPS = 300
_MOST_NAMES = 200
_NEEDS_A_LOOK = (Outcome.FAILED, Outcome.PARTLY)
_PLURALS = {ItemKind.IMAGE: "images", ItemKind.GALLERY: "galleries", ItemKind.SCENE: "scenes"}


def images_section(groups: Sequence[ImageGroup]) -> Iterator[str]:
    """Nothing where there are no images."""
    if not groups:
        return
    yield "<h2>Images</h2>"
    yield _by_tag([group for group in groups if group.kind is ItemKind.IMAGE])
    in_order = sorted(
        groups, key=lambda group: (group.outcome not in _NEEDS_A_LOOK, -len(group.images))
    )
    for place, group in enumerate(in_order[:_MOST_GROUPS]):
        yield _group(group, is_open=place < _MOST_OPEN and group.outcome in _NEEDS_A_LOOK)
    if rest := in_order[_MOST_GROUPS:]:
        yield f'<p class="soft">{_counted(sum(len(group.images) for group in rest), ItemKind.IMAGE)} more, not shown here.</p>'


def _by_tag(groups: Sequence[ImageGroup]) -> str:
    """How many images show each tag, got it, and lost it."""
    shown, added, removed = Counter[str](), Counter[str](), Counter[str]()
    for group in groups:
        for counter, tags in (
            (shown, group.tags),
            (added, group.change.tags_added),
            (removed, group.change.tags_removed),
        ):
            counter.update(dict.fromkeys(tags, len(group.images)))
    if not (shown or added or removed):
        return ""
    would = (
        "would be "
        if all(group.outcome is Outcome.PLANNED for group in groups if group.change != ItemChange())
        else ""
    )
    heads = ("tag", "images that show it", f"{would}added to", f"{would}removed from")
    in_order = sorted({*shown, *added, *removed}, key=lambda tag: (-shown[tag], tag))
    rows = "\n".join(
        f"<tr>{_row(tag, (shown[tag], added[tag], removed[tag]), heads)}</tr>" for tag in in_order
    )
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f'<div class="card endpoints">\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>'


def _row(tag: str, counts: Sequence[int], heads: Sequence[str]) -> str:
    cells = (
        f'<td class="number" data-of="{head}">{number(count)}</td>'
        for head, count in zip(heads[1:], counts, strict=True)
    )
    return f"<td>{name(tag)}</td>{''.join(cells)}"


def _group(group: ImageGroup, *, is_open: bool) -> str:
    what = (
        chips(group.tags)
        if group.tags
        else "<small>none of the tags</small>"
        if _was_seen(group)
        else ""
    )
    head = f'<span class="title">{_counted(len(group.images), group.kind)}</span>{badge(group.outcome.value)}{what}'
    parts = (
        f'<p class="error">{words(group.error)}</p>' if group.error else "",
        f'<p class="soft">{words(group.note)}</p>' if group.note else "",
        change_told(group.change, is_planned=group.outcome is Outcome.PLANNED)
        if not group.error
        else "",
        f"<p>{_names(group)}</p>",
    )
    body = "\n".join(part for part in parts if part)
    return f'<details class="card scene"{" open" if is_open else ""}>\n<summary>{head}</summary>\n{body}\n</details>'


def _was_seen(group: ImageGroup) -> bool:
    return group.kind is ItemKind.IMAGE and group.outcome in {Outcome.DONE, Outcome.PLANNED}


def _names(group: ImageGroup) -> str:
    told = ", ".join(
        name(title or f"{group.kind} {image_id}") for image_id, title in group.images[:_MOST_NAMES]
    )
    rest = len(group.images) - _MOST_NAMES
    return f"{told} and {number(rest)} more" if rest > 0 else told


def _counted(count: int, kind: ItemKind) -> str:
    return f"1 {kind}" if count == 1 else f"{number(count)} {_PLURALS[kind]}"
