// Queries.

import assert from 'node:assert/strict';
import { Parse, rejectsWithCode, run } from './parse.mjs';

const query = () => new Parse.Query('Item');
const ns = (items) => items.map((item) => item.get('n'));
const day = (n) => new Date(Date.UTC(2026, 0, n));

const makers = [];
const items = [];

await run({
  async 'objects to be found'() {
    makers.push(...(await Parse.Object.saveAll(['Ada', 'Bob'].map((name) => new Parse.Object('Maker', { name })))));
    for (let n = 1; n <= 20; n += 1) {
      const item = new Parse.Object('Item', { n, even: n % 2 === 0, name: `item ${n}`, at: day(n), tags: [`t${n % 3}`] });
      item.set('maker', makers[n % 2]);
      if (n <= 3) item.set('makers', makers);
      if (n === 7) item.set('special', { grade: 'A' });
      items.push(item);
    }
    await Parse.Object.saveAll(items);
  },

  async 'conditions'() {
    const cases = {
      'equalTo a number': [query().equalTo('n', 3), [3]],
      'equalTo a text': [query().equalTo('name', 'item 4'), [4]],
      'equalTo a date': [query().equalTo('at', day(5)), [5]],
      'equalTo a pointer': [query().equalTo('maker', makers[0]).lessThan('n', 5), [2, 4]],
      'equalTo an element': [query().equalTo('tags', 't0').lessThan('n', 10), [3, 6, 9]],
      'equalTo an element that is a pointer': [query().equalTo('makers', makers[1]), [1, 2, 3]],
      'equalTo a nested value': [query().equalTo('special.grade', 'A'), [7]],
      'notEqualTo': [query().notEqualTo('even', true).lessThan('n', 4), [1, 3]],
      'comparison of numbers': [query().greaterThan('n', 17).lessThanOrEqualTo('n', 19), [18, 19]],
      'comparison of dates': [query().greaterThanOrEqualTo('at', day(19)), [19, 20]],
      'containedIn': [query().containedIn('n', [2, 4, 99]), [2, 4]],
      'notContainedIn': [query().notContainedIn('n', [1, 2, 3]).lessThan('n', 6), [4, 5]],
      'containsAll': [query().containsAll('tags', ['t1']).lessThan('n', 5), [1, 4]],
      'exists': [query().exists('special'), [7]],
      'doesNotExist': [query().doesNotExist('makers').lessThan('n', 6), [4, 5]],
      'startsWith': [query().startsWith('name', 'item 1').lessThan('n', 12), [1, 10, 11]],
      'matches': [query().matches('name', /^ITEM 2.$/i), [20]],
      'or': [Parse.Query.or(query().equalTo('n', 1), query().greaterThan('n', 19)), [1, 20]],
      'and': [Parse.Query.and(query().equalTo('even', true), query().lessThan('n', 4)), [2]],
      'by id': [query().equalTo('objectId', items[10].id), [11]],
    };
    for (const [name, [wanted, expected]] of Object.entries(cases)) {
      assert.deepEqual(ns(await wanted.ascending('n').find()), expected, name);
    }
  },

  async 'order, limit and skip'() {
    assert.deepEqual(ns(await query().descending('n').limit(3).find()), [20, 19, 18]);
    assert.deepEqual(ns(await query().ascending('n').skip(18).find()), [19, 20]);
    const two = await query().ascending('even').addDescending('n').limit(2).find();
    assert.deepEqual(ns(two), [19, 17]);
    assert.deepEqual(await query().limit(0).find(), []);
  },

  async 'first, get and count'() {
    assert.equal((await query().equalTo('n', 3).first()).get('name'), 'item 3');
    assert.equal(await query().equalTo('n', 99).first(), undefined);
    assert.equal((await query().get(items[0].id)).get('n'), 1);
    await rejectsWithCode(query().get('aaaaaaaaaa'), Parse.Error.OBJECT_NOT_FOUND);
    assert.equal(await query().equalTo('even', true).count(), 10);
    const { results, count } = await query().limit(2).withCount().find();
    assert.deepEqual([results.length, count], [2, 20]);
  },

  async 'chosen fields'() {
    const [item] = await query().select('n').equalTo('n', 5).find();
    assert.deepEqual(Object.keys(item.attributes).sort(), ['createdAt', 'n', 'updatedAt']);
    const [other] = await query().exclude('name', 'tags').equalTo('n', 5).find();
    assert.deepEqual(Object.keys(other.attributes).sort(), ['at', 'createdAt', 'even', 'maker', 'n', 'updatedAt']);
  },

  async 'included pointers, single and in arrays'() {
    const bare = await query().equalTo('n', 1).first();
    assert.equal(bare.get('maker').isDataAvailable(), false);
    const item = await query().equalTo('n', 1).include('maker', 'makers').first();
    assert.equal(item.get('maker').get('name'), 'Bob');
    assert.deepEqual(item.get('makers').map((maker) => maker.get('name')), ['Ada', 'Bob']);

    const shelf = await new Parse.Object('Shelf', { item: items[0] }).save();
    const deep = await new Parse.Query('Shelf').include('item.maker').get(shelf.id);
    assert.equal(deep.get('item').get('maker').get('name'), 'Bob');
    const all = await new Parse.Query('Shelf').includeAll().get(shelf.id);
    assert.equal(all.get('item').get('n'), 1);
    const fetched = await Parse.Object.createWithoutData.call(Parse.Object.extend('Item'), items[0].id).fetchWithInclude('maker');
    assert.equal(fetched.get('maker').get('name'), 'Bob');
  },

  async 'whole classes in pages'() {
    const seen = [];
    await query().each((item) => void seen.push(item.get('n')), { batchSize: 7 });
    assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 20 }, (_, n) => n + 1));
    const batches = [];
    await query().lessThan('n', 11).eachBatch((batch) => void batches.push(batch.length), { batchSize: 4 });
    assert.deepEqual(batches, [4, 4, 2]);
    assert.equal((await query().findAll({ batchSize: 6 })).length, 20);
    const pages = [];
    for (let skip = 0; skip < 20; skip += 8) pages.push(...ns(await query().ascending('n').limit(8).skip(skip).find()));
    assert.deepEqual(pages, Array.from({ length: 20 }, (_, n) => n + 1));
  },

  async 'a class that does not exist is empty, and bad queries are refused'() {
    assert.deepEqual(await new Parse.Query('Nowhere').find(), []);
    assert.equal(await new Parse.Query('Nowhere').count(), 0);
    await rejectsWithCode(new Parse.Query('1Bad').find(), Parse.Error.INVALID_CLASS_NAME);
    await rejectsWithCode(query().withJSON({ where: { n: { $near: 1 } } }).find(), Parse.Error.INVALID_QUERY);
  },
});
