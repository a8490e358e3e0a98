// Several runs in one isolate: each host call, log line and timer belongs to the run that made it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gate, Isolate } from './engine.mjs';

const TAG = `
  const call = (tag) => new Parse.Query('T').equalTo('tag', tag).find();
`;

/** Starts \`runs\` runs of function "f" with params {tag}, and tells whose name each call bore. */
async function callersOf(source, runs = ['a', 'b'], act = async () => {}) {
  const isolate = new Isolate({ answer: async () => ({ status: 200, body: { results: [] }, headers: [] }) });
  isolate.load(TAG + source);
  const outcomes = runs.map((tag) => isolate.call('f', { tag }));
  await act(isolate);
  const settled = await Promise.all(outcomes);
  const wrong = isolate.calls.filter(({ runId, body }) => body.where && runs[runId - 1] !== body.where.tag);
  return { isolate, wrong, settled, calls: isolate.calls.length };
}

async function assertAttributed(source, { calls, runs, act } = {}) {
  const result = await callersOf(source, runs, act);
  for (const outcome of result.settled) assert.equal(outcome.threw?.message, undefined);
  assert.deepEqual(result.wrong, []);
  if (calls !== undefined) assert.equal(result.calls, calls);
  return result;
}

test('calls after awaits of own calls', () =>
  assertAttributed(
    `Parse.Cloud.define('f', async ({ params: { tag } }) => {
    await call(tag); await null; await call(tag); await Promise.all([call(tag), call(tag)]); await 5; await call(tag);
  });`,
    { calls: 10 },
  ));

test('two runs that await one shared promise', () =>
  assertAttributed(
    `
    let shared;
    const open = {};
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      shared ??= call(tag);
      await shared;
      await call(tag);
      await call(tag);
    });`,
    { calls: 5 },
  ));

test('a promise that another run settles', () =>
  assertAttributed(`
    let wake; const woken = new Promise((resolve) => { wake = resolve; });
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      if (tag === 'b') { await call('b'); wake(1); } else { await woken; }
      await call(tag);
      await 1;
      await call(tag);
    });`));

test('a shared promise that fails: catch and finally', () =>
  assertAttributed(`
    let fail; const failed = new Promise((_, reject) => { fail = reject; });
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      if (tag === 'b') { await call(tag); fail(new Error('shared')); }
      try { await failed; } catch { await call(tag); } finally { await call(tag); }
      await call(tag);
      try { try { await failed; } finally { call(tag); } } catch (e) { call(tag); }
      await call(tag);
    });`));

test('then, catch and finally of a shared promise', () =>
  assertAttributed(`
    let wake; const woken = new Promise((resolve) => { wake = resolve; });
    Parse.Cloud.define('f', ({ params: { tag } }) => {
      const result = woken.then(() => call(tag)).then(() => { throw new Error('x'); }).catch(() => call(tag)).finally(() => call(tag));
      if (tag === 'b') call(tag).then(() => wake());
      return result;
    });`));

test('async generators and for await', () =>
  assertAttributed(`
    let wake; const woken = new Promise((resolve) => { wake = resolve; });
    async function* pages(tag) {
      try {
        await woken; await call(tag); yield 1; await call(tag); yield woken; yield* more(tag);
      } finally { await call(tag); }
    }
    async function* more(tag) { call(tag); yield 3; call(tag); yield 4; }
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      if (tag === 'b') call(tag).then(wake);
      for await (const page of pages(tag)) { await call(tag); }
      await call(tag);
      for await (const page of pages(tag)) { if (page === 3) break; }
      await call(tag);
      const queued = pages(tag);
      await Promise.all([queued.next(), queued.next(), queued.next(), queued.return()]);
      await call(tag);
    });`));

test('a generator that one run made and another consumes leaves the consumer its scope', () =>
  assertAttributed(`
    let shared;
    async function* endless() { try { while (true) { yield 1; } } finally {} }
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      shared ??= endless();
      const next = shared.next();
      call(tag);
      await next;
      await call(tag);
      const another = shared.next();
      await call(tag);
      await another;
      await call(tag);
    });`));

test('thenables that call in their then', () =>
  assertAttributed(`
    let wake; const woken = new Promise((resolve) => { wake = resolve; });
    const lazy = (tag) => ({ then(resolve, reject) { return call(tag).then(resolve, reject); } });
    const returned = async (tag) => lazy(tag);
    const arrow = async (tag) => { await woken; return lazy(tag); };
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      if (tag === 'b') call(tag).then(wake);
      await woken;
      await lazy(tag);
      await returned(tag);
      await arrow(tag);
      await Promise.resolve(lazy(tag));
      await Promise.all([lazy(tag), lazy(tag)]);
      await woken.then(() => lazy(tag));
      await call(tag);
    });`));

test('Array.fromAsync calls its function as the run that called it', () =>
  assertAttributed(`
    let wake; const woken = new Promise((resolve) => { wake = resolve; });
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      if (tag === 'b') call(tag).then(wake);
      const list = await Array.fromAsync([woken, 2, 3], async (item) => { await call(tag); return item; });
      await call(tag);
      return [list.length, await Array.fromAsync({ length: 1, 0: woken })];
    });`));

test('timers, immediates, microtasks and nextTick', async () => {
  const { isolate } = await assertAttributed(
    `
    const wait = (start) => new Promise(start);
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      await wait((done) => setTimeout(() => { call(tag); done(); }, 5));
      await wait((done) => queueMicrotask(() => { call(tag); done(); }));
      await wait((done) => process.nextTick(() => { call(tag); done(); }));
      await call(tag);
    });`,
    { act: (isolate) => isolate.fireTimers() },
  );
  assert.equal(isolate.calls.length, 8);
});

