/**
 * Camera over a picture: which part of it is seen, how large.
 *
 * Owns: moving, zooming, fitting. Its rule: pure values; a point of the picture at (x, y) is seen at (x * scale + dx, y * scale + dy).
 */

/** @typedef {{scale: number, dx: number, dy: number}} Camera */
/** @typedef {{width: number, height: number}} Size */

export const LEAST_SCALE = 0.02;
export const GREATEST_SCALE = 3;
const MARGIN = 20;

/**
 * The whole picture in the middle, not larger than life.
 *
 * @param {Size} picture
 * @param {Size} screen
 * @returns {Camera}
 */
export function fitted(picture, screen) {
  const across = (screen.width - 2 * MARGIN) / Math.max(1, picture.width);
  const down = (screen.height - 2 * MARGIN) / Math.max(1, picture.height);
  const scale = Math.min(1.25, Math.max(LEAST_SCALE, Math.min(across, down)));
  return { scale, dx: (screen.width - picture.width * scale) / 2, dy: (screen.height - picture.height * scale) / 2 };
}

/**
 * @param {Camera} camera
 * @param {number} factor
 * @param {{x: number, y: number}} at What stays where it is on the screen.
 * @returns {Camera}
 */
export function zoomed(camera, factor, at) {
  const scale = Math.min(GREATEST_SCALE, Math.max(LEAST_SCALE, camera.scale * factor));
  const ratio = scale / camera.scale;
  return { scale, dx: at.x - (at.x - camera.dx) * ratio, dy: at.y - (at.y - camera.dy) * ratio };
}

/**
 * @param {Camera} camera
 * @param {{x: number, y: number}} at On the screen.
 * @returns {{x: number, y: number}} In the picture.
 */
export function under(camera, at) {
  return { x: (at.x - camera.dx) / camera.scale, y: (at.y - camera.dy) / camera.scale };
}

/**
 * Moved no further than needed for a rectangle to be seen, and so near that it can be read.
 *
 * @param {Camera} camera
 * @param {import("./fold.js").Rect} rect In the picture.
 * @param {Size} screen
 * @param {number} [least] Scale at which it can be read.
 * @returns {Camera}
 */
export function showing(camera, rect, screen, least = 0.6) {
  const middle = { x: (rect.x + rect.width / 2) * camera.scale + camera.dx, y: (rect.y + rect.height / 2) * camera.scale + camera.dy };
  const near = camera.scale < least ? zoomed(camera, least / camera.scale, middle) : camera;
  const [left, top] = [rect.x * near.scale + near.dx, rect.y * near.scale + near.dy];
  const [width, height] = [rect.width * near.scale, rect.height * near.scale];
  const shift = (/** @type {number} */ start, /** @type {number} */ length, /** @type {number} */ room) => {
    if (start < MARGIN) return MARGIN - start;
    return start + length > room - MARGIN ? room - MARGIN - start - length : 0;
  };
  return { scale: near.scale, dx: near.dx + shift(left, width, screen.width), dy: near.dy + shift(top, height, screen.height) };
}
