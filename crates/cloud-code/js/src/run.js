// One call of one handler, from the host's `run` to its `done`.

import { native } from './native.js';
import { handle } from './handle.js';
import { returned, threw } from './outcome.js';
import { settled } from './scope.js';

/* global __scope */

/** Handlers by the JSON that names them: the same few come again and again. */
const named = new Map();

/** Starts a run; its outcome goes to the host when the handler has settled, at once if it returned no promise. */
export function run(id, handlerJson, requestText) {
  const frame = { run: { id, indent: '' }, stores: null, step: undefined };
  // The host empties it after each job.
  __scope.current = frame;
  const failed = (error) => native.done(id, threw(error));
  try {
    settled(handle(handlerOf(handlerJson), requestText), (answer) => native.done(id, outcomeOf(answer)), failed);
  } catch (error) {
    failed(error);
  }
}

function outcomeOf(answer) {
  return typeof answer === 'string' ? answer : returned(answer);
}

function handlerOf(json) {
  let handler = named.get(json);
  if (handler === undefined) named.set(json, (handler = JSON.parse(json)));
  return handler;
}
