/**
 * Curves over time, drawn by uPlot, with epochs as bands beneath them.
 *
 * Its one rule: a curve's legend says what it is, where its figures come from, and what it shows under the pointer or last, so that the
 * picture is not needed to read it. Where the library is not there, the figures are.
 */

import { address } from "../core/ask.js";
import { cssColour } from "../core/colours.js";
import { clock } from "../core/format.js";
import { h, setAttribute, setText } from "../core/html.js";
import { originChip } from "./chips.js";

const HEIGHT = 170;
let library = null;

/** uPlot, or null where this release was built without it. */
function charts() {
  library ??= import("../../vendor/uPlot.esm.js").then(
    (module) => {
      document.head.append(h("link", { rel: "stylesheet", href: address("static/vendor/uPlot.min.css") }));
      return module.default;
    },
    () => null,
  );
  return library;
}

/**
 * @typedef {object} Curve
 * @property {string} label
 * @property {string} colour a custom property, such as `--accent` or `--node-3`
 * @property {string|null} [origin] of its figures
 * @property {boolean} [dashed]
 *
 * @param {{title: string, curves: Curve[], format: (value: number|null) => string, signal: AbortSignal, most?: number}} options
 *   `most`: what the axis reaches at least, such as 100 for percent.
 * @returns {{element: HTMLElement, update: (x: number[], values: Array<Array<number|null>>, bands?: Array<{label: string, from: number, to: number}>) => void}}
 */
export function chart({ title, curves, format, signal, most = 0 }) {
  const values = curves.map(() => h("b"));
  const legend = h(
    "ul",
    { class: "legend" },
    curves.map((curve, index) =>
      h("li", null, h("span", { class: `swatch${curve.dashed ? " dashed" : ""}`, style: { "--series": `var(${curve.colour})` } }), `${curve.label} `, values[index], " ", originChip(curve.origin)),
    ),
  );
  const at = h("small");
  const plot = h("div", { class: "plot", role: "img" });
  const element = h("div", { class: "chart" }, h("h3", null, title, at), legend, plot);
  let drawing = null;
  let data = [[], ...curves.map(() => [])];
  let bands = [];

  charts().then((uPlot) => {
    if (signal.aborted) return;
    if (uPlot === null) {
      plot.className = "muted";
      plot.replaceChildren("Curves are drawn by uPlot, which this release was built without: run make dashboard, and build again.");
      return;
    }
    drawing = new uPlot({ ...settings(curves, format, most, () => bands, tell), width: Math.max(plot.clientWidth, 100), height: HEIGHT }, data, plot);
    const sizes = new ResizeObserver(() => {
      const width = plot.clientWidth;
      if (width > 0 && width !== drawing.width) drawing.setSize({ width, height: HEIGHT });
    });
    sizes.observe(plot);
    const redraw = () => drawing.redraw(false, true);
    window.addEventListener("themechange", redraw);
    signal.addEventListener("abort", () => {
      window.removeEventListener("themechange", redraw);
      sizes.disconnect();
      drawing.destroy();
    });
  });

  function tell(index) {
    const under = index !== null && index !== undefined;
    curves.forEach((curve, number) => setText(values[number], format(under ? (data[number + 1][index] ?? null) : lastOf(data[number + 1]))));
    setText(at, under ? clock(data[0][index]) : "");
  }

  return {
    element,
    update(x, columns, newBands = []) {
      data = [x, ...columns];
      bands = newBands;
      tell(drawing?.cursor.idx ?? null);
      const said = curves.map((curve, index) => `${curve.label} ${format(lastOf(columns[index]))}`);
      setAttribute(plot, "aria-label", `${title} over time; last ${said.join(", ")}`);
      drawing?.setData(data);
    },
  };
}

/** The last value that is one. */
export const lastOf = (column) => column.findLast((value) => value !== null && value !== undefined) ?? null;

/** Epochs that are in sight, as bands. @param {Array<{epoch: number, from_unix_s: number}>} epochs in the order of their beginnings */
export function bandsOf(epochs, untilS) {
  return epochs.map(({ epoch, from_unix_s: from }, index) => ({ label: epoch === null ? "none" : String(epoch), from, to: epochs[index + 1]?.from_unix_s ?? untilS }));
}

function settings(curves, format, most, bands, tell) {
  const axis = { stroke: () => cssColour("--muted"), grid: { stroke: () => cssColour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    legend: { show: false },
    padding: [8, 24, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (_drawing, _low, high) => [0, Math.max((high ?? 0) * 1.08, most) || 1] } },
    axes: [
      { ...axis, size: 26, space: 70, values: (_drawing, ticks) => ticks.map((tick) => timeOf(tick, ticks)) },
      { ...axis, values: (_drawing, ticks) => ticks.map(format), size: (_drawing, texts) => Math.max(...(texts ?? [""]).map((text) => text.length)) * 6.5 + 14 },
    ],
    series: [
      {},
      ...curves.map((curve) => ({ label: curve.label, stroke: () => cssColour(curve.colour), width: 1.6, dash: curve.dashed ? [6, 4] : undefined, points: { show: false }, spanGaps: false })),
    ],
    hooks: { drawClear: [(drawing) => drawBands(drawing, bands())], setCursor: [(drawing) => tell(drawing.cursor.idx)] },
  };
}

/** Of a tick: seconds where ticks are closer than a minute. */
function timeOf(atS, ticks) {
  const time = clock(atS).split(" ").at(-1);
  return ticks.length > 1 && ticks[1] - ticks[0] < 60 ? time : time.slice(0, 5);
}

function drawBands(drawing, bands) {
  const { ctx, bbox } = drawing;
  const ratio = globalThis.devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  bands.forEach((band, index) => {
    const from = Math.max(drawing.valToPos(band.from, "x", true), bbox.left);
    const to = Math.min(drawing.valToPos(band.to, "x", true), bbox.left + bbox.width);
    if (!(to > from)) return;
    if (index % 2 === 0) {
      ctx.fillStyle = cssColour("--band");
      ctx.fillRect(from, bbox.top, to - from, bbox.height);
    }
    ctx.fillStyle = cssColour("--muted");
    if (to - from > 18 * ratio) ctx.fillText(band.label, from + 4 * ratio, bbox.top + 3 * ratio);
  });
  ctx.restore();
}
