// Triggers: finds the handler, runs its validator and it, and gives what its kind answers.

import { triggerOf } from '../cloud/registry.js';
import { isSkipped, validate } from '../cloud/validator.js';
import { Parse } from '../parse/sdk.js';
import { runAfter } from './after.js';
import { beforeSave } from './before-save.js';
import { afterFind, beforeFind } from './find.js';
import {
  afterLogin,
  afterLogout,
  beforeDelete,
  beforeLogin,
  beforePasswordResetRequest,
} from './object.js';

/**
 * A kind: how its request is made from the host's data, and what it answers.
 * `build(data)` returns `{request, answer}`; `answer(result)` is called with what the handler returned.
 */
const kinds = {
  beforeSave,
  beforeDelete,
  beforeFind,
  afterFind,
  beforeLogin,
  afterLogin,
  afterLogout,
  beforePasswordResetRequest,
};

/** @returns {object | string | Promise<object | string>} `{returned: <the kind's answer>}`, perhaps as JSON already */
export function runTrigger({ kind, class: className }, text) {
  const entry = triggerOf(kind, className);
  if (!entry) throw new Parse.Error(Parse.Error.SCRIPT_FAILED, `Invalid trigger: ${kind} of ${className}`);
  if (kind === 'afterSave' || kind === 'afterDelete') return runAfter(kind, entry, text);
  return runKind(kinds[kind], entry, className, JSON.parse(text));
}

async function runKind(kind, entry, className, data) {
  const { request, answer } = kind(className, data);
  if (isSkipped(entry.options, request)) return { returned: answer() };
  if (entry.options) await validate(entry.options, request, data);
  return { returned: answer(await entry.handler(request)) };
}
