"""What changed on a scene, an image or a gallery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from haven.report.markup import name, number, words
from haven.report.values import ItemChange


def change_told(change: ItemChange, *, is_planned: bool) -> str:
    """Tags, markers, and what was left as it is. ``is_planned``: nothing of it was written."""
    would = "would be " if is_planned else ""
    rows = [
        (f"Tags {would}added", chips(change.tags_added)),
        (f"Tags {would}removed", chips(change.tags_removed)),
        ("Markers", _markers(change, would)),
        ("Left as they are, because a person changed them", _list(change.kept_back)),
        (
            f"Found, and {'would stay' if is_planned else 'stays'} off, because a person took it off",
            chips(change.stays_off),
        ),
        ("Left alone, because it is not of this run's tag list", chips(change.left_alone)),
    ]
    told = "\n".join(f"<dt>{head}</dt><dd>{body}</dd>" for head, body in rows if body)
    nothing = "Nothing would change." if is_planned else "Nothing changed."
    return f"<dl>\n{told}\n</dl>" if told else f'<p class="soft">{nothing}</p>'


def _markers(change: ItemChange, would: str) -> str:
    counts = {
        f"{would}added": len(change.markers_added),
        f"{would}removed": len(change.markers_removed),
        "kept": change.markers_kept,
    }
    return ", ".join(f"{number(count)} {what}" for what, count in counts.items() if count)


def chips(tags: Iterable[str]) -> str:
    """Names of tags, one beside the other."""
    return "".join(f'<span class="chip">{name(tag)}</span>' for tag in tags)


def _list(sentences: Sequence[str]) -> str:
    return (
        f"<ul>{''.join(f'<li>{words(sentence)}</li>' for sentence in sentences)}</ul>"
        if sentences
        else ""
    )
