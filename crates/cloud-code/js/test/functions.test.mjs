import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

function isolateWith(source, options) {
  const isolate = new Isolate(options);
  isolate.load(source);
  return isolate;
}

test('a function gets decoded params and its result is encoded', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.define('echo', async (request) => {
      const { at, order, list } = request.params;
      return { isDate: at instanceof Date, at, isOrder: order instanceof Parse.Object, id: order.id, list };
    });
  `);
  const outcome = await isolate.call('echo', {
    at: { __type: 'Date', iso: '2026-01-01T00:00:00.000Z' },
    order: { __type: 'Pointer', className: 'Order', objectId: 'o1' },
    list: [[1], [2, { deep: { __type: 'Date', iso: '2026-01-02T00:00:00.000Z' } }]],
  });
  assert.deepEqual(outcome.returned, {
    isDate: true,
    at: { __type: 'Date', iso: '2026-01-01T00:00:00.000Z' },
    isOrder: true,
    id: 'o1',
    list: [[1], [2, { deep: { __type: 'Date', iso: '2026-01-02T00:00:00.000Z' } }]],
  });
});

test('the request has what Parse puts there', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.define('who', (request) => ({
      keys: Object.keys(request).sort(),
      user: request.user.id, isUser: request.user instanceof Parse.User, token: request.user.getSessionToken(),
      name: request.functionName, context: request.context, installationId: request.installationId,
    }));
  `);
  const { returned } = await isolate.call(
    'who',
    {},
    {
      user: { objectId: 'u1', username: 'ann', sessionToken: 'r:abc' },
      installationId: 'i1',
      context: { from: 'test' },
    },
  );
  assert.deepEqual(returned, {
    keys: ['context', 'functionName', 'headers', 'installationId', 'ip', 'log', 'master', 'params', 'user'],
    user: 'u1',
    isUser: true,
    token: 'r:abc',
    name: 'who',
    context: { from: 'test' },
    installationId: 'i1',
  });
});

test('without a user there is none', async () => {
  const isolate = isolateWith(`Parse.Cloud.define('f', ({ user }) => user === undefined);`);
  assert.equal((await isolate.call('f')).returned, true);
});

test('undefined, null and nested objects come back as Parse answers them', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.define('undefined', () => {});
    Parse.Cloud.define('null', () => null);
    Parse.Cloud.define('object', () => [Parse.Object.fromJSON({ className: 'A', objectId: 'a1', n: 1 })]);
  `);
  assert.deepEqual(await isolate.call('undefined'), { returned: null, isUndefined: true });
  assert.deepEqual(await isolate.call('null'), { returned: null });
  assert.deepEqual((await isolate.call('object')).returned, [
    { __type: 'Object', className: 'A', objectId: 'a1', n: 1 },
  ]);
});

test('what is thrown becomes code and message', async (t) => {
  const isolate = isolateWith(`
    const thrown = {
      error: () => new Error('an error'), string: () => 'a string', parse: () => new Parse.Error(999, 'custom'),
      null: () => null, undefined: () => undefined, object: () => ({ message: 'of an object' }), number: () => 7,
    };
    Parse.Cloud.define('throw', (request) => { throw thrown[request.params.what](); });
    Parse.Cloud.define('reject', (request) => Promise.reject(thrown[request.params.what]()));
  `);
  const expected = {
    error: [141, 'an error', false],
    string: [141, 'a string', false],
    parse: [999, 'custom', true],
    null: [141, 'Script failed.', false],
    undefined: [141, 'Script failed.', false],
    object: [141, 'of an object', false],
    number: [141, '7', false],
  };
  for (const [what, [code, message, isParseError]] of Object.entries(expected)) {
    for (const how of ['throw', 'reject']) {
      await t.test(`${how} ${what}`, async () => {
        const { threw } = await isolate.call(how, { what });
        assert.deepEqual([threw.code, threw.message, threw.isParseError], [code, message, isParseError]);
      });
    }
  }
});

test('an error keeps its stack', async () => {
  const isolate = isolateWith(`Parse.Cloud.define('f', function named() { throw new TypeError('x'); });`);
  const { threw } = await isolate.call('f');
  assert.match(threw.stack, /TypeError: x\n.*named.*app\.js/);
});

test('an unknown function is an error of its name', async () => {
  const { threw } = await isolateWith('').call('nope');
  assert.deepEqual([threw.code, threw.message], [141, 'Invalid function: "nope"']);
});

test('what cannot be told as JSON is an error, not a hang', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.define('big', () => 10n);
    Parse.Cloud.define('cycle', () => { const a = {}; a.a = a; return a; });
  `);
  assert.equal((await isolate.call('big')).threw.code, 141);
  assert.equal((await isolate.call('cycle')).threw.code, 141);
});

