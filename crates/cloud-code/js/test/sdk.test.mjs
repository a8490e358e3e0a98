// The Parse SDK over host calls.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

/** Runs `body` as a function's handler against a server that gives `answers` in turn. */
async function runAgainst(answers, body, request) {
  const queue = [...answers];
  const isolate = new Isolate({
    answer: () => {
      const next = queue.shift() ?? { body: {} };
      if (next.refuse) throw next.refuse;
      return { status: 200, headers: [], ...next };
    },
  });
  isolate.load(`Parse.Cloud.define('f', async (request) => { ${body} });`);
  const outcome = await isolate.call('f', {}, request);
  return { ...outcome, calls: isolate.calls, isolate };
}

const CREATED = { status: 201, body: { objectId: 'n1', createdAt: '2026-01-01T00:00:00.000Z' } };

test('save creates, then updates', async () => {
  const { returned, calls } = await runAgainst(
    [CREATED, { body: { updatedAt: '2026-01-02T00:00:00.000Z', count: 2 } }],
    `
    const order = new Parse.Object('Order', { name: 'x' });
    await order.save(null, { useMasterKey: true, context: { why: 'test' } });
    order.increment('count');
    await order.save({ at: new Date(0) }, { sessionToken: 'r:1', installationId: 'i' });
    return [order.id, order.get('count'), order.dirty(), order.updatedAt.toISOString()];
  `,
  );
  assert.deepEqual(returned, ['n1', 2, false, '2026-01-02T00:00:00.000Z']);
  assert.deepEqual(
    calls.map(({ method, path, body }) => [method, path, body]),
    [
      ['POST', 'classes/Order', { name: 'x' }],
      [
        'PUT',
        'classes/Order/n1',
        { count: { __op: 'Increment', amount: 1 }, at: { __type: 'Date', iso: '1970-01-01T00:00:00.000Z' } },
      ],
    ],
  );
  assert.deepEqual(
    [
      calls[0].useMasterKey,
      calls[0].context,
      calls[1].useMasterKey,
      calls[1].sessionToken,
      calls[1].installationId,
    ],
    [true, { why: 'test' }, false, 'r:1', 'i'],
  );
});

test('find, first, get, count, include', async () => {
  const { returned, calls } = await runAgainst(
    [
      {
        body: {
          results: [
            {
              objectId: 'a',
              owner: { __type: 'Object', className: '_User', objectId: 'u', username: 'ann' },
            },
          ],
        },
      },
      { body: { results: [] } },
      { body: { results: [], count: 42 } },
    ],
    `
    const [a] = await new Parse.Query('Order').include('owner').descending('createdAt').limit(3).find();
    const none = await new Parse.Query('Order').equalTo('x', 1).first();
    const count = await new Parse.Query('Order').count();
    return [a.get('owner').get('username'), none === undefined, count];
  `,
  );
  assert.deepEqual(returned, ['ann', true, 42]);
  assert.deepEqual(calls[0].body, { where: {}, include: 'owner', limit: 3, order: '-createdAt' });
  assert.deepEqual([calls[0].method, calls[0].path], ['GET', 'classes/Order']);
});

test('errors of the host are Parse errors, and pass through a handler with their code', async () => {
  const { returned } = await runAgainst(
    [{ refuse: { code: 101, message: 'Object not found.' } }],
    `
    try { await new Parse.Query('A').get('x'); } catch (error) { return [error instanceof Parse.Error, error.code, error.message]; }
  `,
  );
  assert.deepEqual(returned, [true, 101, 'Object not found.']);
  const { threw } = await runAgainst(
    [{ refuse: { code: 119, message: 'Permission denied' } }],
    `await new Parse.Object('A').save();`,
  );
  assert.deepEqual([threw.code, threw.message, threw.isParseError], [119, 'Permission denied', true]);
});

test('saveAll and destroyAll send batches of paths without the mount', async () => {
  const { returned, calls } = await runAgainst(
    [
      {
        body: [
          { success: { objectId: '1', createdAt: '2026-01-01T00:00:00.000Z' } },
          { success: { objectId: '2', createdAt: '2026-01-01T00:00:00.000Z' } },
        ],
      },
      { body: [{ success: {} }, { error: { code: 101, error: 'gone' } }] },
    ],
    `
    const pair = await Parse.Object.saveAll([new Parse.Object('A', { n: 1 }), new Parse.Object('A', { n: 2 })]);
    const failed = await Parse.Object.destroyAll(pair).catch((error) => error.errors[0].code);
    return [pair.map((object) => object.id), failed];
  `,
  );
  assert.deepEqual(returned, [['1', '2'], 101]);
  assert.deepEqual(calls[0].body.requests, [
    { method: 'POST', path: '/classes/A', body: { n: 1 } },
    { method: 'POST', path: '/classes/A', body: { n: 2 } },
  ]);
  assert.deepEqual([calls[1].path, calls[1].body.requests[0].path], ['batch', '/classes/A/1']);
});

