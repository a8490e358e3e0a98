// node:timers and node:timers/promises.

import {
  clearImmediate,
  clearInterval,
  clearTimeout,
  setImmediate,
  setInterval,
  setTimeout,
} from '../timers.js';

function waited(start, stop, value, { signal } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = start(() => resolve(value));
    signal?.addEventListener('abort', () => {
      stop(timer);
      reject(signal.reason);
    });
  });
}

async function* ticks(delay, value, options) {
  while (true) {
    await promises.setTimeout(delay, undefined, options);
    yield value;
  }
}

export const promises = {
  setTimeout: (delay, value, options) =>
    waited((done) => setTimeout(done, delay), clearTimeout, value, options),
  setImmediate: (value, options) => waited((done) => setImmediate(done), clearImmediate, value, options),
  setInterval: ticks,
  scheduler: {
    wait: (delay, options) => promises.setTimeout(delay, undefined, options),
    yield: () => promises.setImmediate(),
  },
};

setTimeout[Symbol.for('nodejs.util.promisify.custom')] = promises.setTimeout;
setImmediate[Symbol.for('nodejs.util.promisify.custom')] = promises.setImmediate;

export default {
  setTimeout,
  setInterval,
  setImmediate,
  clearTimeout,
  clearInterval,
  clearImmediate,
  promises,
};
