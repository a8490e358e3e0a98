// FormData, and its multipart form on the wire.

import { native } from '../native.js';
import { Blob, File } from './blob.js';
import { concat, encodeUtf8 } from './bytes.js';

export class FormData {
  #entries = [];

  append(name, value, filename) {
    this.#entries.push([String(name), valueOf(value, filename)]);
  }

  set(name, value, filename) {
    this.delete(name);
    this.append(name, value, filename);
  }

  delete(name) {
    this.#entries = this.#entries.filter(([key]) => key !== name);
  }

  get(name) {
    return this.#entries.find(([key]) => key === name)?.[1] ?? null;
  }

  getAll(name) {
    return this.#entries.filter(([key]) => key === name).map(([, value]) => value);
  }

  has(name) {
    return this.#entries.some(([key]) => key === name);
  }

  forEach(callback, receiver) {
    for (const [name, value] of this.#entries) callback.call(receiver, value, name, this);
  }

  *entries() {
    yield* this.#entries;
  }

  *keys() {
    for (const [name] of this.#entries) yield name;
  }

  *values() {
    for (const [, value] of this.#entries) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  get [Symbol.toStringTag]() {
    return 'FormData';
  }
}

function valueOf(value, filename) {
  if (!(value instanceof Blob)) return String(value);
  if (value instanceof File && filename === undefined) return value;
  return new File([value], filename ?? 'blob', { type: value.type });
}

/** @returns {{bytes: Uint8Array, type: string}} the body and its content type */
export function encodeFormData(form) {
  const boundary = `----tidegate${new Uint8Array(native.random(16)).toHex()}`;
  const chunks = [];
  for (const [name, value] of form) {
    chunks.push(encodeUtf8(`--${boundary}\r\nContent-Disposition: form-data; name="${escaped(name)}"`));
    if (typeof value === 'string') {
      chunks.push(encodeUtf8(`\r\n\r\n${value}\r\n`));
    } else {
      const type = value.type || 'application/octet-stream';
      chunks.push(encodeUtf8(`; filename="${escaped(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`));
      chunks.push(Blob.bytesOf(value), encodeUtf8('\r\n'));
    }
  }
  chunks.push(encodeUtf8(`--${boundary}--\r\n`));
  return { bytes: concat(chunks), type: `multipart/form-data; boundary=${boundary}` };
}

function escaped(name) {
  return name.replace(/\r?\n|\r/g, '%0D%0A').replaceAll('"', '%22');
}
