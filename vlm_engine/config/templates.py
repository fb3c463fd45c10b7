"""Texts with named fields in braces, checked when they are loaded. Pure.

``{tags}`` is a field. Write a brace twice to mean the brace itself, ``{{`` or ``}}``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from string import Formatter

SYSTEM = "{opening}\n\nTags:\n{tags}\n\n{rules}\n{format}"
USER = "{special_tokens} {question}"
FIELDS: Mapping[str, str] = {
    "opening": "what `prompt` says, or the sentence that opens a question by default",
    "tags": "before the picture all tags of the model, after it those that are asked about; one on "
    "each line, with their descriptions",
    "tag_count": "how many they are",
    "rules": "what to do with them: before the picture to name those that it shows, after it "
    "perhaps to judge each",
    "format": "the form of the answer, in words: before the picture that of a list in JSON, after "
    "it the one that is wanted",
    "question": "the short question that follows the picture. It says which tags it is about, "
    "unless it is about all, and which form is wanted, unless that is a list",
    "special_tokens": "what `special_tokens` says",
    "picture_count": "how many pictures are shown: one, unless several frames are asked about at "
    "once",
    "time": "the time of the frame in its video, like 0:12:34.5; nothing for a picture by itself",
}
"""The meaning of each field."""


def template_fields(template: str) -> frozenset[str]:
    """Return the fields of a template. Raise ``ValueError`` that names what is wrong with it."""
    found = set()
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        raise ValueError(
            "a brace stands alone in it; write {{ or }} for one that is meant"
        ) from None
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.5)
            there_are = ", ".join(f"{{{field}}}" for field in FIELDS)
            meant = f"did you mean {{{near[0]}}}?" if near else f"there are {there_are}"
            raise ValueError(
                f"{{{name}}} is no field; {meant} (Write {{{{ or }}}} for a brace that is meant.)"
            )
        if form or conversion:
            raise ValueError(f"{{{name}}} takes nothing behind its name")
        found.add(name)
    return frozenset(found)


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return the text, with a value for every field, without blanks at its ends."""
    return template.format_map(values).strip()
