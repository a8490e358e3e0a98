// Which run is executing: several may be in flight in one isolate, and each host call must name its own.
//
// `__scope.current` is the frame of the code that runs now: `{run, stores, step}`, or null for code that nobody marked.
// `step` is the name of the job's step that the code is part of.
// It travels with every continuation: `build/scope-pass.mjs` rewrites each `await`, and what registers
// callbacks (`then`, timers, queueMicrotask) is wrapped here. The host sets it to null after every job, so
// a continuation that slipped through belongs to no run instead of to the run of the job before it.
//
// `__scope` is declared by the build in front of the bundle, and handed to users' bundles as a parameter.

/* global __scope */

const NativePromise = Promise;
const nativeThen = Promise.prototype.then;
const nativeResolve = Promise.resolve;
const nativeQueueMicrotask = queueMicrotask;

/** The run whose code executes now, or null. */
export function currentRun() {
  return __scope.current === null ? null : __scope.current.run;
}

export function currentFrame() {
  return __scope.current;
}

/** Calls `body` as part of `frame`. */
export function within(frame, body, receiver, args = []) {
  const before = __scope.current;
  __scope.current = frame;
  try {
    return Reflect.apply(body, receiver, args);
  } finally {
    __scope.current = before;
  }
}

/** The same function, to be called later by anyone: it will run as part of the frame that is current now. */
export function bound(callback) {
  const frame = __scope.current;
  return function (...args) {
    return within(frame, callback, this, args);
  };
}

/** What an `await` was rewritten to: called first thing when the function goes on. */
__scope.resume = function resume(frame, value) {
  __scope.current = frame;
  return value;
};

/** What a `yield` of an async generator was rewritten to: it keeps a consumer's scope, if it was called by one. */
__scope.adopt = function adopt(frame, value) {
  if (__scope.current === null) __scope.current = frame;
  return value;
};

/**
 * Turns a thenable that is no promise into one, so that its `then` runs under the present scope.
 * Query builders and request objects do their work in `then`; the engine would call it in a bare job.
 */
__scope.settle = function settle(value) {
  if (!isForeignThenable(value)) return value;
  return new NativePromise((resolve, reject) => {
    queueMicrotask(() => {
      try {
        value.then(resolve, reject);
      } catch (error) {
        reject(error);
      }
    });
  });
};

function isForeignThenable(value) {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false;
  return !(value instanceof NativePromise) && typeof value.then === 'function';
}

/**
 * What `use` makes of the value that `value` is, or becomes if it is a promise: then a promise of that.
 * For the commonest case, no promise, this is nothing but a call.
 */
export function settled(value, use, failed) {
  const promise = __scope.settle(value);
  if (!(promise instanceof NativePromise)) return use(promise);
  return patched.then.call(promise, use, failed);
}

function carried(handler, frame) {
  if (typeof handler !== 'function') return handler;
  return function (value) {
    const before = __scope.current;
    __scope.current = frame;
    try {
      return __scope.settle(handler(value));
    } finally {
      __scope.current = before;
    }
  };
}

const patched = {
  then(onFulfilled, onRejected) {
    const frame = __scope.current;
    return nativeThen.call(this, carried(onFulfilled, frame), carried(onRejected, frame));
  },
  resolve(value) {
    return nativeResolve.call(this, __scope.settle(value));
  },
  queueMicrotask(callback) {
    if (typeof callback !== 'function')
      throw new TypeError('The "callback" argument must be of type function.');
    nativeQueueMicrotask(bound(callback));
  },
};

/** The engine's own awaits between its callbacks, out of the bundler's reach; this one is not. */
async function fromAsync(items, map, receiver) {
  const isSequence = items[Symbol.asyncIterator] !== undefined || items[Symbol.iterator] !== undefined;
  const result = [];
  for await (const item of isSequence ? items : Array.from(items)) {
    result.push(map ? await map.call(receiver, item, result.length) : item);
  }
  return result;
}

function replace(owner, name, value) {
  Object.defineProperty(owner, name, { value, writable: true, configurable: true, enumerable: false });
}

export function installScope() {
  replace(Promise.prototype, 'then', patched.then);
  replace(Promise, 'resolve', patched.resolve);
  replace(globalThis, 'queueMicrotask', patched.queueMicrotask);
  replace(Array, 'fromAsync', fromAsync);
}
