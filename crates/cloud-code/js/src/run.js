// One call of one handler, from the host's `run` to its `done`.

import { native } from './native.js';
import { handle } from './handle.js';
import { returned, threw } from './outcome.js';
import { within } from './scope.js';

const parsedHandlers = new Map();

/** Starts a run; its outcome goes to the host when the handler has settled. */
export function run(id, handlerJson, requestJson) {
  const frame = { run: { id, indent: '' }, stores: null };
  within(frame, execute, undefined, [id, handlerJson, requestJson]);
}

async function execute(id, handlerJson, requestJson) {
  let outcome;
  try {
    outcome = returned(await handle(parsedHandler(handlerJson), JSON.parse(requestJson)));
  } catch (error) {
    outcome = threw(error);
  }
  native.done(id, outcome);
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
