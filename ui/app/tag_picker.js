/** A search field for tags of Stash, and the tags that were chosen. */

import { Fault, messageOf } from "./parts.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;
const WAIT_MS = 200;

/** @param {{shell: Shell, label: string, chosen: readonly string[], onAdd: (tag: string) => void, onRemove: (tag: string) => void}} props */
export function TagPicker({ shell, label, chosen, onAdd, onRemove }) {
  const [text, setText] = React.useState("");
  const [found, setFound] = React.useState(/** @type {readonly string[] | null} */ (null));
  const [fault, setFault] = React.useState("");
  React.useEffect(() => {
    setFound(null);
    setFault("");
    if (!text.trim()) return undefined;
    let isCurrent = true;
    const search = () =>
      namesOfTags(shell, text.trim()).then(
        (names) => isCurrent && setFound(names),
        (error) => isCurrent && setFault(messageOf(error)),
      );
    const soon = setTimeout(search, WAIT_MS);
    return () => {
      isCurrent = false;
      clearTimeout(soon);
    };
  }, [shell, text]);
  const offered = (found ?? []).filter((name) => !chosen.includes(name));
  const add = (/** @type {string} */ name) => {
    onAdd(name);
    setText("");
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && offered.length) add(offered[0]);
  };
  return h(
    "div",
    { className: "haven-picker" },
    h("label", { htmlFor: "haven-picker" }, label),
    h("input", { id: "haven-picker", className: "form-control text-input", value: text, autoComplete: "off", onKeyDown, onChange: (/** @type {any} */ { target }) => setText(target.value) }),
    found && !found.length && h("p", { className: "text-muted" }, texts.queue.everything.noTag),
    h("div", { className: "haven-buttons" }, offered.map((name) => h(Button, { key: name, variant: "secondary", size: "sm", onClick: () => add(name) }, name))),
    chosen.length > 0 &&
      h("div", { className: "haven-buttons" }, chosen.map((name) => h(Button, { key: name, variant: "primary", size: "sm", "aria-label": texts.queue.everything.remove(name), onClick: () => onRemove(name) }, `${name} ✗`))),
    h(Fault, { fault }),
  );
}

/**
 * Return the names of tags that contain a text in their name or an alias.
 * @param {Shell} shell
 * @param {string} text
 * @returns {Promise<string[]>}
 */
async function namesOfTags(shell, text) {
  const { gql } = shell.api.libraries.Apollo;
  const query = gql`
    query HavenTags($tags: TagFilterType) {
      findTags(filter: { per_page: 12, sort: "name" }, tag_filter: $tags) {
        tags {
          id
          name
        }
      }
    }
  `;
  const value = { value: `"${text.replaceAll('"', " ")}"`, modifier: "INCLUDES" };
  const variables = { tags: { name: value, OR: { aliases: value } } };
  const { data } = await shell.api.utils.StashService.getClient().query({ query, variables });
  return data.findTags.tags.map((/** @type {{name: string}} */ { name }) => name);
}
