/** A long list of which only the rows in view are drawn: a library has thousands of tags. */

const { React } = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const h = React.createElement;
/** Rows beyond the view, so that the keyboard reaches the next one. */
const BEYOND = 2;

/**
 * `height`: that of a row in pixels. `most`: the rows that are in view at once. `row` draws one; its
 * element takes `style`.
 * @param {{items: readonly any[], height: number, most: number, className: string, row: (item: any, style: {top: number, height: number}) => import("../plugin-api").Node}} props
 */
export function Rows({ items, height, most, className, row }) {
  const [top, setTop] = React.useState(0);
  const first = Math.max(0, Math.min(Math.floor(top / height) - BEYOND, items.length - most));
  const shown = items.slice(first, first + most + 2 * BEYOND);
  return h(
    "div",
    { className: `haven-scrolled ${className}`, style: { maxHeight: most * height }, onScroll: (/** @type {any} */ event) => setTop(event.target.scrollTop) },
    h(
      "div",
      { style: { height: items.length * height, position: "relative" } },
      shown.map((item, place) => row(item, { top: (first + place) * height, height })),
    ),
  );
}
