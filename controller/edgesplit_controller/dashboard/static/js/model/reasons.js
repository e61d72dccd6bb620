/**
 * Reasons of a plan's cuts, asked of the controller once for each plan.
 *
 * Owns: the last explanation of each model. Its rule: explaining solves changed problems, so that it is asked only when somebody looks at a
 * cut or wants to know; leaving the page ends it. Not here: how it is shown.
 */

import { ask } from "../core/ask.js";

/** @type {Map<string, any>} */
const explanations = new Map();
const TIME_LIMIT_S = 8;
/** Whoever only passes over a cut with the pointer asks nothing. */
const LINGER_MS = 350;

export class Reasons {
  #epoch = -1;
  #lingering = 0;
  /** @type {"unasked"|"asking"|"failed"} */
  state = /** @type {"unasked"|"asking"|"failed"} */ ("unasked");
  failure = "";

  /**
   * @param {string} name Of the model.
   * @param {() => void} changed Something else is known now.
   * @param {AbortSignal} signal Ends what is asked.
   */
  constructor(name, changed, signal) {
    this.name = name;
    this.changed = changed;
    this.signal = signal;
    signal.addEventListener("abort", () => clearTimeout(this.#lingering));
  }

  /** The plan that serves now; reasons of another one say nothing of it. */
  set epoch(/** @type {number} */ epoch) {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.state = "unasked";
    this.changed();
  }

  /** The explanation of this plan; null while there is none. */
  get document() {
    const known = explanations.get(this.name);
    return known?.epoch === this.#epoch ? known : null;
  }

  /**
   * @param {string} tensor
   * @param {string|null} from
   * @param {string|null} to
   * @returns {string|null} Why it crosses that link.
   */
  textOf(tensor, from, to) {
    return this.document?.cuts.find((/** @type {any} */ cut) => cut.tensor === tensor && cut.from === from && cut.to === to)?.text ?? null;
  }

  /** Somebody looks at a cut. */
  linger() {
    clearTimeout(this.#lingering);
    if (this.document === null && this.state === "unasked") this.#lingering = setTimeout(() => this.want(), LINGER_MS);
  }

  async want() {
    if (this.state === "asking" || this.document !== null) return;
    const epoch = this.#epoch;
    this.state = "asking";
    this.changed();
    try {
      const found = await ask({ op: "explain-plan", name: this.name, time_limit_s: TIME_LIMIT_S }, { signal: this.signal });
      explanations.set(this.name, found);
      if (epoch === this.#epoch) this.state = "unasked";
    } catch (error) {
      if (this.signal.aborted) return;
      if (epoch !== this.#epoch) return;
      this.state = "failed";
      this.failure = error.text ?? error.message;
    }
    this.changed();
  }
}
