// Texts are Parse Server's; clients and tests rely on them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

async function failure(validator, params = {}, request = {}, options) {
  const isolate = new Isolate(options);
  isolate.load(`Parse.Cloud.define('f', ({ params }) => params, ${validator});`);
  const { threw, returned } = await isolate.call('f', params, request);
  return threw ? [threw.code, threw.message] : returned;
}

const USER = { user: { objectId: 'u1', name: 'Ann', level: 3, sessionToken: 'r:1' } };
const MASTER = { master: true };

test('who calls', async () => {
  assert.deepEqual(await failure('{ requireUser: true }'), [
    142,
    'Validation failed. Please login to continue.',
  ]);
  assert.deepEqual(await failure('{ requireUser: true }', {}, USER), {});
  assert.deepEqual(await failure('{ requireUser: true }', {}, MASTER), {});
  assert.deepEqual(await failure('{ requireUser: true, validateMasterKey: true }', {}, MASTER), [
    142,
    'Validation failed. Please login to continue.',
  ]);
  assert.deepEqual(await failure('{ requireMaster: true }', {}, USER), [
    142,
    'Validation failed. Master key is required to complete this request.',
  ]);
});

test('fields', async () => {
  const missing = (key) => [142, `Validation failed. Please specify data for ${key}.`];
  assert.deepEqual(await failure("{ fields: ['a', 'b'] }", { a: 1 }), missing('b'));
  assert.deepEqual(await failure('{ fields: { a: { required: true } } }', { a: null }), missing('a'));
  assert.deepEqual(await failure('{ fields: { a: { type: String } } }', {}), {});
  assert.deepEqual(await failure('{ fields: { a: { type: String } } }', { a: 1 }), [
    142,
    'Validation failed. Invalid type for a. Expected: string',
  ]);
  assert.deepEqual(await failure('{ fields: { a: { type: Array } } }', { a: {} }), [
    142,
    'Validation failed. Invalid type for a. Expected: array',
  ]);
  assert.deepEqual(await failure('{ fields: { a: { default: 7 } } }', {}), { a: 7 });
  assert.deepEqual(await failure("{ fields: { a: { options: ['x', 'y'] } } }", { a: 'z' }), [
    142,
    'Validation failed. Invalid option for a. Expected: x, y',
  ]);
  assert.deepEqual(await failure("{ fields: { a: { options: 'x', error: 'own text' } } }", { a: 'z' }), [
    142,
    'own text',
  ]);
  assert.deepEqual(await failure('{ fields: { a: { options: async (v) => v > 3 } } }', { a: 2 }), [
    142,
    'Validation failed. Invalid value for a.',
  ]);
  assert.deepEqual(
    await failure("{ fields: { a: { options: (v) => { throw 'thrown text'; } } } }", { a: 2 }),
    [142, 'thrown text'],
  );
  assert.deepEqual(await failure('{ fields: { a: { options: (v) => v > 3 } } }', { a: 5 }), { a: 5 });
});

test('keys of the user', async () => {
  assert.deepEqual(await failure("{ requireUserKeys: ['name', 'phone'] }", {}, USER), [
    142,
    'Validation failed. Please set data for phone on your account.',
  ]);
  assert.deepEqual(await failure('{ requireUserKeys: { level: { options: [1, 2] } } }', {}, USER), [
    142,
    'Validation failed. Invalid option for level. Expected: 1, 2',
  ]);
  assert.deepEqual(
    await failure('{ requireUserKeys: { level: { options: (v) => v === 3 } } }', {}, USER),
    {},
  );
});

test('roles that the host names', async () => {
  const roles = { ...USER, userRoles: ['role:Editor', 'role:Staff'] };
  assert.deepEqual(await failure("{ requireAnyUserRoles: ['Admin', 'Editor'] }", {}, roles), {});
  assert.deepEqual(await failure("{ requireAnyUserRoles: ['Admin'] }", {}, roles), [
    142,
    'Validation failed. User does not match the required roles.',
  ]);
  assert.deepEqual(await failure("{ requireAllUserRoles: async () => ['Editor', 'Admin'] }", {}, roles), [
    142,
    'Validation failed. User does not match all the required roles.',
  ]);
  assert.deepEqual(await failure("{ requireAllUserRoles: ['Editor'] }"), [
    142,
    'Validation failed. Please login to continue.',
  ]);
});

test('roles found by asking, those above included', async () => {
  const answer = ({ body }) => {
    const json = JSON.stringify(body.where);
    const results = json.includes('"u1"')
      ? [{ objectId: 'r1', name: 'Editor' }]
      : json.includes('"r1"')
        ? [{ objectId: 'r2', name: 'Admin' }]
        : [];
    return { status: 200, body: { results }, headers: [] };
  };
  assert.deepEqual(await failure("{ requireAllUserRoles: ['Editor', 'Admin'] }", {}, USER, { answer }), {});
});

test('functions as validators run for everyone', async () => {
  assert.deepEqual(await failure('() => false'), {});
  assert.deepEqual(await failure("() => { throw 'why'; }", {}, MASTER), [142, 'why']);
  assert.deepEqual(await failure('() => { throw null; }'), [142, 'Validation failed.']);
  assert.deepEqual(await failure("async () => { throw new Parse.Error(12345, 'own'); }"), [12345, 'own']);
});

test('triggers: default and constant, and skipWithMasterKey', async () => {
  const isolate = new Isolate();
  isolate.load(`
    Parse.Cloud.beforeSave('A', () => {}, { fields: { kind: { default: 'plain' }, owner: { constant: true, default: 'nobody' } } });
    Parse.Cloud.beforeSave('B', () => { throw 'ran'; }, { skipWithMasterKey: true });
    Parse.Cloud.beforeSave('_User', () => {}, { requireUser: true });
  `);
  const create = (ops) => ({ object: {}, original: null, ops });
  assert.deepEqual((await isolate.trigger('beforeSave', 'A', create({ owner: 'me' }))).returned.ops, {
    kind: 'plain',
    owner: 'nobody',
  });
  const stored = { objectId: 'a', owner: 'first', kind: 'k' };
  const update = await isolate.trigger('beforeSave', 'A', {
    object: stored,
    original: stored,
    objectId: 'a',
    ops: { owner: 'second', n: 1 },
  });
  assert.deepEqual(update.returned.ops, { n: 1 });
  assert.deepEqual(
    (await isolate.trigger('beforeSave', 'B', { ...create({ n: 1 }), master: true })).returned.ops,
    { n: 1 },
  );
  assert.equal((await isolate.trigger('beforeSave', 'B', create({}))).threw.message, 'ran');
  assert.deepEqual((await isolate.trigger('beforeSave', '_User', create({ username: 'new' }))).returned.ops, {
    username: 'new',
  });
});

test('rateLimit is taken with a warning', () => {
  const isolate = new Isolate();
  isolate.load(
    `Parse.Cloud.define('f', () => {}, { rateLimit: { requestTimeWindow: 1000, requestCount: 5 } });`,
  );
  assert.match(isolate.manifest().warnings[0], /rateLimit of function f is accepted, but not enforced/);
});