test('an interval runs until it is cleared, as its run', async () => {
  const isolate = new Isolate();
  isolate.load(`Parse.Cloud.define('f', () => new Promise((resolve) => {
    let ticks = 0;
    const timer = setInterval(() => { console.log('tick'); if (++ticks === 3) { clearInterval(timer); resolve(ticks); } }, 10);
  }));`);
  const outcome = isolate.call('f');
  for (let turn = 0; turn < 5; turn += 1) isolate.fireTimers();
  assert.equal((await outcome).returned, 3);
  assert.equal(isolate.timers.size, 0);
  assert.deepEqual(
    isolate.logs.map(({ runId }) => runId),
    [1, 1, 1],
  );
});

test('saves of one shared object queue up and keep their runs', () =>
  assertAttributed(`
    const shared = Parse.Object.fromJSON({ className: 'S', objectId: 's1' });
    globalThis.seen = [];
    Parse.Cloud.define('f', async ({ params: { tag } }) => {
      shared.set('tag', tag);
      await shared.save(null, { context: { tag } });
      await call(tag);
    });`).then(({ isolate }) => {
    for (const { runId, context } of isolate.calls.filter((call) => call.context))
      assert.equal(['a', 'b'][runId - 1], context.tag);
    assert.equal(isolate.calls.filter((call) => call.context).length, 2);
  }));

test('AsyncLocalStorage keeps its stores apart', async () => {
  const isolate = new Isolate({ answer: async () => ({ status: 200, body: { results: [] }, headers: [] }) });
  isolate.load(
    TAG +
      `
    const { AsyncLocalStorage } = require('node:async_hooks');
    const storage = new AsyncLocalStorage();
    let shared;
    Parse.Cloud.define('f', ({ params: { tag } }) => storage.run({ tag }, async () => {
      shared ??= call(tag);
      await shared;
      const inner = await storage.run({ tag: tag + '!' }, async () => { await call(tag); return storage.getStore().tag; });
      return [storage.getStore().tag, inner];
    }));`,
  );
  const [a, b] = await Promise.all([isolate.call('f', { tag: 'a' }), isolate.call('f', { tag: 'b' })]);
  assert.deepEqual(
    [a.returned, b.returned],
    [
      ['a', 'a!'],
      ['b', 'b!'],
    ],
  );
});

test('a continuation that nobody marked belongs to no run, and its call is refused', async () => {
  const { wrong, settled } = await callersOf(`
    const evaluated = new Function('call', 'tag', 'return (async () => { await 1; return call(tag); })()');
    Parse.Cloud.define('f', async ({ params: { tag } }) => { await call(tag); return evaluated(call, tag); });`);
  assert.deepEqual(wrong, []);
  for (const { threw } of settled) assert.match(threw.message, /belongs to no request/);
});

test('logs of runs that are interleaved', async () => {
  const gates = { a: gate(), b: gate() };
  const isolate = new Isolate({ answer: ({ body }) => gates[body.where.tag].promise });
  isolate.load(
    TAG +
      `Parse.Cloud.define('f', async ({ params: { tag } }) => {
    console.log(tag); await call(tag).catch(() => {}); console.log(tag); await 1; console.log(tag);
  });`,
  );
  const runs = [isolate.call('f', { tag: 'a' }), isolate.call('f', { tag: 'b' })];
  gates.b.resolve({ status: 200, body: { results: [] }, headers: [] });
  await runs[1];
  gates.a.reject({ code: 101, message: 'no' });
  await runs[0];
  for (const { runId, text } of isolate.logs) assert.equal(text, ['a', 'b'][runId - 1]);
  assert.equal(isolate.logs.length, 6);
});

test('a cancelled run goes no further', async () => {
  const held = gate();
  const isolate = new Isolate({ answer: () => held.promise });
  isolate.load(
    TAG +
      `Parse.Cloud.define('f', async () => { setTimeout(() => console.log('timer'), 5); await call('x'); console.log('went on'); });`,
  );
  isolate.call('f');
  await isolate.settle();
  isolate.runtime.cancel(1);
  held.resolve({ status: 200, body: { results: [] }, headers: [] });
  await isolate.settle();
  isolate.fireTimers();
  assert.deepEqual(isolate.logs, []);
});

test('many runs, random awaits', async () => {
  const runs = Array.from({ length: 40 }, (_, index) => `r${index}`);
  const { calls } = await assertAttributed(
    `
    const shared = [];
    const random = (limit) => Math.floor(Math.random() * limit);
    async function step(tag, depth) {
      switch (random(7)) {
        case 0: return call(tag);
        case 1: shared.push(call(tag)); return await shared[random(shared.length)];
        case 2: try { await Promise.reject(tag); } catch { await call(tag); } return;
        case 3: return Promise.all([call(tag), depth > 0 && step(tag, depth - 1)]);
        case 4: await Promise.race([call(tag), shared[0]]); return call(tag);
        case 5: await new Promise((resolve) => shared.push({ then(a) { resolve(); a(); } }) && resolve()); return call(tag);
        case 6: for await (const one of [call(tag), 1, null]) call(tag); return;
      }
    }
    Parse.Cloud.define('f', async ({ params: { tag } }) => { for (let i = 0; i < 20; i++) await step(tag, 3); });`,
    { runs },
  );
  assert.ok(calls > 500);
});
