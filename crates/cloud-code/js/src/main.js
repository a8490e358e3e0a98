// The runtime's beginning, and the one object that the host talks to.

import './world.js';
import { installSdk } from './parse/sdk.js';
import { installCloud } from './cloud/members.js';
import { manifest } from './cloud/registry.js';
import { answer, forgetCalls } from './host.js';
import { load, start } from './load.js';
import { requireBuiltin } from './node/index.js';
import { abortJob } from './request/job.js';
import { run } from './run.js';
import { fireTimer, forgetTimers } from './timers.js';

installSdk();
installCloud();

/* global __scope */
const runtime = {
  scope: __scope,
  load,
  start,
  require: requireBuiltin,
  manifest,
  run,
  answer,
  fireTimer,
  abort: abortJob,
  cancel(runId) {
    forgetCalls(runId);
    forgetTimers(runId);
  },
};

Object.defineProperty(globalThis, '__runtime', { value: Object.freeze(runtime), enumerable: false });
