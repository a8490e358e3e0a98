// Background jobs: `Parse.Cloud.job(name, request => …)`.

import { jobs } from '../cloud/registry.js';
import { encode } from '../parse/encode.js';
import { Parse } from '../parse/sdk.js';
import { currentFrame } from '../scope.js';
import { commonRequest } from './common.js';
import { lazySignal } from './job-signal.js';
import { lazy } from './lazy.js';
import { messagesOf } from './message.js';
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
  const messages = messagesOf(frame);
  const flush = () => Promise.all([messages.flush(), progress.flush()]);
  signals.set(frame.run.id, signal);
  try {
    const result = await entry.handler(jobRequest(name, data, { frame, signal, progress, messages, flush }));
    return { returned: result === undefined ? null : encode(result) };
  } finally {
    await flush();
    signals.delete(frame.run.id);
  }
}

/** The host wants this run to end. */
export function abortJob(runId) {
  signals.get(runId)?.abort();
}

function jobRequest(name, data, { frame, signal, progress, messages, flush }) {
  const request = commonRequest(data);
  request.jobName = name;
  request.jobId = data.jobId;
  request.attempt = data.attempt ?? 1;
  request.maxAttempts = data.maxAttempts ?? 1;
  request.workflow = data.workflow ?? undefined;
  request.schedule = scheduleOf(data.schedule);
  request.message = messages.post;
  request.progress = progress.report;
  request.retryAfter = retryAfter;
  request.giveUp = giveUp;
  Object.assign(request, stepsOf(frame, data, flush));
  lazy(request, 'signal', () => signal.signal());
  lazy(request, 'inputs', () => Parse._decode(undefined, data.inputs ?? {}));
  lazy(request, 'params', () => Parse._decode(undefined, data.params ?? {}));
  return request;
}

function scheduleOf(schedule) {
  return schedule ? { ...schedule, dueAt: new Date(schedule.dueAt) } : undefined;
}
