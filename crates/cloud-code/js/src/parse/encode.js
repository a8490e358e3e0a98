// Parse's encoder with a short way for plain data, which is most of what handlers return.

import { Parse } from './sdk.js';

/** Left out, as Parse leaves them out: who merges such an answer into an object would change its prototype. */
const DANGEROUS = new Set(['__proto__', 'constructor', 'prototype']);

/** What `Parse._encode` gives: dates, objects, files and the like as their REST JSON. */
export function encode(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(encode);
  if (Object.getPrototypeOf(value) !== Object.prototype) return Parse._encode(value);
  const json = {};
  for (const key of Object.keys(value)) if (!DANGEROUS.has(key)) json[key] = encode(value[key]);
  return json;
}
