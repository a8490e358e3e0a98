// TextEncoder and TextDecoder: UTF-8 by the host, UTF-16LE and Latin-1 here.

import { native } from '../native.js';
import { concat, encodeUtf8, isBytes, viewOf } from './bytes.js';

export class TextEncoder {
  get encoding() {
    return 'utf-8';
  }

  encode(text = '') {
    return encodeUtf8(String(text));
  }

  encodeInto(text, target) {
    let read = 0;
    let written = 0;
    for (const character of String(text)) {
      const bytes = encodeUtf8(character);
      if (written + bytes.length > target.length) break;
      target.set(bytes, written);
      written += bytes.length;
      read += character.length;
    }
    return { read, written };
  }
}

const LABELS = {
  'utf-8': 'utf-8',
  utf8: 'utf-8',
  'unicode-1-1-utf-8': 'utf-8',
  'utf-16le': 'utf-16le',
  'utf-16': 'utf-16le',
  ucs2: 'utf-16le',
  latin1: 'windows-1252',
  ascii: 'windows-1252',
  'us-ascii': 'windows-1252',
  'iso-8859-1': 'windows-1252',
  'windows-1252': 'windows-1252',
};

const EMPTY = new Uint8Array(0);
const BOM = '\uFEFF';

export class TextDecoder {
  #encoding;
  #fatal;
  #ignoreBOM;
  #held = EMPTY;
  #begun = false;

  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    this.#encoding = LABELS[String(label).trim().toLowerCase()];
    if (!this.#encoding) throw new RangeError(`The "${label}" encoding is not supported`);
    this.#fatal = Boolean(fatal);
    this.#ignoreBOM = Boolean(ignoreBOM);
  }

  get encoding() {
    return this.#encoding;
  }

  get fatal() {
    return this.#fatal;
  }

  get ignoreBOM() {
    return this.#ignoreBOM;
  }

  decode(input = EMPTY, { stream = false } = {}) {
    if (!isBytes(input)) throw new TypeError('The "list" argument must be an ArrayBuffer or a view of one.');
    const bytes = this.#held.length > 0 ? concat([this.#held, viewOf(input)]) : viewOf(input);
    const end = stream ? completeLength(bytes, this.#encoding) : bytes.length;
    this.#held = bytes.slice(end);
    const text = this.#withoutBom(this.#text(bytes.subarray(0, end)));
    this.#begun = stream && (this.#begun || end > 0);
    return text;
  }

  #text(bytes) {
    if (this.#encoding === 'utf-8') return native.utf8Decode(bytes, this.#fatal);
    return fromUnits(this.#encoding === 'utf-16le' ? utf16Units(bytes, this.#fatal) : bytes);
  }

  #withoutBom(text) {
    const strip = !this.#ignoreBOM && !this.#begun && this.#encoding !== 'windows-1252';
    return strip && text.startsWith(BOM) ? text.slice(1) : text;
  }
}

function utf16Units(bytes, fatal) {
  if (fatal && bytes.length % 2 === 1)
    throw new TypeError('The encoded data was not valid for encoding utf-16le');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length >> 1 }, (_, index) => view.getUint16(index * 2, true));
}

function fromUnits(units) {
  const UNITS_PER_CALL = 8192;
  let text = '';
  for (let start = 0; start < units.length; start += UNITS_PER_CALL) {
    text += String.fromCharCode(...units.slice(start, start + UNITS_PER_CALL));
  }
  return text;
}

/** How much of a chunk can be decoded now; a character cut at its end waits for the next chunk. */
function completeLength(bytes, encoding) {
  if (encoding === 'utf-16le') return bytes.length & ~1;
  if (encoding !== 'utf-8') return bytes.length;
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back];
    if ((byte & 0xc0) === 0x80) continue;
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
