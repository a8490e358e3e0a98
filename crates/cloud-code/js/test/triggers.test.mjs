import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

function isolateWith(source, options) {
  const isolate = new Isolate(options);
  isolate.load(source);
  return isolate;
}

const STORED = {
  objectId: 'o1',
  name: 'old',
  count: 1,
  tags: ['a'],
  owner: { __type: 'Pointer', className: '_User', objectId: 'u1' },
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-02T00:00:00.000Z',
};

function update(ops) {
  return { object: STORED, original: STORED, objectId: 'o1', ops };
}

test('registration: names, classes and the manifest', () => {
  const isolate = isolateWith(`
    class Pet extends Parse.Object { constructor() { super('Pet'); } }
    Parse.Object.registerSubclass('Pet', Pet);
    Parse.Cloud.beforeSave('Order', () => {});
    Parse.Cloud.beforeSave('User', () => {});
    Parse.Cloud.afterSave(Parse.User, () => {}, { order: 'none' });
    Parse.Cloud.beforeDelete(Pet, () => {});
    Parse.Cloud.afterDelete(Parse.Object.extend('Thing'), () => {});
    Parse.Cloud.beforeFind(Parse.Role, () => {});
    Parse.Cloud.beforeLogin(() => {});
    Parse.Cloud.afterLogin('_User', () => {});
    Parse.Cloud.afterLogout(() => {});
    Parse.Cloud.beforePasswordResetRequest(() => {});
    Parse.Cloud.job('nightly', () => {});
    Parse.Cloud.beforeSave(Parse.File, () => {});
  `);
  const { triggers, jobs, warnings } = isolate.manifest();
  assert.deepEqual(triggers, [
    { kind: 'beforeSave', class: 'Order' },
    { kind: 'beforeSave', class: '_User' },
    { kind: 'afterSave', class: '_User', policy: { original: false, unordered: true } },
    { kind: 'beforeDelete', class: 'Pet' },
    { kind: 'afterDelete', class: 'Thing', policy: { original: true } },
    { kind: 'beforeFind', class: '_Role' },
    { kind: 'beforeLogin', class: '_User' },
    { kind: 'afterLogin', class: '_User' },
    { kind: 'afterLogout', class: '_Session' },
    { kind: 'beforePasswordResetRequest', class: '_User' },
  ]);
  assert.deepEqual(jobs, [{ name: 'nightly', options: {} }]);
  assert.match(warnings[0], /beforeSave of @File is accepted/);
});

test('registrations that Parse refuses', () => {
  const refused = {
    "Parse.Cloud.beforeSave('_PushStatus', () => {})": /Only afterSave is allowed on _PushStatus/,
    "Parse.Cloud.beforeSave('_Session', () => {})":
      /Only the afterLogout trigger is allowed for the _Session class/,
    "Parse.Cloud.beforeLogin('Order', () => {})":
      /Only the _User class is allowed for the beforeLogin and afterLogin/,
    "Parse.Cloud.afterLogout('Order', () => {})": /Only the _Session class is allowed for the afterLogout/,
    "Parse.Cloud.beforeSave('Order')": /must be a function/,
    'Parse.Cloud.beforeSave(undefined, () => {})': /needs a class/,
    "Parse.Cloud.beforeSave('Order', () => {}, { requireUsr: true })":
      /requireUsr is not a supported parameter/,
    "Parse.Cloud.define('f', () => {}, { requireUser: 'yes' })": /Expected boolean, actual string/,
  };
  for (const [source, message] of Object.entries(refused))
    assert.throws(() => new Isolate().load(source), message);
});

test("beforeSave that looks at nothing answers the client's own operations", async () => {
  const isolate = isolateWith(`Parse.Cloud.beforeSave('Order', () => true);`);
  const ops = { name: 'new', count: { __op: 'Increment', amount: 2 } };
  const { returned } = await isolate.trigger('beforeSave', 'Order', { ...update(ops), context: { a: 1 } });
  assert.deepEqual(returned, { ops, context: { a: 1 } });
});

