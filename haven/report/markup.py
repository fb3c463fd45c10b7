"""The HTML that both pages share: escaped text, times, tables, cards and the frame of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from haven.report.record import shortened

GENERATOR = "Haven VLM Connector reports"
_LONGEST_NAME = 200
# Nothing is fetched and nothing runs, even if a name found a way out of its escaping.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
# Light and dark, wide and narrow. Nothing in it refers to anything outside the page.
STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --text: #1c2330; --soft:
  #5b6575; --line: #dde1e8;
  --track: #edf0f4; --new: #12805c; --old: #3b74c4; --off: #c2410c; --gap: #b9c0cb;
  --good: #12805c; --bad: #b42318; --fair: #92610a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #12151b; --card: #1b2029; --text: #e6e9ef; --soft: #9aa4b4; --line: #2d3440;
    --track: #272e39;
    --new: #3ecf9a; --old: #6ea8ff; --off: #ff8a5c; --gap: #4a5361; --good: #4ad6a2; --bad:
      #ff8b80; --fair: #e5b454; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui,
  sans-serif; overflow-wrap: anywhere; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
a { color: var(--old); }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
p { margin: .4rem 0; }
small, .soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding:
  .75rem 1rem; margin: .5rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .5rem;
  margin: .75rem 0; }
.tiles .card { margin: 0; }
.tiles b { display: block; font-size: 1.35rem; line-height: 1.3; }
.badge { display: inline-block; padding: 0 .55em; border-radius: 1em; border: 1px solid
  currentColor; color: var(--soft);
  font-size: .8rem; font-weight: 600; white-space: nowrap; }
.is-done, .is-finished, .is-ok { color: var(--good); }
.is-failed, .is-broken-off, .is-wrong { color: var(--bad); }
.is-partly, .is-sliced, .is-planned, .is-note { color: var(--fair); }
.error { border-left: 4px solid var(--bad); padding-left: .75rem; white-space: pre-wrap; }
.scene > summary { cursor: pointer; display: flex; flex-wrap: wrap; gap: .25rem .6rem;
  align-items: baseline; }
.scene > summary::before { content: "\\25b8"; color: var(--soft); }
.scene[open] > summary::before { content: "\\25be"; }
.scene > summary::-webkit-details-marker { display: none; }
.scene > summary > .title { font-weight: 600; flex: 1 1 12rem; min-width: 0; }
.scene { content-visibility: auto; contain-intrinsic-size: auto 3rem; }
.lines { display: grid; grid-template-columns: minmax(5rem, 13rem) minmax(0, 1fr) max-content;
  gap: .3rem .75rem;
  grid-auto-flow: row dense; align-items: center; margin-top: .75rem; }
.lines .tag { grid-column: 1; max-height: 4.5em; overflow: hidden; }
.lines .total { grid-column: 3; font-size: .85rem; color: var(--soft); white-space: nowrap;
  text-align: right; }
svg { display: block; width: 100%; background: var(--track); border-radius: 3px; }
.lines svg { grid-column: 2; height: 1.1rem; }
path { vector-effect: non-scaling-stroke; stroke-width: 2px; stroke: currentColor; fill:
  currentColor; }
.new { color: var(--new); } .old { color: var(--old); } .off { color: var(--off); } .gap { color:
  var(--gap); }
.axis { grid-column: 2; display: flex; justify-content: space-between; font-size: .75rem; color:
  var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .8rem; color: var(--soft); }
.key i { display: inline-block; width: 1.1em; height: .7em; margin-right: .4em; border-radius:
  2px; background: currentColor; }
.key i.off { height: .3em; }
.times { margin: .5rem 0; font-size: .9rem; }
.times > summary { cursor: pointer; color: var(--soft); }
dl { display: grid; align-items: baseline; grid-template-columns: minmax(5rem, 13rem) minmax(0,
  1fr); gap: .3rem .75rem;
  margin: .4rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
.time { display: inline-block; margin-right: .9em; font-variant-numeric: tabular-nums; }
.chip { display: inline-block; padding: 0 .5em; margin: .1em .15em; border-radius: .35em;
  background: var(--track); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: .85rem; }
tr:last-child td { border-bottom: 0; }
.endpoints th, .number { white-space: nowrap; overflow-wrap: normal; }
.share { width: 30%; min-width: 6rem; }
.share svg { height: .6rem; }
.findings { margin-top: .4rem; }
.findings table { table-layout: fixed; }
.findings th:nth-child(1) { width: 5rem; } .findings th:nth-child(2) { width: 11rem; }
ul { margin: .2rem 0; padding-left: 1.2rem; }
.runs { list-style: none; padding: 0; }
.runs li { display: grid; grid-template-columns: 9.5rem minmax(0, 1fr) max-content; gap: .1rem
  1rem; align-items: baseline; }
.runs .detail { grid-column: 2 / -1; color: var(--soft); font-size: .9rem; }
@media (max-width: 40rem) {
  main { padding: .6rem; }
  .lines { grid-template-columns: minmax(0, 1fr) max-content; gap: .1rem .5rem; }
  .lines .tag { grid-column: 1; margin-top: .35rem; } .lines .total { grid-column: 2; }
  .lines svg, .axis { grid-column: 1 / -1; }
  dl, .runs li { grid-template-columns: minmax(0, 1fr); } .runs .detail { grid-column: 1; }
  dd { margin-bottom: .4rem; }
  .endpoints thead { display: none; } .endpoints td { display: block; border: 0; padding: .1rem 0;
    }
  .endpoints td[data-of]::before { content: attr(data-of) ": "; color: var(--soft); }
  .endpoints tr { display: block; padding: .4rem 0; }
  .share { width: auto; } .number { white-space: normal; }
  .findings thead { display: none; }
  .findings tr { display: flex; flex-wrap: wrap; gap: .1rem .6rem; align-items: baseline; padding:
    .4rem 0; border-bottom: 1px solid var(--line); }
  .findings tr:last-child { border-bottom: 0; }
  .findings td { padding: 0; border: 0; } .findings td:nth-child(2) { flex: 1; font-weight: 600; }
  .findings td:nth-child(3) { flex: 1 0 100%; }
}
@media print { .scene { content-visibility: visible; break-inside: avoid; } body { background:
  #fff; } }
"""


