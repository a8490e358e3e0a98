// Imports that the runtime answers: Node's modules, the Parse SDK, and undici, which is Node's fetch as a package.

import { isBuiltin } from 'node:module';

const SDK = /^parse(\/node(\.js)?)?$/;

/** An esbuild plugin. The runtime has something for every module of Node. */
export const runtimeModules = {
  name: 'tidegate-runtime-modules',
  setup(build) {
    build.onResolve({ filter: /^(node:)?[a-z]/ }, ({ path }) => {
      if (SDK.test(path)) return { path: 'parse/node', namespace: 'tidegate' };
      if (path === 'undici') return { path, namespace: 'tidegate' };
      return isBuiltin(path)
        ? { path: `node:${path.replace(/^node:/, '')}`, namespace: 'tidegate' }
        : undefined;
    });
    build.onLoad({ filter: /.*/, namespace: 'tidegate' }, ({ path }) => ({
      contents: `module.exports = __runtime.require(${JSON.stringify(path)});`,
      loader: 'js',
    }));
  },
};
