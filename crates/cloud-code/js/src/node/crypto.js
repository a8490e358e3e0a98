// node:crypto: hashes, HMAC, key derivation by HMAC, randomness.

import { native } from '../native.js';
import { crypto as webcrypto, getRandomValues, randomUUID } from '../web/crypto.js';
import { concat, encodeUtf8, isBytes, viewOf } from '../web/bytes.js';
import { createSecretKey, KeyObject } from './crypto-keys.js';
import { hkdf, hkdfSync, pbkdf2, pbkdf2Sync } from './crypto-derive.js';
import { unavailable } from './unavailable.js';

const HASHES = ['md5', 'sha1', 'sha256', 'sha384', 'sha512'];

function hashNamed(name) {
  const hash = String(name).toLowerCase().replace(/^rsa-/, '').replace('-', '');
  if (!HASHES.includes(hash)) throw new Error(`Digest method not supported: ${name}`);
  return hash;
}

export function bytesOf(data, encoding) {
  if (typeof data === 'string') return encoding ? globalThis.Buffer.from(data, encoding) : encodeUtf8(data);
  if (data instanceof KeyObject) return data.export();
  if (isBytes(data)) return viewOf(data);
  throw new TypeError(
    'The "data" argument must be of type string or an instance of Buffer, TypedArray, or DataView.',
  );
}

/** Hash and Hmac: data is kept, and digested whole at the end. */
class Digest {
  #chunks = [];
  #finish;

  constructor(finish, chunks = []) {
    this.#finish = finish;
    this.#chunks = chunks;
  }

  update(data, encoding) {
    if (this.#finish === null) throw new Error('Digest already called');
    this.#chunks.push(bytesOf(data, encoding).slice());
    return this;
  }

  digest(encoding) {
    if (this.#finish === null) throw new Error('Digest already called');
    const digest = globalThis.Buffer.from(this.#finish(concat(this.#chunks)));
    this.#finish = null;
    return encoding && encoding !== 'buffer' ? digest.toString(encoding) : digest;
  }

  copy() {
    return new Digest(this.#finish, [...this.#chunks]);
  }
}

function createHash(name) {
  const hash = hashNamed(name);
  return new Digest((data) => native.digest(hash, data));
}

function createHmac(name, key) {
  const hash = hashNamed(name);
  const secret = bytesOf(key).slice();
  return new Digest((data) => native.hmac(hash, secret, data));
}

function randomBytes(size, callback) {
  const bytes = globalThis.Buffer.from(native.random(size));
  if (!callback) return bytes;
  queueMicrotask(() => callback(null, bytes));
}

function randomFillSync(target, offset = 0, size = target.byteLength - offset) {
  viewOf(target).set(new Uint8Array(native.random(size)), offset);
  return target;
}

function randomFill(target, ...args) {
  const callback = args.pop();
  randomFillSync(target, ...args);
  queueMicrotask(() => callback(null, target));
}

const MAX_RANDOM_RANGE = 2 ** 48;

function randomInt(...args) {
  const callback = typeof args.at(-1) === 'function' ? args.pop() : null;
  const [min, max] = args.length > 1 ? args : [0, args[0]];
  const range = max - min;
  if (!(range > 0 && range <= MAX_RANDOM_RANGE))
    throw new RangeError('The range of randomInt is out of bounds.');
  const value = min + below(range);
  if (!callback) return value;
  queueMicrotask(() => callback(null, value));
}

/** Uniform: values in the last, partial stretch of the range are drawn again. */
function below(range) {
  const limit = MAX_RANDOM_RANGE - (MAX_RANDOM_RANGE % range);
  while (true) {
    const value = new Uint8Array(native.random(6)).reduce((sum, byte) => sum * 256 + byte, 0);
    if (value < limit) return value % range;
  }
}

function timingSafeEqual(a, b) {
  if (a.byteLength !== b.byteLength) throw new RangeError('Input buffers must have the same byte length');
  return native.timingSafeEqual(viewOf(a), viewOf(b));
}

export default unavailable('crypto', 'Cloud code has hashes, HMAC, pbkdf2, hkdf and randomness.', {
  createHash,
  createHmac,
  createSecretKey,
  KeyObject,
  getHashes: () => [...HASHES],
  getCiphers: () => [],
  getCurves: () => [],
  getFips: () => 0,
  getRandomValues,
  hash: (name, data, encoding = 'hex') => createHash(name).update(data).digest(encoding),
  hkdf,
  hkdfSync,
  pbkdf2,
  pbkdf2Sync,
  randomBytes,
  pseudoRandomBytes: randomBytes,
  randomFill,
  randomFillSync,
  randomInt,
  randomUUID,
  timingSafeEqual,
  constants: {},
  webcrypto,
  subtle: webcrypto.subtle,
});
