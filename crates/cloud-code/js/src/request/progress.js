// `request.progress(done, total, message)`: how far a job is.

import { write } from '../console.js';
import { within } from '../scope.js';
import { throttled } from './throttle.js';

/**
 * @param {object} frame the job's
 * @returns {{report: Function, flush: Function}} `flush`: as of `throttled`
 */
export function progressOf(frame) {
  const { say, waiting, flush } = throttled(frame);
  const failed = (error) => within(frame, write, undefined, ['warn', `request.progress: ${error.message}`]);

  function report(done, total, message) {
    check(done, total, message);
    const call = { op: 'progress', done, total: total ?? undefined, message: message ?? waiting()?.message };
    // Nobody waits for it.
    say(call).catch(failed);
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
