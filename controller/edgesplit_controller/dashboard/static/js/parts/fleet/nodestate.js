/** How a node fares, in a word and a tone, with why. Pure. */

import { ago } from "../../core/format.js";

/**
 * @param {object} node a row of `splitctl nodes`
 * @returns {{text: string, tone: "good"|"warn"|"bad"|"idle", why: string[]}}
 */
export function stateOf(node) {
  const why = [...(node.warnings ?? []), ...(node.failing ?? []).map((failing) => `${failing.what}: ${failing.reason}`)];
  if (node.power_problem) why.push(node.power_problem);
  if (node.insecure) why.push("listens to strangers: its configuration says insecure_network = true");
  if (node.refused) return { text: "refused", tone: "bad", why: [node.refused, ...why] };
  if (!node.online) {
    const seen = node.last_seen_s ?? null;
    return { text: seen === null ? "offline" : `offline, seen ${ago(seen)}`, tone: "bad", why };
  }
  if ((node.drained_unix_s ?? null) !== null) return { text: "drained", tone: "warn", why };
  if ((node.failing ?? []).length > 0) return { text: "retrying", tone: "warn", why };
  if (why.length > 0) return { text: "online, look", tone: "warn", why };
  return { text: "online", tone: "good", why };
}
