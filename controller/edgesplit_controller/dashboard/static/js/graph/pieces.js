/**
 * Pieces of a network that a layout takes: chains as one box each, and slices of a depth that the layout's library can take at once.
 *
 * Owns: finding both. Its rule: pure; every item is in one chain and every chain in one slice, and edges never lead into an earlier slice.
 * Networks are mostly chains, so that a layout of chains takes a fraction of the time that one of units takes; slices make its time grow with
 * size, where the library's grows faster and its recursion ends at some depth.
 */

/** @typedef {{from: number, to: number}} Tie */

/**
 * Items one behind the other without a branch.
 *
 * @param {number} count How many items there are.
 * @param {Tie[]} ties Between items, each pair at most once.
 * @param {(from: number, to: number) => boolean} joins Whether two neighbours may be in one chain.
 * @returns {number[][]} Chains of items, by their first one.
 */
export function chainsOf(count, ties, joins) {
  const next = new Int32Array(count).fill(-1);
  const leaving = new Int32Array(count);
  const entering = new Int32Array(count);
  for (const tie of ties) {
    leaving[tie.from] += 1;
    entering[tie.to] += 1;
    next[tie.from] = tie.to;
  }
  const follows = new Uint8Array(count);
  for (let item = 0; item < count; item += 1) {
    const after = next[item];
    const alone = leaving[item] === 1 && entering[after] === 1;
    if (alone && joins(item, after)) follows[after] = 1;
    else next[item] = -1;
  }
  const chains = [];
  for (let item = 0; item < count; item += 1) {
    if (follows[item]) continue;
    const chain = [item];
    while (next[chain[chain.length - 1]] >= 0) chain.push(next[chain[chain.length - 1]]);
    chains.push(chain);
  }
  return chains;
}

/**
 * Boxes in slices of about so many, cut where the fewest ties cross.
 *
 * @param {number} count How many boxes there are.
 * @param {Tie[]} ties Between them, without cycles.
 * @param {number} size
 * @returns {number[][]} Boxes of each slice, in topological order.
 */
export function slicesOf(count, ties, size) {
  const order = inTopologicalOrder(count, ties);
  if (count <= 1.5 * size) return [order];
  const place = new Int32Array(count);
  order.forEach((box, index) => (place[box] = index));
  const crossing = new Int32Array(count + 1);
  for (const tie of ties) {
    crossing[place[tie.from] + 1] += 1;
    crossing[place[tie.to] + 1] -= 1;
  }
  for (let index = 1; index <= count; index += 1) crossing[index] += crossing[index - 1];
  const slices = [];
  let from = 0;
  while (count - from > 1.5 * size) {
    let best = from + size;
    for (let until = from + Math.ceil(size / 2); until <= from + 1.5 * size; until += 1) {
      const nearer = Math.abs(until - from - size) < Math.abs(best - from - size);
      if (crossing[until] < crossing[best] || (crossing[until] === crossing[best] && nearer)) best = until;
    }
    slices.push(order.slice(from, best));
    from = best;
  }
  slices.push(order.slice(from));
  return slices;
}

/**
 * @param {number} count
 * @param {Tie[]} ties
 */
function inTopologicalOrder(count, ties) {
  const missing = new Int32Array(count);
  /** @type {number[][]} */
  const after = Array.from({ length: count }, () => []);
  for (const tie of ties) {
    missing[tie.to] += 1;
    after[tie.from].push(tie.to);
  }
  const ready = [];
  for (let box = count - 1; box >= 0; box -= 1) if (missing[box] === 0) ready.push(box);
  const order = [];
  while (ready.length > 0) {
    // Depth first: what belongs together stays together, so that few ties are on their way at any place.
    const box = /** @type {number} */ (ready.pop());
    order.push(box);
    for (const next of after[box].toReversed()) {
      missing[next] -= 1;
      if (missing[next] === 0) ready.push(next);
    }
  }
  return order;
}
