// structuredClone: the engine has none.

const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

/** What a `transfer` option names is copied like everything else. */
export function structuredClone(value) {
  return clone(value, new Map());
}

function clone(value, seen) {
  if (typeof value === 'function' || typeof value === 'symbol') throw uncloneable(value);
  if (value === null || typeof value !== 'object') return value;
  if (seen.has(value)) return seen.get(value);
  const { copy, fill } = shellOf(value);
  seen.set(value, copy);
  fill?.((part) => clone(part, seen));
  return copy;
}

/** An empty object of the same kind, and what puts the contents into it. */
function shellOf(value) {
  if (Array.isArray(value)) return filled(new Array(value.length), value);
  if (value instanceof Date) return { copy: new Date(value.getTime()) };
  if (value instanceof RegExp) return { copy: new RegExp(value.source, value.flags) };
  if (value instanceof Boolean || value instanceof Number || value instanceof String) {
    return { copy: Object(value.valueOf()) };
  }
  if (value instanceof ArrayBuffer) return { copy: value.slice(0) };
  if (ArrayBuffer.isView(value)) return viewShell(value);
  if (value instanceof Map) return mapShell(value);
  if (value instanceof Set) return setShell(value);
  if (value instanceof Error) return errorShell(value);
  if (isUncloneable(value)) throw uncloneable(value);
  return filled({}, value);
}

function filled(copy, value) {
  return {
    copy,
    fill(cloned) {
      for (const key of Object.keys(value)) copy[key] = cloned(value[key]);
    },
  };
}

function viewShell(value) {
  const bytes = value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
  const Constructor = value instanceof DataView ? DataView : globalThis[value[Symbol.toStringTag]];
  return { copy: new Constructor(bytes) };
}

function mapShell(value) {
  const copy = new Map();
  return {
    copy,
    fill(cloned) {
      for (const [key, item] of value) copy.set(cloned(key), cloned(item));
    },
  };
}

function setShell(value) {
  const copy = new Set();
  return {
    copy,
    fill(cloned) {
      for (const item of value) copy.add(cloned(item));
    },
  };
}

function errorShell(value) {
  const copy = new (ERRORS[value.name] ?? Error)(value.message);
  return {
    copy,
    fill(cloned) {
      if (Object.hasOwn(value, 'cause')) copy.cause = cloned(value.cause);
      if (typeof value.stack === 'string') copy.stack = value.stack;
    },
  };
}

function isUncloneable(value) {
  return (
    value instanceof WeakMap ||
    value instanceof WeakSet ||
    value instanceof WeakRef ||
    value instanceof Promise
  );
}

function uncloneable(value) {
  const text =
    typeof value === 'symbol' ? value.toString() : value.name || Object.prototype.toString.call(value);
  return new DOMException(`${text} could not be cloned.`, 'DataCloneError');
}
