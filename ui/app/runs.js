/** The tab "Runs": every run in a line, newest first, each unfolding into its report. */

import { outcomes } from "../model/report.js";
import { agoText } from "../model/time.js";
import { Confirm, Fault, Fold, Section, useLoaded, useMore, whenLoaded } from "./parts.js";
import { Report } from "./report.js";
import { call } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").RunSummary} RunSummary */
/** @typedef {import("../contract").RunList} RunList */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;

/** @param {{shell: Shell}} props */
export default function Runs({ shell }) {
  const loaded = useLoaded(React.useCallback((signal) => call(shell, "runs", { page: 0 }, signal), [shell]));
  const undo = { text: texts.runs.undo, help: texts.runs.undoHelp, now: texts.runs.undoNow, done: texts.runs.undone, task: texts.runs.undoTask };
  return whenLoaded(loaded, (first) =>
    h(
      React.Fragment,
      null,
      first.runs.length > 0 &&
        h(Section, { title: texts.runs.title }, h(Confirm, { shell, ...undo, args: { mode: "undo_last_run" }, ended: loaded.reload })),
      first.runs.length === 0 && h("p", null, texts.runs.none),
      // Another first run makes the list anew, so that no run is in it twice.
      h(List, { key: first.runs[0]?.stem ?? "", shell, first }),
    ),
  );
}

/** @param {{shell: Shell, first: RunList}} props */
function List({ shell, first }) {
  const { entries, more, isLoading, fault, load } = useMore(
    { entries: first.runs, more: first.more },
    async (page) => {
      const { runs, more: left } = await call(shell, "runs", { page });
      return { entries: runs, more: left };
    },
  );
  return h(
    React.Fragment,
    null,
    entries.map((run) => h(Fold, { key: run.stem, title: h(RunTitle, { run }) }, h(Report, { shell, run }))),
    h(Fault, { fault }),
    more && h(Button, { variant: "secondary", disabled: isLoading, onClick: load }, texts.runs.older),
  );
}

/** @param {{run: RunSummary}} props */
const RunTitle = ({ run }) =>
  h(
    "span",
    { className: "haven-run" },
    h("strong", null, run.task),
    h("span", { className: "text-muted", title: new Date(run.started * 1000).toLocaleString() }, agoText(run.started, Date.now() / 1000)),
    outcomes(run.items).map(([outcome, count]) =>
      h("span", { key: outcome, className: `is-${outcome}` }, texts.runs.outcome(outcome, count)),
    ),
    h("span", { className: "text-muted" }, texts.runs.spent(run.ended - run.started, run.calls, run.seconds)),
    run.error ? h("span", { className: "text-danger" }, run.error) : !outcomes(run.items).length && h("span", null, run.end_line || run.end),
  );
