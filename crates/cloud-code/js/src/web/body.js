// What Request and Response share: a body that can be read once.

import { Blob } from './blob.js';
import { concat, decodeUtf8, encodeUtf8, isBytes, viewOf } from './bytes.js';
import { encodeFormData, FormData } from './form-data.js';
import { parseFormData } from './form-data-parser.js';
import { isChunkSource, streamOf } from './streams.js';
import { URLSearchParams } from './url.js';

/** @returns {{bytes: Uint8Array | null, source: AsyncIterable | null, type: string | null}} */
export function encodeBody(value) {
  if (value === undefined || value === null) return { bytes: null, source: null, type: null };
  if (typeof value === 'string') return known(encodeUtf8(value), 'text/plain;charset=UTF-8');
  if (isBytes(value)) return known(viewOf(value).slice(), null);
  if (value instanceof Blob) return known(Blob.bytesOf(value), value.type || null);
  if (value instanceof URLSearchParams) {
    return known(encodeUtf8(value.toString()), 'application/x-www-form-urlencoded;charset=UTF-8');
  }
  if (value instanceof FormData) {
    const { bytes, type } = encodeFormData(value);
    return known(bytes, type);
  }
  if (isChunkSource(value)) return { bytes: null, source: value, type: null };
  return known(encodeUtf8(String(value)), 'text/plain;charset=UTF-8');
}

function known(bytes, type) {
  return { bytes, source: null, type };
}

export class Body {
  #bytes;
  #source;
  #stream = null;
  #used = false;

  constructor({ bytes, source }) {
    this.#bytes = bytes;
    this.#source = source;
  }

  get body() {
    if (this.#bytes === null && this.#source === null) return null;
    this.#stream ??= this.#source ?? streamOf(this.#bytes);
    return this.#stream;
  }

  get bodyUsed() {
    return this.#used || Boolean(this.#stream?.locked);
  }

  async bytes() {
    if (this.bodyUsed) throw new TypeError('Body is unusable: Body has already been read');
    this.#used = this.#bytes !== null || this.#source !== null;
    return this.#bytes ?? (this.#source === null ? new Uint8Array(0) : collect(this.#source));
  }

  async arrayBuffer() {
    const bytes = await this.bytes();
    return bytes.slice().buffer;
  }

  async text() {
    return decodeUtf8(await this.bytes()).replace(/^\uFEFF/, '');
  }

  async json() {
    return JSON.parse(await this.text());
  }

  async blob() {
    return new Blob([await this.bytes()], { type: this.headers.get('content-type') ?? '' });
  }

  async formData() {
    return parseFormData(await this.bytes(), this.headers.get('content-type') ?? '');
  }

  /** The same body for a clone; a stream cannot be had twice. */
  copyForClone() {
    if (this.bodyUsed) throw new TypeError('Body has already been consumed.');
    if (this.#source !== null) throw new TypeError('A request or response with a stream cannot be cloned.');
    return { bytes: this.#bytes, source: null, type: null };
  }
}

async function collect(source) {
  const chunks = [];
  for await (const chunk of source)
    chunks.push(typeof chunk === 'string' ? encodeUtf8(chunk) : viewOf(chunk));
  return concat(chunks);
}
