/**
 * The active plan of each deployment, asked for again when its epoch is another one.
 *
 * Its one rule: one question for each new epoch; what is refused is not asked again before the next.
 */

import { ask } from "./ask.js";

export class Plans {
  #asked = new Map();
  #known = new Map();
  #signal;
  #changed;

  /** @param {AbortSignal} signal @param {() => void} changed called when another plan is known */
  constructor(signal, changed) {
    this.#signal = signal;
    this.#changed = changed;
  }

  /** Plans by the deployment's name. @returns {Map<string, object>} */
  get known() {
    return this.#known;
  }

  /** Follow what is deployed. @param {Array<{name: string, epoch: number|null}>} models rows of the activity document */
  follow(models) {
    const names = new Set(models.map((model) => model.name));
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name);
    for (const name of this.#asked.keys()) if (!names.has(name)) this.#asked.delete(name);
    for (const { name, epoch } of models) {
      if (epoch === null || this.#asked.get(name) === epoch) continue;
      this.#asked.set(name, epoch);
      this.#fetch(name);
    }
  }

  async #fetch(name) {
    try {
      const plan = await ask({ op: "show-plan", name }, { signal: this.#signal });
      if (!this.#asked.has(name)) return;
      this.#known.set(name, plan);
      this.#changed();
    } catch (error) {
      // Undeployed meanwhile, or not to be seen: the map is drawn without its tensors.
      this.#known.delete(name);
      if (!this.#signal.aborted) console.warn(`no plan of ${name}: ${error.text ?? error.message}`);
    }
  }
}
