// node:assert.

import { inspect } from 'node-inspect-extracted';
import { isDeepEqual, isDeepStrictEqual } from './deep-equal.js';

export class AssertionError extends Error {
  constructor({ message, actual, expected, operator }) {
    super(message ?? `${inspect(actual)} ${operator} ${inspect(expected)}`);
    this.name = 'AssertionError';
    this.code = 'ERR_ASSERTION';
    this.generatedMessage = message === undefined;
    Object.assign(this, { actual, expected, operator });
  }
}

function check(passed, message, details) {
  if (passed) return;
  if (message instanceof Error) throw message;
  throw new AssertionError({ message, ...details });
}

/** An assertion of two values. */
function binary(operator, holds) {
  return (actual, expected, message) =>
    check(holds(actual, expected), message, { actual, expected, operator });
}

function ok(value, message) {
  check(
    value,
    message ?? (value ? undefined : `The expression evaluated to a falsy value: ${inspect(value)}`),
    {
      actual: value,
      expected: true,
      operator: '==',
    },
  );
}

/** Whether a thrown error is the expected one: a class, a pattern, a predicate, or properties. */
function isExpected(error, expected) {
  if (expected === undefined || typeof expected === 'string') return true;
  if (expected instanceof RegExp) return expected.test(String(error));
  if (typeof expected !== 'function') return hasProperties(error, expected);
  if (expected.prototype !== undefined && error instanceof expected) return true;
  return !(expected.prototype instanceof Error) && expected !== Error && expected.call({}, error) === true;
}

function hasProperties(error, expected) {
  return [...Object.keys(expected), ...(expected instanceof Error ? ['name', 'message'] : [])].every(
    (key) => {
      const wanted = expected[key];
      return wanted instanceof RegExp && typeof error[key] === 'string'
        ? wanted.test(error[key])
        : isDeepStrictEqual(error[key], wanted);
    },
  );
}

function judgeThrown(error, expected) {
  if (!isExpected(error, expected)) throw error;
}

function missing(kind, expected, message) {
  const text = typeof expected === 'string' ? expected : message;
  check(false, text ?? `Missing expected ${kind}.`, { actual: undefined, expected, operator: 'throws' });
}

function throws(block, expected, message) {
  let thrown;
  try {
    block();
  } catch (error) {
    thrown = { error };
  }
  if (thrown) judgeThrown(thrown.error, expected);
  else missing('exception', expected, message);
}

async function rejects(source, expected, message) {
  let thrown;
  try {
    await (typeof source === 'function' ? source() : source);
  } catch (error) {
    thrown = { error };
  }
  if (thrown) judgeThrown(thrown.error, expected);
  else missing('rejection', expected, message);
}

function unwanted(error, message) {
  check(false, message ?? `Got unwanted exception.\nActual message: "${error?.message}"`, {
    actual: error,
    operator: 'doesNotThrow',
  });
}

function doesNotThrow(block, message) {
  try {
    block();
  } catch (error) {
    unwanted(error, message);
  }
}

async function doesNotReject(source, message) {
  try {
    await (typeof source === 'function' ? source() : source);
  } catch (error) {
    unwanted(error, message);
  }
}

const strictMembers = {
  ok,
  AssertionError,
  fail: (message = 'Failed') => check(false, message, { operator: 'fail' }),
  equal: binary('strictEqual', Object.is),
  notEqual: binary('notStrictEqual', (a, b) => !Object.is(a, b)),
  deepEqual: binary('deepStrictEqual', isDeepStrictEqual),
  notDeepEqual: binary('notDeepStrictEqual', (a, b) => !isDeepStrictEqual(a, b)),
  strictEqual: binary('strictEqual', Object.is),
  notStrictEqual: binary('notStrictEqual', (a, b) => !Object.is(a, b)),
  deepStrictEqual: binary('deepStrictEqual', isDeepStrictEqual),
  notDeepStrictEqual: binary('notDeepStrictEqual', (a, b) => !isDeepStrictEqual(a, b)),
  match: binary('match', (text, pattern) => pattern.test(text)),
  doesNotMatch: binary('doesNotMatch', (text, pattern) => !pattern.test(text)),
  ifError(value) {
    if (value !== null && value !== undefined) throw value;
  },
  throws,
  rejects,
  doesNotThrow,
  doesNotReject,
};

export const strict = Object.assign((value, message) => ok(value, message), strictMembers);

const assert = Object.assign((value, message) => ok(value, message), strictMembers, {
  equal: binary('==', (a, b) => a == b || (Number.isNaN(a) && Number.isNaN(b))),
  notEqual: binary('!=', (a, b) => a != b),
  deepEqual: binary('deepEqual', isDeepEqual),
  notDeepEqual: binary('notDeepEqual', (a, b) => !isDeepEqual(a, b)),
  strict,
});
strict.strict = strict;

export default assert;
