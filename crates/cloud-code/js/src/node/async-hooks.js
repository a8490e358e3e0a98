// node:async_hooks: stores that travel as the run does, see scope.js.

import { bound, currentFrame, within } from '../scope.js';

export class AsyncLocalStorage {
  getStore() {
    return currentFrame()?.stores?.get(this);
  }

  run(store, body, ...args) {
    return within(this.#frameWith(store), body, undefined, args);
  }

  exit(body, ...args) {
    return this.run(undefined, body, ...args);
  }

  /* global __scope */
  enterWith(store) {
    __scope.current = this.#frameWith(store);
  }

  disable() {}

  #frameWith(store) {
    const frame = currentFrame();
    const stores = new Map(frame?.stores).set(this, store);
    return { run: frame?.run ?? null, stores, step: frame?.step };
  }

  static bind(callback) {
    return bound(callback);
  }

  static snapshot() {
    const frame = currentFrame();
    return (body, ...args) => within(frame, body, undefined, args);
  }
}

export class AsyncResource {
  #frame = currentFrame();

  runInAsyncScope(body, receiver, ...args) {
    return within(this.#frame, body, receiver, args);
  }

  bind(callback) {
    return (...args) => this.runInAsyncScope(callback, undefined, ...args);
  }

  emitDestroy() {
    return this;
  }

  asyncId() {
    return 0;
  }

  triggerAsyncId() {
    return 0;
  }

  static bind(callback) {
    return bound(callback);
  }
}

export default {
  AsyncLocalStorage,
  AsyncResource,
  createHook: () => ({ enable() {}, disable() {} }),
  executionAsyncId: () => 0,
  triggerAsyncId: () => 0,
  executionAsyncResource: () => ({}),
};
