/**
 * Painting of a network on a canvas: boxes coloured by node, cuts, marks for int8 and codecs.
 *
 * Owns: what a picture looks like at each scale. Its rule: paints what it is given and keeps only what is costly to make again, texts that were cut off and lines of a scene; far away there are
 * colours alone, near there are words. Colour is never the only sign: nodes' signs, hatching for int8 and labels of cuts say the same.
 */

import { bytes, count } from "../core/format.js";

/**
 * @typedef {object} Scene What is painted.
 * @property {import("./view.js").Item[]} items
 * @property {import("./view.js").Tie[]} ties
 * @property {import("./fold.js").Rect[]} rects
 * @property {{x: number, y: number}[][]} lines
 *
 * @typedef {object} Look Colours as they are now.
 * @property {string} ground
 * @property {string} ink
 * @property {string} muted
 * @property {string} accent
 * @property {string} font
 * @property {(node: string) => string} colourOf
 * @property {(node: string) => string} signOf
 *
 * @typedef {{item: number, tie: number}} Marked Indices of what is looked at; -1: nothing.
 */

const WORDS_FROM = 0.55;
const SIGNS_FROM = 0.22;
const FORMER_WIDTH = 5;
const FORMER_SHARE = 0.08;

/** @type {Map<string, string>} */
const shortened = new Map();
const MOST_SHORTENED = 4000;
/** @type {WeakMap<Scene, {plain: Path2D, cuts: Path2D, coded: Path2D}>} */
const linesOf = new WeakMap();

/**
 * @param {CanvasRenderingContext2D} canvas Scaled to CSS pixels.
 * @param {{width: number, height: number}} screen [px]
 * @param {import("./camera.js").Camera} camera
 * @param {Scene} scene
 * @param {Look} look
 * @param {Marked} marked
 */
export function paint(canvas, screen, camera, scene, look, marked) {
  canvas.save();
  canvas.clearRect(0, 0, screen.width, screen.height);
  canvas.translate(camera.dx, camera.dy);
  canvas.scale(camera.scale, camera.scale);
  const seen = {
    left: -camera.dx / camera.scale,
    top: -camera.dy / camera.scale,
    right: (screen.width - camera.dx) / camera.scale,
    bottom: (screen.height - camera.dy) / camera.scale,
  };
  paintTies(canvas, camera, scene, look, marked);
  scene.rects.forEach((rect, index) => {
    const outside = rect.x > seen.right || rect.x + rect.width < seen.left || rect.y > seen.bottom || rect.y + rect.height < seen.top;
    if (!outside) paintItem(canvas, camera.scale, scene.items[index], rect, look, index === marked.item);
  });
  if (camera.scale >= SIGNS_FROM) paintCutLabels(canvas, camera.scale, scene, look);
  canvas.restore();
}

/**
 * @param {CanvasRenderingContext2D} canvas
 * @param {import("./camera.js").Camera} camera
 * @param {Scene} scene
 * @param {Look} look
 * @param {Marked} marked
 */
function paintTies(canvas, camera, scene, look, marked) {
  const thin = Math.max(1, 0.8 / camera.scale);
  canvas.lineJoin = "round";
  let known = linesOf.get(scene);
  if (known === undefined) {
    known = pathsOf(scene);
    linesOf.set(scene, known);
  }
  const { plain, cuts, coded } = known;
  const near = new Path2D();
  scene.ties.forEach((tie, index) => {
    if (index === marked.tie || tie.from === marked.item || tie.to === marked.item) trace(near, scene.lines[index]);
  });
  canvas.lineWidth = thin;
  canvas.strokeStyle = look.muted;
  canvas.globalAlpha = 0.6;
  canvas.stroke(plain);
  canvas.globalAlpha = 1;
  canvas.lineWidth = 2.4 * thin;
  canvas.strokeStyle = look.ink;
  canvas.stroke(cuts);
  canvas.setLineDash([7 * thin, 4 * thin]);
  canvas.stroke(coded);
  canvas.setLineDash([]);
  canvas.lineWidth = 3 * thin;
  canvas.strokeStyle = look.accent;
  canvas.stroke(near);
}

/** @param {Scene} scene */
function pathsOf(scene) {
  const paths = { plain: new Path2D(), cuts: new Path2D(), coded: new Path2D() };
  scene.ties.forEach((tie, index) => trace(tie.cut ? (tie.codecs.length > 0 ? paths.coded : paths.cuts) : paths.plain, scene.lines[index]));
  return paths;
}

/**
 * @param {Path2D} path
 * @param {{x: number, y: number}[]} points
 */
