/**
 * Colours of nodes, and the theme.
 *
 * Owns: ten hues for each ground, which of them a node has, and whether the page is light or dark. Its one rule: a colour never
 * says anything alone: a node's initials stand beside it (`nodeSign`). Each hue has 4.5:1 against its ground (WCAG AA), which a
 * test holds.
 */

export const GROUNDS = { light: "#ffffff", dark: "#14181d" };

export const HUES = {
  light: ["#1c5d99", "#b3470b", "#1f7a3d", "#a32a6b", "#6b4fc0", "#7a6200", "#00757f", "#b5263a", "#86198f", "#7d4a2a"],
  dark: ["#6fb3f2", "#f59a5a", "#6fcf8b", "#f08ac0", "#b3a0ff", "#d9bf4a", "#4fcbd6", "#ff8a94", "#e08cf2", "#d1a583"],
};

const KEY = "edgesplit-theme";
const slots = new Map();

/** Number of a node's hue, 0 to 9: by its name, and another one where a node known earlier has that already. */
export function nodeSlot(name) {
  const known = slots.get(name);
  if (known !== undefined) return known;
  const wanted = hash(name) % 10;
  const taken = new Set(slots.values());
  let slot = wanted;
  if (taken.size < 10) while (taken.has(slot)) slot = (slot + 1) % 10;
  slots.set(name, slot);
  return slot;
}

/** Give nodes their hues in alphabetical order, so that all who look at a fleet see the same ones. */
export function meetNodes(names) {
  for (const name of [...names].sort()) nodeSlot(name);
}

/** Colour of a node under the present theme, for canvas and styles alike. @returns {string} such as `#1c5d99` */
export const nodeColour = (name) => HUES[theme()][nodeSlot(name)];

/** The same as a custom property, which follows the theme by itself. */
export const nodeVariable = (name) => `var(--node-${nodeSlot(name)})`;

/** Colour of writing on a node's colour. */
export const nodeInk = () => GROUNDS[theme()];

/** The second sign: up to two letters of a node's name, the first and what tells it from others of its kind. */
export function nodeSign(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  if (words.length === 0) return "?";
  const digits = /\d+$/.exec(name)?.[0];
  const first = [...words[0]][0].toUpperCase();
  if (digits) return first + digits.slice(-2);
  return words.length > 1 ? first + [...words.at(-1)][0].toUpperCase() : [...words[0]].slice(0, 2).join("").replace(/^./u, first);
}

/** Which theme holds now. @returns {"light"|"dark"} */
export function theme() {
  const chosen = globalThis.document?.documentElement.dataset.theme;
  if (chosen === "light" || chosen === "dark") return chosen;
  return globalThis.matchMedia?.("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** What was chosen. @returns {"system"|"light"|"dark"} */
export const chosenTheme = () => document.documentElement.dataset.theme ?? "system";

/** Choose a theme, or the system's; told by the event `themechange` on window. */
export function chooseTheme(choice) {
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // A browser that keeps nothing forgets the choice with the page.
  }
  applyTheme();
}

/** Set the custom properties of the hues and tell whoever draws on canvas. */
export function applyTheme() {
  HUES[theme()].forEach((hue, slot) => document.documentElement.style.setProperty(`--node-${slot}`, hue));
  window.dispatchEvent(new Event("themechange"));
}

/** Follow the system's preference; called once. */
export function followSystemTheme() {
  applyTheme();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
}

/** Value of one of the page's colours, such as `--muted`, for canvas. */
export const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** FNV-1a over UTF-16 units. */
function hash(text) {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    value ^= text.charCodeAt(index);
    value = Math.imul(value, 0x01000193);
  }
  return value >>> 0;
}
