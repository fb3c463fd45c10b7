"""The little of HTML that both pages share: escaped text, times as people read them, and the frame around a page."""

from __future__ import annotations

from datetime import datetime
from html import escape

from haven.report.cleaning import shortened
from haven.report.style import STYLE

GENERATOR = "Haven VLM Connector reports"
_LONGEST_NAME = 200
# Nothing is fetched and nothing runs, even if a name should find a way out of its escaping.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(title: str, *body: str) -> str:
    """A whole page. ``title`` is plain text, ``body`` is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="generator" content="{GENERATOR}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def words(text: str) -> str:
    """A sentence or message of any origin, escaped; it cannot change the direction of what stands around it."""
    return f"<bdi>{escape(text)}</bdi>"


def name(text: str) -> str:
    """The same for a name, which may be cut."""
    return words(shortened(text, _LONGEST_NAME))


def number(count: float) -> str:
    """``12,345``."""
    return f"{count:,.0f}"


def counted(count: int, noun: str) -> str:
    """``1 scene``, ``2 scenes``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def percent(share: float) -> str:
    """A share in [0, 1], rounded so that only all is 100 % and only nothing 0 %."""
    whole = round(share * 100)
    if whole in {0, 100} and 0 < share < 1:
        return "under 1 %" if whole == 0 else "over 99 %"
    return f"{whole} %"


def clock(time_s: float) -> str:
    """A place in a video: ``0:42``, ``1:02:03``, with tenths where there are any: ``0:07.5``."""
    tenths = max(0, round(time_s * 10))
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"


def stretch(start_s: float, end_s: float | None) -> str:
    """From when to when in a video; None is a point in time."""
    return clock(start_s) if end_s is None else f"{clock(start_s)}–{clock(end_s)}"


def took(seconds: float) -> str:
    """How long something took: ``14 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def moment(time_s: float) -> str:
    """A point in time, in the time zone of this machine."""
    when = datetime.fromtimestamp(time_s).astimezone().replace(microsecond=0)
    return f'<time datetime="{when.isoformat()}">{when:%Y-%m-%d %H:%M}</time>'


def badge(word: str) -> str:
    """An outcome, coloured by what it is."""
    kind = "".join(letter if letter.isalpha() else "-" for letter in word)
    return f'<span class="badge is-{escape(kind)}">{escape(word)}</span>'
