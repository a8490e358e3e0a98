// Cloud functions and triggers, as clients meet them.

import assert from 'node:assert/strict';
import { Parse, rejectsWithCode, run } from './parse.mjs';

await run({
  async 'params and results'() {
    const params = { text: 'ä', number: 1.5, list: [1, [2]], none: null, yes: true, deep: { a: { b: 1 } } };
    assert.deepEqual(await Parse.Cloud.run('echo', params), params);
    assert.deepEqual(await Parse.Cloud.run('echo'), {});
    assert.equal(await Parse.Cloud.run('nothing'), undefined);
    assert.equal((await Parse.Cloud.run('null')) ?? null, null);
  },

  async 'dates and objects arrive as what they are'() {
    const item = await new Parse.Object('Item').save();
    const params = { when: new Date(), list: [{ when: new Date() }], item: item.toPointer(), matrix: [[1]] };
    assert.deepEqual(await Parse.Cloud.run('kinds', params), {
      date: true, nested: true, object: true, id: item.id, arrays: true,
    });
    const when = new Date('2026-05-01T10:00:00.500Z');
    assert.deepEqual(await Parse.Cloud.run('later', { when }), new Date('2026-05-01T10:00:01.500Z'));
    const echoed = await Parse.Cloud.run('echo', { when, list: [when] });
    assert.deepEqual(echoed, { when, list: [when] });
  },

  async 'objects in results are Parse.Objects with their data'() {
    const { item, list, count } = await Parse.Cloud.run('make', { name: 'lamp' });
    for (const object of [item, ...list]) {
      assert.ok(object instanceof Parse.Object);
      assert.equal(object.className, 'Item');
      assert.equal(object.get('name'), 'lamp');
      assert.deepEqual(object.get('at'), new Date(0));
      assert.ok(object.createdAt instanceof Date);
    }
    assert.equal(count, 1);
    await item.save({ name: 'changed' });
    assert.equal((await new Parse.Query('Item').get(item.id)).get('name'), 'changed');
  },

  async 'what a function throws'() {
    const call = (how) => Parse.Cloud.run('fail', { how });
    await rejectsWithCode(call('parse'), 999, 'own code');
    await rejectsWithCode(call('string'), Parse.Error.SCRIPT_FAILED, 'a string');
    await rejectsWithCode(call('error'), Parse.Error.SCRIPT_FAILED, 'an error');
    await rejectsWithCode(Parse.Cloud.run('unknown'), Parse.Error.SCRIPT_FAILED, 'Invalid function: "unknown"');
  },

  async 'who calls'() {
    const user = await Parse.User.signUp('ada', 'correct horse');
    const sessionToken = user.getSessionToken();
    assert.deepEqual(await Parse.Cloud.run('who', {}, { sessionToken }), { user: 'ada', master: false });
    assert.deepEqual(await Parse.Cloud.run('who', {}, { useMasterKey: true }), { master: true });
    await rejectsWithCode(Parse.Cloud.run('who', {}, { sessionToken: 'r:no' }), Parse.Error.INVALID_SESSION_TOKEN);
  },

  async 'the context option'() {
    const context = { trace: 'abc', nested: { list: [1] } };
    assert.deepEqual(await Parse.Cloud.run('context', {}, { context }), context);
    assert.deepEqual(await Parse.Cloud.run('context'), {});
    const guarded = new Parse.Object('Guarded', { price: 1 });
    await guarded.save(null, { context: { seen: 'on save' } });
    assert.equal(guarded.get('seen'), 'on save');
    const two = [1, 2].map((price) => new Parse.Object('Guarded', { price }));
    await Parse.Object.saveAll(two, { context: { seen: 'in a batch' } });
    assert.deepEqual(two.map((object) => object.get('seen')), ['in a batch', 'in a batch']);
  },

  async 'what a beforeSave changed is known to the client at once'() {
    const guarded = await new Parse.Object('Guarded').save({ price: 2, note: 'x' });
    assert.equal(guarded.get('cents'), 200);
    assert.equal(guarded.get('was'), -1);
    assert.equal(guarded.dirty(), false);
    await guarded.save({ price: 3 }, { context: { unset: true } });
    assert.deepEqual([guarded.get('cents'), guarded.get('was')], [300, 2]);
    assert.equal(guarded.has('note'), false);
    const stored = await new Parse.Query('Guarded').get(guarded.id);
    assert.deepEqual([stored.get('cents'), stored.has('note')], [300, false]);

    const refused = guarded.save({ price: -1 });
    await rejectsWithCode(refused, Parse.Error.VALIDATION_ERROR, 'a price cannot be negative');
    assert.equal((await new Parse.Query('Guarded').get(guarded.id)).get('price'), 3);
  },

  async 'a beforeDelete keeps an object or lets it go'() {
    const locked = await new Parse.Object('Guarded').save({ price: 1, locked: true });
    await rejectsWithCode(locked.destroy(), Parse.Error.SCRIPT_FAILED, 'it is locked');
    assert.equal((await new Parse.Query('Guarded').get(locked.id)).id, locked.id);
    await locked.destroy({ context: { force: true } });
    await rejectsWithCode(new Parse.Query('Guarded').get(locked.id), Parse.Error.OBJECT_NOT_FOUND);
  },
});
