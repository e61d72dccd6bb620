/**
 * DOM nodes from values.
 *
 * Its one rule: what comes from the fleet becomes text nodes and attribute values, never markup, so that a model named
 * `<img onerror>` stays text. Nothing here sets innerHTML, and no attribute may be a handler written as text.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element.
 * @param {string} tag
 * @param {object|null} [attributes] a function under `onclick` and the like listens; `style` may be an object of custom
 *   properties and styles; null, undefined and false leave an attribute out, true sets it empty.
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element; otherwise as `h`. @returns {SVGElement} */
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Set the text of an element if it is another one: an equal text is no change that a screen reader announces. */
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
  return element;
}

/** Set or remove an attribute if that changes anything. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const wanted = value === true ? "" : String(value);
  if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
}

/**
 * Bring a parent's children into line with rows, making, updating and removing only what differs. Whoever is at one of them with
 * the keyboard stays there.
 * @param {Element} parent holds nothing else
 * @param {Array} rows
 * @param {(row: any) => string} key
 * @param {(row: any) => Element} make an element for a new row, which is updated next
 * @param {(element: any, row: any) => void} update
 */
export function keyed(parent, rows, key, make, update) {
  const known = parent.keyedElements ?? (parent.keyedElements = new Map());
  const names = rows.map(key);
  const kept = new Set(names);
  const focused = document.activeElement;
  // What goes, goes first: what stays need not move past it then.
  for (const [name, element] of known) {
    if (kept.has(name)) continue;
    element.remove();
    known.delete(name);
  }
  let place = parent.firstElementChild;
  for (const [index, row] of rows.entries()) {
    const name = names[index];
    let element = known.get(name);
    if (!element) {
      element = make(row);
      known.set(name, element);
    }
    update(element, row);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  // An element that moves loses the focus.
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      if (typeof value !== "function") throw new TypeError(`${name} must be a function`);
      element.addEventListener(name.slice(2), value);
    } else if (name === "style" && typeof value === "object") {
      for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}
