// node:util.

import { format, formatWithOptions, inspect, stripVTControlCharacters } from 'node-inspect-extracted';
import { write } from '../console.js';
import { TextDecoder, TextEncoder } from '../web/encoding.js';
import { isDeepStrictEqual } from './deep-equal.js';
import types from './util-types.js';

const customPromisify = Symbol.for('nodejs.util.promisify.custom');

export function promisify(original) {
  if (typeof original !== 'function')
    throw new TypeError('The "original" argument must be of type function.');
  if (original[customPromisify]) return original[customPromisify];
  function promisified(...args) {
    return new Promise((resolve, reject) => {
      original.call(this, ...args, (error, value) => (error ? reject(error) : resolve(value)));
    });
  }
  Object.setPrototypeOf(promisified, Object.getPrototypeOf(original));
  return Object.defineProperties(promisified, Object.getOwnPropertyDescriptors(original));
}
promisify.custom = customPromisify;

export function callbackify(original) {
  return function (...args) {
    const callback = args.pop();
    original.apply(this, args).then(
      (value) => queueMicrotask(() => callback(null, value)),
      (error) =>
        queueMicrotask(() => callback(error ?? new Error('Promise was rejected with a falsy value'))),
    );
  };
}

export function inherits(constructor, parent) {
  Object.defineProperty(constructor, 'super_', { value: parent, writable: true, configurable: true });
  Object.setPrototypeOf(constructor.prototype, parent.prototype);
}

export function deprecate(callback, message, code) {
  let warned = false;
  return function (...args) {
    if (!warned) write('warn', `(node) ${code ? `[${code}] ` : ''}DeprecationWarning: ${message}`);
    warned = true;
    return new.target ? Reflect.construct(callback, args, new.target) : callback.apply(this, args);
  };
}

/** NODE_DEBUG is never set here. */
export function debuglog() {
  return Object.assign(() => {}, { enabled: false });
}

export function styleText(_format, text) {
  return text;
}

const is = (type) => (value) => typeof value === type;

export default {
  format,
  formatWithOptions,
  inspect,
  stripVTControlCharacters,
  promisify,
  callbackify,
  inherits,
  deprecate,
  debuglog,
  debug: debuglog,
  styleText,
  types,
  isDeepStrictEqual,
  TextEncoder,
  TextDecoder,
  toUSVString: (text) => String(text).toWellFormed(),
  log: (...args) => write('info', format(...args)),
  isArray: Array.isArray,
  isBoolean: is('boolean'),
  isBuffer: (value) => globalThis.Buffer.isBuffer(value),
  isDate: types.isDate,
  isError: types.isNativeError,
  isFunction: is('function'),
  isNull: (value) => value === null,
  isNullOrUndefined: (value) => value === null || value === undefined,
  isNumber: is('number'),
  isObject: (value) => value !== null && typeof value === 'object',
  isPrimitive: (value) => value === null || !['object', 'function'].includes(typeof value),
  isRegExp: types.isRegExp,
  isString: is('string'),
  isSymbol: is('symbol'),
  isUndefined: is('undefined'),
};
