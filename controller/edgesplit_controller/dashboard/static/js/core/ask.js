/**
 * Operations asked of the controller, exactly as splitctl asks them.
 *
 * Its one rule: a failure is the controller's own sentence. Whoever leaves a page aborts what it asked for, which cancels it at
 * the controller.
 */

/** That the controller refused or could not; `text` is its sentence, `code` what programs go by. */
export class AskError extends Error {
  constructor(text, code = "", exitCode = 1) {
    super(text);
    this.name = "AskError";
    this.text = text;
    this.code = code;
    this.exitCode = exitCode;
  }
}

const HEADERS = { "X-Edgesplit": "dashboard" };
const AWAY = "the controller does not answer: it has stopped, or the way to it is cut";

/** Address of something the controller serves; relative, so that a proxy may put the page below any path. */
export const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;

/** A request to the controller with what it wants of one that changes something. @returns {Promise<Response>} */
export async function send(path, options = {}) {
  try {
    return await fetch(address(path), { cache: "no-store", ...options, headers: { ...HEADERS, ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new AskError(AWAY, "controller-unreachable", 4);
  }
}

/** The JSON document at a path. @throws {AskError} */
export async function getJson(path, { signal } = {}) {
  const response = await send(path, { signal, cache: "no-cache" });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/**
 * Perform an operation.
 * @param {{op: string}} operation as splitctl sends it
 * @param {{progress?: (text: string, fraction: number|null) => void, signal?: AbortSignal}} [options]
 * @returns {Promise<any>} the document that `splitctl --json` prints
 * @throws {AskError}
 */
export async function ask(operation, { progress, signal } = {}) {
  const response = await send("api/operations", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(operation),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  for await (const reply of lines(response, signal)) {
    if (reply.kind === "progress") progress?.(reply.text, reply.fraction ?? null);
    else if (reply.kind === "result") return reply.value;
    else if (reply.kind === "failure") throw new AskError(reply.text, reply.code, reply.exit_code);
  }
  throw new AskError("the controller ended before it had answered: see whether it runs, and what came of this", "controller-unreachable", 4);
}

/** What a response that is no success says. @returns {Promise<AskError>} */
export async function refusal(response) {
  const said = await response.text().catch(() => "");
  try {
    const { error, text, code } = JSON.parse(said);
    const message = error?.message ?? text;
    if (message) return new AskError(message, error?.code ?? code ?? "");
  } catch {
    // Not every refusal is JSON: a proxy's is not.
  }
  const sentence = said.length < 300 && !said.includes("<") ? said.trim() : "";
  return new AskError(sentence || `the controller answered ${response.status} ${response.statusText}`, `http-${response.status}`);
}

/** Documents of a body that has one on each line, as they come. */
export async function* lines(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) if (part.trim()) yield JSON.parse(part);
    }
    if (rest.trim()) yield JSON.parse(rest);
  } catch (error) {
    if (signal?.aborted || error.name === "AbortError") throw error;
    throw new AskError(AWAY, "controller-unreachable", 4);
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
