/** The report of one run: what it did, what failed and why, and each item with what was found. */

import { checksOf, coverageOf, endpointsOf, errorWords, isEmptyChange, markerNames } from "../model/report.js";
import { clockText } from "../model/time.js";
import { Confirm, Fault, Findings, messageOf, useLoaded, useMore, whenLoaded } from "./parts.js";
import { call } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").RunSummary} RunSummary */
/** @typedef {import("../contract").RunReportValue} RunReportValue */
/** @typedef {import("../contract").RunItem} RunItem */
/** @typedef {import("../contract").FailureCause} FailureCause */
/** @typedef {import("../contract").ItemChanges} ItemChanges */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const { Link } = api.libraries.ReactRouterDOM;
const h = React.createElement;
const PATHS = { scene: "scenes", image: "images", gallery: "galleries" };
const MOST_SPANS = 12;

/** @param {{shell: Shell, run: RunSummary}} props */
export function Report({ shell, run }) {
  const loaded = useLoaded(
    React.useCallback((signal) => call(shell, "run", { stem: run.stem }, signal), [shell, run.stem]),
  );
  // Another number of changes that can be undone makes the list of items anew.
  return whenLoaded(loaded, (value) => h(Whole, { key: value.left, shell, run, value, reload: loaded.reload }));
}

/** @param {{shell: Shell, run: RunSummary, value: RunReportValue, reload: () => void}} props */
function Whole({ shell, run, value, reload }) {
  const { report, causes } = value;
  const checks = checksOf(report);
  return h(
    React.Fragment,
    null,
    run.error ? h(Fault, { fault: run.error }) : h("p", null, run.end_line || run.end),
    h("p", { className: "text-muted" }, texts.runs.coverage(run.run_id, run.ended - run.started, coverageOf(report))),
    h("ul", { className: "haven-facts" }, endpointsOf(report).map(endpoint)),
    h(Actions, { shell, run, value, reload }),
    causes.filter(({ count }) => count > 1).map((cause) => h(Cause, { key: cause.error, cause })),
    h(Items, { shell, run, value, reload }),
    value.count === 0 && checks.length === 0 && h("p", { className: "text-muted" }, texts.runs.noItems),
    h(Findings, { sections: checks }),
  );
}

/** @param {ReturnType<typeof endpointsOf>[number]} one */
function endpoint(one) {
  const faults = Object.entries(one.failed).map(([kind, count]) => `${count} ${errorWords(kind)}`);
  return h("li", { key: one.name }, texts.runs.endpoint(one), faults.length > 0 && h(Fault, { fault: texts.runs.failed(faults) }));
}

/** @param {{shell: Shell, run: RunSummary, value: RunReportValue, reload: () => void}} props */
function Actions({ shell, run, value, reload }) {
  const id = String(run.run_id);
  return h(
    "div",
    { className: "haven-actions" },
    value.left > 0 &&
      h(Confirm, {
        shell,
        text: texts.runs.undoRun(value.left),
        help: texts.runs.undoRunHelp(value.left),
        now: texts.runs.undoRunNow,
        done: texts.runs.undoneRun,
        task: texts.runs.undoTask,
        args: { mode: "undo_last_run", run: id },
        ended: reload,
      }),
    value.left > 0 &&
      Object.keys(value.report.outcomes ?? {}).length > 0 &&
      h(Confirm, {
        shell,
        text: texts.runs.previews,
        help: texts.runs.previewsHelp,
        now: texts.runs.previewsNow,
        done: texts.runs.previewsDone,
        task: texts.runs.previewsTask,
        args: { mode: "marker_previews", run: id },
        ended: () => undefined,
      }),
    run.has_page && h(FullReport, { shell, stem: run.stem }),
  );
}

/** @param {{shell: Shell, stem: string}} props */
function FullReport({ shell, stem }) {
  const [fault, setFault] = React.useState("");
  const open = async () => {
    const tab = window.open("", "_blank"); // at once: later a browser takes it for a pop-up
    try {
      const { html } = await call(shell, "run_page", { stem });
      const address = URL.createObjectURL(new Blob([html], { type: "text/html" }));
      if (tab) tab.location.replace(address);
      else window.location.assign(address);
    } catch (error) {
      tab?.close();
      setFault(messageOf(error));
    }
  };
  return h(
    "div",
    { className: "haven-buttons" },
    h(Button, { variant: "secondary", size: "sm", onClick: open }, texts.runs.fullReport),
    h(Fault, { fault }),
  );
}

/** @param {{cause: FailureCause}} props */
export const Cause = ({ cause: { error, count, items } }) =>
  h(
    "div",
    { className: "haven-cause" },
    h("p", null, texts.queue.cause(count, error)),
    h("div", { className: "haven-links" }, items.map((item) => h(ItemLink, { key: `${item.kind} ${item.id}`, item }))),
    count > items.length && h("p", { className: "text-muted" }, texts.more(count - items.length)),
  );

