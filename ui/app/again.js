/** "Tag again" of a scene: as before, or harder, with what that costs. */

import { harder } from "../model/effort.js";
import { messageOf } from "./parts.js";
import { startTagging } from "./start.js";
import { again as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").ItemEvidence} ItemEvidence */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button, ButtonGroup, Dropdown } = api.libraries.Bootstrap;
const h = React.createElement;

/**
 * Return what starts the task for a scene alone, and what is to be said about it.
 * @param {Shell} shell
 * @param {import("./review.js").ItemReview} review
 */
export function useAgain(shell, review) {
  const [note, setNote] = React.useState("");
  const [isRunning, setRunning] = React.useState(false);
  const start = async (/** @type {number | null} */ effort = null) => {
    setRunning(true);
    try {
      /** @type {Record<string, string>} */
      const settings = effort === null ? {} : { VIDEO_SEARCH_EFFORT: String(effort) };
      const { ended } = await startTagging(shell, "scenes", [review.id], settings);
      setNote(texts.started);
      setNote(await ended);
    } catch (error) {
      setNote(messageOf(error));
    }
    setRunning(false);
  };
  return { note, isRunning, start };
}

/** @param {{shell: Shell, evidence: ItemEvidence | null, again: ReturnType<typeof useAgain>}} props */
export function TagAgain({ evidence, again }) {
  const { isRunning, start } = again;
  const shape = { variant: "secondary", size: "sm", disabled: isRunning };
  const steps = evidence?.looked_at ? harder(evidence.effort ?? 1) : [];
  const now = h(
    Button,
    { ...shape, title: texts.help, onClick: () => start() },
    evidence?.looked_at ? texts.tagAgain : texts.tagNow,
  );
  if (!evidence || !steps.length) return now;
  return h(
    Dropdown,
    { as: ButtonGroup, className: "haven-again show-carat" },
    now,
    h(Dropdown.Toggle, { ...shape, id: "haven-again", split: true, "aria-label": texts.choose, title: texts.choose }),
    h(
      Dropdown.Menu,
      { className: "bg-secondary text-white", align: "right" },
      h(Dropdown.Item, { className: "bg-secondary text-white", onClick: () => start() }, texts.asBefore),
      steps.map(({ effort, missed, more }) =>
        h(
          Dropdown.Item,
          { key: effort, className: "bg-secondary text-white", onClick: () => start(effort) },
          texts.harder(effort, Math.ceil((more * evidence.duration_s) / 3600), missed),
        ),
      ),
    ),
  );
}
