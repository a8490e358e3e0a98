import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { bundleProject } from '../build/bundle-project.mjs';
import { Isolate } from './engine.mjs';

/** A project on disk for one test. @returns its folder */
function project(t, files) {
  const root = mkdtempSync(join(tmpdir(), 'tidegate-bundle-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

async function bundled(t, files, entry = 'cloud/main.js') {
  const root = project(t, files);
  return bundleProject(join(root, entry), root);
}

async function isolateOf(bundle) {
  assert.equal(bundle.errors, undefined, JSON.stringify(bundle.errors));
  const isolate = new Isolate();
  await new vm.Script(bundle.code, { filename: 'app.js' }).runInContext(isolate.context);
  isolate.runtime.scope.current = null;
  return isolate;
}

const DEFINE = `Parse.Cloud.define('f', async () => value);`;

test('CommonJS, ES modules and TypeScript, by every name that main may have', async (t) => {
  const entries = {
    'cloud/main.js': `const { value } = require('./lib'); module.exports = {}; ${DEFINE}`,
    'cloud/main.cjs': `const { value } = require('./lib'); ${DEFINE}`,
    'cloud/main.mjs': `import { value } from './lib.js'; ${DEFINE}`,
    'cloud/app.js': `import { value } from './lib'; export default 1; ${DEFINE}`,
    'cloud/main.ts': `import { value } from './typed'; enum E { A = 1 } type T = string; const x: T = E[1]!; ${DEFINE}`,
  };
  for (const [entry, source] of Object.entries(entries)) {
    await t.test(entry, async (t) => {
      const bundle = await bundled(
        t,
        {
          [entry]: source,
          'cloud/lib.js': `exports.value = 'from lib';`,
          'cloud/typed.ts': `export const value: string = 'from lib';`,
        },
        entry,
      );
      const isolate = await isolateOf(bundle);
      assert.equal((await isolate.call('f')).returned, 'from lib');
      assert.ok(bundle.inputs.includes(entry));
    });
  }
});

test("JSON, packages of cloud/ and of the project, the SDK, Node's modules", async (t) => {
  const bundle = await bundled(t, {
    'cloud/main.js': `
      const SDK = require('parse/node'); const { Parse: Same } = require('parse');
      const near = require('near'); const far = require('far/sub'); const data = require('./data.json'); const EventEmitter = require('events');
      Parse.Cloud.define('f', () => [SDK === Parse, Same === Parse, near.name, far, data.list, EventEmitter === require('node:events'), typeof require('node:sqlite')]);`,
    'cloud/data.json': '{"list":[1,2]}',
    'cloud/node_modules/near/package.json': '{"name":"near","main":"./index.js"}',
    'cloud/node_modules/near/index.js': `exports.name = 'near';`,
    'node_modules/far/package.json':
      '{"name":"far","exports":{"./sub":{"node":"./node.js","browser":"./browser.js"}}}',
    'node_modules/far/node.js': `module.exports = 'for node';`,
    'node_modules/parse/package.json': '{"name":"parse","main":"index.js"}',
    'node_modules/parse/index.js': `throw new Error('the copy in node_modules must not be used');`,
  });
  const isolate = await isolateOf(bundle);
  assert.deepEqual((await isolate.call('f')).returned, [
    true,
    true,
    'near',
    'for node',
    [1, 2],
    true,
    'object',
  ]);
});

test('top-level await', async (t) => {
  const bundle = await bundled(
    t,
    {
      'cloud/main.mjs': `import { late } from './late.mjs'; import events from 'node:events'; Parse.Cloud.define(await late, () => typeof events.once); export const x = 1;`,
      'cloud/late.mjs': `export const late = Promise.resolve('late'); await 1;`,
    },
    'cloud/main.mjs',
  );
  const isolate = await isolateOf(bundle);
  assert.equal((await isolate.call('late')).returned, 'function');
});

test('a syntax error has its place', async (t) => {
  const { errors } = await bundled(t, { 'cloud/main.js': `const a = 1;\nfunction broken( {\n` });
  const [{ file, line, column, lineText }] = errors;
  assert.deepEqual([file, line, typeof column, lineText], ['cloud/main.js', 3, 'number', '']);
});

test('missing modules are named with the remedy', async (t) => {
  const { errors } = await bundled(t, {
    'cloud/main.js': `require('lodahs');\nrequire('./lbi');\nrequire('@scope/pkg/deep');`,
  });
  assert.deepEqual(
    errors.map(({ text, file, line, column }) => [text, file, line, column]),
    [
      [
        'Cannot find the package "lodahs". Install it in cloud/ or in the project\'s folder: npm install lodahs',
        'cloud/main.js',
        1,
        9,
      ],
      ['Cannot find the file "./lbi".', 'cloud/main.js', 2, 9],
      [
        'Cannot find "@scope/pkg/deep" of the package "@scope/pkg". Install it in cloud/ or in the project\'s folder: npm install @scope/pkg, or check the path.',
        'cloud/main.js',
        3,
        9,
      ],
    ],
  );
});

test('the source map leads from the script to the line, awaits before it notwithstanding', async (t) => {
  const source = [
    `import { fail } from './fail';`,
    `Parse.Cloud.define('f', async () => { const x: number = await one(await two()); return await fail(x); });`,
    `const one = async (n: number) => n; const two = async () => 2;`,
  ].join('\n');
  const bundle = await bundled(
    t,
    {
      'cloud/main.ts': source,
      'cloud/fail.ts': `export async function fail(n: number) {\n  await null;\n  try { await 1; } finally { if (await n) { throw new Error('here'); } }\n}`,
    },
    'cloud/main.ts',
  );
  const isolate = await isolateOf(bundle);
  const { threw } = await isolate.call('f');
  const [, line, column] = /app\.js:(\d+):(\d+)/.exec(threw.stack);
  const entry = new SourceMap(JSON.parse(bundle.map)).findEntry(line - 1, column - 1);
  assert.deepEqual(
    [entry.originalSource, entry.originalLine, entry.originalColumn],
    ['cloud/fail.ts', 2, 50],
  );
});

test('the command prints one JSON object', (t) => {
  const root = project(t, {
    'cloud/main.js': 'Parse.Cloud.define("f", () => 1);',
    'cloud/bad.js': 'let let;',
  });
  const command = fileURLToPath(new URL('../bundle.mjs', import.meta.url));
  const print = (entry) =>
    spawnSync(process.execPath, [command, join(root, entry)], { cwd: root, encoding: 'utf8' });
  const good = print('cloud/main.js');
  assert.deepEqual(
    [good.status, Object.keys(JSON.parse(good.stdout)).sort()],
    [0, ['code', 'inputs', 'map']],
  );
  const bad = print('cloud/bad.js');
  assert.deepEqual([bad.status, JSON.parse(bad.stdout).errors[0].file], [1, 'cloud/bad.js']);
  const none = print('cloud/none.js');
  assert.equal(JSON.parse(none.stdout).errors.length, 1);
});
