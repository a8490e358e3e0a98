// Modules of Node that an isolate cannot have, such as sockets. Packages often import one and never use it, so
// importing is fine and using it is an error that names the module and says what to do instead.

/**
 * @param {string} module its name, "net"
 * @param {string} remedy a sentence
 * @param {object} known the members that do exist
 */
export function unavailable(module, remedy, known = {}) {
  const missing = new Proxy({}, { get: (_, name) => missingMember(module, name, remedy) });
  return Object.assign(Object.create(missing), known);
}

/** Names that others ask for to learn what a value is. */
const PROBES = new Set([
  'then',
  '__esModule',
  'default',
  'toJSON',
  'constructor',
  'prototype',
  'asymmetricMatch',
  'nodeType',
]);

function missingMember(module, name, remedy) {
  if (typeof name === 'symbol' || PROBES.has(name)) return Object.prototype[name];
  return placeholder(`${module}.${name}`, remedy);
}

/** Can be extended as a class and asked for members; throws when it is called. */
function placeholder(path, remedy) {
  function missing() {
    const error = new Error(`${path} is not available in cloud code. ${remedy}`);
    error.code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
    throw error;
  }
  return new Proxy(missing, {
    get(target, name) {
      if (typeof name === 'symbol' || name in target) return target[name];
      return missingMember(path, name, remedy);
    },
  });
}