test('nested unsaved objects are saved first', async () => {
  const { calls } = await runAgainst(
    [{ body: [{ success: { objectId: 'child', createdAt: '2026-01-01T00:00:00.000Z' } }] }, CREATED],
    `await new Parse.Object('Parent', { child: new Parse.Object('Child', { n: 1 }) }).save();`,
  );
  assert.deepEqual(
    calls.map(({ path }) => path),
    ['batch', 'classes/Parent'],
  );
  assert.deepEqual(calls[1].body.child, { __type: 'Pointer', className: 'Child', objectId: 'child' });
});

test('Cloud.run, startJob and getJobStatus', async () => {
  const { returned, calls } = await runAgainst(
    [
      { body: { result: { at: { __type: 'Date', iso: '2026-01-01T00:00:00.000Z' } } } },
      { body: {}, headers: [['x-parse-job-status-id', 'job1']] },
      { body: { results: [{ objectId: 'job1', status: 'running' }] } },
    ],
    `
    const { at } = await Parse.Cloud.run('other', { a: 1 }, { sessionToken: 'r:9' });
    const job = await Parse.Cloud.startJob('nightly', { deep: true });
    const status = await Parse.Cloud.getJobStatus(job);
    return [at instanceof Date, job, status.get('status')];
  `,
  );
  assert.deepEqual(returned, [true, 'job1', 'running']);
  assert.deepEqual(
    calls.map(({ method, path, useMasterKey }) => [method, path, useMasterKey]),
    [
      ['POST', 'functions/other', false],
      ['POST', 'jobs/nightly', true],
      ['GET', 'classes/_JobStatus', true],
    ],
  );
});

test('users: sign-up, log-in, me, current', async () => {
  const { returned, calls } = await runAgainst(
    [
      { status: 201, body: { objectId: 'u1', sessionToken: 'r:new', createdAt: '2026-01-01T00:00:00.000Z' } },
      { body: { objectId: 'u1', username: 'ann', sessionToken: 'r:2' } },
      { body: { objectId: 'u1', username: 'ann' } },
    ],
    `
    const user = await Parse.User.signUp('ann', 'secret');
    const again = await Parse.User.logIn('ann', 'secret');
    const me = await Parse.User.me('r:2');
    return [user.getSessionToken(), again.getSessionToken(), me.get('username'), Parse.User.current()];
  `,
  );
  assert.deepEqual(returned, ['r:new', 'r:2', 'ann', null]);
  assert.deepEqual(
    calls.map(({ method, path }) => [method, path]),
    [
      ['POST', 'users'],
      ['POST', 'login'],
      ['GET', 'users/me'],
    ],
  );
});

test('files are uploaded as base64', async () => {
  const { returned, calls } = await runAgainst(
    [
      { status: 201, body: { name: 'stored.txt', url: 'http://files/stored.txt' } },
      { status: 201, body: { name: 'stored.bin', url: 'http://files/stored.bin' } },
    ],
    `
    const text = await new Parse.File('a.txt', { base64: 'aGk=' }, 'text/plain').save();
    const binary = await new Parse.File('b.bin', Buffer.from('hi')).save();
    return [text.url(), binary.name()];
  `,
  );
  assert.deepEqual(returned, ['http://files/stored.txt', 'stored.bin']);
  assert.deepEqual(
    calls.map(({ path, body }) => [path, body.base64]),
    [
      ['files/a.txt', 'aGk='],
      ['files/b.bin', 'aGk='],
    ],
  );
});

test('no key and no token leaves the isolate', async () => {
  const { calls, isolate } = await runAgainst(
    [{ body: { results: [] } }],
    `await new Parse.Query('A').find({ useMasterKey: true });`,
  );
  assert.deepEqual(Object.keys(calls[0]).sort(), ['body', 'kind', 'method', 'path', 'runId', 'useMasterKey']);
  assert.equal(isolate.context.Parse.masterKey, undefined);
  assert.equal(isolate.context.__native, undefined);
});
