// What starts and ends runs of jobs, from code. `getJobStatus` and `getJobsData` are the SDK's own.

import { request } from '../parse/rest-controller.js';
import { Parse } from '../parse/sdk.js';
import { isObject, shown } from './option-values.js';

const MASTER = { useMasterKey: true };

/**
 * Parse's, and options: `{ runAt, delay, retries, backoff, timeout, priority, concurrencyKey, idempotencyKey, after,
 * onFailure }`, which the host checks.
 *
 * @returns {Promise<string>} the run's id, which is its `_JobStatus` object's
 */
export async function startJob(name, params, options) {
  checkTarget('job', name);
  return Parse.CoreManager.getCloudController().startJob(name, withOptions(params, options), { ...MASTER });
}

/** @returns {Promise<string>} the workflow's id */
export async function startWorkflow(name, params, options) {
  checkTarget('workflow', name);
  const body = Parse._encode(withOptions(params, options), undefined, true);
  const { _headers } = await request('POST', `workflows/${name}`, body, { ...MASTER, returnStatus: true });
  return _headers['X-Tidegate-Workflow-Id'];
}

/** Ends a run, wherever it is: one that waits never begins, one that goes on is told by `request.signal`, and then killed. */
export async function cancelJob(id) {
  checkTarget('run', id);
  await request('POST', `cloud_code/runs/${id}/cancel`, {}, MASTER);
}

function checkTarget(what, name) {
  if (typeof name !== 'string' || name === '') throw new TypeError(`Cloud ${what} name must be a string.`);
}

/** Dates become ISO texts here: encoded as Parse does it they would be objects. */
function withOptions(params, options) {
  if (options === undefined || options === null) return params;
  if (!isObject(options)) throw new TypeError(`The options of a start must be an object; they are ${shown(options)}.`);
  return { ...params, _jobOptions: JSON.parse(JSON.stringify(options)) };
}
