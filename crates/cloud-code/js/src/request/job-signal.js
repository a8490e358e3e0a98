// `request.signal` of a job: made when somebody looks, because most jobs never do.

import { within } from '../scope.js';
import { AbortController } from '../web/abort.js';

/** @param {object} frame whose code the listeners run as */
export function lazySignal(frame) {
  let controller;
  let isAborted = false;
  const abort = () => {
    controller.abort(new DOMException('The run is to end: it was cancelled, or its time is up.', 'AbortError'));
  };
  return {
    signal() {
      if (controller === undefined) {
        controller = new AbortController();
        if (isAborted) abort();
      }
      return controller.signal;
    },
    abort() {
      isAborted = true;
      if (controller !== undefined) within(frame, abort);
    },
  };
}
