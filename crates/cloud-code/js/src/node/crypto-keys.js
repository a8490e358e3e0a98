// Secret keys of node:crypto. There are no others.

import { encodeUtf8, viewOf } from '../web/bytes.js';

export class KeyObject {
  #bytes;

  constructor(type, bytes) {
    if (type !== 'secret') throw new Error('Only secret keys are available in cloud code.');
    this.#bytes = bytes;
  }

  get type() {
    return 'secret';
  }

  get symmetricKeySize() {
    return this.#bytes.length;
  }

  export({ format } = {}) {
    const buffer = globalThis.Buffer.from(this.#bytes.slice().buffer);
    return format === 'jwk' ? { kty: 'oct', k: buffer.toString('base64url') } : buffer;
  }

  equals(other) {
    return other instanceof KeyObject && this.export().equals(other.export());
  }
}

export function createSecretKey(key, encoding) {
  if (typeof key !== 'string') return new KeyObject('secret', viewOf(key).slice());
  return new KeyObject('secret', encoding ? globalThis.Buffer.from(key, encoding) : encodeUtf8(key));
}
