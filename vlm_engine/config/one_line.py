"""Several values in one line of text, as people type them: on the command line, or into a field of
a page.

Commas, semicolons, tabs and line breaks separate. Text in brackets or braces is read as in the
configuration file. Text that may mean two things is refused, with the entry and the remedy: every
function here raises ``ValueError``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeAlias

from vlm_engine.errors import ConfigError
from vlm_engine.yaml_text import parse_yaml

Entry: TypeAlias = str | dict[str, str]
"""The name of a tag, or its name with a description."""

_COMMAS, _SEMICOLONS, _LINES = ",，、،\t", ";；؛", "\n\r"
# Soft hyphens and blanks of no width: they come along with what is copied, and nobody sees them.
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
_PLAIN = str.maketrans({**dict.fromkeys("“”„«»", '"'), "：": ": "}) | _UNSEEN
_BULLET = re.compile(r"(?m)^\s*[-*•]\s+")
_DESCRIBED = re.compile(r'\s*(?P<name>"[^"]*"|[^"]+?)\s*:(?:\s+(?P<text>.*))?', re.DOTALL)
_COLON = re.compile(r":(?=\s|$)")
_STRUCTURE = re.compile(r'[|=\\<>{}\[\]"]|(?<!\d):|:(?!\d)')


def tags_in(text: str) -> list[Any]:
    """Return names of tags, some or all with a description: ``Foul: a player hits; Goal: the ball
    is in the net``.

    A description ends at a separator only where that is clear: every entry has one, or it is in
    quotes.
    """
    if (written := _as_in_a_file(text)) is not None:
        return [written] if isinstance(written, dict) else list(written)
    text = _BULLET.sub("", text.translate(_PLAIN))
    if text.count('"') % 2:
        raise ValueError(f"{text.strip()!r}: a quotation mark is missing")
    lines = _pieces(text, _LINES)
    return [entry for line in lines for entry in _entries(line, is_one_of_many=len(lines) > 1)]


def addresses_in(text: str) -> list[Any]:
    """Return addresses of servers. Blanks separate them, too."""
    if (written := _as_in_a_file(text)) is not None:
        return [written] if isinstance(written, dict) else list(written)
    pieces = re.split(f"[\\s{_COMMAS}{_SEMICOLONS}]+", text.translate(_PLAIN))
    return [address for piece in pieces if (address := piece.strip("\"'()<>"))]


def folders_in(text: str) -> list[tuple[str, str]]:
    """Return pairs of folders: ``/data => /mnt/nas; /pics => /mnt/pics``. A comma separates only
    if both sides are pairs.
    """
    if (written := _as_in_a_file(text)) is not None:
        return list(written.items()) if isinstance(written, dict) else written
    return [_pair(pair) for rule in _pieces(text, _SEMICOLONS + _LINES) for pair in _pairs(rule)]


def key_in(text: str) -> str:
    """Return an API key, which has no blanks. Errors do not show it."""
    cleaned = re.sub(r"(?i)^\s*(authorization:)?\s*bearer\s+", "", text).strip().strip("\"'")
    if re.search(r"\s", cleaned) or not cleaned.isprintable():
        raise ValueError("there is a blank or a line break in it, which no key has; copy it again")
    return cleaned


def _as_in_a_file(text: str) -> Any:
    """Return the list or mapping that is written in brackets or braces; None if there are none."""
    text = text.strip().translate(_PLAIN)
    if (text[:1], text[-1:]) not in {("[", "]"), ("{", "}")}:
        return None
    try:
        return parse_yaml(text)
    except ConfigError as error:
        raise ValueError(
            f"{text!r} is not written as in the configuration file: {error}"
        ) from error


def _entries(line: str, *, is_one_of_many: bool) -> Iterator[Entry]:
    smallest, larger = _pieces(line, _COMMAS + _SEMICOLONS), _pieces(line, _SEMICOLONS)
    rest = _rest_of_a_description(smallest)
    if rest is None:
        yield from map(_entry, smallest)
        return
    # Where semicolons separate, or lines, a comma is one of the description's own.
    is_separated = len(larger) > 1 or is_one_of_many
    if (
        not is_separated
        or _rest_of_a_description(larger)
        or any(len(_COLON.findall(piece)) > 1 for piece in larger)
    ):
        raise ValueError(_not_plain(*rest))
    for piece in larger:
        yield from map(_entry, [piece] if _DESCRIBED.fullmatch(piece) else _pieces(piece, _COMMAS))


def _rest_of_a_description(pieces: list[str]) -> tuple[str, str] | None:
    """Return a described tag and the piece after it that may be the rest of its description; None
    if all is clear.
    """
    for piece, following in pairwise(pieces):
        described = _DESCRIBED.fullmatch(piece)
        if (
            described
            and not (described["text"] or '"').startswith('"')
            and not _DESCRIBED.fullmatch(following)
        ):
            return piece, following
    return None


def _not_plain(piece: str, rest: str) -> str:
    name, _, text = piece.strip().partition(":")
    return (
        f"{rest.strip()!r} may be a tag of its own or belong to the description of {name!r}; put "
        "descriptions in quotes,"
        f' like {name}: "{text.strip()}"'
    )


def _entry(piece: str) -> Entry:
    found = _DESCRIBED.fullmatch(piece)
    if found is None:
        return _name(piece)
    text = (found["text"] or "").strip()
    if _COLON.search(text) and not text.startswith('"'):
        raise ValueError(
            f"{piece.strip()!r} has two colons; separate tags by semicolons, or put the "
            "description in quotes"
        )
    return {_name(found["name"]): text.strip('"')} if text else _name(found["name"])


def _name(text: str) -> str:
    name = text.strip()
    if control := re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        raise ValueError(
            f"{name!r}: the character {control[0]!r} is none that a name has; type it again"
        )
    if "://" in name:
        raise ValueError(
            f"{name!r} is an address, and no tag; addresses of servers belong into Endpoint "
            "(ENDPOINTS)"
        )
    if re.fullmatch(r'"[^"]+"', name):
        return name[1:-1]
    if re.fullmatch(r"'[^']+'", name):
        return name[1:-1]
    if odd := _STRUCTURE.search(name):
        described = "; a colon and a blank go before a description" if odd[0] == ":" else ""
        raise ValueError(
            f"{name!r}: separate tags by commas{described}; a name that really has {odd[0]} in it "
            "goes in quotes"
        )
    return name


def _pieces(text: str, separators: str) -> list[str]:
    """Return the text between separators, except separators in quotes, without empty pieces."""
    found: list[str] = re.findall(f'(?:"[^"]*"|[^"{separators}])+', text)
    return [piece for piece in found if piece.strip()]


def _pairs(rule: str) -> list[str]:
    parts = re.split(f"[{_COMMAS}]", rule)
    return parts if len(parts) > 1 and all("=>" in part for part in parts) else [rule]


def _pair(rule: str) -> tuple[str, str]:
    there, arrow, here = rule.partition("=>")
    if not arrow or "=>" in here:
        raise ValueError(
            f"{rule.strip()!r}: write /data => /mnt/nas, and a semicolon between several of these"
        )
    return there, here
