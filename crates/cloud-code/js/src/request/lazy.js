// Properties of a request that are built when a handler first looks: making a Parse.Object costs more than
// a trivial handler does altogether.

/**
 * Defines `target[name]`, made by `make` on first use.
 * @returns {{used: () => boolean}} whether anybody read it or put something else there
 */
export function lazy(target, name, make) {
  let used = false;
  const settle = (value) => {
    used = true;
    Object.defineProperty(target, name, { value, writable: true, enumerable: true, configurable: true });
    return value;
  };
  Object.defineProperty(target, name, {
    get: () => settle(make()),
    set: settle,
    enumerable: true,
    configurable: true,
  });
  return { used: () => used };
}
