// What every request object has, whatever it is a request for.

import { logger } from '../console.js';
import { Parse } from '../parse/sdk.js';
import { lazy } from './lazy.js';

/** @param {object} data the host's description of the request */
export function commonRequest(data) {
  const request = {
    master: data.master === true,
    log: logger,
    headers: data.headers ?? {},
    ip: data.ip,
    context: data.context ?? {},
  };
  if (data.installationId) request.installationId = data.installationId;
  if (data.user) lazy(request, 'user', () => objectFrom('_User', data.user));
  return request;
}

/** What requests of triggers have besides. */
export function triggerRequest(data) {
  const request = commonRequest(data);
  request.triggerName = data.triggerName;
  return request;
}

/** A stored object, as the SDK would have fetched it. */
export function objectFrom(className, json) {
  return Parse.Object.fromJSON({ ...json, className });
}
