/**
 * Where nodes stand on the fleet's map, and along which lines tensors go. Pure: sizes and names in, places out.
 *
 * Its one rule: a few nodes stand on an ellipse, for then no link passes over a third node; more stand in rows; from sixty on
 * sites are drawn instead.
 */

export const MOST_NODES = 60;
const RING = 9;
const NARROW_RING = 4;
const NARROW = 560;
const LANE = 7;
const LABEL_ASIDE = 38;
const LINE = 17;

/**
 * @param {string[]} names
 * @param {Set<string>} sources stand first
 * @param {number} width of the map. [px]
 * @param {number} [lines] that a card has beyond name, load, memory and power
 * @returns {{form: "ring"|"rows"|"sites", width: number, height: number, card: {width: number, height: number}, narrow: boolean, places: Map<string, {x: number, y: number}>}}
 */
export function placeNodes(names, sources, width, lines = 0) {
  const ordered = [...names].sort((left, right) => Number(sources.has(right)) - Number(sources.has(left)) || left.localeCompare(right, undefined, { numeric: true }));
  if (ordered.length > MOST_NODES) return { form: "sites", narrow: width < NARROW, width, height: 0, card: { width: 0, height: 0 }, places: new Map() };
  const narrow = width < NARROW;
  if (ordered.length > (narrow ? NARROW_RING : RING)) return rows(ordered, width, lines);
  const around = ring(ordered, width, narrow, lines);
  return overlaps(around) ? rows(ordered, width, lines) : around;
}

function ring(ordered, width, narrow, lines) {
  const card = { width: narrow ? 132 : 178, height: (narrow ? 104 : 87) + LINE * lines };
  const many = ordered.length;
  const lowest = many === 1 || (many === 2 && !narrow) ? 44 : narrow ? card.height + 134 : card.height + 186;
  const height = card.height + lowest + (narrow ? 70 : 42) * Math.max(0, many - 3);
  const centre = { x: width / 2, y: height / 2 };
  const radius = { x: Math.min((width - card.width) / 2 - 14, 520), y: (height - card.height) / 2 - 14 };
  // A wide map reads from the source on the left, a narrow one from the top.
  const start = narrow ? -Math.PI / 2 : Math.PI;
  const places = new Map();
  ordered.forEach((name, index) => {
    const angle = start + (2 * Math.PI * index) / many;
    places.set(name, many === 1 ? centre : { x: centre.x + radius.x * Math.cos(angle), y: centre.y + radius.y * Math.sin(angle) });
  });
  for (const axis of ["x", "y"]) fill(places, axis, centre, radius);
  return { form: "ring", narrow, width, height, card, places };
}

/** Whether any card lies on another, as many do on a map that is too narrow for their ellipse. */
function overlaps({ card, places }) {
  const all = [...places.values()];
  return all.some((one, index) => all.slice(index + 1).some((other) => Math.abs(one.x - other.x) < card.width && Math.abs(one.y - other.y) < card.height));
}

/** An odd number on an ellipse leaves room at its edges: stretch one axis until the outermost reach them. */
function fill(places, axis, centre, radius) {
  const values = [...places.values()].map((place) => place[axis]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (high - low < 1) return;
  for (const place of places.values()) place[axis] = centre[axis] - radius[axis] + ((place[axis] - low) / (high - low)) * 2 * radius[axis];
}

function rows(ordered, width, lines) {
  const narrow = width < NARROW;
  const gap = narrow ? 10 : 36;
  const columns = Math.max(1, Math.floor((width - 8) / ((narrow ? 150 : 170) + gap)));
  const card = { width: Math.min(178, Math.floor((width - 8) / columns) - gap), height: (narrow ? 104 : 87) + LINE * lines };
  const pitch = { x: width / columns, y: card.height + (narrow ? 14 : 40) };
  const places = new Map();
  ordered.forEach((name, index) => {
    places.set(name, { x: pitch.x * ((index % columns) + 0.5), y: pitch.y * (Math.floor(index / columns) + 0.5) });
  });
  return { form: "rows", narrow, width, height: pitch.y * Math.ceil(ordered.length / columns), card, places };
}

/**
 * The lane of one direction: beside the other one, from card to card.
 * @param {{x: number, y: number}} from
 * @param {{x: number, y: number}} to
 * @param {{width: number, height: number}} card
 * @returns {{x1: number, y1: number, x2: number, y2: number, length: number, angle: number, label: {x: number, y: number}}} angle in radians
 */
export function laneBetween(from, to, card) {
  const distance = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const along = { x: (to.x - from.x) / distance, y: (to.y - from.y) / distance };
  // Each keeps to its right, as on a road.
  const aside = { x: -along.y * LANE, y: along.x * LANE };
  const half = { x: card.width / 2 + 5, y: card.height / 2 + 5 };
  const out = Math.min(half.x / Math.abs(along.x || 1e-9), half.y / Math.abs(along.y || 1e-9));
  const start = { x: from.x + along.x * out + aside.x, y: from.y + along.y * out + aside.y };
  const end = { x: to.x - along.x * out + aside.x, y: to.y - along.y * out + aside.y };
  const length = Math.max(0, distance - 2 * out);
  // Nearer to the sender, so that the labels of both directions are apart; of a steep lane each stands on its own side.
  const steep = Math.abs(along.y) > 0.8;
  const share = steep ? 0.5 : 0.3;
  const beside = steep ? Math.sign(aside.x) * LABEL_ASIDE : 0;
  return {
    x1: start.x,
    y1: start.y,
    x2: end.x,
    y2: end.y,
    length,
    angle: Math.atan2(along.y, along.x),
    label: { x: start.x + along.x * length * share + beside, y: start.y + along.y * length * share },
  };
}
