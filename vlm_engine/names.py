"""Names of tags: two spellings can be the same tag."""

from __future__ import annotations


def tag_key(name: str) -> str:
    """Return what all spellings of one tag's name share: compare tags by this key, never by their
    names.

    Case, and the number of blanks around and between words, make no difference. Two places compare
    otherwise, for a reason: replies of models also match across the composed and decomposed forms
    of Unicode (``vlm_engine.reply``), and Stash itself tells names with different blanks inside
    apart (``haven.stash.values.tag_key``, and the control tags in ``haven.settings``).
    """
    return " ".join(name.split()).casefold()