def document(title: str, *body: str) -> str:
    """Return a whole page. ``title`` is plain text, ``body`` is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="generator" content="{GENERATOR}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, body))
        + "\n</main>\n</body>\n</html>\n"
    )


def card(head: str, body: Iterable[str], *, is_open: bool) -> str:
    """Return a card that unfolds. ``head`` and ``body`` are HTML; empty parts are left out."""
    return (
        f'<details class="card scene"{" open" if is_open else ""}>\n<summary>{head}</summary>\n'
        + "\n".join(filter(None, body))
        + "\n</details>"
    )


def table(
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[str]],
    *,
    css: str = "card endpoints",
) -> str:
    """Return a table. ``columns``: heading and CSS class of each; ``rows``: the cells' HTML."""
    head = "".join(f"<th>{heading}</th>" for heading, _ in columns)
    body = "\n".join(
        f"<tr><td>{first}</td>"
        + "".join(
            f'<td class="{css}" data-of="{heading}">{cell}</td>'
            for (heading, css), cell in zip(columns[1:], cells, strict=True)
        )
        + "</tr>"
        for first, *cells in rows
    )
    return (
        f'<div class="{css}">\n<table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def paragraph(html: str, css: str = "soft") -> str:
    """Return a paragraph, or "" without text."""
    return f'<p class="{css}">{html}</p>' if html else ""


def words(text: str) -> str:
    """Return any text, escaped. It cannot change the writing direction around it."""
    return f"<bdi>{escape(text)}</bdi>"


def name(text: str) -> str:
    """Return a name, escaped, and cut where it is very long."""
    return words(shortened(text, _LONGEST_NAME))


def chips(tags: Iterable[str]) -> str:
    """Return the names of tags side by side."""
    return "".join(f'<span class="chip">{name(tag)}</span>' for tag in tags)


def badge(word: str) -> str:
    """Return an outcome, coloured by its kind."""
    kind = "".join(letter if letter.isalpha() else "-" for letter in word)
    return f'<span class="badge is-{escape(kind)}">{escape(word)}</span>'


def percent(share: float) -> str:
    """Return a share in [0, 1] in per cent: 0 % only for nothing, 100 % only for all."""
    whole = round(share * 100)
    if whole in {0, 100} and 0 < share < 1:
        return "under 1 %" if whole == 0 else "over 99 %"
    return f"{whole} %"


def clock(time_s: float) -> str:
    """Return a time in a video: ``0:42``, ``1:02:03``, ``0:07.5``."""
    tenths = max(0, round(time_s * 10))
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"


def stretch(start_s: float, end_s: float | None) -> str:
    """Return a stretch of a video; without an end it is a point in time."""
    return clock(start_s) if end_s is None else f"{clock(start_s)}–{clock(end_s)}"


def duration(seconds: float) -> str:
    """Return how long something took: ``14 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def moment(time_s: float) -> str:
    """Return a point in time, in the time zone of this machine."""
    when = datetime.fromtimestamp(time_s).astimezone().replace(microsecond=0)
    return f'<time datetime="{when.isoformat()}">{when:%Y-%m-%d %H:%M}</time>'
