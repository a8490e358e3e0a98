// Web Crypto, as far as hashes and HMAC go.

import { native } from '../native.js';
import { isBytes, viewOf } from './bytes.js';

const MAX_RANDOM_BYTES = 65536;

export function randomBytes(count) {
  return new Uint8Array(native.random(count));
}

export function randomUUID() {
  const bytes = randomBytes(16);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toHex();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export function getRandomValues(array) {
  if (!ArrayBuffer.isView(array)) throw new TypeError('getRandomValues needs an integer typed array.');
  if (array.byteLength > MAX_RANDOM_BYTES) {
    throw new DOMException(`The requested length exceeds ${MAX_RANDOM_BYTES} bytes`, 'QuotaExceededError');
  }
  viewOf(array).set(randomBytes(array.byteLength));
  return array;
}

const HASHES = { 'SHA-1': 'sha1', 'SHA-256': 'sha256', 'SHA-384': 'sha384', 'SHA-512': 'sha512' };

function hashOf(algorithm) {
  const name = typeof algorithm === 'string' ? algorithm : algorithm?.name;
  return HASHES[String(name).toUpperCase()] ?? unsupported(name);
}

function unsupported(name) {
  throw new DOMException(`${name} is not supported: cloud code has hashes and HMAC.`, 'NotSupportedError');
}

const rawKeys = new WeakMap();

class CryptoKey {
  constructor(hash, bytes, extractable, usages) {
    this.type = 'secret';
    this.extractable = extractable;
    this.usages = usages;
    this.algorithm = { name: 'HMAC', hash: { name: hash }, length: bytes.length * 8 };
    rawKeys.set(this, bytes);
  }
}

function hmac(key, data) {
  return native.hmac(hashOf(key.algorithm.hash), rawKeys.get(key), viewOf(data));
}

function isHmac(algorithm) {
  const name = typeof algorithm === 'string' ? algorithm : algorithm?.name;
  return String(name).toUpperCase() === 'HMAC' || unsupported(name);
}

const subtle = {
  async digest(algorithm, data) {
    if (!isBytes(data)) throw new TypeError('digest needs an ArrayBuffer or a view of one.');
    return native.digest(hashOf(algorithm), viewOf(data));
  },

  async importKey(format, keyData, algorithm, extractable, usages) {
    isHmac(algorithm);
    if (format === 'jwk')
      return this.importKey('raw', fromBase64Url(keyData.k), algorithm, extractable, usages);
    if (format !== 'raw') unsupported(`The key format ${format}`);
    const hash = typeof algorithm.hash === 'string' ? algorithm.hash : algorithm.hash?.name;
    hashOf(hash);
    return new CryptoKey(hash, viewOf(keyData).slice(), extractable, [...usages]);
  },

  async exportKey(format, key) {
    if (!key.extractable) throw new DOMException('The key is not extractable', 'InvalidAccessError');
    const bytes = rawKeys.get(key);
    if (format === 'raw') return bytes.slice().buffer;
    if (format !== 'jwk') unsupported(`The key format ${format}`);
    const k = bytes.toBase64({ alphabet: 'base64url', omitPadding: true });
    return { kty: 'oct', k, ext: true, key_ops: key.usages };
  },

  async generateKey(algorithm, extractable, usages) {
    isHmac(algorithm);
    return this.importKey('raw', randomBytes((algorithm.length ?? 512) / 8), algorithm, extractable, usages);
  },

  async sign(algorithm, key, data) {
    isHmac(algorithm);
    return hmac(key, data);
  },

  async verify(algorithm, key, signature, data) {
    isHmac(algorithm);
    return native.timingSafeEqual(hmac(key, data), viewOf(signature));
  },

  encrypt: async () => unsupported('encrypt'),
  decrypt: async () => unsupported('decrypt'),
  deriveBits: async () => unsupported('deriveBits'),
  deriveKey: async () => unsupported('deriveKey'),
};

function fromBase64Url(text) {
  return new Uint8Array(native.base64Decode(text));
}

export const crypto = { getRandomValues, randomUUID, subtle };
export { CryptoKey };
