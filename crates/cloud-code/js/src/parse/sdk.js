// The official Parse SDK, with the host in the place of HTTP.

import Parse from 'parse/node';
import { config } from '../native.js';
import { bound } from '../scope.js';
import { restController } from './rest-controller.js';

export { Parse };

export function installSdk() {
  const { CoreManager } = Parse;
  CoreManager.setRESTController(restController);
  Parse.initialize(config.applicationId, config.javascriptKey);
  Parse.serverURL = config.serverUrl;
  bindSaveQueue(CoreManager);
  nameClasses();
  globalThis.Parse = Parse;
}

/** The bundler renames classes whose names clash with others; logs and stacks show them. */
function nameClasses() {
  for (const [key, value] of Object.entries(Parse)) {
    const isClass = typeof value === 'function' && /^[A-Z]/.test(key);
    if (isClass) Object.defineProperty(value, 'name', { value: `Parse${key}`, configurable: true });
  }
}

/** Saves of one object wait for each other, and the one before starts the next: each must keep its own run. */
function bindSaveQueue(CoreManager) {
  const states = CoreManager.getObjectStateController();
  CoreManager.setObjectStateController({
    ...states,
    enqueueTask: (object, task) => states.enqueueTask(object, bound(task)),
  });
}
