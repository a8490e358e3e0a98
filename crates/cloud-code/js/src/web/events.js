// Event, CustomEvent, EventTarget: a flat target, as there is no tree to bubble through.

import { reportUncaught } from '../console.js';

export class Event {
  #type;
  #cancelable;
  #prevented = false;
  target = null;
  currentTarget = null;
  timeStamp = performance.now();
  isTrusted = false;
  bubbles = false;
  stopped = false;

  constructor(type, { cancelable = false, bubbles = false } = {}) {
    this.#type = String(type);
    this.#cancelable = Boolean(cancelable);
    this.bubbles = Boolean(bubbles);
  }

  get type() {
    return this.#type;
  }

  get cancelable() {
    return this.#cancelable;
  }

  get defaultPrevented() {
    return this.#prevented;
  }

  preventDefault() {
    if (this.#cancelable) this.#prevented = true;
  }

  stopPropagation() {}

  stopImmediatePropagation() {
    this.stopped = true;
  }

  composedPath() {
    return this.target === null ? [] : [this.target];
  }
}

export class CustomEvent extends Event {
  constructor(type, options = {}) {
    super(type, options);
    this.detail = options.detail ?? null;
  }
}

export class EventTarget {
  #listeners = new Map();

  addEventListener(type, listener, options) {
    if (!listener) return;
    const { once = false, signal } = typeof options === 'object' && options !== null ? options : {};
    if (signal?.aborted) return;
    const list = this.#listeners.get(type) ?? [];
    if (list.some((entry) => entry.listener === listener)) return;
    this.#listeners.set(type, [...list, { listener, once }]);
    signal?.addEventListener('abort', () => this.removeEventListener(type, listener), { once: true });
  }

  removeEventListener(type, listener) {
    const list = this.#listeners.get(type);
    if (list)
      this.#listeners.set(
        type,
        list.filter((entry) => entry.listener !== listener),
      );
  }

  dispatchEvent(event) {
    event.target = this;
    event.currentTarget = this;
    this.#call(this[`on${event.type}`], event);
    for (const { listener, once } of this.#listeners.get(event.type) ?? []) {
      if (event.stopped) break;
      if (once) this.removeEventListener(event.type, listener);
      this.#call(listener, event);
    }
    event.currentTarget = null;
    return !event.defaultPrevented;
  }

  #call(listener, event) {
    try {
      if (typeof listener === 'function') listener.call(this, event);
      else if (typeof listener?.handleEvent === 'function') listener.handleEvent(event);
    } catch (error) {
      reportUncaught(error);
    }
  }
}
