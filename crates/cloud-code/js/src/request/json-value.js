// Values that are to be kept as JSON: what JSON would quietly lose is an error.

import { native } from '../native.js';
import { encode } from '../parse/encode.js';

/**
 * The JSON of a value as Parse encodes it (dates, pointers, files); null for undefined.
 *
 * @param {string} what the value, for messages
 * @throws {TypeError} it holds what JSON has not, or is larger than `mostBytes`
 */
export function jsonOf(value, what, mostBytes) {
  let json;
  try {
    refuseLoss(value, '');
    json = JSON.stringify(encode(value ?? null));
  } catch (error) {
    throw new TypeError(`${what} cannot be kept as JSON: ${error.message}`);
  }
  // A character has three bytes at most: most results need not be counted.
  const bytes = json.length * 3 <= mostBytes ? 0 : native.utf8Encode(json).byteLength;
  if (bytes > mostBytes) throw new TypeError(`${what} is too large: ${bytes} bytes of at most ${mostBytes}.`);
  return json;
}

function refuseLoss(value, path) {
  if (value === null || value === undefined || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`${at(path)} is ${value}`);
    return;
  }
  if (typeof value !== 'object') throw new TypeError(`${at(path)} is a ${typeof value}`);
  if (Array.isArray(value)) return value.forEach((item, index) => refuseLoss(item, `${path}[${index}]`));
  if (typeof value.toJSON === 'function') return;
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw new TypeError(`${at(path)} is a ${value.constructor?.name ?? 'object of a class'}`);
  }
  for (const key of Object.keys(value)) refuseLoss(value[key], path === '' ? key : `${path}.${key}`);
}

function at(path) {
  return path === '' ? 'it' : path;
}
