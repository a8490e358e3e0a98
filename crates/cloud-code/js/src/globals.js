// What Node has on its global object and the engine has not.

import { console } from './console.js';
import {
  clearImmediate,
  clearInterval,
  clearTimeout,
  setImmediate,
  setInterval,
  setTimeout,
} from './timers.js';
import { AbortController, AbortSignal } from './web/abort.js';
import { Blob, File } from './web/blob.js';
import { crypto, CryptoKey } from './web/crypto.js';
import { TextDecoder, TextEncoder } from './web/encoding.js';
import { CustomEvent, Event, EventTarget } from './web/events.js';
import { fetch } from './web/fetch.js';
import { FormData } from './web/form-data.js';
import { Headers } from './web/headers.js';
import { Request, Response } from './web/request-response.js';
import { webStreams } from './web/streams.js';
import { structuredClone } from './web/structured-clone.js';
import { URL, URLSearchParams } from './web/url.js';
import './node/timers.js';
import { Buffer } from './node/buffer.js';
import process from './node/process.js';

const globals = {
  AbortController,
  AbortSignal,
  Blob,
  Buffer,
  CryptoKey,
  CustomEvent,
  Event,
  EventTarget,
  File,
  FormData,
  Headers,
  Request,
  Response,
  TextDecoder,
  TextEncoder,
  URL,
  URLSearchParams,
  clearImmediate,
  clearInterval,
  clearTimeout,
  console,
  crypto,
  fetch,
  process,
  setImmediate,
  setInterval,
  setTimeout,
  structuredClone,
  global: globalThis,
};

const STREAMS = [
  'ByteLengthQueuingStrategy',
  'CountQueuingStrategy',
  'ReadableByteStreamController',
  'ReadableStream',
  'ReadableStreamDefaultReader',
  'TransformStream',
  'WritableStream',
  'WritableStreamDefaultWriter',
];

export function installGlobals() {
  for (const [name, value] of Object.entries(globals)) define(name, value);
  for (const name of STREAMS) defineLater(name, () => webStreams()[name]);
}

function define(name, value) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
}

function defineLater(name, make) {
  Object.defineProperty(globalThis, name, {
    get() {
      const value = make();
      define(name, value);
      return value;
    },
    set: (value) => define(name, value),
    configurable: true,
    enumerable: false,
  });
}
