/**
 * What the effort of the search costs and brings: figures of the simulated benchmark with all
 * mistakes of a model together (docs/benchmarks.md, its column of a gaming PC); a test holds them
 * to it.
 */

/** @type {readonly {effort: number, seconds: number, calls: number, missed: number}[]} */
export const STEPS = [
  { effort: 0.12, seconds: 159, calls: 507, missed: 46 },
  { effort: 0.25, seconds: 185, calls: 606, missed: 27 },
  { effort: 0.4, seconds: 209, calls: 696, missed: 21 },
  { effort: 0.6, seconds: 230, calls: 772, missed: 17 },
  { effort: 1, seconds: 261, calls: 888, missed: 12 },
  { effort: 1.6, seconds: 307, calls: 1060, missed: 9 },
  { effort: 2.5, seconds: 365, calls: 1273, missed: 7 },
];
const USUAL = 4;

/**
 * Return the place of the step that is nearest to an effort.
 * @param {number} effort
 */
export function nearest(effort) {
  const distance = STEPS.map((step) => Math.abs(Math.log(step.effort / effort)));
  return distance.indexOf(Math.min(...distance));
}

/**
 * Return the steps that look harder than an effort, two at most: what each misses, and how many
 * questions more it asks about an hour of video.
 * @param {number} effort
 */
export function harder(effort) {
  const place = nearest(effort);
  return STEPS.slice(place + 1, place + 3).map((step) => ({ ...step, more: step.calls - STEPS[place].calls }));
}

/**
 * Return the time that a step takes, relative to that of effort 1.
 * @param {number} place
 */
export const relativeTime = (place) => STEPS[place].seconds / STEPS[USUAL].seconds;

/**
 * Return the minutes that a step takes for an hour of video, or null where no endpoint was
 * measured. `perSecond`: questions that all endpoints answer in a second.
 * @param {number} place
 * @param {number} perSecond
 */
export const minutesPerHour = (place, perSecond) =>
  perSecond > 0 ? STEPS[place].calls / perSecond / 60 : null;
