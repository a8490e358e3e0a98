// Single objects and batches of them.

import assert from 'node:assert/strict';
import { Parse, rejectsWithCode, run } from './parse.mjs';

const Score = Parse.Object.extend('Score');

/** A new instance with nothing but the id: what it then has came from the server. */
function stranger(object) {
  return Parse.Object.extend(object.className).createWithoutData(object.id);
}

await run({
  async 'an object is saved, updated, fetched and destroyed'() {
    const score = new Score({ player: 'Ada', points: 7, tags: ['a'], details: { level: 3 } });
    await score.save();
    assert.match(score.id, /^[A-Za-z0-9]{10}$/);
    assert.ok(score.createdAt instanceof Date);
    assert.deepEqual(score.createdAt, score.updatedAt);

    await score.save({ points: 8 });
    assert.equal(score.dirty(), false);
    assert.ok(score.updatedAt >= score.createdAt);

    const fetched = await stranger(score).fetch();
    assert.equal(fetched.get('points'), 8);
    assert.deepEqual(fetched.toJSON(), {
      objectId: score.id,
      player: 'Ada',
      points: 8,
      tags: ['a'],
      details: { level: 3 },
      createdAt: score.createdAt.toJSON(),
      updatedAt: score.updatedAt.toJSON(),
    });

    await score.destroy();
    await rejectsWithCode(stranger(score).fetch(), Parse.Error.OBJECT_NOT_FOUND, 'Object not found.');
    await rejectsWithCode(stranger(score).save({ points: 1 }), Parse.Error.OBJECT_NOT_FOUND);
    await rejectsWithCode(stranger(score).destroy(), Parse.Error.OBJECT_NOT_FOUND);
  },

  async 'operations are applied by the server'() {
    const score = await new Score({ points: 1, tags: ['a'], details: { level: 1, lives: 3 }, note: 'x' }).save();
    // Another client changed it meanwhile: operations must go by what is stored.
    await stranger(score).save({ points: 10, tags: ['a', 'b', 'c'] });
    score.increment('points', 5);
    score.addUnique('tags', 'b');
    score.unset('note');
    score.increment('details.level');
    await score.save();
    assert.equal(score.get('points'), 15);
    assert.deepEqual(score.get('tags'), ['a', 'b', 'c']);
    assert.equal(score.get('note'), undefined);
    score.add('tags', 'a');
    await score.save();
    score.remove('tags', 'b');
    await score.save();
    score.decrement('points', 2);
    await score.save();

    const fetched = await stranger(score).fetch();
    assert.equal(fetched.get('points'), 13);
    assert.deepEqual(fetched.get('tags'), ['a', 'c', 'a']);
    assert.equal(fetched.has('note'), false);
    assert.deepEqual(fetched.get('details'), { level: 2, lives: 3 });
  },

  async 'every kind of value comes back as it went'() {
    const target = await new Parse.Object('Target').save({ name: 'it' });
    const values = {
      text: 'Grüße, 世界 🌍 "quoted" \\ and\nlines',
      empty: '',
      fraction: 0.1,
      negative: -5e-7,
      large: 2 ** 53,
      yes: true,
      no: false,
      when: new Date('2026-02-28T23:59:59.123Z'),
      list: [1, 'two', [3], { four: 4 }, null],
      nested: { a: { b: [{ c: 'deep' }] }, when: new Date('1969-12-31T23:59:59.999Z') },
      place: new Parse.GeoPoint(48.2, -16.37),
      pointer: target,
      pointers: [target],
    };
    const saved = await new Parse.Object('Values').save(values);
    const fetched = await stranger(saved).fetch();
    for (const [name, value] of Object.entries(values)) {
      if (name.startsWith('pointer')) continue;
      assert.deepEqual(fetched.get(name), value, name);
    }
    assert.ok(fetched.get('when') instanceof Date && fetched.get('nested').when instanceof Date);
    assert.equal(fetched.get('pointer').id, target.id);
    assert.equal(fetched.get('pointers')[0].id, target.id);
    assert.equal((await fetched.get('pointer').fetch()).get('name'), 'it');
  },

  async 'unsaved objects are saved with the one that points to them'() {
    const parent = new Parse.Object('Parent', { child: new Parse.Object('Child', { name: 'new' }) });
    await parent.save();
    assert.ok(parent.get('child').id);
    assert.equal((await stranger(parent.get('child')).fetch()).get('name'), 'new');
  },

  async 'a batch saves and destroys many, and tells of each that failed'() {
    const scores = Array.from({ length: 45 }, (_, n) => new Score({ batch: 'many', points: n }));
    await Parse.Object.saveAll(scores);
    assert.equal(new Set(scores.map(({ id }) => id)).size, 45);
    const query = new Parse.Query(Score).equalTo('batch', 'many');
    assert.equal(await query.count(), 45);

    const again = scores.map(stranger);
    await Parse.Object.fetchAll(again);
    assert.deepEqual(again.map((score) => score.get('points')), scores.map((score) => score.get('points')));

    const bad = [new Score({ batch: 'bad', points: 1 }), new Score({ batch: 'bad', points: 'text' })];
    await rejectsWithCode(Parse.Object.saveAll(bad), Parse.Error.INCORRECT_TYPE);
    assert.deepEqual(bad.map((score) => Boolean(score.id)), [true, false]);

    await scores[0].destroy();
    await assert.rejects(Parse.Object.destroyAll(scores), (error) => {
      assert.equal(error.code, Parse.Error.AGGREGATE_ERROR);
      assert.deepEqual(error.errors.map(({ code }) => code), [Parse.Error.OBJECT_NOT_FOUND]);
      return true;
    });
    assert.equal(await query.count(), 0);
  },

  async 'a batch in a transaction is all or nothing'() {
    const pair = [new Score({ batch: 'tx', points: 1 }), new Score({ batch: 'tx', points: 'text' })];
    // The SDK gives one error for each object, and code 111 whatever the server's was.
    await assert.rejects(Parse.Object.saveAll(pair, { transaction: true }), (errors) => {
      const mismatch = 'schema mismatch for Score.points; expected Number but got String';
      assert.deepEqual(errors.map(({ message }) => message), [mismatch, mismatch]);
      return true;
    });
    assert.equal(await new Parse.Query(Score).equalTo('batch', 'tx').count(), 0);
  },

  async 'a relation holds objects of another class'() {
    const [one, two, three] = await Parse.Object.saveAll([1, 2, 3].map((n) => new Parse.Object('Member', { n })));
    const team = new Parse.Object('Team');
    team.relation('members').add([one, two, three]);
    await team.save();
    team.relation('members').remove(two);
    await team.save();
    const members = await stranger(team).relation('members').query().ascending('n').find();
    assert.deepEqual(members.map((member) => member.get('n')), [1, 3]);
  },

  async 'errors have codes that clients branch on'() {
    await new Score({ points: 1 }).save();
    const mismatch = 'schema mismatch for Score.points; expected Number but got String';
    await rejectsWithCode(new Score({ points: 'text' }).save(), Parse.Error.INCORRECT_TYPE, mismatch);
    await rejectsWithCode(new Parse.Object('1Score').save(), Parse.Error.INVALID_CLASS_NAME);
    await rejectsWithCode(Score.createWithoutData('aaaaaaaaaa').fetch(), Parse.Error.OBJECT_NOT_FOUND);
    const text = await new Score({ name: 'text' }).save();
    const counted = stranger(text);
    counted.increment('name');
    await rejectsWithCode(counted.save(), Parse.Error.INCORRECT_TYPE);
  },
});
