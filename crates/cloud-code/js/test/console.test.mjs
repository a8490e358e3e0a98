import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

async function linesOf(body) {
  const isolate = new Isolate();
  isolate.load(`Parse.Cloud.define('f', async (request) => { ${body} });`);
  const { threw } = await isolate.call('f');
  assert.equal(threw, undefined);
  return isolate.logs.map(({ level, text }) => [level, text]);
}

test('formats as Node does', async () => {
  assert.deepEqual(
    await linesOf(`
    console.log('plain %s');
    console.log('%s is %d%%', 'load', 42, { a: [1, 2], m: new Map([['k', new Set([1])]]) });
    console.log([1, , 3], null, undefined, -0, 10n, Symbol('s'), function f() {}, class A {});
    console.log({ deep: { deeper: { deepest: { more: 1 } } }, date: new Date(0), re: /x/g });
    console.log(Buffer.from('hi'));
  `),
    [
      ['info', 'plain %s'],
      ['info', "load is 42% { a: [ 1, 2 ], m: Map(1) { 'k' => Set(1) { 1 } } }"],
      ['info', '[ 1, <1 empty item>, 3 ] null undefined -0 10n Symbol(s) [Function: f] [class A]'],
      [
        'info',
        '{\n  deep: { deeper: { deepest: [Object] } },\n  date: 1970-01-01T00:00:00.000Z,\n  re: /x/g\n}',
      ],
      ['info', '<Buffer 68 69>'],
    ],
  );
});

test('levels, groups, counts, asserts', async () => {
  assert.deepEqual(
    await linesOf(`
    console.error('e'); console.warn('w'); console.debug('d'); console.info('i');
    console.group('head'); console.log('in\\nside'); console.groupEnd(); console.log('out');
    console.count(); console.count(); console.countReset(); console.count('x');
    console.assert(true, 'no'); console.assert(false, 'yes %s', 1);
    request.log.info('logged %s', 'it'); request.log.error('bad'); request.log.log('warn', 'w2'); request.log.verbose('v');
  `),
    [
      ['error', 'e'],
      ['warn', 'w'],
      ['debug', 'd'],
      ['info', 'i'],
      ['info', 'head'],
      ['info', '  in\n  side'],
      ['info', 'out'],
      ['info', 'default: 1'],
      ['info', 'default: 2'],
      ['info', 'x: 1'],
      ['error', 'Assertion failed: yes 1'],
      ['info', 'logged it'],
      ['error', 'bad'],
      ['warn', 'w2'],
      ['debug', 'v'],
    ],
  );
});

test('errors show message, stack and cause', async () => {
  const [[, text]] = await linesOf(
    `console.log(Object.assign(new TypeError('oops', { cause: new Error('why') }), { code: 'E1' }));`,
  );
  assert.match(text, /^TypeError: oops\n {4}at /);
  assert.match(text, /code: 'E1'/);
  assert.match(text, /\[cause\]: Error: why/);
});

test('tables', async () => {
  const [[, text]] = await linesOf(`console.table([{ a: 1, b: 'x' }, { a: 2 }]);`);
  assert.equal(
    text,
    [
      '┌─────────┬───┬─────┐',
      '│ (index) │ a │ b   │',
      '├─────────┼───┼─────┤',
      "│ 0       │ 1 │ 'x' │",
      '│ 1       │ 2 │     │',
      '└─────────┴───┴─────┘',
    ].join('\n'),
  );
});

test('a long text is cut', async () => {
  const [[, text]] = await linesOf(`console.log('x'.repeat(20000));`);
  assert.equal(text.length, 8193);
});

test('an exception in a timer is logged, not lost', async () => {
  const isolate = new Isolate();
  isolate.load(`Parse.Cloud.define('f', () => { setTimeout(() => { throw new Error('late'); }, 1); });`);
  await isolate.call('f');
  isolate.fireTimers();
  assert.deepEqual([isolate.logs[0].runId, isolate.logs[0].level], [1, 'error']);
  assert.match(isolate.logs[0].text, /^Uncaught Error: late/);
});

test('lines written while the app loads belong to no run', () => {
  const isolate = new Isolate();
  isolate.load(`console.log('loading');`);
  assert.deepEqual(isolate.logs, [{ runId: 0, level: 'info', text: 'loading' }]);
});

test('process.stdout is the log', async () => {
  assert.deepEqual(await linesOf(`process.stdout.write('line\\n'); process.stderr.write('bad');`), [
    ['info', 'line'],
    ['error', 'bad'],
  ]);
});
