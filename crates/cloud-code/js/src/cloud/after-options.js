// Our options of after-triggers: how their deliveries are run. They stand beside Parse's validator keys.
//
//   Parse.Cloud.afterSave('Order', handler, { attempts: 8, backoff: { initial: 500 }, rate: '100/s' })
//
// Checked when they are given. What the host gets is `tidegate_event::Policy` as JSON.

import { hasOnly, isWhole, shown } from './option-values.js';

const HOUR_MS = 3_600_000;
const UNITS_MS = { second: 1000, minute: 60_000, hour: HOUR_MS };
const SHORT_UNITS = { s: 'second', sec: 'second', m: 'minute', min: 'minute', h: 'hour' };

/** A delivery that is tried for longer than this is not tried, it is forgotten. */
const MAX_MS = 24 * HOUR_MS;
const MAX_COUNT = 1_000_000;

/** What `{initial, factor, max}` leaves out. */
const BACKOFF = { initial: 1000, factor: 2, max: HOUR_MS };

/** Each reads one option's value and adds to the policy; false where the value is none of `expected`. */
const OPTIONS = {
  order: {
    expected: "'none', which lets deliveries of one object overlap",
    read: (value, policy) => value === 'none' && Boolean((policy.unordered = true)),
  },
  effects: {
    expected: "'off', which lets a repeated attempt make its writes again",
    read: (value, policy) => value === 'off' && Boolean((policy.unrecorded = true)),
  },
  attempts: {
    expected: 'a whole number from 1 to 1000',
    read: (value, policy) => isWhole(value, 1, 1000) && Boolean((policy.attempts = value)),
  },
  backoff: {
    expected:
      '{ initial, factor, max }: milliseconds from 1 to one day, a factor from 1 to 100, and max not below initial',
    read: readBackoff,
  },
  timeout: {
    expected: 'milliseconds, a whole number from 1 to one day',
    read: (value, policy) => isWhole(value, 1, MAX_MS) && Boolean((policy.timeoutMs = value)),
  },
  concurrency: {
    expected: 'a whole number from 1 to 1000000',
    read: (value, policy) => isWhole(value, 1, MAX_COUNT) && Boolean((policy.concurrency = value)),
  },
  rate: {
    expected: "{ count, per }, with per in milliseconds or 'second', 'minute' or 'hour'; or a text like '100/s'",
    read: readRate,
  },
  original: {
    expected: 'true or false',
    read: (value, policy) => typeof value === 'boolean' && ((policy.original = value), true),
  },
};

const AFTER_COMMIT = ['afterSave', 'afterDelete'];

/**
 * Parts the options of a trigger or function in ours and Parse's.
 *
 * @param {string} what for messages, such as "afterSave of Order"
 * @param {string} [kind] of a trigger
 * @returns {{policy: object, validator: object | Function | undefined}}
 * @throws {Error} naming key, trigger and what is expected
 */
export function partOptions(what, kind, options) {
  const policy = {};
  if (options === undefined || options === null || typeof options !== 'object')
    return { policy, validator: options };
  const validator = {};
  for (const [key, value] of Object.entries(options)) {
    if (!Object.hasOwn(OPTIONS, key)) validator[key] = value;
    else if (!AFTER_COMMIT.includes(kind)) throw new Error(outOfPlace(key, what));
    else if (value !== undefined) readOption(key, value, what, policy);
  }
  return { policy, validator: Object.keys(validator).length > 0 ? validator : undefined };
}

function outOfPlace(key, what) {
  return (
    `The option ${key} of ${what} has no meaning there: it is for afterSave and afterDelete, ` +
    'which run after the commit.'
  );
}

function readOption(key, value, what, policy) {
  const { expected, read } = OPTIONS[key];
  if (!read(value, policy)) {
    throw new Error(`The option ${key} of ${what} must be ${expected}; it is ${shown(value)}.`);
  }
}

function readBackoff(value, policy) {
  if (!hasOnly(value, BACKOFF)) return false;
  const { initial = BACKOFF.initial, factor = BACKOFF.factor, max = Math.max(initial, BACKOFF.max) } = value;
  policy.backoff = { initialMs: initial, factor, maxMs: max };
  const isFactor = typeof factor === 'number' && factor >= 1 && factor <= 100;
  return isWhole(initial, 1, MAX_MS) && isWhole(max, initial, MAX_MS) && isFactor;
}

function readRate(value, policy) {
  if (typeof value === 'string') value = rateOf(value);
  else if (!hasOnly(value, { count: 0, per: 0 })) return false;
  const { count, per } = value;
  const perMs = typeof per === 'string' && Object.hasOwn(UNITS_MS, per) ? UNITS_MS[per] : per;
  policy.rate = { count, perMs };
  return isWhole(count, 1, MAX_COUNT) && isWhole(perMs, 1, MAX_MS);
}

/** '100/s', '5/minute'. */
function rateOf(text) {
  const [, count, unit] = /^\s*(\d{1,7})\s*\/\s*([a-z]+)\s*$/.exec(text) ?? [];
  return { count: Number(count), per: SHORT_UNITS[unit] ?? unit };
}
