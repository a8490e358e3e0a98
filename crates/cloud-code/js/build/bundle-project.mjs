// Makes one script of a user's cloud code and everything that it imports.

import { LOWERED, TARGET } from './engine.mjs';
import { findEsbuild } from './find-esbuild.mjs';
import { describeErrors } from './describe-errors.mjs';
import { runtimeModules } from './runtime-modules.mjs';
import { scopePass } from './scope-pass.mjs';

/**
 * @param {string} entry path of cloud/main.js or its like
 * @param {string} root the project's folder: paths in errors and in the map are relative to it
 * @returns {Promise<{code: string, map: string, inputs: string[]} | {errors: object[]}>}
 */
export async function bundleProject(entry, root) {
  const esbuild = await findEsbuild(root);
  try {
    return finished(await build(esbuild, entry, root, 'cjs'));
  } catch (failure) {
    if (!Array.isArray(failure.errors)) throw failure;
    if (!awaitsAtTop(failure)) return { errors: describeErrors(failure.errors) };
  }
  try {
    // Only an ES module may await at its top level, and esbuild keeps it one.
    return finished(await build(esbuild, entry, root, 'esm'));
  } catch (failure) {
    if (!Array.isArray(failure.errors)) throw failure;
    return { errors: describeErrors(failure.errors) };
  }
}

function awaitsAtTop({ errors }) {
  return errors.every(({ text }) => text.startsWith('Top-level await is currently not supported'));
}

async function build(esbuild, entry, root, format) {
  const result = await esbuild.build({
    entryPoints: [entry],
    absWorkingDir: root,
    bundle: true,
    write: false,
    metafile: true,
    outfile: 'app.js',
    format,
    // Packages as Node gets them: cloud code is written for Node, and what it lacks fails only when it is used.
    platform: 'node',
    target: TARGET,
    supported: LOWERED,
    resolveExtensions: ['.ts', '.tsx', '.mts', '.cts', '.js', '.mjs', '.cjs', '.jsx', '.json'],
    loader: { '.node': 'empty', '.txt': 'text', '.html': 'text', '.sql': 'text', '.pem': 'text' },
    define: {
      'process.env.NODE_ENV': '"production"',
      'import.meta.url': '"file:///cloud/main.js"',
      'import.meta.dirname': '"/cloud"',
      'import.meta.filename': '"/cloud/main.js"',
    },
    sourcemap: 'external',
    sourcesContent: true,
    charset: 'utf8',
    legalComments: 'none',
    logLevel: 'silent',
    plugins: [runtimeModules],
  });
  const text = (extension) => result.outputFiles.find(({ path }) => path.endsWith(extension)).text;
  return {
    code: text('.js'),
    map: JSON.parse(text('.map')),
    inputs: Object.keys(result.metafile.inputs),
    format,
  };
}

function finished({ code, map, inputs, format }) {
  const script = appScript(code, map, format === 'esm');
  return { ...script, map: JSON.stringify(script.map), inputs: inputs.filter((path) => !path.includes(':')) };
}

/** The script that hands itself to the runtime: `__runtime.start(function (require, module, …) {…})`. */
export function appScript(code, map, isModule = false) {
  const { edits, awaitsAtTop } = scopePass(code, { module: isModule });
  const kind = awaitsAtTop ? 'async function' : 'function';
  const strict = isModule ? ' "use strict";' : '';
  const head = `__runtime.start(${kind} (require, module, exports, __scope, __filename, __dirname) {${strict} `;
  edits.insert(0, head, -2);
  const edited = edits.apply(code, map);
  return { code: `${edited.code}\n});\n`, map: edited.map };
}
