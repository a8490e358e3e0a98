// pbkdf2 and hkdf, from the host's HMAC.

import { native } from '../native.js';
import { concat, encodeUtf8, viewOf } from '../web/bytes.js';

function bytesOf(value) {
  return typeof value === 'string' ? encodeUtf8(value) : viewOf(value);
}

function counter(value) {
  return new Uint8Array([value >>> 24, value >>> 16, value >>> 8, value]);
}

/** RFC 8018, 5.2. */
export function pbkdf2Sync(password, salt, iterations, keyLength, hash) {
  const key = bytesOf(password);
  const blocks = [];
  for (let length = 0, index = 1; length < keyLength; index += 1) {
    let round = new Uint8Array(native.hmac(hash.toLowerCase(), key, concat([bytesOf(salt), counter(index)])));
    const block = round.slice();
    for (let iteration = 1; iteration < iterations; iteration += 1) {
      round = new Uint8Array(native.hmac(hash.toLowerCase(), key, round));
      for (let at = 0; at < block.length; at += 1) block[at] ^= round[at];
    }
    blocks.push(block);
    length += block.length;
  }
  return globalThis.Buffer.from(concat(blocks).slice(0, keyLength).buffer);
}

/** RFC 5869. */
export function hkdfSync(hash, key, salt, info, keyLength) {
  const extracted = new Uint8Array(native.hmac(hash.toLowerCase(), bytesOf(salt), bytesOf(key)));
  const blocks = [];
  let previous = new Uint8Array(0);
  for (let length = 0, index = 1; length < keyLength; index += 1) {
    const input = concat([previous, bytesOf(info), new Uint8Array([index])]);
    previous = new Uint8Array(native.hmac(hash.toLowerCase(), extracted, input));
    blocks.push(previous);
    length += previous.length;
  }
  return concat(blocks).slice(0, keyLength).buffer;
}

function withCallback(derive) {
  return (...args) => {
    const callback = args.pop();
    queueMicrotask(() => {
      let result;
      try {
        result = derive(...args);
      } catch (error) {
        return callback(error);
      }
      callback(null, result);
    });
  };
}

export const pbkdf2 = withCallback(pbkdf2Sync);
export const hkdf = withCallback(hkdfSync);
