// One call of one handler, from the host's `run` to its `done`.

import { native } from './native.js';
import { within } from './scope.js';
import { handle } from './handle.js';
import { returned, threw } from './outcome.js';

const parsedHandlers = new Map();

/** Starts a run; its outcome goes to the host when the handler has settled. */
export function run(id, handlerJson, requestJson) {
  const frame = { run: { id, indent: '' }, stores: null };
  within(frame, () => {
    let promise;
    try {
      promise = handle(parsedHandler(handlerJson), JSON.parse(requestJson));
    } catch (error) {
      return finish(id, threw(error));
    }
    promise.then(
      (outcome) => finish(id, returned(outcome)),
      (error) => finish(id, threw(error)),
    );
  });
}

function finish(id, outcomeJson) {
  native.done(id, outcomeJson);
}

/** A bundle has few handlers and each is called often. */
function parsedHandler(json) {
  let handler = parsedHandlers.get(json);
  if (!handler) {
    handler = JSON.parse(json);
    parsedHandlers.set(json, handler);
  }
  return handler;
}
