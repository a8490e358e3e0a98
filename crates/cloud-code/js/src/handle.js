// From the name of a handler to its answer.

import { runFunction } from './request/function.js';
import { runJob } from './request/job.js';
import { runTrigger } from './request/trigger.js';

/**
 * @param {{function?: string, job?: string, trigger?: {kind: string, class: string}}} handler
 * @param {object} data the host's description of the request
 * @returns {Promise<object>} the outcome's fields
 */
export function handle(handler, data) {
  if (handler.function !== undefined) return runFunction(handler.function, data);
  if (handler.trigger !== undefined) return runTrigger(handler.trigger, data);
  return runJob(handler.job, data);
}
