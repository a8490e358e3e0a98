// What an after-trigger can say about its next attempt.
//
// An error with `retryAfter` (seconds, a Date, or the text of an HTTP Retry-After) is not tried again before that;
// one with `retry: false` is not tried again at all.

const MAX_MS = 7 * 24 * 3_600_000;

/** `request.retryAfter(30, 'the shop is closed')` @throws always */
export function retryAfter(wait, message) {
  if (waitMs(wait) === undefined) {
    throw new TypeError('request.retryAfter takes seconds, a Date, or the text of an HTTP Retry-After header.');
  }
  const error = new Error(message ?? 'It is to be tried again later.');
  error.retryAfter = wait;
  throw error;
}

/** `request.giveUp('there is no such customer')` @throws always */
export function giveUp(message) {
  const error = new Error(message ?? 'It was given up.');
  error.retry = false;
  throw error;
}

/** What was thrown may be anything, hostile getters included. @returns {{retryAfterMs?: number, noRetry?: boolean}} */
export function retryOf(thrown) {
  if (thrown === null || typeof thrown !== 'object') return {};
  try {
    return { retryAfterMs: waitMs(thrown.retryAfter), noRetry: thrown.retry === false || undefined };
  } catch {
    return {};
  }
}

/** @returns {number | undefined} whole milliseconds from now, at most a week; undefined: it says nothing */
function waitMs(wait) {
  if (wait === null || wait === undefined) return undefined;
  const ms = typeof wait === 'number' ? wait * 1000 : wait instanceof Date ? untilMs(wait) : ofHeader(wait);
  return ms >= 0 ? Math.min(Math.ceil(ms), MAX_MS) : undefined;
}

/** Source: RFC 9110, section 10.2.3. */
function ofHeader(text) {
  if (typeof text !== 'string') return undefined;
  return /^\s*\d+(\.\d+)?\s*$/.test(text) ? Number(text) * 1000 : untilMs(new Date(text));
}

function untilMs(date) {
  const ms = date.getTime() - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(ms, 0);
}
