// Request and Response.

import { Body, encodeBody } from './body.js';
import { Headers } from './headers.js';
import { URL } from './url.js';

const KNOWN_METHODS = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'];

function methodOf(name) {
  const upper = String(name).toUpperCase();
  return KNOWN_METHODS.includes(upper) ? upper : String(name);
}

function hrefOf(text) {
  try {
    return new URL(text).href;
  } catch (cause) {
    throw new TypeError(`Failed to parse URL from ${text}`, { cause });
  }
}

/** The headers of `init`, and the body's content type where they name none. */
function headersFor(init, type) {
  const headers = new Headers(init);
  if (type && !headers.has('content-type')) headers.set('content-type', type);
  return headers;
}

export class Request extends Body {
  #headers;

  constructor(input, init = {}) {
    const from = input instanceof Request ? input : null;
    const encoded = init.body == null && from ? from.copyForClone() : encodeBody(init.body);
    super(encoded);
    this.url = from ? from.url : hrefOf(String(input));
    this.method = methodOf(init.method ?? from?.method ?? 'GET');
    if ((encoded.bytes || encoded.source) && (this.method === 'GET' || this.method === 'HEAD')) {
      throw new TypeError('Request with GET/HEAD method cannot have body.');
    }
    this.#headers = headersFor(init.headers ?? from?.headers, encoded.type);
    this.redirect = init.redirect ?? from?.redirect ?? 'follow';
    this.signal = init.signal ?? from?.signal ?? null;
    this.credentials = init.credentials ?? from?.credentials ?? 'same-origin';
    this.mode = init.mode ?? from?.mode ?? 'cors';
    this.cache = init.cache ?? from?.cache ?? 'default';
    // Read, because clients find out by it whether a stream may be sent.
    this.duplex = init.duplex ?? 'half';
  }

  get headers() {
    return this.#headers;
  }

  clone() {
    return new Request(this);
  }

  get [Symbol.toStringTag]() {
    return 'Request';
  }
}

const NULL_BODY = [101, 103, 204, 205, 304];

export class Response extends Body {
  #headers;

  constructor(body = null, init = {}) {
    const encoded = encodeBody(body);
    super(encoded);
    this.status = init.status ?? 200;
    if (!Number.isInteger(this.status) || this.status < 200 || this.status > 599) {
      throw new RangeError('init["status"] must be in the range of 200 to 599, inclusive.');
    }
    if (body !== null && NULL_BODY.includes(this.status)) {
      throw new TypeError(`Invalid response status code ${this.status}: it has no body`);
    }
    this.statusText = init.statusText ?? '';
    this.url = '';
    this.redirected = false;
    this.type = 'default';
    this.#headers = headersFor(init.headers, encoded.type);
  }

  get headers() {
    return this.#headers;
  }

  get ok() {
    return this.status >= 200 && this.status < 300;
  }

  clone() {
    const { bytes } = this.copyForClone();
    return Object.assign(new Response(bytes, this), {
      url: this.url,
      redirected: this.redirected,
      type: this.type,
    });
  }

  static json(data, init = {}) {
    const headers = headersFor(init.headers, 'application/json');
    return new Response(JSON.stringify(data), { ...init, headers });
  }

  static error() {
    return Object.assign(new Response(null), { status: 0, type: 'error' });
  }

  static redirect(url, status = 302) {
    return new Response(null, { status, headers: { location: new URL(String(url)).href } });
  }

  get [Symbol.toStringTag]() {
    return 'Response';
  }
}
