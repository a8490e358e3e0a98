// afterSave and afterDelete: the handlers that run most often, for each change of a row, and that mostly look at
// little of their request. What they do not look at is not even parsed.
//
// Their request comes as lines of JSON (../../src/request_text.rs):
//
//   the request's plain members · {className, existed, commitTimeMs} · object · original · ops · user
//
// followed by a digit: 1 if there is an original, plus 2 if there is a user. Nothing here makes a function for a
// request: its accessors are shared by all, and no request is part of a cycle that only a collection would free.

import { validate, isSkipped } from '../cloud/validator.js';
import { logger } from '../console.js';
import { encode } from '../parse/encode.js';
import { Parse } from '../parse/sdk.js';
import { settled } from '../scope.js';
import { objectFrom } from './common.js';
import { giveUp, retryAfter } from './retry.js';
import { rememberWrite } from './write-log.js';

const ABOUT = 1;
const OBJECT = 2;
const ORIGINAL = 3;
const OPS = 4;
const USER = 5;

const HAS_ORIGINAL = 1;
const HAS_USER = 2;

const NO_CHAIN = Object.freeze([]);
const NONE_TRUNCATED = Object.freeze({});

/** Where a request keeps its text, and what was made of it. */
const STATE = Symbol('state');

/** One for all: making a descriptor for each request costs more than the definition. */
const hidden = { value: undefined, enumerable: false };

const line = (state, index) => JSON.parse((state.lines ??= state.text.split('\n'))[index]);

/** A member that is made when somebody looks. */
function made(name, make) {
  return {
    get() {
      const state = this[STATE];
      state.made ??= {};
      if (!(name in state.made)) state.made[name] = make(state);
      return state.made[name];
    },
    set(value) {
      (this[STATE].made ??= {})[name] = value;
    },
    enumerable: true,
    configurable: true,
  };
}

const members = {
  saved: made('object', savedObject),
  deleted: made('object', (state) => objectFrom(line(state, ABOUT).className, line(state, OBJECT))),
  original: made('original', (state) => objectFrom(line(state, ABOUT).className, line(state, ORIGINAL))),
  user: made('user', (state) => objectFrom('_User', line(state, USER))),
  commitTime: made('commitTime', (state) => new Date(line(state, ABOUT).commitTimeMs)),
};

function savedObject(state) {
  const { className, existed } = line(state, ABOUT);
  const object = objectFrom(className, line(state, OBJECT));
  object._setExisted(existed);
  rememberWrite(object, line(state, OPS));
  return object;
}

/** @param {string} text see above */
function requestOf(kind, text) {
  const request = JSON.parse(text.slice(0, text.indexOf('\n')));
  request.context ??= {};
  request.headers ??= {};
  request.log = logger;
  // What is so for most events is not sent.
  request.depth ??= 0;
  request.chain ??= NO_CHAIN;
  request.truncated ??= NONE_TRUNCATED;
  request.retryAfter = retryAfter;
  request.giveUp = giveUp;
  hidden.value = { text, lines: null, made: null };
  Object.defineProperty(request, STATE, hidden);
  hidden.value = undefined;
  const has = text.charCodeAt(text.length - 1);
  Object.defineProperty(request, 'object', kind === 'afterSave' ? members.saved : members.deleted);
  Object.defineProperty(request, 'commitTime', members.commitTime);
  if (has & HAS_ORIGINAL) Object.defineProperty(request, 'original', members.original);
  if (has & HAS_USER) Object.defineProperty(request, 'user', members.user);
  return request;
}

/** @returns {string | Promise<string>} the outcome; see outcome.js */
export function runAfter(kind, { handler, options }, text) {
  const request = requestOf(kind, text);
  const answer = kind === 'afterSave' ? answerOfSave : answerOfDelete;
  if (options) return runValidated(options, handler, request, answer);
  return settled(handler(request), (result) => answer(request, result));
}

async function runValidated(options, handler, request, answer) {
  if (isSkipped(options, request)) return answer(request);
  await validate(options, request, request);
  return answer(request, await handler(request));
}

const NOTHING_SAVED = '{"returned":{"object":null,"context":{}}}';
const NOTHING_DELETED = '{"returned":{"context":{}}}';

/**
 * What the writer is told besides: changes made to `request.object` here are shown, not stored. An object that the
 * handler returns takes the place of `request.object`.
 */
function answerOfSave(request, result) {
  const object = shown(result) ?? changesOf(request[STATE].made?.object);
  const { context } = request;
  return object === null && isEmpty(context)
    ? NOTHING_SAVED
    : JSON.stringify({ returned: { object, context } });
}

function answerOfDelete({ context }) {
  return isEmpty(context) ? NOTHING_DELETED : JSON.stringify({ returned: { context } });
}

function isEmpty(value) {
  if (value === null || typeof value !== 'object') return false;
  return Object.keys(value).length === 0 && value.toJSON === undefined;
}

function shown(result) {
  if (!result || typeof result !== 'object') return undefined;
  return result instanceof Parse.Object ? result.toJSON() : encode(result);
}

/** The fields that the handler changed, with the values they would have; `{"__op": "Delete"}` where it unset one. */
function changesOf(object) {
  if (object === undefined) return null;
  const changed = Parse.Object.prototype.dirtyKeys.call(object);
  if (changed.length === 0) return null;
  return Object.fromEntries(changed.map((key) => [key, valueOf(object.get(key))]));
}

function valueOf(value) {
  return value === undefined ? { __op: 'Delete' } : encode(value);
}
