// Triggers that look at one object and answer nothing but the context.

import { objectFrom, triggerRequest } from './common.js';
import { lazy } from './lazy.js';

function aboutObject(className, data) {
  const request = triggerRequest(data);
  lazy(request, 'object', () => objectFrom(className, data.object));
  if (data.original) lazy(request, 'original', () => objectFrom(className, data.original));
  return { request, answer: () => ({ context: request.context }) };
}

export const beforeDelete = aboutObject;
export const beforeLogin = aboutObject;
export const afterLogin = aboutObject;
export const afterLogout = aboutObject;
export const beforePasswordResetRequest = aboutObject;
