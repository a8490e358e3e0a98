// From the name of a handler to its answer.

import { runFunction } from './request/function.js';
import { runJob } from './request/job.js';
import { runTrigger } from './request/trigger.js';

/**
 * @param {{function?: string, job?: string, trigger?: {kind: string, class: string}}} handler
 * @param {string} text the host's description of the request
 * @returns {object | string | Promise<object | string>} the outcome's fields, or its JSON
 */
export function handle(handler, text) {
  if (handler.trigger !== undefined) return runTrigger(handler.trigger, text);
  if (handler.function !== undefined) return runFunction(handler.function, JSON.parse(text));
  return runJob(handler.job, JSON.parse(text));
}
