/**
 * Movement rests while nobody is there: a page that is kept open all day should not draw what nobody sees. Whoever moves the pointer,
 * scrolls or types sets it going again.
 */

const AFTER_MS = 120_000;
const SIGNS = ["pointermove", "pointerdown", "keydown", "wheel", "focus"];

/** Give an element the class `resting` while nobody is there, until the signal. */
export function restWhileAlone(element, signal, afterMs = AFTER_MS) {
  let timer = 0;
  const rest = () => element.classList.add("resting");
  function seen() {
    clearTimeout(timer);
    timer = setTimeout(rest, afterMs);
    element.classList.remove("resting");
  }
  for (const sign of SIGNS) window.addEventListener(sign, seen, { signal, passive: true });
  signal.addEventListener("abort", () => clearTimeout(timer));
  seen();
}