test('beforeSave of an update', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.beforeSave('Order', async ({ object, original, context }) => {
      context.seen = {
        isNew: object.isNew(), existed: object.existed(), dirty: object.dirtyKeys().sort(), id: object.id,
        name: object.get('name'), was: original.get('name'), count: object.get('count'),
        owner: object.get('owner').id, createdAt: object.createdAt.toISOString(), tagsDirty: object.dirty('tags'),
      };
      object.set('slug', object.get('name').toLowerCase());
      object.increment('count', 5);
      object.unset('tags');
    });
  `);
  const { returned } = await isolate.trigger(
    'beforeSave',
    'Order',
    update({
      name: 'NEW',
      count: { __op: 'Increment', amount: 2 },
      due: { __type: 'Date', iso: '2026-03-01T00:00:00.000Z' },
    }),
  );
  assert.deepEqual(returned.context.seen, {
    isNew: false,
    existed: true,
    dirty: ['count', 'due', 'name'],
    id: 'o1',
    name: 'NEW',
    was: 'old',
    count: 3,
    owner: 'u1',
    createdAt: '2026-01-01T00:00:00.000Z',
    tagsDirty: false,
  });
  assert.deepEqual(returned.ops, {
    name: 'NEW',
    slug: 'new',
    count: { __op: 'Increment', amount: 7 },
    tags: { __op: 'Delete' },
    due: { __type: 'Date', iso: '2026-03-01T00:00:00.000Z' },
  });
});

test('beforeSave of a new object', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.beforeSave('Order', ({ object, original }) => {
      if (!object.isNew() || object.existed() || original !== undefined) throw new Error('not new');
      object.set('owner', Parse.User.createWithoutData('u2'));
      object.setACL(new Parse.ACL({ u2: { read: true, write: true } }));
      object.get('options').deep = true;
    });
  `);
  const { returned } = await isolate.trigger('beforeSave', 'Order', {
    object: {},
    original: null,
    ops: {
      name: 'x',
      options: { a: 1 },
      items: { __op: 'AddRelation', objects: [{ __type: 'Pointer', className: 'Item', objectId: 'i1' }] },
    },
  });
  assert.deepEqual(returned.ops, {
    name: 'x',
    options: { a: 1, deep: true },
    items: { __op: 'AddRelation', objects: [{ __type: 'Pointer', className: 'Item', objectId: 'i1' }] },
    owner: { __type: 'Pointer', className: '_User', objectId: 'u2' },
    ACL: { u2: { read: true, write: true } },
  });
});

test('beforeSave: a new object with an id of its own is still new to it', async () => {
  const isolate = isolateWith(
    `Parse.Cloud.beforeSave('Order', ({ object, context }) => { context.x = [object.id, object.existed()]; });`,
  );
  const { returned } = await isolate.trigger('beforeSave', 'Order', {
    object: {},
    original: null,
    objectId: 'mine',
    ops: {},
  });
  assert.deepEqual(returned.context.x, ['mine', false]);
});

test('beforeSave: revert, add, remove, changes inside objects, dotted keys', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.beforeSave('Order', ({ object }) => {
      object.revert('name');
      object.addUnique('tags', 'b');
      object.get('address').street = 'changed';
    });
  `);
  const stored = { ...STORED, address: { street: 's', city: 'c' }, stats: { hits: 1 } };
  const { returned } = await isolate.trigger('beforeSave', 'Order', {
    object: stored,
    original: stored,
    objectId: 'o1',
    ops: { name: 'new', 'stats.hits': 5 },
  });
  assert.deepEqual(returned.ops, {
    tags: { __op: 'AddUnique', objects: ['b'] },
    address: { street: 'changed', city: 'c' },
    'stats.hits': 5,
  });
});

test('beforeSave: what the handler returns counts only as {object}', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.beforeSave('Fields', () => ({ object: { name: 'replaced', at: new Date(0) } }));
    Parse.Cloud.beforeSave('Self', ({ object }) => { object.set('n', 1); return object; });
    Parse.Cloud.beforeSave('Other', () => ({ whatever: 1 }));
  `);
  const ops = async (className) =>
    (await isolate.trigger('beforeSave', className, update({ name: 'x' }))).returned.ops;
  assert.deepEqual(await ops('Fields'), {
    name: 'replaced',
    at: { __type: 'Date', iso: '1970-01-01T00:00:00.000Z' },
  });
  assert.deepEqual(await ops('Self'), { name: 'x', n: 1 });
  assert.deepEqual(await ops('Other'), { name: 'x' });
});

