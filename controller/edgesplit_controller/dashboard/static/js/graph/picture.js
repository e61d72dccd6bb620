/**
 * The network as a picture that is moved, zoomed and walked through: canvas, pointers, keys, and the card of what is looked at.
 *
 * Owns: the canvas element and what is looked at in it. Its rule: painted only when something changed, at most once a frame. What there is to
 * see is said by the table beneath (table.js) as well. Not here: painting, layouts, what a card says.
 */

import { cssColour, nodeColour, nodeSign } from "../core/colours.js";
import { h } from "../core/html.js";
import { fitted, showing, under, zoomed } from "./camera.js";
import { paint } from "./painter.js";
import { placesOf, stepped } from "./places.js";

/** @typedef {import("./painter.js").Scene} Scene */
/** @typedef {import("./painter.js").Marked} Marked */

const ARROWS = /** @type {Record<string, "left"|"right"|"up"|"down">} */ ({ ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" });
const LINE_REACH = 7;
const STEP = 1.35;
const TAP_TRAVEL = 5;

export class Picture {
  /** @type {Scene|null} */
  #scene = null;
  /** @type {ReturnType<typeof placesOf>|null} */
  #places = null;
  #camera = { scale: 1, dx: 0, dy: 0 };
  #size = { width: 0, height: 0 };
  #extent = { width: 1, height: 1 };
  /** @type {Marked} */
  #marked = { item: -1, tie: -1 };
  /** Whether the camera shows all, and so follows the size of the window. */
  #fits = true;
  #asked = false;
  /** @type {Map<number, {x: number, y: number}>} */
  #pointers = new Map();
  #travelled = 0;

  /**
   * @param {object} needs
   * @param {(scene: Scene, marked: Marked) => Node|null} needs.describe What a card says of what is looked at.
   * @param {(item: import("./view.js").Item) => void} needs.open A component was opened or closed, or a unit chosen.
   * @param {() => void} needs.resized The shape of the screen is another one.
   * @param {AbortSignal} needs.signal Ends listening.
   */
  constructor({ describe, open, resized, signal }) {
    this.describe = describe;
    this.open = open;
    this.canvas = /** @type {HTMLCanvasElement} */ (h("canvas", { tabindex: "0", role: "application", "aria-roledescription": "network" }));
    this.card = h("div", { class: "graph-card", role: "status", hidden: true });
    this.element = h("div", { class: "graph-picture" }, this.canvas, this.card);
    this.#listen(signal);
    const observer = new ResizeObserver(() => {
      if (this.#measure()) resized();
    });
    observer.observe(this.element);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  /** Width over height of the largest picture that the page has room for: a smaller one shrinks to what it shows. */
  get aspect() {
    const height = parseFloat(getComputedStyle(this.element).maxHeight);
    return this.#size.width > 0 && height > 0 ? this.#size.width / height : 1.6;
  }

  /** Show a scene; what is looked at stays so where it is still there. */
  show(/** @type {Scene} */ scene, /** @type {{width: number, height: number}} */ extent) {
    const key = this.#scene?.items[this.#marked.item]?.key;
    const moved = extent.width !== this.#extent.width || extent.height !== this.#extent.height;
    this.#scene = scene;
    this.#places = placesOf(scene.rects, scene.lines);
    this.#extent = extent;
    this.element.style.height = `${Math.ceil(extent.height * 1.25 + 60)}px`;
    this.#marked = { item: key === undefined ? -1 : scene.items.findIndex((item) => item.key === key), tie: -1 };
    if (moved) this.fit();
    this.#tell();
    this.#repaint();
  }

  /** Show all of it. */
  fit() {
    this.#fits = true;
    this.#camera = fitted(this.#extent, this.#size);
    this.#repaint();
  }

  zoom(/** @type {number} */ factor) {
    this.#fits = false;
    this.#camera = zoomed(this.#camera, factor, { x: this.#size.width / 2, y: this.#size.height / 2 });
    this.#repaint();
  }

  /** Look at an item, which is brought into view. */
  lookAt(/** @type {number} */ item) {
    if (this.#scene === null || item < 0) return;
    this.#mark({ item, tie: -1 });
    this.#fits = false;
    this.#camera = showing(this.#camera, this.#scene.rects[item], this.#size);
    this.#place();
    this.#repaint();
  }

  /** Look at what goes from one item to another. */
  lookAtTie(/** @type {number} */ tie) {
    if (this.#scene === null || tie < 0) return;
    const points = this.#scene.lines[tie];
    const [xs, ys] = [points.map((point) => point.x), points.map((point) => point.y)];
    const rect = { x: Math.min(...xs), y: Math.min(...ys), width: Math.max(...xs) - Math.min(...xs), height: Math.max(...ys) - Math.min(...ys) };
    this.#mark({ item: -1, tie });
    this.#fits = false;
    this.#camera = showing(this.#camera, rect, this.#size, 0.3);
    this.#place();
    this.#repaint();
  }

  /** The next cut after the one that is looked at, around and around. */
  nextCut() {
    const ties = this.#scene?.ties ?? [];
    for (let ahead = 1; ahead <= ties.length; ahead += 1) {
      const tie = (this.#marked.tie + ahead + ties.length) % ties.length;
      if (ties[tie].cut) {
        this.lookAtTie(tie);
        return;
      }
    }
  }

  /** Say again what is looked at, for something became known of it. */
  refresh() {
    this.#tell();
  }

  #measure() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (width === this.#size.width && height === this.#size.height) return false;
    this.#size = { width, height };
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (this.#fits) this.#camera = fitted(this.#extent, this.#size);
    this.#repaint();
    return true;
  }

  #repaint() {
    if (this.#asked || this.#scene === null) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      const context = this.canvas.getContext("2d");
      if (context === null || this.#scene === null || this.#size.width === 0) return;
      const ratio = window.devicePixelRatio || 1;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      paint(context, this.#size, this.#camera, this.#scene, look(), this.#marked);
    });
  }

  #mark(/** @type {Marked} */ marked) {
    if (marked.item === this.#marked.item && marked.tie === this.#marked.tie) return;
    this.#marked = marked;
    this.#tell();
    this.#repaint();
  }

  #tell() {
    const { item, tie } = this.#marked;
    const content = this.#scene === null || (item < 0 && tie < 0) ? null : this.describe(this.#scene, this.#marked);
    this.card.hidden = content === null;
    this.card.replaceChildren(...(content === null ? [] : [content]));
    if (content !== null) this.#place();
  }

  /** Put the card beside what it speaks of, inside the picture. */
  #place() {
    if (this.#scene === null || this.card.hidden) return;
    const { item, tie } = this.#marked;
    const points = tie >= 0 ? this.#scene.lines[tie] : [];
    const middle = points[points.length >> 1];
    const rect = item >= 0 ? this.#scene.rects[item] : { x: middle.x, y: middle.y, width: 0, height: 0 };
    const { scale, dx, dy } = this.#camera;
    const [width, height] = [this.card.offsetWidth, this.card.offsetHeight];
    const below = (rect.y + rect.height) * scale + dy + 12;
    const above = rect.y * scale + dy - height - 12;
    const top = below + height <= this.#size.height || above < 0 ? Math.min(below, this.#size.height - height - 4) : above;
    const left = Math.min(Math.max(4, rect.x * scale + dx), this.#size.width - width - 4);
    this.card.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
  }

  #listen(/** @type {AbortSignal} */ signal) {
    const { canvas } = this;
    const on = (/** @type {string} */ kind, /** @type {(event: any) => void} */ handler, options = {}) =>
      canvas.addEventListener(kind, handler, { signal, ...options });
    on("wheel", (event) => this.#wheel(event), { passive: false });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#pointers.delete(event.pointerId));
    on("pointerleave", () => {
      if (document.activeElement !== canvas) this.#mark({ item: -1, tie: -1 });
    });
    on("keydown", (event) => this.#key(event));
    on("focus", () => {
      if (canvas.matches(":focus-visible") && this.#marked.item < 0 && this.#marked.tie < 0) this.#mark({ item: 0, tie: -1 });
    });
    window.addEventListener("themechange", () => this.#repaint(), { signal });
  }

  /** Zooms with Ctrl or where the page need not scroll, so that a wheel over the picture does not trap whoever scrolls past it. */
  #wheel(/** @type {WheelEvent} */ event) {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== this.canvas) return;
    event.preventDefault();
    this.#fits = false;
    this.#camera = zoomed(this.#camera, Math.exp(-event.deltaY / 400), this.#at(event));
    this.#place();
    this.#repaint();
  }

  #down(/** @type {PointerEvent} */ event) {
    this.canvas.setPointerCapture(event.pointerId);
    if (this.#pointers.size === 0) this.#travelled = 0;
    this.#pointers.set(event.pointerId, this.#at(event));
  }

  #move(/** @type {PointerEvent} */ event) {
    const at = this.#at(event);
    const before = this.#pointers.get(event.pointerId);
    if (before === undefined) {
      this.#mark(this.#found(at));
      return;
    }
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    this.#pointers.set(event.pointerId, at);
    this.#travelled += Math.hypot(at.x - before.x, at.y - before.y);
    this.#fits = false;
    if (others.length === 0) {
      this.#camera = { ...this.#camera, dx: this.#camera.dx + at.x - before.x, dy: this.#camera.dy + at.y - before.y };
    } else {
      const [other] = others;
      const apart = Math.hypot(at.x - other.x, at.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
      this.#camera = zoomed(this.#camera, apart, { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
    }
    this.#place();
    this.#repaint();
  }

  #up(/** @type {PointerEvent} */ event) {
    this.#pointers.delete(event.pointerId);
    if (this.#travelled > TAP_TRAVEL || this.#scene === null) return;
    const found = this.#found(this.#at(event));
    this.#mark(found);
    if (found.item >= 0) this.open(this.#scene.items[found.item]);
  }

  #key(/** @type {KeyboardEvent} */ event) {
    if (this.#scene === null || event.altKey || event.ctrlKey || event.metaKey) return;
    const direction = ARROWS[event.key];
    if (direction !== undefined) {
      const item = this.#marked.item >= 0 ? this.#marked.item : Math.max(0, this.#scene.ties[this.#marked.tie]?.from ?? 0);
      this.lookAt(stepped({ rects: this.#scene.rects, ties: this.#scene.ties }, item, direction));
    } else if (event.key === "+" || event.key === "=") this.zoom(STEP);
    else if (event.key === "-") this.zoom(1 / STEP);
    else if (event.key === "0") this.fit();
    else if (event.key === "c") this.nextCut();
    else if (event.key === "Home") this.lookAt(0);
    else if (event.key === "End") this.lookAt(this.#scene.items.length - 1);
    else if (event.key === "Enter" && this.#marked.item >= 0) this.open(this.#scene.items[this.#marked.item]);
    else if (event.key === "Escape") this.#mark({ item: -1, tie: -1 });
    else return;
    event.preventDefault();
  }

  /** @returns {Marked} */
  #found(/** @type {{x: number, y: number}} */ at) {
    const point = under(this.#camera, at);
    const item = this.#places?.boxAt(point) ?? -1;
    return { item, tie: item >= 0 ? -1 : (this.#places?.lineAt(point, LINE_REACH / this.#camera.scale) ?? -1) };
  }

  #at(/** @type {MouseEvent} */ event) {
    return { x: event.offsetX, y: event.offsetY };
  }
}

/** Colours of the present theme. */
function look() {
  return {
    ground: cssColour("--ground"),
    ink: cssColour("--ink"),
    muted: cssColour("--muted"),
    accent: cssColour("--accent"),
    font: getComputedStyle(document.body).fontFamily,
    colourOf: nodeColour,
    signOf: nodeSign,
  };
}
