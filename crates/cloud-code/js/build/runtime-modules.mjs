// Imports that the runtime answers: Node's modules and the Parse SDK.

import { builtinModules } from 'node:module';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SDK = /^parse(\/node(\.js)?)?$/;
const NODE = new Set(builtinModules.filter((name) => !name.startsWith('_')));
const PROVIDED = providedModules();

/** The names in src/node/index.js, read from its text: it imports what only the runtime's own build resolves. */
function providedModules() {
  const index = readFileSync(fileURLToPath(new URL('../src/node/index.js', import.meta.url)), 'utf8');
  const table = index.slice(index.indexOf('const makers = {'), index.indexOf('\n};'));
  return new Set([...table.matchAll(/^ {2}'?([a-z0-9_/]+)'?:/gm)].map(([, name]) => name));
}

/** An esbuild plugin. */
export function runtimeModules() {
  return {
    name: 'tidegate-runtime-modules',
    setup(build) {
      build.onResolve({ filter: /^(node:)?[a-z]/ }, ({ path }) => {
        if (SDK.test(path)) return { path: 'parse/node', namespace: 'tidegate' };
        const name = path.replace(/^node:/, '');
        if (path.startsWith('node:') && !PROVIDED.has(name)) return { errors: [{ text: notProvided(path) }] };
        if (!NODE.has(name)) return undefined;
        if (!PROVIDED.has(name)) return { errors: [{ text: notProvided(path) }] };
        return { path: name, namespace: 'tidegate' };
      });
      build.onLoad({ filter: /.*/, namespace: 'tidegate' }, ({ path }) => ({
        contents: `module.exports = __runtime.require(${JSON.stringify(path)});`,
        loader: 'js',
      }));
    },
  };
}

function notProvided(path) {
  return `The Node module "${path}" is not available in cloud code.`;
}
