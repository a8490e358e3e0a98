// Web streams, loaded when somebody first asks for one.

export function webStreams() {
  return require('web-streams-polyfill');
}

/** @returns {ReadableStream} of one chunk */
export function streamOf(bytes) {
  const { ReadableStream } = webStreams();
  return new ReadableStream({
    type: 'bytes',
    start(controller) {
      if (bytes.length > 0) controller.enqueue(bytes.slice());
      controller.close();
    },
  });
}

/** Whether `value` is a web stream or anything else that yields chunks. */
export function isChunkSource(value) {
  return value !== null && typeof value === 'object' && typeof value[Symbol.asyncIterator] === 'function';
}
