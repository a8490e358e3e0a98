// Reads a body into a FormData: response.formData().

import { decodeUtf8, encodeUtf8 } from './bytes.js';
import { File } from './blob.js';
import { FormData } from './form-data.js';
import { URLSearchParams } from './url.js';

/** @throws {TypeError} where the content type names no form */
export function parseFormData(bytes, contentType) {
  if (/^application\/x-www-form-urlencoded/i.test(contentType)) return fromPairs(decodeUtf8(bytes));
  const boundary = /^multipart\/form-data;.*boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (boundary === undefined) throw new TypeError('Could not parse content as FormData.');
  return fromParts(bytes, boundary);
}

function fromPairs(text) {
  const form = new FormData();
  for (const [name, value] of new URLSearchParams(text)) form.append(name, value);
  return form;
}

function fromParts(bytes, boundary) {
  const form = new FormData();
  const delimiter = encodeUtf8(`--${boundary}`);
  let start = find(bytes, delimiter, 0);
  while (start !== -1) {
    const next = find(bytes, delimiter, start + delimiter.length);
    if (next === -1) break;
    addPart(form, bytes.subarray(start + delimiter.length + 2, next - 2));
    start = next;
  }
  return form;
}

function addPart(form, part) {
  const split = find(part, encodeUtf8('\r\n\r\n'), 0);
  if (split === -1) return;
  const head = decodeUtf8(part.subarray(0, split));
  const content = part.subarray(split + 4);
  const name = /name="([^"]*)"/i.exec(head)?.[1];
  const filename = /filename="([^"]*)"/i.exec(head)?.[1];
  const type = /content-type:\s*([^\r\n]+)/i.exec(head)?.[1];
  if (name === undefined) return;
  form.append(name, filename === undefined ? decodeUtf8(content) : new File([content], filename, { type }));
}

function find(bytes, sought, from) {
  for (let at = bytes.indexOf(sought[0], from); at !== -1; at = bytes.indexOf(sought[0], at + 1)) {
    if (sought.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}
