// node:http and node:https as clients, over fetch. There are no servers and no sockets behind them.

import { fetch } from '../web/fetch.js';
import { concat } from '../web/bytes.js';
import { Headers } from '../web/headers.js';
import { AbortController } from '../web/abort.js';
import { URL } from '../web/url.js';
import stream from './stream.js';
import { unavailable } from './unavailable.js';
import url from './url.js';

const STATUS_CODES = {
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  204: 'No Content',
  206: 'Partial Content',
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  304: 'Not Modified',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  402: 'Payment Required',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  410: 'Gone',
  413: 'Payload Too Large',
  415: 'Unsupported Media Type',
  422: 'Unprocessable Entity',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};
const METHODS = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT'];

class Agent {
  constructor(options = {}) {
    this.options = options;
    this.sockets = {};
    this.requests = {};
  }
  destroy() {}
}

class IncomingMessage extends stream.Readable {
  constructor(response, bytes) {
    super();
    this.statusCode = response.status;
    this.statusMessage = response.statusText || STATUS_CODES[response.status] || '';
    this.httpVersion = '1.1';
    this.headers = {};
    this.rawHeaders = [];
    this.complete = true;
    for (const [name, value] of response.headers) {
      this.rawHeaders.push(name, value);
      if (name === 'set-cookie') (this.headers[name] ??= []).push(value);
      else this.headers[name] = value;
    }
    if (bytes.length > 0) this.push(globalThis.Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    this.push(null);
  }
  _read() {}
  setTimeout() {
    return this;
  }
}

class ClientRequest extends stream.Writable {
  #headers = new Map();
  #chunks = [];
  #controller = new AbortController();

  constructor(options, callback) {
    // A request is not over when it is sent.
    super({ autoDestroy: false });
    this.method = (options.method ?? 'GET').toUpperCase();
    this.protocol = options.protocol;
    this.host = options.hostname ?? options.host ?? 'localhost';
    this.path = options.path ?? '/';
    this.url = urlOf(this.protocol, this.host, options.port, this.path);
    for (const [name, value] of Object.entries(options.headers ?? {})) this.setHeader(name, value);
    if (options.auth)
      this.setHeader('authorization', `Basic ${globalThis.Buffer.from(options.auth).toString('base64')}`);
    options.signal?.addEventListener('abort', () => this.destroy(options.signal.reason));
    if (callback) this.once('response', callback);
  }

  setHeader(name, value) {
    this.#headers.set(name.toLowerCase(), Array.isArray(value) ? value.join(', ') : String(value));
    return this;
  }

  getHeader(name) {
    return this.#headers.get(name.toLowerCase());
  }

  getHeaders() {
    return Object.fromEntries(this.#headers);
  }

  hasHeader(name) {
    return this.#headers.has(name.toLowerCase());
  }

  removeHeader(name) {
    this.#headers.delete(name.toLowerCase());
  }

  flushHeaders() {}
  setNoDelay() {}
  setSocketKeepAlive() {}

  setTimeout(ms, callback) {
    if (callback) this.once('timeout', callback);
    return this;
  }

  abort() {
    this.destroy();
  }

  _write(chunk, _encoding, done) {
    this.#chunks.push(chunk);
    done();
  }

  _final(done) {
    this.#send().then(
      (message) => {
        message.once('close', () => this.emit('close'));
        this.emit('response', message);
      },
      (error) => this.destroy(error.cause ?? error),
    );
    done();
  }

  _destroy(error, done) {
    this.#controller.abort();
    done(error);
  }

  async #send() {
    const hasBody = this.#chunks.length > 0 && this.method !== 'GET' && this.method !== 'HEAD';
    const headers = [...this.#headers].filter(
      ([name]) => !['host', 'connection', 'content-length'].includes(name),
    );
    const response = await fetch(this.url, {
      method: this.method,
      headers,
      body: hasBody ? concat(this.#chunks) : undefined,
      redirect: 'manual',
      signal: this.#controller.signal,
    });
    return new IncomingMessage(response, await response.bytes());
  }
}

function urlOf(protocol, host, port, path) {
  const authority = host.includes(':') && !host.startsWith('[') && port ? `[${host}]` : host;
  return `${protocol}//${authority}${port && !host.endsWith(`:${port}`) ? `:${port}` : ''}${path}`;
}

/** Node's arguments: (url, options?, callback?) or (options, callback?). */
function optionsOf(protocol, args) {
  const callback = typeof args.at(-1) === 'function' ? args.pop() : undefined;
  const [first, second] = args;
  const isUrl = typeof first === 'string' || first instanceof URL;
  const fromUrl = isUrl ? url.urlToHttpOptions(first instanceof URL ? first : new URL(first)) : first;
  return { options: { protocol, ...fromUrl, ...(isUrl ? second : undefined) }, callback };
}

function moduleFor(protocol) {
  const name = protocol.slice(0, -1);
  function request(...args) {
    const { options, callback } = optionsOf(protocol, args);
    return new ClientRequest(options, callback);
  }
  function get(...args) {
    return request(...args).end();
  }
  return unavailable(
    name,
    'Handlers have no sockets: there is the client, request() and get(), and fetch().',
    {
      Agent,
      ClientRequest,
      IncomingMessage,
      METHODS,
      STATUS_CODES,
      maxHeaderSize: 16384,
      validateHeaderName: (header) => new Headers([[header, '']]),
      validateHeaderValue: (header, value) => new Headers([[header, value]]),
      globalAgent: new Agent(),
      request,
      get,
    },
  );
}

export const http = moduleFor('http:');
export const https = moduleFor('https:');
