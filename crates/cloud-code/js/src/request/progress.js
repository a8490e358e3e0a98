// `request.progress(done, total, message)`: a loop may report each of a million turns, the host hears of four a second.

import { write } from '../console.js';
import { native } from '../native.js';
import { within } from '../scope.js';
import { clearTimeout, setTimeout } from '../timers.js';
import { jobCall } from './job-call.js';

const LEAST_MS_BETWEEN = 250;

/**
 * @param {object} frame the job's
 * @returns {{report: Function, flush: Function}} `flush` sends at once what still waits to be sent; its promise is
 *   fulfilled when the host has recorded all that was sent: what ends the attempt must not overtake it
 */
export function progressOf(frame) {
  let sentAt = -Infinity;
  let waiting;
  let timer;
  let unanswered = 0;
  let recorded = Promise.resolve();

  function flush() {
    if (waiting === undefined) return recorded;
    const progress = waiting;
    waiting = undefined;
    clearTimeout(timer);
    timer = undefined;
    sentAt = native.now();
    const failed = (error) => within(frame, write, undefined, ['warn', `request.progress: ${error.message}`]);
    const send = () => jobCall(frame, { op: 'progress', ...progress }).catch(failed).finally(() => { unanswered -= 1; });
    unanswered += 1;
    // One after the other: the host may answer two calls in any order, and the later one must stay.
    recorded = unanswered === 1 ? send() : recorded.then(send);
    return recorded;
  }

  function report(done, total, message) {
    check(done, total, message);
    waiting = { done, total: total ?? undefined, message: message ?? waiting?.message };
    const left = sentAt + LEAST_MS_BETWEEN - native.now();
    if (left <= 0) flush();
    else timer ??= within(frame, setTimeout, undefined, [flush, left]);
  }

  return { report, flush };
}

function check(done, total, message) {
  const isCount = (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0;
  if (!isCount(done)) throw new TypeError('request.progress(done, total, message): done must be a number from 0.');
  if (total !== undefined && total !== null && !isCount(total)) {
    throw new TypeError('request.progress(done, total, message): total must be a number from 0, or left out.');
  }
  if (message !== undefined && message !== null && typeof message !== 'string') {
    throw new TypeError('request.progress(done, total, message): message must be a text, or left out.');
  }
}
