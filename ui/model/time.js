/** Times as people read them. Every time is in seconds. */

/**
 * Return a position in a video: "0:07", "12:04", "1:02:03".
 * @param {number} seconds
 */
export function clockText(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/**
 * Return positions in a video, in seconds, as people read them: with tenths where two would read
 * alike.
 * @param {readonly number[]} times
 */
export function clockTexts(times) {
  const plain = times.map(clockText);
  const isShared = (/** @type {string} */ text) => plain.indexOf(text) !== plain.lastIndexOf(text);
  const tenth = (/** @type {number} */ time) => Math.floor((time + 1e-6) * 10) % 10;
  return plain.map((text, index) => (isShared(text) ? `${text}.${tenth(times[index])}` : text));
}

/**
 * Return a stretch of a video: "12:04 – 12:31", or one position where both ends read the same.
 * @param {number} start
 * @param {number} end
 */
export function stretchText(start, end) {
  const [from, to] = [clockText(start), clockText(end)];
  return from === to ? from : `${from} – ${to}`;
}

/** @type {[number, string][]} */
const UNITS = [
  [86400, "day"],
  [3600, "hour"],
  [60, "minute"],
];

/**
 * Return a past moment relative to now: "just now", "5 minutes ago", "yesterday", "3 days ago".
 * @param {number} moment seconds since the epoch
 * @param {number} now seconds since the epoch
 */
export function agoText(moment, now) {
  const passed = now - moment;
  const unit = UNITS.find(([size]) => passed >= size);
  if (!unit) return "just now";
  const count = Math.floor(passed / unit[0]);
  if (unit[1] === "day" && count === 1) return "yesterday";
  return `${count} ${unit[1]}${count === 1 ? "" : "s"} ago`;
}
