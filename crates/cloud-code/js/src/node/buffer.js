// node:buffer: the npm package, with the host's UTF-8 and base64 where bytes are many.

import { Buffer, INSPECT_MAX_BYTES, SlowBuffer, kMaxLength } from 'buffer/';
import { native } from '../native.js';
import { isBytes, viewOf } from '../web/bytes.js';
import { Blob, File } from '../web/blob.js';

const { isEncoding, from, byteLength } = Buffer;
const { toString, write } = Buffer.prototype;

function nameOf(encoding) {
  return encoding === undefined || encoding === null ? 'utf8' : String(encoding).toLowerCase();
}

/** The whole text as bytes, where the host or the engine is faster than the package; else undefined. */
function encoded(text, encoding) {
  if (encoding === 'utf8' || encoding === 'utf-8') return native.utf8Encode(text);
  if (encoding === 'base64' || encoding === 'base64url') return native.base64Decode(base64Part(text));
  return undefined;
}

/** Node decodes base64 up to the first padding and passes over what is no base64. */
function base64Part(text) {
  return text.split('=', 1)[0].replace(/[^A-Za-z0-9+/\-_]/g, '');
}

Buffer.isEncoding = (encoding) => nameOf(encoding) === 'base64url' || isEncoding(encoding);

Buffer.from = function (value, encodingOrOffset, length) {
  const bytes = typeof value === 'string' ? encoded(value, nameOf(encodingOrOffset)) : undefined;
  return bytes === undefined ? from(value, encodingOrOffset, length) : from(bytes);
};

Buffer.byteLength = (value, encoding) => {
  if (typeof value !== 'string') return byteLength(value, encoding);
  return encoded(value, nameOf(encoding))?.byteLength ?? byteLength(value, encoding);
};

Buffer.copyBytesFrom = (view, offset = 0, length = view.length - offset) =>
  from(viewOf(view.subarray(offset, offset + length)).slice().buffer);

Buffer.prototype.toString = function (encoding, start = 0, end = this.length) {
  const name = nameOf(encoding);
  const part = start === 0 && end >= this.length ? this : this.subarray(start, end);
  if (name === 'utf8' || name === 'utf-8') return native.utf8Decode(part, false);
  if (name === 'base64') return native.base64Encode(part);
  if (name === 'base64url') {
    return native.base64Encode(part).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
  }
  return toString.call(part, encoding);
};

Buffer.prototype.write = function (text, ...args) {
  return args.at(-1) === 'base64url'
    ? write.call(this, text, ...args.slice(0, -1), 'base64')
    : write.call(this, text, ...args);
};

const constants = { MAX_LENGTH: kMaxLength, MAX_STRING_LENGTH: 2 ** 29 - 24 };
const { atob, btoa } = globalThis;

function isUtf8(bytes) {
  try {
    native.utf8Decode(viewOf(bytes), true);
    return true;
  } catch {
    return false;
  }
}

function isAscii(bytes) {
  return isBytes(bytes) && viewOf(bytes).every((byte) => byte < 0x80);
}

export {
  Buffer,
  SlowBuffer,
  INSPECT_MAX_BYTES,
  kMaxLength,
  constants,
  Blob,
  File,
  atob,
  btoa,
  isUtf8,
  isAscii,
};
export default {
  Buffer,
  SlowBuffer,
  INSPECT_MAX_BYTES,
  kMaxLength,
  constants,
  Blob,
  File,
  atob,
  btoa,
  isUtf8,
  isAscii,
};
