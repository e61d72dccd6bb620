/**
 * Join tokens, drawn in the browser as splitctl draws them: the controller is told their digest alone.
 *
 * `esj_` and, in base64url, the 32 bytes of the authority's SHA-256 and 16 random ones (`edgesplit/trust/enrolment.py`).
 */

import { hashes, hexadecimal } from "../../core/upload.js";

const SECRET_BYTES = 16;

/**
 * @param {string} authority SHA-256 of the fleet's authority, in hexadecimal
 * @param {Uint8Array} [secret] drawn at random unless given
 * @returns {Promise<{token: string, digest: string}>}
 */
export async function drawToken(authority, secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES))) {
  const { sha256 } = await hashes();
  const digest = authority.match(/../g).map((byte) => Number.parseInt(byte, 16));
  const encoded = btoa(String.fromCharCode(...digest, ...secret)).replaceAll("+", "-").replaceAll("/", "_");
  const token = `esj_${encoded}`;
  return { token, digest: hexadecimal(sha256(new TextEncoder().encode(token))) };
}
