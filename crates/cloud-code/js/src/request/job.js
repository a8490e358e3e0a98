// Background jobs: `Parse.Cloud.job(name, request => …)`.

import { jobs } from '../cloud/registry.js';
import { encode } from '../parse/encode.js';
import { Parse } from '../parse/sdk.js';
import { currentFrame } from '../scope.js';
import { commonRequest } from './common.js';
import { jobCall } from './job-call.js';
import { lazySignal } from './job-signal.js';
import { lazy } from './lazy.js';
import { progressOf } from './progress.js';
import { giveUp, retryAfter } from './retry.js';
import { stepsOf } from './step.js';

/** By the run's id, while its handler goes on. */
const signals = new Map();

/** @returns {Promise<object>} `{returned}`: a string becomes the job's last message */
export async function runJob(name, data) {
  const entry = jobs.get(name);
  if (!entry) throw new Parse.Error(Parse.Error.SCRIPT_FAILED, 'Invalid job.');
  const frame = currentFrame();
  const signal = lazySignal(frame);
  const progress = progressOf(frame);
  signals.set(frame.run.id, signal);
  try {
    const result = await entry.handler(jobRequest(name, data, { frame, signal, progress }));
    return { returned: result === undefined ? null : encode(result) };
  } finally {
    await progress.flush();
    signals.delete(frame.run.id);
  }
}

/** The host wants this run to end. */
export function abortJob(runId) {
  signals.get(runId)?.abort();
}

function jobRequest(name, data, { frame, signal, progress }) {
  const request = commonRequest(data);
  request.jobName = name;
  request.jobId = data.jobId;
  request.attempt = data.attempt ?? 1;
  request.maxAttempts = data.maxAttempts ?? 1;
  request.workflow = data.workflow ?? undefined;
  request.schedule = scheduleOf(data.schedule);
  request.message = (text) => postMessage(frame, text);
  request.progress = progress.report;
  request.retryAfter = retryAfter;
  request.giveUp = giveUp;
  Object.assign(request, stepsOf(frame, data, progress.flush));
  lazy(request, 'signal', () => signal.signal());
  lazy(request, 'inputs', () => Parse._decode(undefined, data.inputs ?? {}));
  lazy(request, 'params', () => Parse._decode(undefined, data.params ?? {}));
  return request;
}

function scheduleOf(schedule) {
  return schedule ? { ...schedule, dueAt: new Date(schedule.dueAt) } : undefined;
}

/** Shown in the job's status while it runs. Parse ignores what is no string. */
async function postMessage(frame, text) {
  if (typeof text === 'string') await jobCall(frame, { op: 'message', text });
}
