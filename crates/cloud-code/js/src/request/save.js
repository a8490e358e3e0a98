// beforeSave and afterSave.

import { encode } from '../parse/encode.js';
import { Parse } from '../parse/sdk.js';
import { objectFrom, triggerRequest } from './common.js';
import { lazy } from './lazy.js';
import { rememberWrite } from './write-log.js';

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

/**
 * Answers what the client is told besides: changes made to `request.object` here are shown, not stored. An
 * object that the handler returns takes the place of `request.object`.
 */
export function afterSave(className, data) {
  const request = triggerRequest(data);
  if (data.original) lazy(request, 'original', () => objectFrom(className, data.original));
  const object = lazy(request, 'object', () => savedObject(className, data));
  return {
    request,
    answer: (result) => ({
      object: shown(result) ?? (object.used() ? changesOf(request.object) : null),
      context: request.context,
    }),
  };
}

function savedObject(className, data) {
  const subject = objectFrom(className, data.object);
  subject._setExisted(data.existed ?? Boolean(data.original));
  rememberWrite(subject, data.ops);
  return subject;
}

function shown(result) {
  if (!result || typeof result !== 'object') return undefined;
  return result instanceof Parse.Object ? result.toJSON() : encode(result);
}

/** The fields that the handler changed, with the values they would have; `{"__op": "Delete"}` where it unset one. */
function changesOf(object) {
  const changed = Parse.Object.prototype.dirtyKeys.call(object);
  if (changed.length === 0) return null;
  return Object.fromEntries(changed.map((key) => [key, valueOf(object.get(key))]));
}

function valueOf(value) {
  return value === undefined ? { __op: 'Delete' } : encode(value);
}
