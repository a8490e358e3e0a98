// `request.message(text)`: shown in the job's status while it runs.

import { throttled } from './throttle.js';

/**
 * @param {object} frame the job's
 * @returns {{post: Function, flush: Function}} the promise of `post` is fulfilled when the host has recorded the text, or
 *   a later one took its place while it waited. `flush`: as of `throttled`
 */
export function messagesOf(frame) {
  const { say, flush } = throttled(frame);

  /** Parse ignores what is no string. */
  async function post(text) {
    if (typeof text === 'string') await say({ op: 'message', text });
  }

  return { post, flush };
}
