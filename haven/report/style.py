"""How the pages look: light and dark, wide and narrow. Nothing in it refers to anything outside the page."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --text: #1c2330; --soft: #5b6575; --line: #dde1e8;
  --track: #edf0f4; --new: #12805c; --old: #3b74c4; --off: #c2410c; --gap: #b9c0cb;
  --good: #12805c; --bad: #b42318; --fair: #92610a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #12151b; --card: #1b2029; --text: #e6e9ef; --soft: #9aa4b4; --line: #2d3440; --track: #272e39;
    --new: #3ecf9a; --old: #6ea8ff; --off: #ff8a5c; --gap: #4a5361; --good: #4ad6a2; --bad: #ff8b80; --fair: #e5b454; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
a { color: var(--old); }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
p { margin: .4rem 0; }
small, .soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .75rem 1rem; margin: .5rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .5rem; margin: .75rem 0; }
.tiles .card { margin: 0; }
.tiles b { display: block; font-size: 1.35rem; line-height: 1.3; }
.badge { display: inline-block; padding: 0 .55em; border-radius: 1em; border: 1px solid currentColor; color: var(--soft);
  font-size: .8rem; font-weight: 600; white-space: nowrap; }
.is-done, .is-finished { color: var(--good); }
.is-failed, .is-broken-off { color: var(--bad); }
.is-partly, .is-sliced, .is-planned { color: var(--fair); }
.error { border-left: 4px solid var(--bad); padding-left: .75rem; white-space: pre-wrap; }
.scene > summary { cursor: pointer; display: flex; flex-wrap: wrap; gap: .25rem .6rem; align-items: baseline; }
.scene > summary::before { content: "\\25b8"; color: var(--soft); }
.scene[open] > summary::before { content: "\\25be"; }
.scene > summary::-webkit-details-marker { display: none; }
.scene > summary > .title { font-weight: 600; flex: 1 1 12rem; min-width: 0; }
.scene { content-visibility: auto; contain-intrinsic-size: auto 3rem; }
.lines { display: grid; grid-template-columns: minmax(5rem, 13rem) minmax(0, 1fr) max-content; gap: .3rem .75rem;
  grid-auto-flow: row dense; align-items: center; margin-top: .75rem; }
.lines .tag { grid-column: 1; max-height: 4.5em; overflow: hidden; }
.lines .total { grid-column: 3; font-size: .85rem; color: var(--soft); white-space: nowrap; text-align: right; }
svg { display: block; width: 100%; background: var(--track); border-radius: 3px; }
.lines svg { grid-column: 2; height: 1.1rem; }
path { vector-effect: non-scaling-stroke; stroke-width: 2px; stroke: currentColor; fill: currentColor; }
.new { color: var(--new); } .old { color: var(--old); } .off { color: var(--off); } .gap { color: var(--gap); }
.axis { grid-column: 2; display: flex; justify-content: space-between; font-size: .75rem; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .8rem; color: var(--soft); }
.key i { display: inline-block; width: 1.1em; height: .7em; margin-right: .4em; border-radius: 2px; background: currentColor; }
.key i.off { height: .3em; }
.times { margin: .5rem 0; font-size: .9rem; }
.times > summary { cursor: pointer; color: var(--soft); }
dl { display: grid; align-items: baseline; grid-template-columns: minmax(5rem, 13rem) minmax(0, 1fr); gap: .3rem .75rem;
  margin: .4rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
.time { display: inline-block; margin-right: .9em; font-variant-numeric: tabular-nums; }
.chip { display: inline-block; padding: 0 .5em; margin: .1em .15em; border-radius: .35em; background: var(--track); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: .85rem; }
tr:last-child td { border-bottom: 0; }
.endpoints th, .number { white-space: nowrap; overflow-wrap: normal; }
.share { width: 30%; min-width: 6rem; }
.share svg { height: .6rem; }
ul { margin: .2rem 0; padding-left: 1.2rem; }
.runs { list-style: none; padding: 0; }
.runs li { display: grid; grid-template-columns: 9.5rem minmax(0, 1fr) max-content; gap: .1rem 1rem; align-items: baseline; }
.runs .told { grid-column: 2 / -1; color: var(--soft); font-size: .9rem; }
@media (max-width: 40rem) {
  main { padding: .6rem; }
  .lines { grid-template-columns: minmax(0, 1fr) max-content; gap: .1rem .5rem; }
  .lines .tag { grid-column: 1; margin-top: .35rem; } .lines .total { grid-column: 2; }
  .lines svg, .axis { grid-column: 1 / -1; }
  dl, .runs li { grid-template-columns: minmax(0, 1fr); } .runs .told { grid-column: 1; }
  dd { margin-bottom: .4rem; }
  .endpoints thead { display: none; } .endpoints td { display: block; border: 0; padding: .1rem 0; }
  .endpoints td[data-of]::before { content: attr(data-of) ": "; color: var(--soft); }
  .endpoints tr { display: block; padding: .4rem 0; }
  .share { width: auto; }
}
@media print { .scene { content-visibility: visible; break-inside: avoid; } body { background: #fff; } }
"""
