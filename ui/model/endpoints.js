/** Endpoints: the list that is sent when one of them changes, and what their checks say. */

/** @typedef {import("../contract").EndpointValue} EndpointValue */
/** @typedef {import("../contract").EndpointChange} EndpointChange */
/** @typedef {import("../contract").SectionValue} SectionValue */
/** @typedef {import("../contract").FindingValue} FindingValue */
/** @typedef {"sound" | "slow" | "blind" | "down" | "wrong"} Light */

/**
 * Return an endpoint as it is sent back when it stays as it is.
 * @param {EndpointValue} endpoint
 * @param {number} index
 * @returns {EndpointChange}
 */
export const unchanged = (endpoint, index) => ({
  base_url: endpoint.address,
  key: "keep",
  was: index,
  name: endpoint.name,
  model_id: endpoint.model || null,
  weight: endpoint.weight,
  is_fallback: endpoint.is_fallback,
  max_concurrent: endpoint.max_concurrent,
});

/**
 * Return the whole list with one endpoint replaced (or added at the end, for an index of its own),
 * or removed where `change` is null.
 * @param {readonly EndpointValue[]} endpoints
 * @param {number} index
 * @param {EndpointChange | null} change
 */
export function withChange(endpoints, index, change) {
  const list = endpoints.map(unchanged);
  list.splice(index, 1, ...(change ? [change] : []));
  return list;
}

/**
 * Return true if an address is one that a key may stay with: the plugin refuses any other.
 * @param {string} before
 * @param {string} after
 */
export const isSameAddress = (before, after) => bare(before) === bare(after);

/** @param {string} address */
const bare = (address) => address.trim().replace(/\/+$/, "");

/**
 * Return the requests at once as the plugin takes them, or undefined for a text that is none.
 * @param {string} text
 * @returns {number | "auto" | null | undefined}
 */
export function atOnce(text) {
  const plain = text.trim();
  if (!plain) return null;
  if (plain === "auto") return plain;
  return /^[1-9]\d*$/.test(plain) ? Number(plain) : undefined;
}

/**
 * Return the state of an endpoint after its check, and the sentence behind it.
 * @param {SectionValue} section
 * @returns {{light: Light, finding: FindingValue}}
 */
export function summary({ findings }) {
  const wrong = findings.find((one) => one.severity === "wrong");
  if (wrong) return { light: wrongLight(wrong), finding: wrong };
  const slow = findings.find((one) => one.severity === "note" && one.what === "seconds");
  if (slow) return { light: "slow", finding: slow };
  const usual = findings.find((one) => one.what === "test pictures") ?? findings[0];
  return { light: "sound", finding: usual };
}

/** @param {FindingValue} finding */
function wrongLight({ what, figures }) {
  if (what === "reachable" || what === "API key") return "down";
  return figures.sight === "blind" ? "blind" : "wrong";
}

/**
 * Return how many questions an endpoint answers in a second, by its check; 0 where it does not
 * work or was not measured.
 * @param {SectionValue} section
 */
export function questionsPerSecond({ works, findings }) {
  const alone = findings.map(({ figures }) => Number(figures.alone)).find((value) => value > 0);
  const gain = findings.map(({ figures }) => Number(figures.gain)).find((value) => value > 0);
  return works && alone ? (gain ?? 1) / alone : 0;
}
