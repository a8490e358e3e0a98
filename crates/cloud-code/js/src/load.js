// Starts the app: the one script that bundle.mjs makes of a project.

import { requireBuiltin } from './node/index.js';

/* global __scope */

let script;

/**
 * Called by the app's script itself.
 * @param {Function} main the bundle, as the body of a module function
 * @returns {Promise<void> | undefined} a promise when the app awaits at its top level
 */
export function start(main) {
  script = main;
  const module = { exports: {} };
  return main.call(
    module.exports,
    requireBuiltin,
    module,
    module.exports,
    __scope,
    '/cloud/main.js',
    '/cloud',
  );
}

/** The project's script, as it was bundled. */
export function projectText() {
  return script === undefined ? '' : Function.prototype.toString.call(script);
}

/** For tests: the app as a script's text, or as the module function itself. */
export function load(app) {
  // An indirect eval: the script must not see this function's variables.
  return typeof app === 'function' ? start(app) : (0, eval)(app);
}
