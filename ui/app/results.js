/**
 * The tab "Tags": for each tag what was found and judged, honestly, its threshold, and the markers
 * that are least sure.
 */

import { withThreshold } from "../model/choices.js";
import { percentText } from "../model/confidence.js";
import { judgeNext, judgements, limits, mostDoubtful } from "../model/precision.js";
import { clockText } from "../model/time.js";
import { Fault, messageOf, useLoaded, whenLoaded } from "./parts.js";
import { valueOf } from "./setup.js";
import { call } from "./stash.js";
import { page } from "./texts.js";
import { Threshold } from "./wanted.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").TagResult} TagResult */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../model/choices.js").Rules} Rules */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const { Link } = api.libraries.ReactRouterDOM;
const h = React.createElement;
const texts = page.results;

/** @param {{shell: Shell}} props */
export default function Results({ shell }) {
  const loaded = useLoaded(React.useCallback((signal) => call(shell, "tag_results", {}, signal), [shell]));
  const settings = useLoaded(React.useCallback((signal) => call(shell, "settings", {}, signal), [shell]));
  const [tag, setTag] = React.useState(/** @type {string | null | undefined} */ (undefined));
  return whenLoaded(loaded, ({ tags }) => {
    if (!tags.length) return h("p", null, texts.none);
    const next = judgeNext(tags);
    return h(
      React.Fragment,
      null,
      h("p", { className: "text-muted" }, texts.help),
      next && h(
        "div",
        { className: "haven-next" },
        h("p", null, texts.next(next.result.name, next.result.found, next.low, next.high)),
        h(Button, { variant: "primary", size: "sm", onClick: () => setTag(next.result.name) }, texts.least(next.result.name)),
        h(Button, { variant: "secondary", size: "sm", onClick: () => setTag(null) }, texts.leastOfAll),
      ),
      tag !== undefined && h(LeastSure, { key: tag ?? "", shell, tag }),
      h(Table, { shell, tags, settings, reload: loaded.reload, show: setTag }),
    );
  });
}

/** @param {{shell: Shell, tags: readonly TagResult[], settings: ReturnType<typeof useLoaded<SettingsValue>>, reload: () => void, show: (tag: string) => void}} props */
function Table({ shell, tags, settings, reload, show }) {
  const [draft, setDraft] = React.useState(/** @type {{rules: Rules, shares: Record<string, number | null>} | null} */ (null));
  const [fault, setFault] = React.useState("");
  const value = settings.value;
  const rules = draft?.rules ?? (value ? valueOf(value, "TAG_RULES", /** @type {Rules} */ ({})) : {});
  const usual = value ? valueOf(value, "VIDEO_THRESHOLD", 0.5) : 0.5;
  const set = (/** @type {TagResult} */ { name, former_names }, /** @type {number | null} */ share) =>
    setDraft({ rules: withThreshold(rules, [name, ...former_names], share), shares: { ...draft?.shares, [name]: share } });
  const store = async () => {
    try {
      const changes = [{ name: "TAG_RULES", value: JSON.stringify(rules) }];
      settings.set(await call(shell, "change_settings", { revision: /** @type {SettingsValue} */ (value).revision, changes }));
      setDraft(null);
      setFault("");
      reload();
    } catch (error) {
      setFault(messageOf(error));
      settings.reload();
    }
  };
  const threshold = (/** @type {TagResult} */ result) => {
    if (!value || !result.is_looked_for) return percentText(result.threshold);
    const { [result.name]: share = result.threshold } = draft?.shares ?? {};
    return h(Threshold, { name: result.name, share, usual, set: (one) => set(result, one) });
  };
  return h(
    React.Fragment,
    null,
    h(
      "div",
      { className: "haven-scroll" },
      h(
        "table",
        { className: "table haven-results" },
        h("thead", null, h("tr", null, texts.columns.map((text) => h("th", { key: text, scope: "col" }, text)))),
        h("tbody", null, mostDoubtful(tags).map((result) => row(result, threshold(result), () => show(result.name)))),
      ),
    ),
    h(Fault, { fault: fault || settings.fault }),
    draft &&
      h(
        "div",
        { className: "haven-buttons" },
        h(Button, { variant: "primary", onClick: store }, texts.save),
        h(Button, { variant: "secondary", onClick: () => setDraft(null) }, page.cancel),
        h("span", { className: "text-muted" }, texts.saveHelp),
      ),
  );
}

/**
 * @param {TagResult} result
 * @param {import("../plugin-api").Node} threshold
 * @param {() => void} show
 */
const row = (result, threshold, show) =>
  h(
    "tr",
    { key: result.name },
    h("td", null, h("strong", null, result.name)),
    h("td", null, result.found ? h("button", { type: "button", className: "btn btn-link p-0", title: texts.least(result.name), onClick: show }, result.found.toLocaleString()) : "0"),
    h("td", null, words(result)),
    h("td", null, threshold),
  );

/** @param {TagResult} result */
function words(result) {
  const { right, judged } = judgements(result);
  const range = limits(right, judged);
  return range ? texts.precision(right, judged, range.low, range.high) : texts.notJudged;
}

/**
 * The markers with the lowest confidences, of one tag or of all, with links to their moments.
 * @param {{shell: Shell, tag: string | null}} props
 */
function LeastSure({ shell, tag }) {
  const loaded = useLoaded(React.useCallback((signal) => call(shell, "least_sure", { tag }, signal), [shell, tag]));
  return h(
    "div",
    { className: "haven-least" },
    h("strong", null, tag === null ? texts.leastOfAll : texts.least(tag)),
    whenLoaded(loaded, ({ markers }) =>
      markers.length
        ? h(
            "ol",
            null,
            markers.map((one) =>
              h(
                "li",
                { key: `${one.scene} ${one.tag} ${one.start_s}` },
                h(Link, { to: `/scenes/${one.scene}?t=${Math.floor(one.start_s)}` }, `${one.title}, ${clockText(one.start_s)}`),
                ` ${one.tag}, ${percentText(one.confidence)}`,
              ),
            ),
          )
        : h("p", { className: "text-muted" }, texts.noneUnsure),
    ),
  );
}
