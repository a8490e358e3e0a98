// What the app registered: functions, triggers, jobs, schedules, workflows.

import { write } from '../console.js';
import { projectText } from '../load.js';
import { mentionsOriginal, needsOriginal } from './needs-original.js';

/** @typedef {{handler: Function, options: object | Function | undefined, policy?: object}} Entry */

export const functions = new Map();
export const jobs = new Map();
/** By name: `{options, job, params}`. */
export const schedules = new Map();
/** By name: `{graph}`. */
export const workflows = new Map();
const triggers = new Map();

const warnings = [];

/** Something that a developer should see at deploy time and that stops nothing. */
export function warn(text) {
  warnings.push(text);
  write('warn', text);
}

export function register(store, name, handler, options) {
  if (typeof handler !== 'function') throw new TypeError(`The handler of ${name} must be a function.`);
  add(store, name, name, { handler, options });
}

/** @param {string} what for a warning */
export function add(store, what, name, entry) {
  if (store.has(name)) warn(`${what} is defined more than once; the last definition is used.`);
  store.set(name, entry);
}

/** @param {object} policy see after-options.js */
export function registerTrigger(kind, className, handler, options, policy) {
  if (!triggers.has(kind)) triggers.set(kind, new Map());
  const classes = triggers.get(kind);
  if (typeof handler !== 'function')
    throw new TypeError(`The ${kind} handler of ${className} must be a function.`);
  if (classes.has(className))
    warn(`${kind} of ${className} is defined more than once; the last definition is used.`);
  classes.set(className, { handler, options, policy });
}

/** @returns {Entry | undefined} */
export function triggerOf(kind, className) {
  return triggers.get(kind)?.get(className);
}

export function removeAll() {
  functions.clear();
  jobs.clear();
  schedules.clear();
  workflows.clear();
  triggers.clear();
}

/** How the host is to run an after-trigger; nothing for the others. */
function policyOf(kind, { handler, options, policy }, isMentioned) {
  if (kind === 'afterDelete') return { original: true, ...policy };
  if (kind !== 'afterSave') return undefined;
  return { original: readsOriginal(handler, options, isMentioned), ...policy };
}

/** Validators see the request too: functions, and rules that put an old value back. */
function readsOriginal(handler, options, isMentioned) {
  const putsBack = Object.values(options?.fields ?? {}).some((rule) => rule?.constant === true);
  const functions = typeof options === 'function' ? [options, handler] : [handler];
  return putsBack || needsOriginal(functions, isMentioned);
}

/** A schedule may stand before its job, so that this is known only now. */
function checkTargets() {
  for (const [name, { job }] of schedules) {
    if (!jobs.has(job) && !workflows.has(job)) throw new Error(`schedule ${name}: there is no job ${job}.`);
  }
}

const listed = (store) => [...store].map(([name, entry]) => ({ name, ...entry }));

/** The list that the host reads once after the app was loaded. */
export function manifest() {
  checkTargets();
  const list = [];
  let mentioned;
  const isMentioned = () => (mentioned ??= mentionsOriginal(projectText()));
  for (const [kind, classes] of triggers) {
    for (const [className, entry] of classes) {
      list.push({ kind, class: className, policy: policyOf(kind, entry, isMentioned) });
    }
  }
  return JSON.stringify({
    functions: [...functions.keys()],
    jobs: [...jobs].map(([name, { options }]) => ({ name, options })),
    schedules: listed(schedules),
    workflows: listed(workflows),
    triggers: list,
    warnings,
  });
}
