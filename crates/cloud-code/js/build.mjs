// Builds dist/runtime.js: the runtime, the SDK and Node's modules as one classic script.

import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as acorn from 'acorn';
import * as esbuild from 'esbuild';
import { scopePass } from './build/scope-pass.mjs';
import { LOWERED, TARGET } from './build/engine.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const src = (path) => join(here, 'src', path);

/** What npm packages import from Node, and what they get. */
const POLYFILLS = {
  'abort-controller': src('web/abort.js'),
  buffer: src('node/buffer.js'),
  events: src('node/events.js'),
  'process/': src('node/polyfill-process.cjs'),
  qs: src('node/querystring.js'),
};

/** The SDK's own imports, where it needs less or other than packages do. */
const OF_THE_SDK = {
  crypto: src('web/crypto.js'),
  'crypto-js/aes': src('parse/stubs/absent.cjs'),
  'crypto-js/enc-utf8': src('parse/stubs/absent.cjs'),
  'idb-keyval': src('parse/stubs/absent.cjs'),
  stream: src('parse/stubs/stream.cjs'),
  ws: src('parse/stubs/absent.cjs'),
};

const resolver = {
  name: 'tidegate-polyfills',
  setup(build) {
    build.onResolve({ filter: /^[a-z]/ }, ({ path, importer }) => {
      const isOfTheSdk = importer.includes(join('node_modules', 'parse'));
      const target = (isOfTheSdk && OF_THE_SDK[path]) || POLYFILLS[path];
      if (target) return { path: target };
      if (path.endsWith('/')) return { path: require.resolve(path) };
      return undefined;
    });
  },
};

const { outputFiles } = await esbuild.build({
  entryPoints: [src('main.js')],
  absWorkingDir: here,
  bundle: true,
  write: false,
  format: 'iife',
  platform: 'neutral',
  mainFields: ['main'],
  conditions: ['require'],
  target: TARGET,
  supported: LOWERED,
  charset: 'utf8',
  define: { 'process.env.NODE_ENV': '"production"' },
  plugins: [resolver],
  legalComments: 'none',
  logLevel: 'warning',
});

const bundled = withoutComments(outputFiles[0].text);
const { code } = scopePass(bundled).edits.apply(bundled, null);
const script = `(() => {\nconst __scope = { current: null, resume: null, adopt: null, settle: null };\n${code}})();\n`;

await mkdir(join(here, 'dist'), { recursive: true });
await writeFile(join(here, 'dist', 'runtime.js'), script);

/** The SDK is documentation by half, and the script is read into every zygote. */
function withoutComments(source) {
  let text = '';
  let from = 0;
  const onComment = (_block, _text, start, end) => {
    text += source.slice(from, start);
    from = end;
  };
  acorn.parse(source, { ecmaVersion: 'latest', onComment });
  return (text + source.slice(from)).replace(/\n\s*\n+/g, '\n');
}
