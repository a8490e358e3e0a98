// The second argument of functions that take two: callbacks of old Parse, status and headers of new.

import { Parse } from '../parse/sdk.js';

/**
 * A handler that returns a promise is done when that settles; one that returns nothing, when it calls
 * `success` or `error`.
 *
 * @returns {Promise<object>} what `encode` makes of the result, with `status` and `headers` if any were set
 */
export function callWithResponse(handler, request, encode) {
  const extra = {};
  return new Promise((resolve, reject) => {
    const once = onlyOnce();
    const succeed = (value) => resolve({ ...encode(value), ...extra });
    const response = {
      success: (value) => once('success', () => succeed(value)),
      error: (...args) => once('error', () => reject(errorOf(args))),
      status(code) {
        extra.status = code;
        return response;
      },
      header(name, value) {
        (extra.headers ??= []).push([String(name), String(value)]);
        return response;
      },
    };
    const result = handler(request, response);
    if (typeof result?.then === 'function') result.then((value) => once.called || succeed(value), reject);
    else if (result !== undefined && !once.called) succeed(result);
  });
}

function onlyOnce() {
  const once = (name, act) => {
    if (once.called) throw new Error(`Cannot call ${name} after success or error has been called.`);
    once.called = true;
    act();
  };
  once.called = false;
  return once;
}

/** `error(message)`, or old Parse's `error(code, message)`. */
function errorOf([first, second]) {
  return typeof first === 'number' && second !== undefined ? new Parse.Error(first, second) : first;
}
