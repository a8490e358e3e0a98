// node:events: the npm package and what newer Node has besides.

import EventEmitter from 'events/';

const errorMonitor = Symbol('events.errorMonitor');
const captureRejectionSymbol = Symbol.for('nodejs.rejection');
const { once } = EventEmitter;
const { emit } = EventEmitter.prototype;

EventEmitter.prototype.emit = function (type, ...args) {
  if (type === 'error' && this.listenerCount(errorMonitor) > 0) emit.call(this, errorMonitor, ...args);
  return emit.call(this, type, ...args);
};

function getEventListeners(emitter, type) {
  return emitter.listeners(type);
}

function setMaxListeners(count, ...emitters) {
  if (emitters.length === 0) EventEmitter.defaultMaxListeners = count;
  for (const emitter of emitters) emitter.setMaxListeners?.(count);
}

/** Events of one type as an async iterator. */
async function* on(emitter, type, { signal } = {}) {
  const arrived = [];
  let wake = () => {};
  const take = (...args) => wake(arrived.push({ args }));
  const fail = (error) => wake(arrived.push({ error }));
  emitter.on(type, take);
  emitter.on('error', fail);
  signal?.addEventListener('abort', () => fail(signal.reason));
  try {
    while (true) {
      while (arrived.length > 0) {
        const { args, error } = arrived.shift();
        if (args === undefined) throw error;
        yield args;
      }
      await new Promise((resolve) => (wake = resolve));
    }
  } finally {
    emitter.removeListener(type, take);
    emitter.removeListener('error', fail);
  }
}

Object.assign(EventEmitter, {
  EventEmitter,
  errorMonitor,
  captureRejectionSymbol,
  getEventListeners,
  setMaxListeners,
  on,
});

export { EventEmitter, once, on, errorMonitor, captureRejectionSymbol, getEventListeners, setMaxListeners };
export default EventEmitter;
