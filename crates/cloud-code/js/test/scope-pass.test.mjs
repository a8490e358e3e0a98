// The rewritten script must mean the same, whatever stands around an await.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scopePass } from '../build/scope-pass.mjs';

const SCOPE = `const __scope = { current: 'frame', log: [],
  resume(frame, value) { this.current = frame; this.log.push(frame); return value; },
  adopt(frame, value) { this.current ??= frame; return value; }, settle: (value) => value };\n`;

async function bothWays(body) {
  const source = `async function main() { ${body} }`;
  const rewritten = scopePass(source).edits.apply(source, null).code;
  const [plain, passed] = await Promise.all(
    [source, rewritten].map((code) => new Function(`${SCOPE} ${code}; return main();`)()),
  );
  assert.deepEqual(passed, plain);
  return rewritten;
}

const BODIES = {
  'in expressions':
    'return [1 + await 2, -(await 3), (await 4) ** 2, `${await 5}`, await 6 ? await 7 : 8, { a: await 9 }.a, [...await [1]]];',
  'in calls and chains':
    'const f = async (...a) => a.length; return [await f(await 1, await 2), (await "abc").length, (await null)?.x, new (await Date)(0).getTime()];',
  'without semicolons': 'let x = 1\nawait x\n;[x] = await [2]\nreturn x',
  'in sequences': 'let a = (await 1, await 2); return a, await 3',
  'returned object literals':
    'const f = async () => ({ a: 1 }), g = async () => [1, 2], h = async () => (1, 2); return [await f(), await g(), await h()]',
  'return of a parenthesised sequence': 'return (await 1, 2);',
  'in loops':
    'let s = 0; for (let i = await 0; i < await 3; i += await 1) s += i; do { s++ } while (await (s < 10)); for (const x of await [1, 2]) s += await x; return s;',
  'in try':
    'const out = []; try { await Promise.reject(1); } catch (e) { out.push(e); } finally { out.push(await 2); } try { try { await Promise.reject(3) } finally { out.push("f") } } catch { out.push("c") } return out;',
  'arrows in arrows':
    'const f = async (a) => async (b) => await a + await b; return (await (await f(1))(2));',
  'methods and classes':
    'class A { x = async () => await 1; async m() { return await this.x(); } static async s() { return new this(); } get g() { return (async () => await 4)(); } } return [await new A().m(), await (await A.s()).g];',
  generators:
    'async function* g(n) { try { const got = yield await n; yield got; yield* [await 5, 6]; } finally { await 7; } } const it = g(1); return [await it.next(), await it.next("got"), await it.next(), await it.return(9), await it.next()];',
  'sync functions keep their returns':
    'function f() { return [1].map((x) => { return x + 1; }); } return f();',
  directives:
    'const f = async function () { "use strict"; try { await 1; } catch {} return this === undefined; }; return f();',
  'labels and switch':
    'outer: for (const a of [1, 2]) { switch (await a) { case await 1: continue outer; default: break outer; } } return "x";',
  'destructuring and defaults':
    'const { a = await 1, b: [c = await 2] } = { b: [] }; const f = (x = (async () => await 3)()) => x; return [a, c, await f()];',
};

for (const [name, body] of Object.entries(BODIES)) {
  test(`await ${name}`, () => bothWays(body));
}

test('lines stay where they are', async () => {
  const code = await bothWays('try {\n await 1;\n } catch {\n }\n return await\n 2;');
  assert.equal(code.split('\n').length, 6);
});

test('what cannot be a thenable is returned as it is', () => {
  const source = 'async () => { return 1; }; async () => `x`; async () => [1]; async () => await x;';
  assert.equal(scopePass(source).edits.apply(source, null).code.split('settle').length, 2);
});
