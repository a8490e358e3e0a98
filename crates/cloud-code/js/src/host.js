// Calls out of the isolate. Every one names the run that made it; the host refuses what that run may not do.

import { native } from './native.js';
import { currentFrame } from './scope.js';

const NO_RUN =
  'This call belongs to no request. Parse calls and fetch work inside functions, triggers and jobs: ' +
  'not while main.js loads, and not in code that was made by eval or new Function and goes on after an await.';

const waiting = new Map();
let lastCallId = 0;

/**
 * @param {object} request `{kind: 'rest' | 'fetch' | 'job', …}`
 * @param {object | null} frame whose call it is; the code's that makes it, unless that is known better
 * @returns {{id: number, answer: Promise<object>}} rejects with a {@link HostRefusal}
 */
export function callHost(request, frame = currentFrame()) {
  const run = frame?.run ?? null;
  if (run === null) return { id: 0, answer: Promise.reject(new HostRefusal({ message: NO_RUN })) };
  // The host numbers the writes of a step by themselves.
  const json = JSON.stringify(frame.step === undefined ? request : { ...request, step: frame.step });
  const id = ++lastCallId;
  const answer = new Promise((resolve, reject) => {
    native.call(run.id, id, json);
    waiting.set(id, { runId: run.id, resolve, reject });
  });
  return { id, answer };
}

/** Asks the host to give up a fetch. Its answer, if one still comes, finds nobody. */
export function abandon(callId) {
  const call = waiting.get(callId);
  if (!call) return;
  waiting.delete(callId);
  native.call(call.runId, ++lastCallId, JSON.stringify({ kind: 'abort', call: callId }));
}

/** The host's answer to one call. */
export function answer(callId, ok, json) {
  const call = waiting.get(callId);
  if (!call) return;
  waiting.delete(callId);
  const body = JSON.parse(json);
  if (ok) call.resolve(body);
  else call.reject(new HostRefusal(body));
}

/** Forgets a run's calls: their promises stay pending, so nothing of the run goes on. */
export function forgetCalls(runId) {
  for (const [id, call] of waiting) {
    if (call.runId === runId) waiting.delete(id);
  }
}

/** What the host said instead of an answer: `{code?, message, name?}`. */
export class HostRefusal {
  constructor({ code, message, name }) {
    this.code = code;
    this.message = message;
    this.name = name;
  }
}
