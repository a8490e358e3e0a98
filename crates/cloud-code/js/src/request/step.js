// `request.step(name, fn)` and `request.sleep(when)`: what a job has done stays done, across attempts and restarts.
//
// A step's result is remembered by the host under the step's name; the next attempt gets it instead of calling `fn`.
// The writes of a step are numbered within it, so that an attempt that skips it finds its later writes where they were.

import { checkName } from '../cloud/option-values.js';
import { Parse } from '../parse/sdk.js';
import { currentFrame, within } from '../scope.js';
import { jobCall } from './job-call.js';
import { jsonOf } from './json-value.js';

/** More is data, and belongs into an object. */
const MAX_RESULT_BYTES = 256 * 1024;

/**
 * @param {object} frame the job's
 * @param {{steps?: object, sleeps?: object}} data what earlier attempts have done
 * @param {Function} beforeSleep called before the run is given up to sleep
 */
export function stepsOf(frame, { steps = {}, sleeps = {} }, beforeSleep) {
  const made = new Set();
  let sleepsMade = 0;

  async function step(name, fn) {
    checkName('a step', name);
    if (typeof fn !== 'function') throw new TypeError(`request.step('${name}', fn): fn must be a function.`);
    refuseWithin(`request.step('${name}')`);
    if (made.has(name)) {
      throw new Error(`The step '${name}' was made twice in this attempt: each step needs a name of its own.`);
    }
    made.add(name);
    if (Object.hasOwn(steps, name)) return decoded(steps[name]);
    const result = await within({ ...frame, stores: currentFrame()?.stores ?? null, step: name }, fn);
    const json = jsonOf(result, `The result of the step '${name}'`, MAX_RESULT_BYTES);
    await jobCall(frame, { op: 'step', name, value: JSON.parse(json) });
    // As the next attempt will get it.
    return decoded(JSON.parse(json));
  }

  async function sleep(when) {
    const asked = momentOf(when);
    refuseWithin('request.sleep');
    sleepsMade += 1;
    const name = `sleep ${sleepsMade}`;
    const untilMs = Object.hasOwn(sleeps, name) ? sleeps[name] : asked;
    if (untilMs <= Date.now()) return;
    // This clock may be behind that of Postgres, which wakes runs: the host lets a sleep that is over by that be.
    await beforeSleep();
    await jobCall(frame, { op: 'sleep', name, untilMs });
  }

  return { step, sleep };
}

function refuseWithin(what) {
  const outer = currentFrame()?.step;
  if (outer === undefined) return;
  throw new Error(`${what} was called within the step '${outer}': steps and sleeps stand one beside the other.`);
}

function decoded(json) {
  return Parse._decode(undefined, json);
}

/** @returns {number} milliseconds since 1970 */
function momentOf(when) {
  const ms = typeof when === 'number' ? Date.now() + when : when instanceof Date ? when.getTime() : Date.parse(when);
  const isMoment = typeof when !== 'number' || when >= 0;
  if (isMoment && Number.isFinite(ms) && Math.abs(ms) <= 8.64e15) return Math.ceil(ms);
  throw new TypeError('request.sleep takes milliseconds, a Date, or the text of an ISO date.');
}
