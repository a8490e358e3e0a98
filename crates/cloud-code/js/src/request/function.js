// Cloud functions: `Parse.Cloud.define(name, (request, response?) => …)`.

import { functions } from '../cloud/registry.js';
import { validate } from '../cloud/validator.js';
import { encode } from '../parse/encode.js';
import { Parse } from '../parse/sdk.js';
import { commonRequest } from './common.js';
import { lazy } from './lazy.js';
import { callWithResponse } from './response.js';

/** @returns {Promise<object>} `{returned, isUndefined?, status?, headers?}` */
export async function runFunction(name, data) {
  const entry = functions.get(name);
  if (!entry) throw new Parse.Error(Parse.Error.SCRIPT_FAILED, `Invalid function: "${name}"`);
  const request = functionRequest(name, data);
  if (entry.options) await validate(entry.options, request, data);
  if (entry.handler.length >= 2) return callWithResponse(entry.handler, request, encoded);
  return encoded(await entry.handler(request));
}

function functionRequest(name, data) {
  const request = commonRequest(data);
  request.functionName = name;
  lazy(request, 'params', () => Parse._decode(undefined, data.params ?? {}));
  return request;
}

/** Parse answers `{}` where a handler returned undefined, `{"result": null}` where it returned null. */
function encoded(value) {
  if (value === undefined) return { returned: null, isUndefined: true };
  return { returned: encode(value) };
}
