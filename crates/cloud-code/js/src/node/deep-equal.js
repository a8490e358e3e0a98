// Deep equality, strict and loose, for assert and util.

export function isDeepStrictEqual(a, b) {
  return equal(a, b, true, new Map());
}

export function isDeepEqual(a, b) {
  return equal(a, b, false, new Map());
}

function equal(a, b, strict, seen) {
  if (Object.is(a, b)) return true;
  if (!isObject(a) || !isObject(b)) return strict ? false : looselyEqual(a, b);
  if (seen.get(a) === b) return true;
  seen.set(a, b);
  if (strict && Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  return sameKind(a, b, strict, seen) && sameProperties(a, b, strict, seen);
}

function isObject(value) {
  return value !== null && typeof value === 'object';
}

function looselyEqual(a, b) {
  return a == b || (Number.isNaN(a) && Number.isNaN(b));
}

function sameKind(a, b, strict, seen) {
  if (a instanceof Date) return b instanceof Date && a.getTime() === b.getTime();
  if (a instanceof RegExp) return b instanceof RegExp && String(a) === String(b);
  if (a instanceof Error) return b instanceof Error && a.message === b.message && a.name === b.name;
  if (a instanceof Map) return b instanceof Map && sameEntries([...a], [...b], strict, seen);
  if (a instanceof Set) return b instanceof Set && sameEntries(pairs(a), pairs(b), strict, seen);
  if (ArrayBuffer.isView(a)) return ArrayBuffer.isView(b) && a.byteLength === b.byteLength;
  if (a instanceof Number || a instanceof String || a instanceof Boolean)
    return Object.is(a.valueOf(), b.valueOf());
  return true;
}

function pairs(set) {
  return [...set].map((item) => [item, true]);
}

function sameEntries(left, right, strict, seen) {
  if (left.length !== right.length) return false;
  const rest = [...right];
  return left.every(([key, value]) => {
    const at = rest.findIndex(
      ([k, v]) => equal(key, k, strict, new Map(seen)) && equal(value, v, strict, new Map(seen)),
    );
    if (at !== -1) rest.splice(at, 1);
    return at !== -1;
  });
}

function sameProperties(a, b, strict, seen) {
  const keys = ownKeys(a, strict);
  if (keys.length !== ownKeys(b, strict).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key], strict, seen));
}

function ownKeys(value, strict) {
  const symbols = strict
    ? Object.getOwnPropertySymbols(value).filter((key) =>
        Object.prototype.propertyIsEnumerable.call(value, key),
      )
    : [];
  return [...Object.keys(value), ...symbols];
}
