/**
 * A table that follows its rows: sorted by its headings, filtered, and drawn fifty rows at a time.
 *
 * Its one rule: a cell is touched when what it shows changes, and at no other time.
 */

import { h, keyed, setAttribute, setText } from "../core/html.js";

const PAGE = 50;
const FILTER_FROM = 12;
const ORDER = new Intl.Collator(undefined, { numeric: true });

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {(row: any) => string|number|Cell|null} cell what it shows
 * @property {(row: any) => string|number|null} [value] what it is sorted by; without it, what it shows
 * @property {boolean} [figure] right-aligned, with tabular figures
 * @property {boolean} [header] names the row
 *
 * @typedef {object} Cell
 * @property {string} key what changes when the cell does
 * @property {() => Node|Array} draw
 */

/**
 * @param {{caption: string, columns: Column[], key: (row: any) => string, empty: string, sort?: number, descending?: boolean, text?: (row: any) => string}} options
 *   `text`: what a row is found by; where it is given, long tables have a filter.
 * @returns {{element: HTMLElement, update: (rows: any[]) => void}}
 */
export function table(options) {
  let rows = [];
  let sort = options.sort ?? null;
  let descending = options.descending ?? false;
  let most = PAGE;
  let wanted = "";

  const heads = options.columns.map((column, index) => {
    const button = h("button", { type: "button", class: "sort", onclick: () => sortBy(index) }, column.title);
    return h("th", { scope: "col", class: column.figure ? "figure" : null }, column.title ? button : null);
  });
  const body = h("tbody");
  const empty = h("p", { class: "empty" }, options.empty);
  const filter = h("input", { type: "search", placeholder: "Filter", "aria-label": `Filter: ${options.caption}`, oninput: filtered });
  const more = h("button", { type: "button", class: "quiet more", onclick: showMore });
  const scroll = h(
    "div",
    { class: "scroll", role: "region", "aria-label": options.caption, tabindex: "0" },
    h("table", null, h("caption", { class: "unseen" }, options.caption), h("thead", null, h("tr", null, heads)), body),
  );
  const element = h("div", { class: "table" }, filter, scroll, more, empty);

  function sortBy(index) {
    descending = sort === index ? !descending : Boolean(options.columns[index].figure);
    sort = index;
    draw();
  }

  function filtered() {
    wanted = filter.value.trim().toLowerCase();
    most = PAGE;
    draw();
  }

  function showMore() {
    most += PAGE;
    draw();
  }

  function draw() {
    const found = wanted && options.text ? rows.filter((row) => options.text(row).toLowerCase().includes(wanted)) : rows;
    const shown = sorted(found, options.columns[sort], descending).slice(0, most);
    heads.forEach((head, index) => setAttribute(head, "aria-sort", index === sort ? (descending ? "descending" : "ascending") : null));
    keyed(body, shown, options.key, () => made(options.columns), (element, row) => updated(element, row, options.columns));
    filter.hidden = !options.text || (rows.length < FILTER_FROM && !wanted);
    scroll.hidden = found.length === 0;
    empty.hidden = found.length > 0;
    setText(empty, rows.length > 0 ? "Nothing matches the filter." : options.empty);
    more.hidden = found.length <= shown.length;
    setText(more, `Show ${Math.min(PAGE, found.length - shown.length)} more of ${found.length}`);
  }

  draw();
  return {
    element,
    update(wantedRows) {
      rows = wantedRows;
      draw();
    },
  };
}

/** Rows in the order of a column; those without a value last. */
export function sorted(rows, column, descending) {
  if (!column) return rows;
  const valueOf = column.value ?? column.cell;
  const sign = descending ? -1 : 1;
  return rows
    .map((row) => [valueOf(row), row])
    .sort(([left], [right]) => {
      const none = (value) => value === null || value === undefined;
      if (none(left) || none(right)) return Number(none(left)) - Number(none(right));
      if (typeof left === "number" && typeof right === "number") return sign * (left - right);
      return sign * ORDER.compare(String(left), String(right));
    })
    .map(([, row]) => row);
}

function made(columns) {
  return h("tr", null, columns.map((column) => h(column.header ? "th" : "td", { scope: column.header ? "row" : null, class: column.figure ? "figure" : null })));
}

function updated(element, row, columns) {
  columns.forEach((column, index) => {
    const place = element.children[index];
    const cell = column.cell(row);
    if (cell === null || typeof cell !== "object") {
      setText(place, cell ?? "");
      return;
    }
    if (place.drawnKey === cell.key) return;
    place.drawnKey = cell.key;
    place.replaceChildren(...[cell.draw()].flat().filter(Boolean));
  });
}
