/**
 * Who looks: the session of this browser with the controller.
 *
 * Its one rule: a ticket leaves the address before anything else happens; what may be changed is the controller's to decide, the
 * page only leaves out what it would refuse.
 */

import { AskError, refusal, send } from "./ask.js";

const TICKET = "#ticket=";

/** The session, as `GET /api/session` tells it; null until `openSession` and where there is none. */
export let session = null;

/**
 * Redeem the ticket in the address, if there is one, and ask who is signed in.
 * @returns {Promise<object|null>} null: in a secured fleet, and nobody is
 * @throws {AskError} the ticket is refused, or the controller is away
 */
export async function openSession() {
  const ticket = location.hash.startsWith(TICKET) ? decodeURIComponent(location.hash.slice(TICKET.length)) : "";
  if (ticket) {
    history.replaceState(null, "", "#/");
    const answer = await send("api/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ticket }),
    });
    if (!answer.ok) throw await refusal(answer);
  }
  return readSession();
}

/** Ask who is signed in. @throws {AskError} */
export async function readSession() {
  const answer = await send("api/session");
  if (answer.status === 401) session = null;
  else if (answer.ok) session = await answer.json();
  else throw await refusal(answer);
  return session;
}

/** Whether this session may change anything. */
export const mayChange = () => session?.may_change ?? false;

/** End the session. */
export async function signOut() {
  const answer = await send("api/session", { method: "DELETE" });
  if (!answer.ok) throw new AskError("the session could not be ended: close the browser, or wait until it expires");
  session = null;
}