test('names may have dots; a second definition wins with a warning', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.define('a.b', () => 1);
    Parse.Cloud.define('a.b', () => 2);
    Parse.Cloud.define("it's", () => 3);
  `);
  assert.equal((await isolate.call('a.b')).returned, 2);
  assert.equal((await isolate.call("it's")).threw.code, 141);
  const { functions, warnings } = isolate.manifest();
  assert.deepEqual(functions, ['a.b']);
  assert.match(warnings[0], /a\.b is defined more than once/);
});

test('handlers of two arguments', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.define('success', (request, response) => { setTimeout(() => response.success({ ok: 1 }), 1); });
    Parse.Cloud.define('error', (request, response) => response.error('nope'));
    Parse.Cloud.define('code', (request, response) => response.error(202, 'taken'));
    Parse.Cloud.define('twice', (request, response) => { response.success(1); response.success(2); });
    Parse.Cloud.define('status', async (request, response) => { response.status(201).header('X-A', 'b'); return 'made'; });
    Parse.Cloud.define('awaited', async (request, response) => { throw new Error('in async'); });
  `);
  const success = isolate.call('success');
  isolate.fireTimers();
  assert.deepEqual(await success, { returned: { ok: 1 } });
  assert.equal((await isolate.call('error')).threw.message, 'nope');
  assert.equal((await isolate.call('code')).threw.code, 202);
  assert.equal((await isolate.call('twice')).returned, 1);
  assert.deepEqual(await isolate.call('status'), { returned: 'made', status: 201, headers: [['X-A', 'b']] });
  assert.equal((await isolate.call('awaited')).threw.message, 'in async');
});

test('jobs report by message and answer their last words', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.job('nightly', async (request) => {
      await request.message('half way');
      return 'done ' + request.params.n + ' ' + request.jobName;
    });
  `);
  const outcome = await isolate.run(
    { job: 'nightly' },
    { jobName: 'nightly', jobId: 'j1', params: { n: 3 }, master: true },
  );
  assert.deepEqual(outcome, { returned: 'done 3 nightly' });
  assert.deepEqual(isolate.calls, [{ runId: 1, kind: 'job', op: 'message', text: 'half way' }]);
  assert.equal((await isolate.run({ job: 'no' }, {})).threw.message, 'Invalid job.');
});

test('an app may await at its top level', async () => {
  const isolate = new Isolate();
  await isolate.load(
    `const name = await Promise.resolve('later'); Parse.Cloud.define(name, () => 1); export {};`,
    { module: true },
  );
  assert.deepEqual(isolate.manifest().functions, ['later']);
});

test('an app that throws while it loads', () => {
  assert.throws(() => new Isolate().load(`throw new Error('broken main')`), /broken main/);
});

test('while the app loads there is no request to call for', async () => {
  const isolate = new Isolate();
  await isolate.load(
    `
    globalThis.refused = new Parse.Query('A').find().catch((error) => error.message);
    export const x = await globalThis.refused;
  `,
    { module: true },
  );
  assert.match(await isolate.context.refused, /belongs to no request/);
});
