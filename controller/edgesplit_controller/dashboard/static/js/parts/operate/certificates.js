/** Certificates of the fleet's authority, the next to end first. */

import { ask } from "../../core/ask.js";
import { count, day } from "../../core/format.js";
import { h } from "../../core/html.js";
import { badge } from "../chips.js";
import { table } from "../table.js";
import { failure } from "../task.js";

const DAY_S = 86_400;
const RENEWED = 2 / 3;

/** How a certificate fares. Pure. @returns {{text: string, tone: string}} */
export function stateOfCertificate(row, nowS) {
  if ((row.revoked_unix_s ?? null) !== null) return { text: "revoked", tone: "bad" };
  const left = row.expires_unix_s - nowS;
  if (left <= 0) return { text: "ended", tone: "bad" };
  const lifetime = row.expires_unix_s - row.issued_unix_s;
  // They renew themselves at two thirds of their life, and have a day more before that is worth a look.
  if (left < (1 - RENEWED) * lifetime - Math.min(DAY_S, 0.1 * lifetime)) return { text: "should have been renewed", tone: "warn" };
  return { text: "trusted", tone: "good" };
}

/** @param {AbortSignal} signal @returns {{element: HTMLElement, read: () => Promise<void>}} */
export function certificateTable(signal) {
  const report = h("div");
  const rows = table({
    caption: "Certificates",
    key: (row) => row.serial,
    text: (row) => `${row.role} ${row.name}`,
    empty: "The authority has issued no certificate that has not ended.",
    columns: [
      { title: "Whose", header: true, value: (row) => `${row.role} ${row.name}`, cell: (row) => ({ key: row.serial, draw: () => [h("small", null, `${row.role} `), h("span", { class: "long" }, row.name)] }) },
      { title: "State", value: (row) => row.state.text, cell: (row) => ({ key: row.state.text, draw: () => badge(row.state.text, row.state.tone) }) },
      { title: "Left", figure: true, value: (row) => row.expires_unix_s, cell: (row) => count(Math.max(0, Math.floor(row.leftS / DAY_S)), "day") },
      { title: "Ends", figure: true, value: (row) => row.expires_unix_s, cell: (row) => day(row.expires_unix_s) },
    ],
  });

  async function read() {
    try {
      const now = Date.now() / 1000;
      const found = await ask({ op: "list-certificates" }, { signal });
      report.replaceChildren();
      rows.update(found.map((row) => ({ ...row, state: stateOfCertificate(row, now), leftS: row.expires_unix_s - now })));
    } catch (error) {
      if (!signal.aborted) report.replaceChildren(failure(error));
    }
  }

  return { element: h("div", null, report, rows.element), read };
}
