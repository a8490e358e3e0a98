// The rows of the report, as text and as JSON.

import { withPeer } from './modules.mjs';

export class Rows {
  list = [];

  /**
   * `values`: Tidegate's, then Parse Server's where it was measured. `better`: higher or lower; the ratio then says
   * how many times better Tidegate is.
   */
  add(section, measure, unit, [tidegate, peer], better) {
    const ratio = better === 'higher' ? tidegate / peer : peer / tidegate;
    const compared = better !== undefined && peer !== undefined;
    this.list.push({ section, measure, unit, tidegate, parseServer: peer ?? null, ratio: compared ? ratio : null });
  }

  asText() {
    const cells = [['', '', 'Tidegate', ...(withPeer ? ['Parse Server', 'ratio'] : [])]];
    let previous;
    for (const { measure, unit, tidegate, parseServer, ratio } of this.list) {
      const compared = withPeer ? [number(parseServer), ratio === null ? '' : `${number(ratio)} x`] : [];
      cells.push([measure === previous ? '' : measure, unit, number(tidegate), ...compared]);
      previous = measure;
    }
    const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column].length)));
    const pad = (text, column) => (column < 2 ? text.padEnd(widths[column]) : text.padStart(widths[column]));
    return cells.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
  }
}

/** Three digits that count, and no more than are there to be had. */
function number(value) {
  if (value === null) {
    return '';
  }
  if (Number.isNaN(value)) {
    return '-';
  }
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}
