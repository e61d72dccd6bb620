/**
 * A model's files on their way to the controller: SHA-256 piece by piece, then the bytes.
 *
 * Its one rule: no file is read into memory whole, for models are larger than what a tab may hold.
 */

import { AskError, address } from "./ask.js";

const PIECE_BYTES = 4 << 20;

/** noble-hashes. @throws {AskError} this release was built without it */
export async function hashes() {
  try {
    return await import("../../vendor/noble-hashes/sha2.js");
  } catch {
    throw new AskError("this release was built without the library that hashes files: use splitctl model add, or run make dashboard and build again", "library-missing");
  }
}

/** Lower-case hexadecimal. @param {Uint8Array} digest */
export const hexadecimal = (digest) => [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * SHA-256 of a file, in hexadecimal.
 * @param {Blob} file
 * @param {{progress: (fraction: number) => void, signal: AbortSignal}} tools
 */
export async function digestOf(file, { progress, signal }) {
  const { sha256 } = await hashes();
  const hash = sha256.create();
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    signal.throwIfAborted();
    hash.update(new Uint8Array(await file.slice(at, at + PIECE_BYTES).arrayBuffer()));
    progress(Math.min(1, (at + PIECE_BYTES) / file.size));
  }
  return hexadecimal(hash.digest());
}

/**
 * Hash and upload a file.
 * @param {File} file
 * @param {{progress: (text: string, fraction: number|null) => void, signal: AbortSignal}} tools
 * @returns {Promise<string>} its digest
 * @throws {AskError}
 */
export async function upload(file, { progress, signal }) {
  const digest = await digestOf(file, { progress: (fraction) => progress(`Hashing ${file.name}`, fraction), signal });
  await put(file, digest, (fraction) => progress(`Uploading ${file.name}`, fraction), signal);
  return digest;
}

/** By XMLHttpRequest, for fetch tells nothing of how far an upload is. */
function put(file, digest, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address(`api/uploads/${digest}`));
    request.setRequestHeader("X-Edgesplit", "dashboard");
    request.upload.onprogress = (event) => progress(event.lengthComputable ? event.loaded / event.total : null);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve();
      else reject(refused(request));
    };
    request.onerror = () => reject(new AskError(`the controller ended the upload of ${file.name}: it has stopped, takes no file as large, or has no room left`, "upload-failed"));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

function refused(request) {
  try {
    const { error, text } = JSON.parse(request.responseText);
    return new AskError(error?.message ?? text ?? `the controller answered ${request.status}`, error?.code ?? "");
  } catch {
    const said = request.responseText.trim();
    return new AskError(said && said.length < 300 && !said.includes("<") ? said : `the controller answered ${request.status}`, `http-${request.status}`);
  }
}
