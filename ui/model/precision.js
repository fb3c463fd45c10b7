/** How often a tag was judged right, with what so few judgements can and cannot say. */

const Z = 1.96;

/**
 * Return the limits between which the true share lies in 19 of 20 cases (Wilson's interval), or
 * null where nothing was judged.
 * @param {number} right
 * @param {number} judged
 * @returns {{low: number, high: number} | null}
 */
export function limits(right, judged) {
  if (!judged) return null;
  const share = right / judged;
  const spread = Z * Math.sqrt((share * (1 - share)) / judged + Z ** 2 / (4 * judged ** 2));
  const middle = share + Z ** 2 / (2 * judged);
  const scale = 1 + Z ** 2 / judged;
  return { low: Math.max(0, (middle - spread) / scale), high: Math.min(1, (middle + spread) / scale) };
}

/**
 * Return the counts that a person's decisions about a tag come to. An adjusted moment was right: it
 * was there, at other times.
 * @param {{kept: number, wrong: number, adjusted: number}} result
 */
export function judgements({ kept, wrong, adjusted }) {
  const right = kept + adjusted;
  return { right, judged: right + wrong };
}

/**
 * Return the tags in the order in which a person's judgement helps most: those that may be wrong
 * most often first, and tags that were never found last.
 * @template {{name: string, found: number, kept: number, wrong: number, adjusted: number}} Result
 * @param {readonly Result[]} results
 * @returns {Result[]}
 */
export function mostDoubtful(results) {
  const rank = (/** @type {Result} */ result) => {
    const { right, judged } = judgements(result);
    return result.found ? (limits(right, judged)?.low ?? 0) : 2;
  };
  return [...results].sort(
    (one, other) => rank(one) - rank(other) || other.found - one.found || one.name.localeCompare(other.name),
  );
}

/**
 * Return the tag whose judgement would tell most, with what is known of it so far: the one with the
 * most markers that may be wrong, by what judgements leave open. Null where nothing waits.
 * @template {{name: string, found: number, kept: number, wrong: number, adjusted: number}} Result
 * @param {readonly Result[]} results
 * @returns {{result: Result, open: number, low: number, high: number} | null}
 */
export function judgeNext(results) {
  const known = results.map((result) => {
    const { right, judged } = judgements(result);
    const { low, high } = limits(right, judged) ?? { low: 0, high: 1 };
    return { result, low, high, open: (high - low) * result.found };
  });
  known.sort((one, other) => other.open - one.open);
  return known.length && known[0].open > 0 ? known[0] : null;
}