test('beforeSave refuses by throwing', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.beforeSave('A', () => { throw 'no'; });
    Parse.Cloud.beforeSave('B', () => { throw new Parse.Error(999, 'own code'); });
    Parse.Cloud.beforeSave('C', ({ object }) => { object.set('bad key!', 1); });
  `);
  assert.deepEqual((await isolate.trigger('beforeSave', 'A', update({}))).threw.code, 141);
  assert.deepEqual((await isolate.trigger('beforeSave', 'B', update({}))).threw.code, 999);
  assert.match((await isolate.trigger('beforeSave', 'C', update({}))).threw.message, /Invalid key name/);
});

test('afterSave sees the write and can ask what it changed', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.afterSave('Order', ({ object, original, source, context }) => {
      context.seen = [
        object.existed(), object.isNew(), object.get('name'), original?.get('name'), source,
        object.dirty('name'), object.dirty('tags'), object.dirty(), object.dirtyKeys(),
        object.op('count').toJSON(), object.op('name')._value, object.op('tags') === undefined,
      ];
    });
  `);
  const { returned } = await isolate.trigger('afterSave', 'Order', {
    object: { ...STORED, name: 'new', count: 3 },
    original: STORED,
    source: 'sql',
    eventId: 'e1',
    attempt: 1,
    ops: { name: 'new', count: { __op: 'Increment', amount: 2 } },
  });
  assert.deepEqual(returned.context.seen, [
    true,
    false,
    'new',
    'old',
    'sql',
    true,
    false,
    false,
    ['name', 'count'],
    { __op: 'Increment', amount: 2 },
    'new',
    true,
  ]);
  assert.equal(returned.object, null);
});

