// What the app registered: functions, jobs, triggers.

import { write } from '../console.js';

/** @typedef {{handler: Function, options: object | Function | undefined}} Entry */

export const functions = new Map();
export const jobs = new Map();
const triggers = new Map();

const warnings = [];

/** Something that a developer should see at deploy time and that stops nothing. */
export function warn(text) {
  warnings.push(text);
  write('warn', text);
}

export function register(store, name, handler, options) {
  if (typeof handler !== 'function') throw new TypeError(`The handler of ${name} must be a function.`);
  if (store.has(name)) warn(`${name} is defined more than once; the last definition is used.`);
  store.set(name, { handler, options });
}

export function registerTrigger(kind, className, handler, options) {
  if (!triggers.has(kind)) triggers.set(kind, new Map());
  const classes = triggers.get(kind);
  if (typeof handler !== 'function')
    throw new TypeError(`The ${kind} handler of ${className} must be a function.`);
  if (classes.has(className))
    warn(`${kind} of ${className} is defined more than once; the last definition is used.`);
  classes.set(className, { handler, options });
}

/** @returns {Entry | undefined} */
export function triggerOf(kind, className) {
  return triggers.get(kind)?.get(className);
}

export function removeAll() {
  functions.clear();
  jobs.clear();
  triggers.clear();
}

/** The list that the host reads once after the app was loaded. */
export function manifest() {
  const list = [];
  for (const [kind, classes] of triggers) {
    for (const [className, { options }] of classes) {
      list.push({ kind, class: className, order: options?.order });
    }
  }
  return JSON.stringify({
    functions: [...functions.keys()],
    jobs: [...jobs.keys()],
    triggers: list,
    warnings,
  });
}
