/** Frames of a scene: a crop of Stash's sprite at once, the exact frame when the plugin has it. */

import { call } from "./stash.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").Frame} Frame */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const h = React.createElement;
const useSprites = api.hooks.useSpriteInfo ?? (() => null);
const WIDTH = 320;
const SHOWN = 104;
const MOST_KEPT = 400;
const WAIT_MS = 250;

/** @type {Map<string, Frame>} */
const kept = new Map();

/**
 * Return the frames at these times, by time, as far as they are here; the others are asked for
 * together, and no more when the view has moved on.
 * @param {Shell} shell
 * @param {string} scene
 * @param {readonly number[]} times
 */
function useFrames(shell, scene, times) {
  const [, setCount] = React.useState(0);
  const wanted = times.join(" ");
  React.useEffect(() => {
    const missing = times.filter((time) => !kept.has(`${scene} ${time}`));
    if (!missing.length) return undefined;
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const args = { scene, times_s: missing, width: WIDTH };
        const { frames } = await call(shell, "frames", args, stop.signal);
        missing.forEach((time, index) => kept.set(`${scene} ${time}`, frames[index]));
      } catch (error) {
        if (stop.signal.aborted) return;
        const reason = error instanceof Error ? error.message : String(error);
        missing.forEach((time) => kept.set(`${scene} ${time}`, { time_s: time, jpeg: null, error: reason }));
      }
      for (const key of kept.keys()) if (kept.size > MOST_KEPT) kept.delete(key);
      if (!stop.signal.aborted) setCount((count) => count + 1);
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [shell, scene, wanted]);
  return new Map(times.map((time) => [time, kept.get(`${scene} ${time}`)]));
}

/**
 * Show frames as buttons that seek.
 * @param {{shell: Shell, scene: import("../plugin-api").Scene, frames: readonly {time_s: number, text: string}[], onSeek: (seconds: number) => void}} props
 */
export function Pictures({ shell, scene, frames, onSeek }) {
  const sprites = useSprites(scene.paths?.vtt ?? undefined);
  const exact = useFrames(shell, scene.id, frames.map((frame) => frame.time_s));
  return h(
    "div",
    { className: "haven-pictures" },
    frames.map(({ time_s, text }) => {
      const frame = exact.get(time_s);
      const sprite = sprites?.find(({ start, end }) => start <= time_s && time_s < end);
      return h(
        "button",
        { type: "button", key: time_s, className: "haven-frame", title: frame?.error || text, onClick: () => onSeek(time_s) },
        h("span", { className: "haven-picture" }, picture(frame, sprite)),
        h("span", null, text),
      );
    }),
  );
}

/**
 * @param {Frame | undefined} frame
 * @param {import("../plugin-api").Sprite | undefined} sprite
 */
function picture(frame, sprite) {
  // The page's policy refuses blob: pictures.
  if (frame?.jpeg) return h("img", { src: `data:image/jpeg;base64,${frame.jpeg}`, alt: "" });
  if (!sprite) return frame?.error ? "✗" : "";
  const { url, x, y, w, h: height } = sprite;
  const style = {
    width: w,
    height,
    background: `url("${url}") -${x}px -${y}px`,
    transform: `scale(${SHOWN / w})`,
  };
  return h("span", { className: "haven-sprite", style });
}
