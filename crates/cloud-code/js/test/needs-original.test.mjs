import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

/** Whether the manifest says that the one afterSave handler of this project needs the row before. */
function needs(source) {
  const isolate = new Isolate();
  isolate.load(source);
  return isolate.manifest().triggers.find(({ kind }) => kind === 'afterSave').policy.original;
}

/** The handler among code that mentions `original` elsewhere, so that its own text decides. */
function needsAlone(handler, options = 'undefined') {
  return needs(`const elsewhere = { original: 1 }; const other = (r) => r;
    Parse.Cloud.afterSave('Order', ${handler}, ${options});`);
}

const CERTAINLY_NOT = [
  '() => {}',
  'async () => { await other(1); }',
  'function () { return 1; }',
  'function named(request) { return request.object.id; }',
  '(request) => { request.log.info(request.object.get("original" + "")); }'.replace('"original" + ""', '"total"'),
  'request => request.object.id',
  'async request => { await request.object.save(null, { useMasterKey: true }); }',
  'async (req) => { const { object, user } = req; other(object, user); }',
  'async (req) => { const { object: order } = req; await order.destroy(); return req.context; }',
  '({ object }) => object.id',
  'async ({ object: order, user }) => { other(order, user); }',
  'async function ({ object }) { await object.save(); }',
  '(request) => { request.context = { a: 1 }; }',
  '(request) => `${request.object.id} of ${request?.user?.id}`',
  '(request) => other({ ...request.object.attributes })',
  '(request, ignored) => request.object.id',
  '(request) => { const list = [1].map((x) => request.object.get(x)); return other.request ?? list; }',
  '({ async save(request) { await request.object.fetch(); } }).save',
  '(request) => { if (request.attempt > 3) request.giveUp("no"); }',
  '(request) => [1].map((request) => request.object)',
  '(request) => request.object.dirty("n") || request.object.existed()',
];

const PERHAPS = [
  '(request) => request.original',
  '(request) => request.original?.get("n")',
  '(request) => request?.original',
  '(request) => request\n.original',
  'async ({ object, original }) => other(object, original)',
  '({ object, original: old }) => old',
  '({ object, ...rest }) => rest',
  '({ object, ["orig" + "inal"]: old }) => old',
  '({ object = 1 }) => object',
  '(request) => other(request)',
  '(request) => other({ request })',
  '(request) => other({ ...request })',
  '(request) => { const { object, original } = request; return other(object, original); }',
  '(request) => { const { object, ...rest } = request; return other(object, rest); }',
  '(request) => { const all = { object: 1 } = request; return all; }'.replace('{ object: 1 }', '{}'),
  '(request) => { const all = request; return all.object; }',
  '(request) => request["object"]',
  '(request) => { for (const name in request) other(name); }',
  '(...all) => all[0].object',
  '(request = {}) => request.object',
  '(request, old = request.original) => old',
  'function () { return arguments[0]; }',
  'function (request) { return arguments[0]; }',
  '(request) => eval("request.object")',
  '(request) => (() => request)()',
  '(request) => { request.helper = function () { return this; }; return request.helper(); }',
  '(request) => { request.helper ??= function () { return this; }; return request.helper(); }',
  '(request) => { try { other(); } finally { other(request, 1); } }',
  '((request) => request.object).bind(null)',
  'new Proxy((request) => request.object, {})',
  'other',
  'class { constructor(request) { this.request = request; } }',
  '(request) => { // as other.\nreturn request\n; }',
];

test('handlers that cannot reach the original by their own text', () => {
  for (const handler of CERTAINLY_NOT) assert.equal(needsAlone(handler), false, handler);
});

test('handlers that perhaps can', () => {
  for (const handler of PERHAPS) assert.equal(needsAlone(handler), true, handler);
});

test('a script that mentions it nowhere needs it nowhere', () => {
  assert.equal(needs('const other = (r) => r; Parse.Cloud.afterSave("Order", (request) => other(request));'), false);
  assert.equal(needs('const originals = 1; Parse.Cloud.afterSave("Order", (r) => [r, originals]);'), false);
  assert.equal(needs('const other = (r) => r["original"]; Parse.Cloud.afterSave("Order", (r) => other(r));'), true);
});

test('the option has the last word', () => {
  assert.equal(needsAlone('(request) => request.original', '{ original: false }'), false);
  assert.equal(needsAlone('() => {}', '{ original: true }'), true);
});

test('validators see the request too', () => {
  assert.equal(needsAlone('() => {}', '(request) => other(request)'), true);
  assert.equal(needsAlone('() => {}', '(request) => request.object.id'), false);
  assert.equal(needsAlone('() => {}', '{ fields: { n: { constant: true } } }'), true);
  assert.equal(needsAlone('() => {}', '{ fields: { n: { type: Number } } }'), false);
});
