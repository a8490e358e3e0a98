// AbortController and AbortSignal.

import { setTimeout } from '../timers.js';
import { Event, EventTarget } from './events.js';

const key = Symbol('made by this module');
const abort = Symbol('abort');

export class AbortSignal extends EventTarget {
  #aborted = false;
  #reason;
  onabort = null;

  constructor(proof) {
    super();
    if (proof !== key) throw new TypeError('Illegal constructor');
  }

  get aborted() {
    return this.#aborted;
  }

  get reason() {
    return this.#reason;
  }

  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }

  [abort](reason = new DOMException('This operation was aborted', 'AbortError')) {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    this.dispatchEvent(new Event('abort'));
  }

  static abort(reason) {
    const signal = new AbortSignal(key);
    signal[abort](reason);
    return signal;
  }

  static timeout(ms) {
    const signal = new AbortSignal(key);
    const expired = () =>
      signal[abort](new DOMException('The operation was aborted due to timeout', 'TimeoutError'));
    setTimeout(expired, ms).unref();
    return signal;
  }

  static any(signals) {
    const signal = new AbortSignal(key);
    for (const source of signals) {
      if (source.aborted) signal[abort](source.reason);
      else source.addEventListener('abort', () => signal[abort](source.reason), { once: true });
    }
    return signal;
  }
}

export class AbortController {
  #signal = new AbortSignal(key);

  get signal() {
    return this.#signal;
  }

  abort(reason) {
    this.#signal[abort](reason);
  }
}