function trace(path, points) {
  path.moveTo(points[0].x, points[0].y);
  for (let at = 1; at < points.length - 1; at += 1) {
    const [before, here, after] = [points[at - 1], points[at], points[at + 1]];
    const room = Math.min(10, Math.hypot(here.x - before.x, here.y - before.y) / 2, Math.hypot(after.x - here.x, after.y - here.y) / 2);
    path.arcTo(here.x, here.y, after.x, after.y, room);
  }
  const end = points[points.length - 1];
  path.lineTo(end.x, end.y);
}

/**
 * @param {CanvasRenderingContext2D} canvas
 * @param {number} scale
 * @param {import("./view.js").Item} item
 * @param {import("./fold.js").Rect} rect
 * @param {Look} look
 * @param {boolean} marked
 */
function paintItem(canvas, scale, item, rect, look, marked) {
  const colour = item.node === null ? look.muted : look.colourOf(item.node);
  const filled = item.node !== null && item.kind !== "end";
  canvas.beginPath();
  canvas.roundRect(rect.x, rect.y, rect.width, rect.height, { component: 10, unit: 5, end: rect.height / 2 }[item.kind]);
  canvas.fillStyle = filled ? colour : look.ground;
  canvas.fill();
  if (!filled) {
    // Where nothing runs, as at an input, or without a plan, there is an outline alone.
    canvas.lineWidth = Math.max(1.5, 1 / scale);
    canvas.strokeStyle = colour;
    canvas.stroke();
  }
  if (item.moved > 0) paintFormer(canvas, item, rect, look);
  if (item.int8 > 0) hatch(canvas, rect, item.int8 / item.units.length, scale, look);
  if (marked) {
    canvas.lineWidth = Math.max(2.5, 2.5 / scale);
    canvas.strokeStyle = look.accent;
    canvas.beginPath();
    const away = canvas.lineWidth * 1.2;
    canvas.roundRect(rect.x - away, rect.y - away, rect.width + 2 * away, rect.height + 2 * away, 10);
    canvas.stroke();
  }
  canvas.fillStyle = filled ? look.ground : look.ink;
  if (item.kind === "component") paintComponent(canvas, scale, item, rect, look);
  else if (scale >= WORDS_FROM) paintUnit(canvas, item, rect, look);
}

/**
 * The left edge of a box in the colours of the nodes that its units come from.
 *
 * @param {CanvasRenderingContext2D} canvas
 * @param {import("./view.js").Item} item
 * @param {import("./fold.js").Rect} rect
 * @param {Look} look
 */
function paintFormer(canvas, item, rect, look) {
  const width = Math.max(FORMER_WIDTH, rect.width * FORMER_SHARE);
  canvas.save();
  canvas.beginPath();
  canvas.roundRect(rect.x, rect.y, rect.width, rect.height, 5);
  canvas.clip();
  canvas.fillStyle = look.ground;
  canvas.fillRect(rect.x, rect.y, width + 2, rect.height);
  item.was.forEach((node, index) => {
    canvas.fillStyle = look.colourOf(node);
    canvas.fillRect(rect.x, rect.y + (index * rect.height) / item.was.length, width, rect.height / item.was.length);
  });
  canvas.restore();
}

/**
 * Stripes over the part of a box that runs in int8.
 *
 * @param {CanvasRenderingContext2D} canvas
 * @param {import("./fold.js").Rect} rect
 * @param {number} share [1]
 * @param {number} scale
 * @param {Look} look
 */
function hatch(canvas, rect, share, scale, look) {
  const height = Math.min(rect.height, 8);
  const bottom = rect.y + rect.height;
  const width = rect.width * share;
  canvas.save();
  canvas.beginPath();
  canvas.roundRect(rect.x, rect.y, rect.width, rect.height, 5);
  canvas.clip();
  canvas.fillStyle = look.ground;
  canvas.globalAlpha = 0.85;
  if (scale < SIGNS_FROM) {
    canvas.fillRect(rect.x, bottom - height / 2, width, height / 2);
  } else {
    canvas.beginPath();
    for (let x = rect.x - height; x < rect.x + width; x += 8) {
      canvas.moveTo(x, bottom);
      canvas.lineTo(x + height, bottom - height);
      canvas.lineTo(x + height + 4, bottom - height);
      canvas.lineTo(x + 4, bottom);
    }
    canvas.save();
    canvas.clip();
    canvas.fillRect(rect.x, bottom - height, width, height);
    canvas.restore();
  }
  canvas.restore();
}

