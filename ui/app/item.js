/** The block of an image or a gallery: its tags, what was answered about them, and decisions. */

import { percentText } from "../model/confidence.js";
import { possibleForTag } from "../model/decisions.js";
import { verdict } from "../model/frames.js";
import { agoText } from "../model/time.js";
import { Fault, Fold, Status, messageOf } from "./parts.js";
import { useReview } from "./review.js";
import { startTagging } from "./start.js";
import { item as texts, tagDecisionText, tagStateText } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").ItemEvidence} ItemEvidence */
/** @typedef {import("../contract").TagEvidence} TagEvidence */
/** @typedef {import("./review.js").ItemReview} ItemReview */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;
const KINDS = /** @type {const} */ ({ image: "images", gallery: "galleries" });

/** @param {{shell: Shell, kind: "image" | "gallery", id: string}} props */
export default function ItemView({ shell, kind, id }) {
  const review = useReview(shell, kind, id);
  const [note, setNote] = React.useState("");
  const { evidence } = review;
  const tagNow = async () => {
    try {
      const { ended } = await startTagging(shell, KINDS[kind], [id]);
      setNote(texts.started);
      setNote(await ended);
    } catch (error) {
      setNote(messageOf(error));
    }
  };
  const isDecided = evidence?.tags.some(({ spans: [one] }) => ["kept", "wrong"].includes(one.state));
  const small = { variant: "secondary", size: "sm" };
  return h(
    "div",
    { className: "haven-item" },
    h(
      "div",
      { className: "haven-header" },
      h("span", { className: "haven-summary" }, evidence ? summary(kind, evidence) : !review.fault && texts.loading),
      h(Status, { review }),
      (isDecided || review.hasSaved) && h(Button, { ...small, className: "minimal", title: texts.undoHelp, onClick: () => review.undo() }, texts.undo),
      h(Button, { ...small, title: texts.tagHelp[kind], onClick: tagNow }, texts.tagNow[kind]),
    ),
    note && h("p", { role: "status" }, note),
    h(Fault, { fault: review.fault, retry: () => review.load() }),
    evidence && h(Tags, { review, evidence }),
  );
}

/**
 * @param {"image" | "gallery"} kind
 * @param {ItemEvidence} evidence
 */
function summary(kind, evidence) {
  if (evidence.looked_at !== null) {
    return [evidence.model, agoText(evidence.looked_at, Date.now() / 1000)].filter(Boolean).join(" · ");
  }
  if (kind === "gallery") return evidence.tags.length ? texts.ofImages : texts.noTags;
  return evidence.note || texts.never;
}

/** @param {{review: ItemReview, evidence: ItemEvidence}} props */
function Tags({ review, evidence }) {
  const isAbsent = (/** @type {TagEvidence} */ tag) => tag.spans[0].state === "below" && !isPresent(evidence, tag);
  const [absent, shown] = [evidence.tags.filter(isAbsent), evidence.tags.filter((tag) => !isAbsent(tag))];
  const list = (/** @type {readonly TagEvidence[]} */ tags) =>
    h("ul", { className: "haven-list" }, tags.map((tag) => h(Tag, { key: tag.tag, review, evidence, tag })));
  return h(
    React.Fragment,
    null,
    shown.length > 0 && list(shown),
    absent.length > 0 && h(Fold, { title: texts.absent(absent.length) }, list(absent)),
  );
}

/** @param {{review: ItemReview, evidence: ItemEvidence, tag: TagEvidence}} props */
function Tag({ review, evidence, tag }) {
  const [span] = tag.spans;
  const answer = span.state === "below" ? (isPresent(evidence, tag) ? texts.notSure(percentText(tag.threshold)) : texts.no) : tagStateText[span.state];
  const isPersons = span.state === "marker" && span.by_person;
  return h(
    "li",
    { className: `is-${span.state}` },
    h("strong", null, tag.in_stash),
    h("span", null, percentText(span.confidence)),
    h("span", { className: "text-muted" }, isPersons ? texts.byPerson : answer),
    h(
      "span",
      { className: "haven-buttons" },
      possibleForTag(span.state).map((kind) => {
        const [label, title] = tagDecisionText(kind, span.state);
        const onClick = () => review.decide(kind, tag.tag, span);
        return h(Button, { key: kind, size: "sm", variant: "secondary", title, "aria-label": `${label}: ${tag.in_stash}`, onClick }, label);
      }),
    ),
  );
}

/**
 * Return true if the model said that the image shows the tag.
 * @param {ItemEvidence} evidence
 * @param {TagEvidence} tag
 */
const isPresent = (evidence, { tag }) => !!evidence.frames[0] && verdict(evidence.frames[0], tag) === true;
