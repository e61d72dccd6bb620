/**
 * The plan of a model, kept current while a page shows it.
 *
 * Owns: when it is asked for again. Its rule: at once when the stream tells of another epoch or another controller, every few seconds for
 * measured figures, and never while nobody looks. Not here: what is shown.
 */

import { ask } from "../core/ask.js";
import { store } from "../core/store.js";

const FIGURES_MS = 10_000;

/**
 * @param {string} name Of the model.
 * @param {{signal: AbortSignal, onPlan: (plan: any) => void, onFailure: (error: any) => void}} needs
 */
export function watchPlan(name, { signal, onPlan, onFailure }) {
  let busy = false;
  let again = false;
  /** @type {string|undefined} */
  let told;
  const look = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      onPlan(await ask({ op: "show-plan", name }, { signal }));
    } catch (error) {
      if (!signal.aborted) onFailure(error);
    }
    busy = false;
    if (again && !signal.aborted) {
      again = false;
      look();
    }
  };
  const timer = setInterval(() => {
    if (!document.hidden && store.connected) look();
  }, FIGURES_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  const heard = () => {
    const row = (store.get("models") ?? []).find((/** @type {any} */ model) => model.name === name);
    const state = JSON.stringify([row?.epoch, row?.deployed, row?.paused, store.get("serving")]);
    if (told !== undefined && state !== told) look();
    told = state;
  };
  for (const kind of ["models", "serving"]) {
    const off = store.on(kind, heard);
    signal.addEventListener("abort", off);
  }
  heard();
  look();
}
