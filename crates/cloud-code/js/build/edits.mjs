// Insertions into one generated script, and the same shift applied to its source map.

import { decode, encode } from '@jridgewell/sourcemap-codec';

/**
 * Texts to put into a script, by offset. Inserted texts must not contain line breaks: lines keep their
 * numbers, so the map needs nothing but columns moved to the right.
 */
export class Edits {
  #insertions = [];
  #blanks = [];

  /** At one offset: lower rank first, then in the order of the calls. */
  insert(offset, text, rank = 0) {
    this.#insertions.push({ offset, text, rank, order: this.#insertions.length });
  }

  /** Turns a range into white space of the same shape. */
  blank(start, end) {
    this.#blanks.push({ start, end });
  }

  /** @returns {{code: string, map: object}} the edited script and the map that fits it */
  apply(source, map) {
    const insertions = this.#insertions.sort(
      (a, b) => a.offset - b.offset || a.rank - b.rank || a.order - b.order,
    );
    const base = this.#blanked(source);
    let code = '';
    let from = 0;
    for (const { offset, text } of insertions) {
      code += base.slice(from, offset) + text;
      from = offset;
    }
    return { code: code + base.slice(from), map: map && shiftColumns(map, insertions, source) };
  }

  #blanked(source) {
    let text = source;
    for (const { start, end } of this.#blanks) {
      const empty = text.slice(start, end).replace(/[^\n]/g, ' ');
      text = text.slice(0, start) + empty + text.slice(end);
    }
    return text;
  }
}

function shiftColumns(map, insertions, source) {
  const byLine = groupByLine(insertions, source);
  const mappings = decode(map.mappings).map((segments, line) => {
    const shifts = byLine.get(line);
    return shifts ? segments.map((segment) => shifted(segment, shifts)) : segments;
  });
  return { ...map, mappings: encode(mappings) };
}

function groupByLine(insertions, source) {
  const byLine = new Map();
  let line = 0;
  let lineStart = 0;
  let next = source.indexOf('\n');
  for (const { offset, text } of insertions) {
    while (next !== -1 && next < offset) {
      line += 1;
      lineStart = next + 1;
      next = source.indexOf('\n', lineStart);
    }
    if (!byLine.has(line)) byLine.set(line, []);
    byLine.get(line).push({ column: offset - lineStart, length: text.length });
  }
  return byLine;
}

function shifted(segment, shifts) {
  const [column, ...rest] = segment;
  let added = 0;
  for (const shift of shifts) {
    if (shift.column > column) break;
    added += shift.length;
  }
  return [column + added, ...rest];
}
