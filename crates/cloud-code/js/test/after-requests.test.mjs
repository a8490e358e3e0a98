import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

function isolateWith(body, options) {
  const isolate = new Isolate(options);
  isolate.load(`for (const kind of ['afterSave', 'afterDelete'])
    Parse.Cloud[kind]('Order', async (request) => { ${body} });`);
  return isolate;
}

test('what a handler sees of its event', async () => {
  const isolate = isolateWith(`
    const { source, attempt, eventId, depth, chain, truncated, replay, backfill, xid } = request;
    const commitTime = request.commitTime instanceof Date && request.commitTime.toISOString();
    return { source, attempt, eventId, depth, chain, truncated, replay, backfill, xid, commitTime };`);
  const event = { source: 'sql', attempt: 2, eventId: '1-0.0-0', xid: 7, commitTimeMs: 1000 };
  const plain = await isolate.trigger('afterSave', 'Order', { object: {}, ...event });
  assert.deepEqual(plain.returned.object, {
    source: 'sql',
    attempt: 2,
    eventId: '1-0.0-0',
    xid: 7,
    commitTime: '1970-01-01T00:00:01.000Z',
    depth: 0,
    chain: [],
    truncated: {},
  });
  const rest = { depth: 2, chain: ['afterSave:A 1'], truncated: { photo: 9 }, replay: { operation: 3 } };
  const replayed = await isolate.trigger('afterSave', 'Order', { object: {}, ...event, ...rest });
  for (const [name, value] of Object.entries(rest)) assert.deepEqual(replayed.returned.object[name], value);
});

test('the request is a plain object to those who copy or print it', async () => {
  const isolate = isolateWith(`
    const { retryAfter, giveUp, ...rest } = request;
    console.log(require('node:util').inspect({ ...rest }) === require('node:util').inspect(request, { getters: true }));
    return { own: Object.keys(request), kinds: [typeof retryAfter, typeof giveUp] };`);
  const { returned } = await isolate.trigger('afterDelete', 'Order', { object: {} });
  assert.ok(returned);
  const saved = await isolate.trigger('afterSave', 'Order', { object: {}, source: 'api' });
  assert.deepEqual(saved.returned.object.kinds, ['function', 'function']);
  assert.ok(['object', 'source', 'context', 'log'].every((name) => saved.returned.object.own.includes(name)));
});

/** What the host is told of a thrown value. */
async function retryOf(body, kind = 'afterSave') {
  const { threw } = await isolateWith(body).trigger(kind, 'Order', { object: {} });
  return [threw.retryAfterMs, threw.noRetry];
}

test('an error says when it is tried again, and whether', async () => {
  const cases = [
    ['throw new Error("x")', undefined, undefined],
    ['throw Object.assign(new Error("x"), { retryAfter: 1.5 })', 1500, undefined],
    ['throw Object.assign(new Parse.Error(101, "x"), { retryAfter: "120" })', 120_000, undefined],
    ['throw { message: "x", retryAfter: new Date(0) }', 0, undefined],
    ['throw { retryAfter: "Thu, 01 Jan 1970 00:00:00 GMT" }', 0, undefined],
    ['throw { retryAfter: 1e12 }', 604_800_000, undefined],
    ['throw { retryAfter: -1 }', undefined, undefined],
    ['throw { retryAfter: "soon" }', undefined, undefined],
    ['throw { retryAfter: NaN, retry: true }', undefined, undefined],
    ['throw { retryAfter: null, retry: 0 }', undefined, undefined],
    ['throw Object.assign(new Error("x"), { retry: false })', undefined, true],
    ['throw { get retryAfter() { throw 1 } }', undefined, undefined],
    ['throw "text"', undefined, undefined],
    ['request.retryAfter(2)', 2000, undefined],
    ['const { retryAfter } = request; retryAfter("3", "later")', 3000, undefined],
    ['request.giveUp("never")', undefined, true],
    ['request.retryAfter("soon")', undefined, undefined],
  ];
  for (const [body, ms, no] of cases) assert.deepEqual(await retryOf(body), [ms, no], body);
  assert.deepEqual(await retryOf('request.giveUp()', 'afterDelete'), [undefined, true]);
  const later = new Date(Date.now() + 3_600_000);
  for (const text of [`new Date(${later.getTime()})`, `"${later.toUTCString()}"`]) {
    const [ms] = await retryOf(`throw { retryAfter: ${text} }`);
    assert.ok(ms > 3_500_000 && ms <= 3_600_000, `${text}: ${ms}`);
  }
});

test('a row of a table that is no class is shown, and cannot be written', async () => {
  const isolate = new Isolate();
  isolate.load(`Parse.Cloud.afterSave('public.invoices', async ({ object }) => {
    const refusal = async (write) => { try { await write(); return 'done' } catch (error) { return String(error) } };
    return {
      seen: [object.className, object.id, object.get('total'), object.get('customer')],
      refusals: [
        await refusal(() => object.save({ total: 1 })),
        await refusal(() => Parse.Object.saveAll([object.set('total', 2)])),
        await refusal(() => object.destroy()),
        await refusal(() => object.fetch()),
        await refusal(() => new Parse.Query('public.invoices').find()),
      ],
    };
  });`);
  const row = { objectId: '7', id: 7, total: 12.5, customer: 'c' };
  const { returned } = await isolate.trigger('afterSave', 'public.invoices', {
    object: row,
    className: 'public.invoices',
  });
  assert.deepEqual(returned.object.seen, ['public.invoices', '7', 12.5, 'c']);
  for (const refusal of returned.object.refusals) assert.match(refusal, /^ParseError: \d+ public\.invoices is a table and no Parse class/);
  assert.deepEqual(isolate.calls, []);
});

test('a trigger that names its class as a table gets objects of the class', async () => {
  const isolate = new Isolate();
  isolate.load("Parse.Cloud.afterSave('public.Order', ({ object }) => ({ name: object.className }));");
  const { returned } = await isolate.trigger('afterSave', 'public.Order', { object: {}, className: 'Order' });
  assert.deepEqual(returned.object, { name: 'Order' });
});
