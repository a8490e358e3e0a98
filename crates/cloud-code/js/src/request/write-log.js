// Lets afterSave code ask what the write changed, although nothing is pending on the object any more.

import { Parse } from '../parse/sdk.js';

const { dirty, dirtyKeys, op } = Parse.Object.prototype;

/**
 * `dirty(key)`, `dirtyKeys()` and `op(key)` also speak of the write that was committed. Only questions are
 * answered so: what `save()` sends is what the handler itself set.
 *
 * @param {object | undefined} ops the write's REST operations
 */
export function rememberWrite(object, ops) {
  if (!ops) return;
  const answers = {
    dirty(key) {
      return dirty.call(this, key) || (key !== undefined && Object.hasOwn(ops, key));
    },
    dirtyKeys() {
      return [...new Set([...dirtyKeys.call(this), ...Object.keys(ops)])];
    },
    op(key) {
      return op.call(this, key) ?? (Object.hasOwn(ops, key) ? operation(ops[key]) : undefined);
    },
  };
  for (const [name, value] of Object.entries(answers)) {
    Object.defineProperty(object, name, { value, writable: true, configurable: true, enumerable: false });
  }
}

function operation(json) {
  const decoded = Parse._decode(undefined, json);
  const isOperation = typeof decoded?.mergeWith === 'function' && typeof decoded.applyTo === 'function';
  return isOperation ? decoded : new Parse.Op.Set(decoded);
}
