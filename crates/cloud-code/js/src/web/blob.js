// Blob and File, whole in memory.

import { concat, decodeUtf8, encodeUtf8, isBytes, viewOf } from './bytes.js';
import { streamOf } from './streams.js';

export class Blob {
  #bytes;
  #type;

  constructor(parts = [], { type = '' } = {}) {
    this.#bytes = concat(Array.from(parts, bytesOfPart));
    this.#type = String(type).toLowerCase();
  }

  get size() {
    return this.#bytes.length;
  }

  get type() {
    return this.#type;
  }

  slice(start, end, type = '') {
    return new Blob([this.#bytes.slice(start, end)], { type });
  }

  async arrayBuffer() {
    return this.#bytes.slice().buffer;
  }

  async bytes() {
    return this.#bytes.slice();
  }

  async text() {
    return decodeUtf8(this.#bytes);
  }

  stream() {
    return streamOf(this.#bytes);
  }

  get [Symbol.toStringTag]() {
    return 'Blob';
  }

  /** For this layer: the bytes themselves, without waiting. */
  static bytesOf(blob) {
    return blob.#bytes;
  }
}

function bytesOfPart(part) {
  if (part instanceof Blob) return Blob.bytesOf(part);
  return isBytes(part) ? viewOf(part) : encodeUtf8(String(part));
}

export class File extends Blob {
  #name;
  #lastModified;

  constructor(parts, name, options = {}) {
    super(parts, options);
    this.#name = String(name);
    this.#lastModified = options.lastModified ?? Date.now();
  }

  get name() {
    return this.#name;
  }

  get lastModified() {
    return this.#lastModified;
  }

  get [Symbol.toStringTag]() {
    return 'File';
  }
}