/**
 * @param {CanvasRenderingContext2D} canvas
 * @param {number} scale
 * @param {import("./view.js").Item} item
 * @param {import("./fold.js").Rect} rect
 * @param {Look} look
 */
function paintComponent(canvas, scale, item, rect, look) {
  canvas.textBaseline = "middle";
  if (scale < SIGNS_FROM) return;
  if (scale < WORDS_FROM) {
    canvas.font = `600 26px ${look.font}`;
    canvas.textAlign = "center";
    canvas.fillText(look.signOf(item.node ?? "?"), rect.x + rect.width / 2, rect.y + rect.height / 2);
    return;
  }
  canvas.textAlign = "left";
  const room = rect.width - 24;
  const indent = item.moved > 0 ? rect.width * FORMER_SHARE : 0;
  canvas.font = `600 15px ${look.font}`;
  canvas.fillText(fitting(canvas, item.node ?? "no plan", room - indent), rect.x + 12 + indent, rect.y + 20);
  canvas.font = `12px ${look.font}`;
  const int8 = item.int8 > 0 ? `, ${item.int8} in int8` : "";
  const moved = item.moved > 0 ? `, ${item.moved} from ${item.was.join(", ")}` : "";
  canvas.fillText(fitting(canvas, `${count(item.units.length, "unit")}${int8}${moved}`, room - indent), rect.x + 12 + indent, rect.y + 42);
}

/**
 * @param {CanvasRenderingContext2D} canvas
 * @param {import("./view.js").Item} item
 * @param {import("./fold.js").Rect} rect
 * @param {Look} look
 */
function paintUnit(canvas, item, rect, look) {
  const text = item.end === null ? item.units[0].kinds.join(" · ") : item.end.tensor;
  canvas.textAlign = "left";
  canvas.textBaseline = "middle";
  canvas.font = `11px ${look.font}`;
  const indent = item.end !== null ? 12 : item.moved > 0 ? 11 : 7;
  canvas.fillText(fitting(canvas, text, rect.width - 2 * indent), rect.x + indent, rect.y + rect.height / 2 - (item.int8 > 0 ? 3 : 0));
}

/**
 * Sizes and codecs of what crosses links.
 *
 * @param {CanvasRenderingContext2D} canvas
 * @param {number} scale
 * @param {Scene} scene
 * @param {Look} look
 */
function paintCutLabels(canvas, scale, scene, look) {
  const size = Math.min(30, Math.max(11, 11 / scale));
  /** @type {import("./fold.js").Rect[]} */
  const placed = [];
  canvas.font = `600 ${size}px ${look.font}`;
  canvas.textAlign = "center";
  canvas.textBaseline = "middle";
  scene.ties.forEach((tie, index) => {
    if (!tie.cut) return;
    const points = scene.lines[index];
    const [before, after] = [points[(points.length >> 1) - 1], points[points.length >> 1]];
    const at = { x: (before.x + after.x) / 2, y: (before.y + after.y) / 2 - size };
    const text = [bytes(tie.nbytes), ...tie.codecs].join(" → ");
    const width = canvas.measureText(text).width + 0.8 * size;
    const label = { x: at.x - width / 2, y: at.y - 0.7 * size, width, height: 1.4 * size };
    // Words on words say nothing: whoever comes nearer reads all of them.
    if (placed.some((other) => overlap(label, other))) return;
    placed.push(label);
    canvas.fillStyle = look.ground;
    canvas.globalAlpha = 0.9;
    canvas.fillRect(label.x, label.y, label.width, label.height);
    canvas.globalAlpha = 1;
    canvas.fillStyle = look.ink;
    canvas.fillText(text, at.x, at.y);
  });
}

/**
 * @param {import("./fold.js").Rect} one
 * @param {import("./fold.js").Rect} other
 */
function overlap(one, other) {
  return one.x < other.x + other.width && other.x < one.x + one.width && one.y < other.y + other.height && other.y < one.y + one.height;
}

/**
 * A text, cut off where it takes more room than there is.
 *
 * @param {CanvasRenderingContext2D} canvas
 * @param {string} text
 * @param {number} room [px]
 */
function fitting(canvas, text, room) {
  const key = `${canvas.font} ${room} ${text}`;
  const known = shortened.get(key);
  if (known !== undefined) return known;
  let [shown, length] = [text, text.length];
  while (length > 1 && canvas.measureText(shown).width > room) {
    length -= Math.max(1, Math.floor(length / 12));
    shown = `${text.slice(0, length)}…`;
  }
  if (shortened.size > MOST_SHORTENED) shortened.clear();
  shortened.set(key, shown);
  return shown;
}
