// beforeSave.

import { encode } from '../parse/encode.js';
import { Parse } from '../parse/sdk.js';
import { objectFrom, triggerRequest } from './common.js';
import { lazy } from './lazy.js';

/** Answers the operations of the write: the client's, plus what the handler changed. */
export function beforeSave(className, data) {
  const request = triggerRequest(data);
  if (data.original) lazy(request, 'original', () => objectFrom(className, data.original));
  const object = lazy(request, 'object', () => objectToSave(className, data));
  return {
    request,
    answer: (result) => ({
      ops: replacement(result) ?? (object.used() ? request.object._getSaveJSON() : (data.ops ?? {})),
      context: request.context,
    }),
  };
}

/** A handler may return `{object}` with the fields to store. Anything else that it returns means nothing. */
function replacement(result) {
  if (!result || result instanceof Parse.Object || !result.object) return undefined;
  return result.object instanceof Parse.Object ? result.object._getSaveJSON() : encode(result.object);
}

/** What is stored, with the write pending on it, so that dirty(), op() and revert() speak of this write. */
function objectToSave(className, { object, original, objectId, ops }) {
  const stored = { ...object };
  if (objectId) stored.objectId = objectId;
  const subject = objectFrom(className, stored);
  subject._setExisted(Boolean(original));
  subject.set(Parse._decode(undefined, ops ?? {}));
  return subject;
}
