// The example on the product page, as printed there.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

const source = readFileSync(new URL('fixtures/calculate-order-total.js', import.meta.url), 'utf8');

const ORDER = {
  objectId: 'abc123',
  className: 'Order',
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-01T00:00:00.000Z',
  items: [
    { __type: 'Object', className: 'Item', objectId: 'i1', price: 10, quantity: 2 },
    { __type: 'Object', className: 'Item', objectId: 'i2', price: 30, quantity: 1 },
  ],
};

function shop(results) {
  const isolate = new Isolate({
    answer: ({ method }) => ({
      status: 200,
      headers: [],
      body: method === 'GET' ? { results } : { updatedAt: '2026-01-02T00:00:00.000Z' },
    }),
  });
  isolate.load(source);
  return isolate;
}

test('calculates, stores and returns the total', async () => {
  const isolate = shop([ORDER]);
  const { returned } = await isolate.call(
    'calculateOrderTotal',
    { orderId: 'abc123' },
    { user: { objectId: 'u1' } },
  );
  assert.deepEqual(returned, { subtotal: 50, tax: 4, total: 54 });
  const [query, save] = isolate.calls;
  assert.deepEqual(
    [query.path, query.body.where, query.body.include, query.body.limit, query.useMasterKey],
    ['classes/Order', { objectId: 'abc123' }, 'items', 1, true],
  );
  assert.deepEqual(
    [save.method, save.path, save.body, save.useMasterKey],
    ['PUT', 'classes/Order/abc123', { subtotal: 50, tax: 4, total: 54 }, true],
  );
});

test('refuses without a user, and without the order', async () => {
  const { threw } = await shop([ORDER]).call('calculateOrderTotal', { orderId: 'abc123' });
  assert.deepEqual([threw.code, threw.message], [141, 'Must be logged in to calculate order total']);
  const missing = await shop([]).call('calculateOrderTotal', { orderId: 'x' }, { user: { objectId: 'u1' } });
  assert.equal(missing.threw.message, 'Order not found');
});
