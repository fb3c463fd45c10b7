/** Parts that the tabs of the page share: loading, faults with a retry, findings of checks. */

import { CallError, startTask } from "./stash.js";
import { page as texts, parts } from "./texts.js";

/** @typedef {import("../contract").SectionValue} SectionValue */
/** @typedef {import("../contract").FindingValue} FindingValue */
/** @typedef {import("../plugin-api").Shell} Shell */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;

/**
 * Return the message of anything that was thrown.
 * @param {unknown} error
 */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/**
 * Load a value when the component appears and whenever `load` changes. What is here stays while it
 * is loaded anew, also when that fails; then there is a fault, with its code where it has one.
 * @template Value
 * @param {(signal: AbortSignal) => Promise<Value>} load
 */
export function useLoaded(load) {
  const [state, setState] = React.useState(/** @type {{value?: Value, fault: string, code?: string}} */ ({ fault: "" }));
  const [round, setRound] = React.useState(0);
  React.useEffect(() => {
    const stop = new AbortController();
    load(stop.signal).then(
      (value) => !stop.signal.aborted && setState({ value, fault: "" }),
      (error) => {
        const code = error instanceof CallError ? error.code : undefined;
        if (!stop.signal.aborted) setState((before) => ({ ...before, fault: messageOf(error), code }));
      },
    );
    return () => stop.abort();
  }, [load, round]);
  return {
    ...state,
    set: (/** @type {Value} */ value) => setState({ value, fault: "" }),
    reload: () => setRound((count) => count + 1),
  };
}

/**
 * Whether decisions are saved, said quietly.
 * @param {{review: import("./review.js").ItemReview}} props
 */
export function Status({ review }) {
  const saved = review.hasSaved && !review.fault ? parts.saved : "";
  const text = review.isBusy ? parts.waitsForTask : review.isSaving ? parts.saving : saved;
  return h("span", { className: "haven-status text-muted", role: "status" }, text);
}

/** @param {{fault: string, retry?: () => void}} props */
export function Fault({ fault, retry }) {
  if (!fault) return null;
  return h(
    "div",
    { className: "haven-fault text-danger", role: "alert" },
    h("span", null, fault),
    retry && h(Button, { variant: "secondary", size: "sm", onClick: retry }, texts.retry),
  );
}

/**
 * Show the fault of a loaded value, or that it is on its way, or what `show` makes of it.
 * @template Value
 * @param {{value?: Value, fault: string, reload: () => void}} loaded
 * @param {(value: Value) => import("../plugin-api").Node} show
 */
export function whenLoaded({ value, fault, reload }, show) {
  const isMissing = value === undefined;
  return h(
    React.Fragment,
    null,
    h(Fault, { fault, retry: reload }),
    isMissing ? !fault && h("p", { className: "text-muted" }, texts.loading) : show(value),
  );
}

/**
 * A heading with its content.
 * @param {{title: string, help?: string, children?: import("../plugin-api").Node}} props
 */
export const Section = ({ title, help, children }) =>
  h(
    "section",
    { className: "haven-section" },
    h("h4", null, title),
    help && h("p", { className: "text-muted" }, help),
    children,
  );

/**
 * A line that unfolds.
 * @param {{title: import("../plugin-api").Node, startsOpen?: boolean, children?: import("../plugin-api").Node}} props
 */
export function Fold({ title, startsOpen = false, children }) {
  const [isOpen, setOpen] = React.useState(startsOpen);
  return h(
    "div",
    { className: "haven-fold" },
    h(
      "button",
      { type: "button", className: "haven-fold-title", "aria-expanded": isOpen, onClick: () => setOpen(!isOpen) },
      h("span", { "aria-hidden": true, className: "haven-arrow" }, isOpen ? "▾" : "▸"),
      title,
    ),
    isOpen && h("div", { className: "haven-fold-body" }, children),
  );
}

/** @param {{sections: readonly SectionValue[]}} props */
export const Findings = ({ sections }) =>
  h(
    React.Fragment,
    null,
    sections.map((section, index) =>
      h(
        "div",
        { key: index, className: "haven-findings" },
        h("strong", null, section.title),
        h("ul", null, section.findings.map(finding)),
      ),
    ),
  );

/** @param {FindingValue} one */
const finding = ({ severity, what, text }, /** @type {number} */ index) =>
  h(
    "li",
    { key: index, className: `is-${severity}` },
    h("span", { className: "haven-severity" }, texts.severity[severity]),
    h("span", null, `${what}: ${text}`),
  );

/**
 * Keep a list that grows page by page. `first`: its first page; `loadPage` returns a later one.
 * @template Entry
 * @param {{entries: readonly Entry[], more: boolean}} first
 * @param {(page: number) => Promise<{entries: readonly Entry[], more: boolean}>} loadPage
 */
export function useMore(first, loadPage) {
  const [pages, setPages] = React.useState([first]);
  const [isLoading, setLoading] = React.useState(false);
  const [fault, setFault] = React.useState("");
  const load = async () => {
    setLoading(true);
    try {
      const next = await loadPage(pages.length);
      setPages([...pages, next]);
      setFault("");
    } catch (error) {
      setFault(messageOf(error));
    }
    setLoading(false);
  };
  return { entries: pages.flatMap((page) => page.entries), more: !!pages.at(-1)?.more, isLoading, fault, load };
}

/**
 * A button that starts a task after saying what it does. Its end is said where the button was.
 * @param {{shell: Shell, text: string, help: string, now: string, done: string, task: string, args: object, ended: () => void, startsOpen?: boolean, cancelled?: () => void, children?: import("../plugin-api").Node}} props
 */
export function Confirm({ shell, text, help, now, done, task, args, ended, startsOpen = false, cancelled, children }) {
  const [isSure, setSure] = React.useState(startsOpen);
  const [note, setNote] = React.useState("");
  const start = async () => {
    setSure(false);
    setNote(texts.taskRuns);
    try {
      const job = await startTask(shell, task, args);
      setNote((await job.ended) || done);
      ended();
    } catch (error) {
      setNote(messageOf(error));
    }
  };
  const cancel = () => {
    setSure(false);
    cancelled?.();
  };
  return h(
    "div",
    { className: "haven-confirm" },
    isSure
      ? h(
          React.Fragment,
          null,
          help && h("p", null, help),
          children,
          h(
            "div",
            { className: "haven-buttons" },
            h(Button, { variant: "danger", size: "sm", autoFocus: true, onClick: start }, now),
            h(Button, { variant: "secondary", size: "sm", onClick: cancel }, texts.cancel),
          ),
        )
      : h("div", { className: "haven-buttons" }, h(Button, { variant: "secondary", size: "sm", onClick: () => setSure(true) }, text)),
    note && h("p", { role: "status" }, note),
  );
}
