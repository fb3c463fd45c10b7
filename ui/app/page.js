/** The page of the plugin: its tabs, each with an address of its own. */

import Queue from "./queue.js";
import Results from "./results.js";
import Runs from "./runs.js";
import SetUp from "./setup.js";
import { page as pageTexts, texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Link, NavLink, Route, Switch } = api.libraries.ReactRouterDOM;
const h = React.createElement;
const ROOT = "/plugins/haven-vlm";

/**
 * The tabs in their order: the end of the address, the text, the component. The first one is also
 * at the page's own address.
 * @type {readonly {path: string, text: string, View: import("react").ComponentType<{shell: Shell}>}[]}
 */
const TABS = [
  { path: "set-up", text: pageTexts.tabs.setup, View: SetUp },
  { path: "queue", text: pageTexts.tabs.queue, View: Queue },
  { path: "runs", text: pageTexts.tabs.runs, View: Runs },
  { path: "tags", text: pageTexts.tabs.tags, View: Results },
];

/** @param {{shell: Shell}} props */
export default function Page({ shell }) {
  React.useEffect(() => {
    const before = document.title;
    document.title = "Haven VLM Connector";
    return () => void (document.title = before);
  }, []);
  const routes = TABS.map(({ path, View }, index) =>
    h(Route, { key: path, exact: true, path: index ? `${ROOT}/${path}` : [ROOT, `${ROOT}/${path}`] }, h(View, { shell })),
  );
  return h(
    "div",
    { className: "haven-page" },
    h("h2", null, "Haven VLM Connector"),
    h("nav", { className: "nav nav-tabs" }, TABS.map(tabLink)),
    h(Switch, null, routes, h(Route, { key: "" }, h(Missing))),
  );
}

/** @param {{path: string, text: string}} tab */
const tabLink = ({ path, text }, /** @type {number} */ index) =>
  h(
    NavLink,
    {
      key: path,
      to: `${ROOT}/${path}`,
      className: "nav-item nav-link",
      isActive: (/** @type {unknown} */ match, /** @type {Location} */ { pathname }) =>
        !!match || (index === 0 && pathname === ROOT),
    },
    text,
  );

const Missing = () => h("p", null, `${texts.noPage} `, h(Link, { to: ROOT }, texts.back));
