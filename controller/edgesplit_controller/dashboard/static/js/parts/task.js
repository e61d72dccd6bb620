/**
 * An operation under way: its progress, a way to stop it, and what came of it.
 *
 * Its one rule: what went wrong is the controller's sentence, beside what was asked.
 */

import { ask } from "../core/ask.js";
import { h, setAttribute, setText } from "../core/html.js";

/**
 * Do something long and show how it goes.
 * @param {HTMLElement} report where to tell of it
 * @param {string} what is done, such as `Deploying yolo`
 * @param {(tools: {progress: (text: string, fraction: number|null) => void, signal: AbortSignal}) => Promise<any>} work
 * @param {(value: any) => string|{text: string, warnings?: string[]}} [said] the sentence once it is done
 * @returns {Promise<{value: any}|null>} null where it failed or was stopped
 */
export async function perform(report, what, work, said = () => "Done.") {
  const stopping = new AbortController();
  const text = h("span", null, `${what} …`);
  const bar = h("progress", { max: "1", "aria-label": what });
  const stop = h("button", { type: "button", class: "quiet", onclick: () => stopping.abort() }, "Stop");
  report.replaceChildren(h("div", { class: "task" }, bar, text, stop));
  const progress = (now, fraction) => {
    setText(text, now || what);
    if (fraction === null) setAttribute(bar, "value", null);
    else bar.value = fraction;
  };
  try {
    const value = await work({ progress, signal: stopping.signal });
    const told = said(value);
    const { text: sentence, warnings = [] } = typeof told === "string" ? { text: told } : told;
    report.replaceChildren(h("p", { class: "problem good" }, sentence), ...warnings.map((warning) => h("p", { class: "problem warning" }, warning)));
    return { value };
  } catch (error) {
    const stopped = error.name === "AbortError" || stopping.signal.aborted;
    report.replaceChildren(stopped ? h("p", { class: "problem" }, `${what}: stopped.`) : failure(error));
    return null;
  }
}

/** The same for one operation. */
export const performOperation = (report, what, operation, said) => perform(report, what, (tools) => ask(operation, tools), said);

/** A failure as a sentence. */
export const failure = (error) => h("p", { class: "problem error", role: "alert" }, error.text ?? `The page failed: ${error.message}`);
