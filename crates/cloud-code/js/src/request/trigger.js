// Triggers: finds the handler, runs its validator and it, and gives what its kind answers.

import { triggerOf } from '../cloud/registry.js';
import { isSkipped, validate } from '../cloud/validator.js';
import { Parse } from '../parse/sdk.js';
import { afterFind, beforeFind } from './find.js';
import {
  afterDelete,
  afterLogin,
  afterLogout,
  beforeDelete,
  beforeLogin,
  beforePasswordResetRequest,
} from './object.js';
import { afterSave, beforeSave } from './save.js';

/**
 * A kind: how its request is made from the host's data, and what it answers.
 * `build(data)` returns `{request, answer}`; `answer(result)` is called with what the handler returned.
 */
const kinds = {
  beforeSave,
  afterSave,
  beforeDelete,
  afterDelete,
  beforeFind,
  afterFind,
  beforeLogin,
  afterLogin,
  afterLogout,
  beforePasswordResetRequest,
};

/** @returns {Promise<object>} `{returned: <the kind's answer>}` */
export async function runTrigger({ kind, class: className }, data) {
  const entry = triggerOf(kind, className);
  if (!entry) throw new Parse.Error(Parse.Error.SCRIPT_FAILED, `Invalid trigger: ${kind} of ${className}`);
  const { request, answer } = kinds[kind](className, data);
  if (isSkipped(entry.options, request)) return { returned: answer() };
  if (entry.options) await validate(entry.options, request, data);
  return { returned: answer(await entry.handler(request)) };
}
