// node:module.

import { builtinModules, requireBuiltin } from './index.js';

function Module() {
  throw new Error('Modules are bundled before they are deployed; none can be made while cloud code runs.');
}

export default Object.assign(Module, {
  Module,
  builtinModules,
  createRequire: () => requireBuiltin,
  isBuiltin: (name) => builtinModules.includes(name.replace(/^node:/, '')),
});
