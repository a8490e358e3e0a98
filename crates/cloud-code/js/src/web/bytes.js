// Bytes in their many shapes.

import { native } from '../native.js';

export function isBytes(value) {
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}

/** A view of the same bytes. */
export function viewOf(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

export function concat(chunks) {
  const whole = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.byteLength, 0));
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return whole;
}

export function encodeUtf8(text) {
  return new Uint8Array(native.utf8Encode(text));
}

export function decodeUtf8(bytes) {
  return native.utf8Decode(bytes, false);
}

/** @param {ArrayBuffer | ArrayBufferView | string | Blob | ReadableStream} data */
export async function base64Of(data) {
  return native.base64Encode(await allBytes(data));
}

async function allBytes(data) {
  if (typeof data === 'string') return encodeUtf8(data);
  if (isBytes(data)) return viewOf(data);
  if (typeof data.arrayBuffer === 'function') return new Uint8Array(await data.arrayBuffer());
  const chunks = [];
  for await (const chunk of data) chunks.push(viewOf(chunk));
  return concat(chunks);
}
