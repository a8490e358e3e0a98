// setTimeout and its family. The host keeps the clock; callbacks run as part of the run that set them.

import { native } from './native.js';
import { currentFrame, within } from './scope.js';
import { reportUncaught } from './console.js';

const MAX_DELAY_MS = 2 ** 31 - 1;

const armed = new Map();
let lastTimerId = 0;

/** What Node returns from setTimeout and setInterval. */
class Timeout {
  #id = ++lastTimerId;
  #frame = currentFrame();
  #callback;
  #args;
  #ms;
  #repeats;
  #due;
  #keepsRunOpen = true;

  constructor(callback, args, ms, repeats) {
    if (typeof callback !== 'function') {
      throw new TypeError(`The "callback" argument must be of type function. Received ${typeof callback}`);
    }
    this.#callback = callback;
    this.#args = args;
    this.#ms = ms;
    this.#repeats = repeats;
    this.#arm();
  }

  #arm(ms = this.#ms) {
    armed.set(this.#id, this);
    this.#due = native.now() + ms;
    native.setTimer(this.#id, ms, this.runId, !this.#keepsRunOpen);
  }

  get runId() {
    return this.#frame?.run?.id ?? 0;
  }

  fire() {
    armed.delete(this.#id);
    try {
      within(this.#frame, this.#callback, this, this.#args);
    } catch (error) {
      within(this.#frame, reportUncaught, undefined, [error]);
    }
    if (this.#repeats && !this.#repeats.cleared) this.#arm();
  }

  close() {
    if (this.#repeats) this.#repeats.cleared = true;
    if (armed.delete(this.#id)) native.clearTimer(this.#id);
    return this;
  }

  refresh() {
    if (armed.has(this.#id)) this.#arm();
    return this;
  }

  ref() {
    return this.#keepRunOpen(true);
  }

  /** As in Node this timer keeps nothing alive: its run can end before it fires, and then it never does. */
  unref() {
    return this.#keepRunOpen(false);
  }

  hasRef() {
    return this.#keepsRunOpen;
  }

  #keepRunOpen(keeps) {
    if (this.#keepsRunOpen !== keeps) {
      this.#keepsRunOpen = keeps;
      if (armed.has(this.#id)) this.#arm(Math.max(0, this.#due - native.now()));
    }
    return this;
  }

  [Symbol.toPrimitive]() {
    return this.#id;
  }
}

/** HTML's and Node's rule: what is no sensible delay is one millisecond. */
function sensible(delay) {
  return delay >= 1 && delay <= MAX_DELAY_MS ? Math.trunc(delay) : 1;
}

export function setTimeout(callback, delay, ...args) {
  return new Timeout(callback, args, sensible(delay), null);
}

export function setInterval(callback, delay, ...args) {
  return new Timeout(callback, args, sensible(delay), { cleared: false });
}

export function setImmediate(callback, ...args) {
  return new Timeout(callback, args, 0, null);
}

export function clearTimeout(timer) {
  if (timer instanceof Timeout) timer.close();
  else if (typeof timer === 'number' || typeof timer === 'string') armed.get(Number(timer))?.close();
}

export const clearInterval = clearTimeout;
export const clearImmediate = clearTimeout;

/** The host says that a timer is due. */
export function fireTimer(timerId) {
  armed.get(timerId)?.fire();
}

export function forgetTimers(runId) {
  for (const [id, timer] of armed) {
    if (timer.runId === runId) armed.delete(id);
  }
}
