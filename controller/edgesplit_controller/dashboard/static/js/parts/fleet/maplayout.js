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

/**
 * @param {string[]} names
 * @param {Set<string>} sources stand first
 * @param {number} width of the map. [px]
 * @returns {{form: "ring"|"rows"|"sites", width: number, height: number, card: {width: number, height: number}, places: Map<string, {x: number, y: number}>}}
 */
export function placeNodes(names, sources, width) {
  const ordered = [...names].sort((left, right) => Number(sources.has(right)) - Number(sources.has(left)) || left.localeCompare(right, undefined, { numeric: true }));
  if (ordered.length > MOST_NODES) return { form: "sites", width, height: 0, card: { width: 0, height: 0 }, places: new Map() };
  const narrow = width < NARROW;
  return ordered.length <= (narrow ? NARROW_RING : RING) ? ring(ordered, width, narrow) : rows(ordered, width);
}

function ring(ordered, width, narrow) {
  const card = { width: narrow ? 128 : 178, height: 112 };
  const many = ordered.length;
  const height = many === 1 ? 160 : many === 2 && !narrow ? 200 : narrow ? 320 + 70 * Math.max(0, many - 2) : 330 + 42 * Math.max(0, many - 3);
  const centre = { x: width / 2, y: height / 2 };
  const radius = { x: Math.min((width - card.width) / 2 - 14, 520), y: (height - card.height) / 2 - 14 };
  // A wide map reads from the source on the left, a narrow one from the top.
  const start = narrow ? -Math.PI / 2 : Math.PI;
  const places = new Map();
  ordered.forEach((name, index) => {
    const angle = start + (2 * Math.PI * index) / many;
    places.set(name, many === 1 ? centre : { x: centre.x + radius.x * Math.cos(angle), y: centre.y + radius.y * Math.sin(angle) });
  });
  return { form: "ring", width, height, card, places: spread(places, many, centre, radius) };
}

/** Three on an ellipse leave half of its right side empty: bring the others to its edge. */
function spread(places, many, centre, radius) {
  if (many !== 3) return places;
  const reach = Math.max(...[...places.values()].map((place) => Math.abs(place.y - centre.y)));
  for (const place of places.values()) {
    if (place.x > centre.x + 1) place.x = centre.x + radius.x * 0.86;
    place.y = centre.y + ((place.y - centre.y) / reach) * radius.y;
  }
  return places;
}

function rows(ordered, width) {
  const narrow = width < NARROW;
  const gap = narrow ? 10 : 36;
  const columns = Math.max(1, Math.floor((width - 8) / ((narrow ? 150 : 170) + gap)));
  const card = { width: Math.min(178, Math.floor((width - 8) / columns) - gap), height: 94 };
  const pitch = { x: width / columns, y: card.height + (narrow ? 14 : 40) };
  const places = new Map();
  ordered.forEach((name, index) => {
    places.set(name, { x: pitch.x * ((index % columns) + 0.5), y: pitch.y * (Math.floor(index / columns) + 0.5) });
  });
  return { form: "rows", width, height: pitch.y * Math.ceil(ordered.length / columns), card, places };
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
  // Nearer to the sender, so that the labels of both directions are apart.
  const share = Math.abs(along.y) > 0.9 ? 0.27 : 0.3;
  return {
    x1: start.x,
    y1: start.y,
    x2: end.x,
    y2: end.y,
    length,
    angle: Math.atan2(along.y, along.x),
    label: { x: start.x + along.x * length * share, y: start.y + along.y * length * share },
  };
}