test('afterSave: relations added are in the op', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.afterSave(Parse.Role, ({ object, context }) => {
      context.added = object.op('users').relationsToAdd;
    });
  `);
  const { returned } = await isolate.trigger('afterSave', '_Role', {
    object: { objectId: 'r1', name: 'Admin' },
    original: null,
    ops: {
      users: { __op: 'AddRelation', objects: [{ __type: 'Pointer', className: '_User', objectId: 'u9' }] },
    },
  });
  assert.deepEqual(returned.context.added, ['u9']);
});

test('afterSave: changes and returned objects are shown, a save sends only what the handler set', async () => {
  const isolate = isolateWith(
    `
    Parse.Cloud.afterSave('Changed', ({ object }) => { object.set('extra', 1); object.unset('name'); object.increment('count'); });
    Parse.Cloud.afterSave('Returned', ({ object }) => Parse.Object.fromJSON({ className: 'Returned', objectId: 'x', other: 2 }));
    Parse.Cloud.afterSave('Saved', async ({ object }) => { object.set('state', 'seen'); await object.save(null, { useMasterKey: true }); });
  `,
    { answer: () => ({ status: 200, body: { updatedAt: '2026-01-03T00:00:00.000Z' }, headers: [] }) },
  );
  const request = {
    object: STORED,
    original: null,
    ops: { name: 'old', count: { __op: 'Increment', amount: 1 } },
  };
  assert.deepEqual((await isolate.trigger('afterSave', 'Changed', request)).returned.object, {
    extra: 1,
    name: { __op: 'Delete' },
    count: 2,
  });
  assert.deepEqual((await isolate.trigger('afterSave', 'Returned', request)).returned.object, {
    objectId: 'x',
    other: 2,
  });
  assert.equal((await isolate.trigger('afterSave', 'Saved', request)).returned.object, null);
  assert.deepEqual(isolate.calls[0].body, { state: 'seen' });
  assert.equal(isolate.calls[0].path, 'classes/Saved/o1');
});

test('beforeDelete, afterDelete, login and logout get the object', async () => {
  const isolate = isolateWith(`
    for (const kind of ['beforeDelete', 'afterDelete']) {
      Parse.Cloud[kind]('Order', ({ object, triggerName, context }) => { context.saw = [triggerName, object.id, object.className]; });
    }
    Parse.Cloud.beforeLogin(({ object, user }) => { if (object.get('banned')) throw new Parse.Error(101, 'banned'); });
    Parse.Cloud.afterLogout(({ object, context }) => { context.user = object.get('user').id; });
  `);
  const { returned } = await isolate.trigger('beforeDelete', 'Order', { object: STORED });
  assert.deepEqual(returned, { context: { saw: ['beforeDelete', 'o1', 'Order'] } });
  assert.deepEqual(
    (await isolate.trigger('afterDelete', 'Order', { object: STORED })).returned.context.saw[0],
    'afterDelete',
  );
  assert.equal(
    (await isolate.trigger('beforeLogin', '_User', { object: { objectId: 'u', banned: true } })).threw
      .message,
    'banned',
  );
  const session = { objectId: 's', user: { __type: 'Pointer', className: '_User', objectId: 'u7' } };
  assert.equal(
    (await isolate.trigger('afterLogout', '_Session', { object: session })).returned.context.user,
    'u7',
  );
});

test('beforeFind: untouched, changed, replaced', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.beforeFind('Same', () => {});
    Parse.Cloud.beforeFind('Changed', ({ query, isGet, count }) => { query.equalTo('public', true); query.limit(5); if (isGet || count) throw 'flags'; });
    Parse.Cloud.beforeFind('Replaced', ({ query }) => Parse.Query.or(query, new Parse.Query('Replaced').equalTo('x', 1)));
    Parse.Cloud.beforeFind('Counted', ({ query }) => { query.equalTo('a', 1); });
    Parse.Cloud.beforeFind('Preference', (request) => { request.readPreference = 'SECONDARY'; });
  `);
  const query = { where: { name: 'n' }, limit: 100, order: '-createdAt', include: 'owner', keys: 'name' };
  const after = async (className, extra) =>
    (await isolate.trigger('beforeFind', className, { query, ...extra })).returned.query;
  assert.deepEqual(await after('Same'), query);
  assert.deepEqual(await after('Changed'), { ...query, where: { name: 'n', public: true }, limit: 5 });
  assert.deepEqual((await after('Replaced')).where, { $or: [{ name: 'n' }, { x: 1 }] });
  assert.deepEqual(await after('Counted', { query: { where: {}, limit: 0, count: 1 } }), {
    where: { a: 1 },
    limit: 0,
    count: 1,
  });
  assert.equal((await after('Preference')).readPreference, 'SECONDARY');
});

test('afterFind: untouched, changed, filtered', async () => {
  const isolate = isolateWith(`
    Parse.Cloud.afterFind('Same', () => {});
    Parse.Cloud.afterFind('Changed', ({ objects }) => { objects[0].set('secret', '***'); });
    Parse.Cloud.afterFind('Filtered', async ({ objects }) => objects.filter((object) => object.get('n') > 1));
  `);
  const objects = [
    { objectId: 'a', n: 1, secret: 's' },
    { objectId: 'b', n: 2 },
  ];
  const after = async (className) =>
    (await isolate.trigger('afterFind', className, { objects, query: {} })).returned.objects;
  assert.deepEqual(await after('Same'), objects);
  assert.deepEqual(await after('Changed'), [{ objectId: 'a', n: 1, secret: '***' }, objects[1]]);
  assert.deepEqual(await after('Filtered'), [objects[1]]);
});

test('the user of a trigger, and its context', async () => {
  const isolate = isolateWith(
    `Parse.Cloud.beforeDelete('Order', ({ user, master, context }) => { context.by = [user.id, master]; });`,
  );
  const { returned } = await isolate.trigger('beforeDelete', 'Order', {
    object: STORED,
    user: { objectId: 'u1' },
    master: true,
    context: { old: 1 },
  });
  assert.deepEqual(returned.context, { old: 1, by: ['u1', true] });
});
