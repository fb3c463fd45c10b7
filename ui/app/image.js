/** The block of the image page: what the image was asked about, and the answers. */

import { percentText } from "../model/confidence.js";
import { agoText } from "../model/time.js";
import { startTagging } from "./start.js";
import { call, refresh } from "./stash.js";
import { stateText, texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").ImageEvidence} ImageEvidence */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;

/** @param {{shell: Shell, image: {id: string}}} props */
export default function ImageView({ shell, image }) {
  const [evidence, setEvidence] = React.useState(/** @type {ImageEvidence | null} */ (null));
  const [note, setNote] = React.useState("");
  const load = React.useCallback(async () => {
    try {
      setEvidence(await call(shell, "image", { id: image.id }));
    } catch (error) {
      setNote(error instanceof Error ? error.message : String(error));
    }
  }, [shell, image.id]);
  React.useEffect(() => void load(), [load]);
  const tagNow = async () => {
    try {
      const { ended } = await startTagging(shell, "images", [image.id]);
      setNote(texts.started);
      setNote(await ended);
      await load();
      refresh(shell, "FindImage");
    } catch (error) {
      setNote(error instanceof Error ? error.message : String(error));
    }
  };
  return h(
    "div",
    { className: "haven-image" },
    h(
      "div",
      { className: "haven-header" },
      h("span", { className: "haven-summary" }, evidence ? summary(evidence) : !note && texts.loading),
      h(Button, { variant: "secondary", size: "sm", title: texts.taskHelp.images, onClick: tagNow }, texts.task.images(1)),
    ),
    note && h("p", { role: "status" }, note),
    evidence && evidence.tags.length > 0 && h("ul", { className: "haven-list" }, evidence.tags.map(row)),
  );
}

/** @param {ImageEvidence} evidence */
function summary(evidence) {
  if (evidence.looked_at === null) return texts.never;
  return [evidence.model, agoText(evidence.looked_at, Date.now() / 1000)].filter(Boolean).join(" · ");
}

/** @param {import("../contract").ImageTag} tag */
const row = (tag) =>
  h(
    "li",
    { key: tag.tag, className: tag.present ? "" : "text-muted" },
    h("span", null, tag.tag),
    h("span", null, percentText(tag.confidence)),
    h("span", null, answer(tag)),
  );

/** @param {import("../contract").ImageTag} tag */
function answer(tag) {
  if (tag.state === "wrong" || tag.state === "gone") return stateText[tag.state];
  return tag.present ? texts.present : texts.absent;
}
