/**
 * Figures over time: what the controller kept, and what came since.
 *
 * Its one rule: what was not measured is a gap, never a line across it.
 */

const MOST_POINTS = 4000;

export class History {
  /**
   * @param {{at_unix_s: number[], series: Object<string, Array<number|null>>, origin?: Object<string, string>, epochs?: Array<{epoch: number, from_unix_s: number}>}} [document]
   *   as `GET /api/history/…` answers
   */
  constructor(document) {
    this.x = [...(document?.at_unix_s ?? [])];
    this.origin = document?.origin ?? {};
    this.epochs = [...(document?.epochs ?? [])];
    this.series = new Map(Object.entries(document?.series ?? {}).map(([key, values]) => [key, [...values]]));
  }

  /** Names of what is known, in the order in which it became known. */
  get keys() {
    return [...this.series.keys()];
  }

  /** Values of one series, a gap where there is none. */
  column(key) {
    return this.series.get(key) ?? this.x.map(() => null);
  }

  /** Take in figures of a moment; one that is not after the last is left out. */
  add(atS, values) {
    if (this.x.length > 0 && atS <= this.x.at(-1)) return;
    for (const key of Object.keys(values)) if (!this.series.has(key)) this.series.set(key, this.x.map(() => null));
    this.x.push(atS);
    for (const [key, column] of this.series) column.push(values[key] ?? null);
    if (this.x.length <= MOST_POINTS) return;
    this.x.shift();
    for (const column of this.series.values()) column.shift();
  }

  /** Take in which epoch answers from a moment on. */
  serve(epoch, atS) {
    if (epoch !== null && epoch !== undefined && this.epochs.at(-1)?.epoch !== epoch) this.epochs.push({ epoch, from_unix_s: atS });
  }
}
