import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

/** The policy in the manifest of `afterSave('Order', () => {}, <options>)`. */
function policyOf(options, kind = 'afterSave') {
  const isolate = new Isolate();
  isolate.load(`Parse.Cloud.${kind}('Order', () => {}, ${options});`);
  return isolate.manifest().triggers[0].policy;
}

const DAY = 86_400_000;

test('options become the policy', () => {
  const cases = [
    ['undefined', { original: false }],
    ['{}', { original: false }],
    ["{ order: 'none' }", { original: false, unordered: true }],
    ['{ attempts: 1 }', { original: false, attempts: 1 }],
    ['{ attempts: 1000, timeout: 86400000 }', { original: false, attempts: 1000, timeoutMs: DAY }],
    ['{ concurrency: 3 }', { original: false, concurrency: 3 }],
    ["{ rate: { count: 5, per: 'minute' } }", { original: false, rate: { count: 5, perMs: 60_000 } }],
    ['{ rate: { count: 5, per: 250 } }', { original: false, rate: { count: 5, perMs: 250 } }],
    ["{ rate: '100/s' }", { original: false, rate: { count: 100, perMs: 1000 } }],
    ["{ rate: ' 2 / hour ' }", { original: false, rate: { count: 2, perMs: 3_600_000 } }],
    [
      '{ backoff: { initial: 10, factor: 1.5, max: 20 } }',
      { original: false, backoff: { initialMs: 10, factor: 1.5, maxMs: 20 } },
    ],
    ['{ backoff: {} }', { original: false, backoff: { initialMs: 1000, factor: 2, maxMs: 3_600_000 } }],
    [
      '{ backoff: { initial: 7200000 } }',
      { original: false, backoff: { initialMs: 7_200_000, factor: 2, maxMs: 7_200_000 } },
    ],
    ['{ original: true }', { original: true }],
    ['{ attempts: undefined }', { original: false }],
  ];
  for (const [options, expected] of cases) assert.deepEqual(policyOf(options), expected, options);
  assert.deepEqual(policyOf('{}', 'afterDelete'), { original: true });
  assert.deepEqual(policyOf('{ original: false }', 'afterDelete'), { original: false });
});

test('a wrong option is refused with its key, its trigger and what is expected', () => {
  const wrong = [
    ["{ order: 'strict' }", "order of afterSave of Order must be 'none'"],
    ['{ attempts: 0 }', 'attempts of afterSave of Order must be a whole number from 1 to 1000; it is 0'],
    ["{ attempts: '3' }", "it is '3'"],
    ['{ attempts: 1.5 }', 'it is 1.5'],
    ['{ timeout: 86400001 }', 'timeout of afterSave of Order must be milliseconds'],
    ['{ concurrency: null }', 'concurrency of afterSave of Order'],
    ["{ rate: '100 per s' }", "it is '100 per s'"],
    ["{ rate: { count: 5, per: 'day' } }", 'rate of afterSave of Order must be { count, per }'],
    ['{ rate: { count: 5 } }', 'rate of afterSave'],
    ['{ rate: { count: 5, per: 1, burst: 2 } }', 'rate of afterSave'],
    ['{ backoff: { initial: 10, max: 5 } }', 'max not below initial'],
    ['{ backoff: { factor: 0.5 } }', 'backoff of afterSave'],
    ['{ backoff: 10 }', 'backoff of afterSave'],
    ["{ original: 'yes' }", 'original of afterSave of Order must be true or false'],
    ['{ retries: 3 }', 'retries is not a supported parameter'],
  ];
  for (const [options, text] of wrong) {
    assert.throws(() => policyOf(options), (error) => error.message.includes(text), options);
  }
});

test('what runs before the commit has no such options', () => {
  const isolate = new Isolate();
  const refused = (source) => assert.throws(() => isolate.load(source), /attempts of .* has no meaning there: it is for/);
  refused("Parse.Cloud.beforeSave('Order', () => {}, { attempts: 2 })");
  refused("Parse.Cloud.afterFind('Order', () => {}, { attempts: 2 })");
  refused("Parse.Cloud.define('f', () => {}, { attempts: 2 })");
});

test("our options stand beside Parse's", async () => {
  const isolate = new Isolate();
  isolate.load("Parse.Cloud.afterSave('Order', () => {}, { requireMaster: true, attempts: 2 })");
  const { threw } = await isolate.trigger('afterSave', 'Order', { object: {} });
  assert.equal(threw.code, 142);
  const { returned } = await isolate.trigger('afterSave', 'Order', { object: {}, master: true });
  assert.ok(returned);
});
