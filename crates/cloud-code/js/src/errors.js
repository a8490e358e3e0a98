// `error.stack` as Node has it: QuickJS gives the frames alone, programs log the stack to see the message.

/** Puts "Name: message" above the frames, when somebody looks. Does nothing where `stack` is an own property. */
export function installErrors() {
  const accessor = Object.getOwnPropertyDescriptor(Error.prototype, 'stack');
  if (typeof accessor?.get !== 'function') return;
  const framesOf = accessor.get;
  Object.defineProperty(Error.prototype, 'stack', {
    ...accessor,
    get() {
      return headed(this, framesOf.call(this));
    },
  });
  const capture = Error.captureStackTrace;
  Error.captureStackTrace = function captureStackTrace(target, above) {
    capture(target, above);
    const own = Object.getOwnPropertyDescriptor(target, 'stack');
    if (own && typeof own.value === 'string') {
      Object.defineProperty(target, 'stack', { ...own, value: headed(target, own.value) });
    }
  };
}

function headed(error, frames) {
  if (typeof frames !== 'string') return frames;
  return `${heading(error)}\n${frames.trimEnd()}`;
}

function heading(error) {
  try {
    const name = error.name === undefined ? 'Error' : String(error.name);
    const message = error.message === undefined ? '' : String(error.message);
    return message === '' ? name : `${name}: ${message}`;
  } catch {
    return 'Error';
  }
}
