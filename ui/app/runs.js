/** The tab "Runs": the reports, newest first, each unfolding into what was done. */

import { checksOf, endpointsOf, itemsOf } from "../model/report.js";
import { agoText } from "../model/time.js";
import { Fault, Findings, Fold, Section, messageOf, useLoaded, whenLoaded } from "./parts.js";
import { call, startTask } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").RunSummary} RunSummary */
/** @typedef {import("../model/report.js").Item} Item */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const { Link } = api.libraries.ReactRouterDOM;
const h = React.createElement;
const MOST_ITEMS = 100;
const PATHS = { scene: "scenes", image: "images", gallery: "galleries" };

/** @param {{shell: Shell}} props */
export default function Runs({ shell }) {
  const [pages, setPages] = React.useState(1);
  const loaded = useLoaded(
    React.useCallback(
      async (signal) => {
        const numbers = Array.from({ length: pages }, (_, page) => page);
        const lists = await Promise.all(numbers.map((page) => call(shell, "runs", { page }, signal)));
        return { runs: lists.flatMap((list) => list.runs), more: !!lists.at(-1)?.more };
      },
      [shell, pages],
    ),
  );
  return whenLoaded(loaded, ({ runs, more }) =>
    h(
      React.Fragment,
      null,
      runs.length > 0 && h(UndoLast, { shell, reload: loaded.reload }),
      runs.length === 0 && h("p", null, texts.runs.none),
      runs.map((run) => h(Fold, { key: run.stem, title: h(RunTitle, { run }) }, h(Report, { shell, run }))),
      more && h(Button, { variant: "secondary", onClick: () => setPages(pages + 1) }, texts.runs.older),
    ),
  );
}

/** @param {{run: RunSummary}} props */
const RunTitle = ({ run }) =>
  h(
    "span",
    { className: "haven-run" },
    h("strong", null, run.task),
    h("span", { className: "text-muted", title: new Date(run.started * 1000).toLocaleString() }, agoText(run.started, Date.now() / 1000)),
    run.error
      ? h("span", { className: "text-danger" }, run.error)
      : h("span", null, run.end_line || run.end),
  );

/** @param {{shell: Shell, reload: () => void}} props */
function UndoLast({ shell, reload }) {
  const [isSure, setSure] = React.useState(false);
  const [note, setNote] = React.useState("");
  const undo = async () => {
    setSure(false);
    try {
      const { ended } = await startTask(shell, texts.runs.undoTask, { mode: "undo_last_run" });
      setNote((await ended) || texts.runs.undone);
      reload();
    } catch (error) {
      setNote(messageOf(error));
    }
  };
  return h(
    Section,
    { title: texts.runs.title },
    isSure
      ? h(
          React.Fragment,
          null,
          h("p", null, texts.runs.undoHelp),
          h(
            "div",
            { className: "haven-buttons" },
            h(Button, { variant: "danger", size: "sm", autoFocus: true, onClick: undo }, texts.runs.undoNow),
            h(Button, { variant: "secondary", size: "sm", onClick: () => setSure(false) }, texts.cancel),
          ),
        )
      : h(Button, { variant: "secondary", size: "sm", onClick: () => setSure(true) }, texts.runs.undo),
    note && h("p", { role: "status" }, note),
  );
}

/** @param {{shell: Shell, run: RunSummary}} props */
function Report({ shell, run }) {
  const loaded = useLoaded(
    React.useCallback((signal) => call(shell, "run", { stem: run.stem }, signal), [shell, run.stem]),
  );
  return whenLoaded(loaded, ({ report }) => {
    const [items, checks] = [itemsOf(report), checksOf(report)];
    return h(
      React.Fragment,
      null,
      h("p", null, texts.runs.lasted(run.ended - run.started)),
      h("ul", { className: "haven-facts" }, endpointsOf(report).map(endpoint)),
      h("ul", { className: "haven-items" }, items.slice(0, MOST_ITEMS).map(itemLine)),
      items.length > MOST_ITEMS && h("p", { className: "text-muted" }, texts.more(items.length - MOST_ITEMS)),
      items.length === 0 && checks.length === 0 && h("p", { className: "text-muted" }, texts.runs.noItems),
      h(Findings, { sections: checks }),
    );
  });
}

/** @param {ReturnType<typeof endpointsOf>[number]} one */
function endpoint({ name, calls, share, failed }) {
  const faults = Object.entries(failed).map(([kind, count]) => `${count} ${kind}`);
  return h("li", { key: name }, texts.runs.endpoint(name, calls, share), faults.length > 0 && h(Fault, { fault: texts.runs.failed(faults) }));
}

/** @param {Item} item */
const itemLine = (item) =>
  h(
    "li",
    { key: `${item.kind} ${item.id}`, className: `is-${item.outcome}` },
    h(ItemLink, { item }),
    h("span", { className: item.error ? "text-danger" : "text-muted" }, item.error || texts.runs.change(item.outcome, item.added, item.removed)),
  );

/** @param {{item: Item}} props */
export const ItemLink = ({ item }) =>
  h(Link, { to: `/${PATHS[item.kind]}/${encodeURIComponent(item.id)}` }, item.title || `${item.kind} ${item.id}`);
