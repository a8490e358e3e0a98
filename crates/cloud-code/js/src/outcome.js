// What a run came to, as the host reads it.

import { Parse } from './parse/sdk.js';
import { retryOf } from './request/retry.js';

const SCRIPT_FAILED = 141;

/** @param {object} answer what the handler's kind answers, e.g. `{returned, isUndefined}` */
export function returned(answer) {
  try {
    return JSON.stringify(answer);
  } catch (error) {
    return threw(error);
  }
}

/**
 * Parse's reading of what was thrown: a Parse.Error keeps its code; a string or an Error is code 141 with
 * its text; nothing at all is "Script failed.".
 *
 * @param {unknown} thrown
 * @param {{code?: number, message?: string}} defaults code and text where `thrown` has none
 */
export function toParseError(thrown, { code = SCRIPT_FAILED, message = 'Script failed.' } = {}) {
  if (thrown instanceof Parse.Error) return thrown;
  if (!thrown) return new Parse.Error(code, message);
  if (typeof thrown === 'string') return new Parse.Error(code, thrown);
  const error = new Parse.Error(code, textOf(thrown));
  if (typeof thrown.stack === 'string') error.stack = thrown.stack;
  error.wasThrownAs = thrown;
  return error;
}

export function threw(thrown) {
  const error = toParseError(thrown);
  return JSON.stringify({
    threw: {
      code: Number.isInteger(error.code) ? error.code : SCRIPT_FAILED,
      message: textOf(error),
      stack: typeof error.stack === 'string' ? error.stack : undefined,
      isParseError: thrown instanceof Parse.Error,
      ...retryOf(thrown),
    },
  });
}

/** Never throws: what was thrown may be anything, hostile getters included. */
function textOf(thrown) {
  try {
    const message = thrown.message ?? thrown;
    if (typeof message === 'string') return message;
    return typeof message === 'object' ? JSON.stringify(message) : String(message);
  } catch {
    return 'Script failed.';
  }
}
