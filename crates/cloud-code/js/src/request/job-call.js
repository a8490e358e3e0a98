// What a job says to the host about itself: its message, its progress, its steps, its sleep.

import { callHost } from '../host.js';
import { parseErrorOf } from '../parse/rest-controller.js';

/**
 * @param {object} frame the job's own, whatever code makes the call
 * @param {object} call `{op: 'message' | 'progress' | 'step' | 'sleep', …}`
 * @throws {Parse.Error} what the host said instead
 */
export async function jobCall(frame, call) {
  try {
    return await callHost({ kind: 'job', ...call }, frame).answer;
  } catch (refusal) {
    throw parseErrorOf(refusal);
  }
}
