// Parse.Cloud, the part that only cloud code has: it registers handlers, and starts jobs.

import { config } from '../native.js';
import { Parse } from '../parse/sdk.js';
import { partOptions } from './after-options.js';
import { checkClassOfTrigger, classNameOf } from './class-name.js';
import { httpRequest } from './http-request.js';
import { job, schedule, workflow } from './job-options.js';
import { functions, register, registerTrigger, removeAll, warn } from './registry.js';
import { cancelJob, startJob, startWorkflow } from './start.js';
import { checkOptions } from './validator-options.js';

const QUOTES = /['"`]/;

function define(name, handler, options) {
  if (QUOTES.test(name)) return warn(`The function name ${name} has a quote in it and can never be called.`);
  const { validator } = checked(`function ${name}`, undefined, options);
  register(functions, name, handler, validator);
}

function trigger(kind) {
  return (subject, handler, options) => addTrigger(kind, classNameOf(subject), handler, options);
}

/** Triggers that only one class has: it may be named or left out. */
function triggerOfClass(kind, only) {
  return (...args) => {
    const isNamed = typeof args[0] === 'string' || typeof args[1] === 'function';
    const className = isNamed ? classNameOf(args.shift()) : only;
    addTrigger(kind, className, ...args);
  };
}

function addTrigger(kind, className, handler, options) {
  checkClassOfTrigger(kind, className);
  if (className.startsWith('@')) return warn(`${kind} of ${className} is accepted, but not run yet.`);
  const { policy, validator } = checked(`${kind} of ${className}`, kind, options);
  registerTrigger(kind, className, handler, validator, policy);
}

/** Ours and Parse's options, each checked. */
function checked(what, kind, options) {
  const parted = partOptions(what, kind, options);
  checkOptions(parted.validator);
  if (parted.validator?.rateLimit) warn(`The rateLimit of ${what} is accepted, but not enforced yet.`);
  return parted;
}

function notServed(name) {
  return () => warn(`Parse.Cloud.${name} is accepted, but not run: LiveQuery is not served.`);
}

const members = {
  define,
  job,
  schedule,
  workflow,
  startJob,
  startWorkflow,
  cancelJob,
  beforeSave: trigger('beforeSave'),
  afterSave: trigger('afterSave'),
  beforeDelete: trigger('beforeDelete'),
  afterDelete: trigger('afterDelete'),
  beforeFind: trigger('beforeFind'),
  afterFind: trigger('afterFind'),
  beforeLogin: triggerOfClass('beforeLogin', '_User'),
  afterLogin: triggerOfClass('afterLogin', '_User'),
  afterLogout: triggerOfClass('afterLogout', '_Session'),
  beforePasswordResetRequest: triggerOfClass('beforePasswordResetRequest', '_User'),

  beforeSaveFile: (handler, options) => addTrigger('beforeSave', '@File', handler, options),
  afterSaveFile: (handler, options) => addTrigger('afterSave', '@File', handler, options),
  beforeDeleteFile: (handler, options) => addTrigger('beforeDelete', '@File', handler, options),
  afterDeleteFile: (handler, options) => addTrigger('afterDelete', '@File', handler, options),
  beforeConnect: notServed('beforeConnect'),
  beforeSubscribe: notServed('beforeSubscribe'),
  afterLiveQueryEvent: notServed('afterLiveQueryEvent'),
  onLiveQueryEvent: notServed('onLiveQueryEvent'),

  httpRequest,
  sendEmail() {
    warn('Parse.Cloud.sendEmail: no mail adapter is configured; nothing was sent.');
  },
  useMasterKey() {
    warn('Parse.Cloud.useMasterKey does nothing: pass {useMasterKey: true} with each call.');
  },
  _removeAllHooks: removeAll,
};

export function installCloud() {
  Object.assign(Parse.Cloud, members);
  Parse.Server = { applicationId: config.applicationId, serverURL: config.serverUrl, version: '9.0.0' };
}
