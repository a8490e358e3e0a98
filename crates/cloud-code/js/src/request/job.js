// Background jobs: `Parse.Cloud.job(name, request => …)`.

import { jobs } from '../cloud/registry.js';
import { encode } from '../parse/encode.js';
import { Parse } from '../parse/sdk.js';
import { request as rest } from '../parse/rest-controller.js';
import { commonRequest } from './common.js';
import { lazy } from './lazy.js';

/** @returns {Promise<object>} `{returned}`: a string becomes the job's last message */
export async function runJob(name, data) {
  const entry = jobs.get(name);
  if (!entry) throw new Parse.Error(Parse.Error.SCRIPT_FAILED, 'Invalid job.');
  const result = await entry.handler(jobRequest(name, data));
  return { returned: result === undefined ? null : encode(result) };
}

function jobRequest(name, data) {
  const request = commonRequest(data);
  request.jobName = name;
  request.jobId = data.jobId;
  request.message = (text) => postMessage(data.jobId, text);
  lazy(request, 'params', () => Parse._decode(undefined, data.params ?? {}));
  return request;
}

/** Shown in the job's status while it runs. Parse ignores what is no string. */
async function postMessage(jobId, message) {
  if (!jobId || typeof message !== 'string') return;
  await rest('PUT', `classes/_JobStatus/${jobId}`, { message }, { useMasterKey: true });
}
