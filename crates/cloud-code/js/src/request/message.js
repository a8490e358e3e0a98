// `request.message(text)`: shown in the job's status while it runs.

import { write } from '../console.js';
import { within } from '../scope.js';
import { throttled } from './throttle.js';

/**
 * @param {object} frame the job's
 * @returns {{post: Function, flush: Function}} the promise of `post` is fulfilled when the host has recorded the text, or
 *   at once when it is kept for later: a loop that awaits each goes on. `flush`: as of `throttled`
 */
export function messagesOf(frame) {
  const { say, waiting, flush } = throttled(frame);
  const failed = (error) => within(frame, write, undefined, ['warn', `request.message: ${error.message}`]);

  /** Parse ignores what is no string. */
  async function post(text) {
    if (typeof text !== 'string') return undefined;
    const said = say({ op: 'message', text });
    if (waiting() === undefined) return said;
    said.catch(failed);
    return undefined;
  }

  return { post, flush };
}
