/** The tab "Tags": for each tag what was found and judged, honestly, and its threshold. */

import { judgements, limits, mostDoubtful } from "../model/precision.js";
import { percentText } from "../model/confidence.js";
import { useLoaded, whenLoaded } from "./parts.js";
import { call } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").TagResult} TagResult */

const { React } = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const h = React.createElement;

/** @param {{shell: Shell}} props */
export default function Results({ shell }) {
  const loaded = useLoaded(React.useCallback((signal) => call(shell, "tag_results", {}, signal), [shell]));
  return whenLoaded(loaded, ({ tags }) => {
    if (!tags.length) return h("p", null, texts.results.none);
    return h(
      React.Fragment,
      null,
      h("p", { className: "text-muted" }, texts.results.help),
      h(
        "div",
        { className: "haven-scroll" },
        h(
          "table",
          { className: "table haven-results" },
          h("thead", null, h("tr", null, texts.results.columns.map((text) => h("th", { key: text, scope: "col" }, text)))),
          h("tbody", null, mostDoubtful(tags).map(row)),
        ),
      ),
    );
  });
}

/** @param {TagResult} result */
const row = (result) =>
  h(
    "tr",
    { key: result.name },
    h("td", null, h("strong", null, result.name)),
    h("td", null, result.found.toLocaleString()),
    h("td", null, words(result)),
    h("td", null, percentText(result.threshold)),
  );

/** @param {TagResult} result */
function words(result) {
  const { right, judged } = judgements(result);
  const range = limits(right, judged);
  return range ? texts.results.precision(right, judged, range.low, range.high) : texts.results.notJudged;
}
