// One call of one handler, from the host's `run` to its `done`.

import { native } from './native.js';
import { handle } from './handle.js';
import { returned, threw } from './outcome.js';
import { within } from './scope.js';

/** Starts a run; its outcome goes to the host when the handler has settled. */
export function run(id, handlerJson, requestJson) {
  const frame = { run: { id, indent: '' }, stores: null };
  within(frame, execute, undefined, [id, handlerJson, requestJson]);
}

async function execute(id, handlerJson, requestJson) {
  let outcome;
  try {
    outcome = returned(await handle(JSON.parse(handlerJson), JSON.parse(requestJson)));
  } catch (error) {
    outcome = threw(error);
  }
  native.done(id, outcome);
}
