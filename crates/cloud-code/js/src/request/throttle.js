// What a job may say of itself in each of a million turns: the host hears of four a second, and always of the last.

import { native } from '../native.js';
import { within } from '../scope.js';
import { clearTimeout, setTimeout } from '../timers.js';
import { jobCall } from './job-call.js';

const LEAST_MS_BETWEEN = 250;

/**
 * @param {object} frame the job's
 * @returns {{say: Function, waiting: Function, flush: Function}} `say(call)` sends it at once or keeps it for later, in
 *   place of the one that was kept; its promise is fulfilled when the host has recorded it or another took its place, and
 *   rejected with what the host said instead. `waiting()` is the call that is kept. `flush` sends that at once; its
 *   promise is fulfilled when the host has answered all that was sent: what ends the attempt must not overtake it
 */
export function throttled(frame) {
  let sentAt = -Infinity;
  let kept;
  let timer;
  let unanswered = 0;
  let answered = Promise.resolve();

  function flush() {
    if (kept === undefined) return answered;
    const { call, resolve } = kept;
    kept = undefined;
    clearTimeout(timer);
    timer = undefined;
    sentAt = native.now();
    unanswered += 1;
    // One after the other: the host may answer two calls in any order, and the later one must stay.
    const recorded = unanswered === 1 ? jobCall(frame, call) : answered.then(() => jobCall(frame, call));
    answered = recorded.catch(() => {}).finally(() => { unanswered -= 1; });
    resolve(recorded);
    return answered;
  }

  function say(call) {
    kept?.resolve();
    const said = new Promise((resolve) => { kept = { call, resolve }; });
    const left = sentAt + LEAST_MS_BETWEEN - native.now();
    if (left <= 0) flush();
    else timer ??= within(frame, setTimeout, undefined, [flush, left]);
    return said;
  }

  return { say, waiting: () => kept?.call, flush };
}