/** @param {{shell: Shell, run: RunSummary, value: RunReportValue, reload: () => void}} props */
function Items({ shell, run, value, reload }) {
  const { entries, more, isLoading, fault, load } = useMore(
    { entries: value.items, more: value.more },
    async (page) => {
      const { items, more: left } = await call(shell, "run", { stem: run.stem, page });
      return { entries: items, more: left };
    },
  );
  return h(
    React.Fragment,
    null,
    h("ul", { className: "haven-items" }, entries.map((item) => h(Item, { key: `${item.kind} ${item.id}`, shell, run, item, reload }))),
    h(Fault, { fault }),
    more && h(Button, { variant: "secondary", size: "sm", disabled: isLoading, onClick: load }, texts.runs.moreItems(value.count - entries.length)),
  );
}

/** @param {{shell: Shell, run: RunSummary, item: RunItem, reload: () => void}} props */
const Item = ({ shell, run, item, reload }) =>
  h(
    "li",
    { className: `is-${item.outcome}` },
    h(ItemLink, { item }),
    h("span", { className: "text-muted" }, texts.runs.item(item)),
    item.error && h("span", { className: "text-danger" }, item.error),
    item.note && h("span", null, item.note),
    item.tags.length > 0 && h("div", { className: "haven-links" }, item.tags.map((found) => h(Found, { key: found.tag, item, found }))),
    h(Change, { change: item.change, words: texts.runs.changed(item.outcome) }),
    item.undo === "undone" && h("span", null, texts.runs.isUndone),
    item.undo === "possible" && h(UndoItem, { shell, run, item, reload }),
  );

/** @param {{item: Pick<RunItem, "kind" | "id" | "title">}} props */
export const ItemLink = ({ item }) =>
  h(Link, { to: `/${PATHS[item.kind]}/${encodeURIComponent(item.id)}` }, item.title || `${item.kind} ${item.id}`);

/**
 * A found tag with links to its moments: the player goes there.
 * @param {{item: RunItem, found: RunItem["tags"][number]}} props
 */
const Found = ({ item, found: { tag, spans } }) =>
  h(
    "span",
    { className: "haven-found" },
    h("strong", null, tag),
    spans.slice(0, MOST_SPANS).map(([start]) =>
      h(Link, { key: start, to: `/scenes/${encodeURIComponent(item.id)}?t=${Math.floor(start)}` }, clockText(start)),
    ),
    spans.length > MOST_SPANS && h("span", { className: "text-muted" }, texts.more(spans.length - MOST_SPANS)),
  );

/** @param {{change: ItemChanges, words: {added: string, removed: string}}} props */
function Change({ change, words }) {
  const added = [...change.tags_added, ...markerNames(change.markers_added)];
  const removed = [...change.tags_removed, ...markerNames(change.markers_removed)];
  /** @type {[string, readonly string[]][]} */
  const lines = [
    [words.added, added],
    [words.removed, removed],
    [texts.runs.keptBack, change.kept_back],
    [texts.runs.staysOff, change.stays_off],
    [texts.runs.leftAlone, change.left_alone],
  ];
  return h(
    "div",
    { className: "haven-change" },
    lines.filter(([, names]) => names.length).map(([head, names]) => h("div", { key: head }, h("span", { className: "text-muted" }, `${head}: `), names.join(", "))),
  );
}

/**
 * Undoes the run on one item, after saying what that takes back.
 * @param {{shell: Shell, run: RunSummary, item: RunItem, reload: () => void}} props
 */
function UndoItem({ shell, run, item, reload }) {
  const [isOpen, setOpen] = React.useState(false);
  if (!isOpen) {
    return h("div", { className: "haven-buttons" }, h(Button, { variant: "secondary", size: "sm", onClick: () => setOpen(true) }, texts.runs.undoItem));
  }
  const args = { mode: "undo_last_run", run: String(run.run_id), [PATHS[item.kind]]: item.id };
  return h(
    Confirm,
    { shell, startsOpen: true, text: texts.runs.undoItem, help: "", now: texts.runs.undoItemNow(item.kind), done: texts.runs.undoneItem, task: texts.runs.undoTask, args, ended: reload, cancelled: () => setOpen(false) },
    h(UndoPreview, { shell, run, item }),
  );
}

/** @param {{shell: Shell, run: RunSummary, item: RunItem}} props */
function UndoPreview({ shell, run, item }) {
  const loaded = useLoaded(
    React.useCallback(
      (signal) => call(shell, "preview_undo", { run: run.run_id, kind: item.kind, id: item.id }, signal),
      [shell, run.run_id, item.kind, item.id],
    ),
  );
  return whenLoaded(loaded, ({ change, also }) =>
    h(
      React.Fragment,
      null,
      isEmptyChange(change) && h("p", null, texts.runs.undoesNothing),
      h(Change, { change, words: texts.runs.wouldBe }),
      also.length > 0 && h("p", null, texts.runs.undoesAlso(also)),
    ),
  );
}
