// fetch and the other things of the web platform.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gate, Isolate } from './engine.mjs';

async function evaluate(body, { answer, params } = {}) {
  const isolate = new Isolate({ answer });
  isolate.load(`Parse.Cloud.define('f', async ({ params }) => { ${body} });`);
  const outcome = await isolate.call('f', params);
  if (outcome.threw) throw Object.assign(new Error(outcome.threw.message), outcome.threw);
  return { value: outcome.returned, calls: isolate.calls, isolate };
}

const base64 = (text) => Buffer.from(text).toString('base64');
const page = (body, rest) => () => ({
  status: 200,
  statusText: 'OK',
  url: 'https://example.org/final',
  redirected: true,
  headers: [['content-type', 'application/json']],
  body: base64(body),
  ...rest,
});

test('fetch: a GET with JSON back', async () => {
  const { value, calls } = await evaluate(
    `
    const response = await fetch('https://example.org/a?b=c#hash', { headers: { Accept: 'application/json' } });
    return [response.ok, response.status, response.statusText, response.url, response.redirected, response.headers.get('Content-Type'), await response.json(), response.bodyUsed];
  `,
    { answer: page('{"x":[1,"é"]}') },
  );
  assert.deepEqual(value, [
    true,
    200,
    'OK',
    'https://example.org/final',
    true,
    'application/json',
    { x: [1, 'é'] },
    true,
  ]);
  const { runId, ...sent } = calls[0];
  assert.deepEqual(sent, {
    kind: 'fetch',
    method: 'GET',
    url: 'https://example.org/a?b=c#hash',
    headers: [['accept', 'application/json']],
    body: null,
    redirect: 'follow',
  });
});

test('fetch: bodies of every kind', async () => {
  const { calls } = await evaluate(
    `
    const post = (body, headers) => fetch('https://example.org/', { method: 'post', body, headers, redirect: 'manual' });
    await post(JSON.stringify({ a: 1 }), { 'content-type': 'application/json' });
    await post('text');
    await post(new URLSearchParams({ a: '1 2', b: 'ü' }));
    await post(new Uint8Array([1, 2, 255]));
    await post(new Blob(['bl', 'ob'], { type: 'text/x' }));
    await post(Buffer.from('buffer'));
    await fetch(new Request('https://example.org/', { method: 'PUT', body: 'req', headers: [['X-A', '1']] }));
    const stream = new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('str')); c.enqueue(new TextEncoder().encode('eam')); c.close(); } });
    await post(stream);
  `,
    { answer: page('') },
  );
  assert.deepEqual(
    calls.map(({ method, headers, body }) => [
      method,
      headers,
      Buffer.from(body, 'base64').toString('latin1'),
    ]),
    [
      ['POST', [['content-type', 'application/json']], '{"a":1}'],
      ['POST', [['content-type', 'text/plain;charset=UTF-8']], 'text'],
      ['POST', [['content-type', 'application/x-www-form-urlencoded;charset=UTF-8']], 'a=1+2&b=%C3%BC'],
      ['POST', [], '\x01\x02\xff'],
      ['POST', [['content-type', 'text/x']], 'blob'],
      ['POST', [], 'buffer'],
      [
        'PUT',
        [
          ['content-type', 'text/plain;charset=UTF-8'],
          ['x-a', '1'],
        ],
        'req',
      ],
      ['POST', [], 'stream'],
    ],
  );
});

test('fetch: a form goes out and comes back', async () => {
  const { value, calls } = await evaluate(
    `
    const form = new FormData();
    form.append('name', 'value "q"');
    form.append('file', new Blob(['content'], { type: 'text/plain' }), 'a.txt');
    await fetch('https://example.org/', { method: 'POST', body: form });
    const again = await new Response(form).formData();
    return [again.get('name'), again.get('file').name, await again.get('file').text()];
  `,
    { answer: page('') },
  );
  assert.deepEqual(value, ['value "q"', 'a.txt', 'content']);
  assert.match(calls[0].headers[0][1], /^multipart\/form-data; boundary=----tidegate[0-9a-f]{32}$/);
});

test('fetch: failures are TypeErrors with their cause', async () => {
  const { value } = await evaluate(
    `
    try { await fetch('https://10.0.0.1/'); } catch (error) { return [error instanceof TypeError, error.message, error.cause.message]; }
  `,
    {
      answer: () => {
        throw { message: 'private address', name: 'TypeError' };
      },
    },
  );
  assert.deepEqual(value, [true, 'fetch failed', 'private address']);
  await assert.rejects(evaluate(`await fetch('not a url')`), /url/i);
  await assert.rejects(
    evaluate(`await fetch('https://a/', { body: 'x' })`),
    /GET\/HEAD method cannot have body/,
  );
});

test('fetch: abort and timeout', async () => {
  const held = gate();
  const isolate = new Isolate({ answer: () => held.promise });
  isolate.load(`
    Parse.Cloud.define('abort', async () => {
      const controller = new AbortController();
      const promise = fetch('https://example.org/', { signal: controller.signal });
      await null; await null; await null;
      controller.abort();
      try { await promise; } catch (error) { return [error.name, controller.signal.aborted]; }
    });
    Parse.Cloud.define('timeout', () => fetch('https://example.org/', { signal: AbortSignal.timeout(50) }).catch((error) => error.name));
  `);
  assert.deepEqual((await isolate.call('abort')).returned, ['AbortError', true]);
  assert.deepEqual(
    isolate.calls.map(({ kind }) => kind),
    ['fetch', 'abort'],
  );
  const timeout = isolate.call('timeout');
  await isolate.settle();
  isolate.fireTimers();
  assert.equal((await timeout).returned, 'TimeoutError');
});

test('responses: read once, cloned, streamed', async () => {
  const { value } = await evaluate(`
    const response = new Response('body', { status: 201, headers: { a: 'b' } });
    const copy = response.clone();
    const chunks = [];
    for await (const chunk of copy.body) chunks.push(new TextDecoder().decode(chunk));
    const text = await response.text();
    const again = await response.text().catch((error) => error.constructor.name);
    const json = await Response.json({ x: 1 }).json();
    return [chunks, text, again, json, response.status, Response.json({}).headers.get('content-type'), new Response(null, { status: 204 }).body];
  `);
  assert.deepEqual(value, [['body'], 'body', 'TypeError', { x: 1 }, 201, 'application/json', null]);
});

test('headers', async () => {
  const { value } = await evaluate(`
    const headers = new Headers({ B: '1', a: ' 2 ' });
    headers.append('b', '3'); headers.append('Set-Cookie', 'x=1'); headers.append('set-cookie', 'y=2'); headers.set('A', '4');
    let bad; try { headers.set('a b', 'x'); } catch (error) { bad = error.constructor.name; }
    let split; try { headers.set('a', 'x\\r\\ny: 1'); } catch (error) { split = error.constructor.name; }
    return [[...headers], headers.get('B'), headers.has('nope'), headers.getSetCookie(), bad, split];
  `);
  assert.deepEqual(value, [
    [
      ['a', '4'],
      ['b', '1, 3'],
      ['set-cookie', 'x=1'],
      ['set-cookie', 'y=2'],
    ],
    '1, 3',
    false,
    ['x=1', 'y=2'],
    'TypeError',
    'TypeError',
  ]);
});

test('URL and URLSearchParams', async () => {
  const { value } = await evaluate(`
    const url = new URL('../b?x=1#h', 'https://user:pw@EXAMPLE.org:8443/a/c/');
    url.searchParams.append('y', 'ü');
    return [url.href, url.host, new URLSearchParams('a=1&a=2').getAll('a'), URL.canParse('nope'), String(new URL('http://exämple.org'))];
  `);
  assert.deepEqual(value, [
    'https://user:pw@example.org:8443/a/b?x=1&y=%C3%BC#h',
    'example.org:8443',
    ['1', '2'],
    false,
    'http://xn--exmple-cua.org/',
  ]);
});

test('TextEncoder and TextDecoder', async () => {
  const { value } = await evaluate(`
    const decoder = new TextDecoder();
    const bytes = new TextEncoder().encode('a€😀');
    let text = '';
    for (const byte of bytes) text += decoder.decode(new Uint8Array([byte]), { stream: true });
    let fatal; try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([255])); } catch (error) { fatal = error.constructor.name; }
    return [[...bytes].length, text + decoder.decode(), fatal, new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 65])),
      new TextDecoder('utf-16le').decode(new Uint8Array([65, 0, 66, 0])), new TextEncoder().encodeInto('€€', new Uint8Array(4))];
  `);
  assert.deepEqual(value, [8, 'a€😀', 'TypeError', 'A', 'AB', { read: 1, written: 3 }]);
});

test('structuredClone', async () => {
  const { value } = await evaluate(`
    const source = { date: new Date(5), map: new Map([[{ k: 1 }, new Set([1])]]), bytes: new Uint16Array([1, 2]), re: /a/gi, error: new RangeError('r'), list: [1, , 3], big: 1n, undef: undefined };
    source.self = source;
    const copy = structuredClone(source);
    let refused; try { structuredClone({ f() {} }); } catch (error) { refused = error.name; }
    return [copy !== source, copy.self === copy, copy.date.getTime(), [...copy.map.values()][0].has(1), copy.bytes[1], String(copy.re),
      copy.error instanceof RangeError, 1 in copy.list, copy.big === 1n, 'undef' in copy, refused];
  `);
  assert.deepEqual(value, [true, true, 5, true, 2, '/a/gi', true, false, true, true, 'DataCloneError']);
});

test('events and abort signals', async () => {
  const { value } = await evaluate(`
    const target = new EventTarget(); const seen = [];
    const listener = (event) => { seen.push(event.type, event.detail, event.target === target); event.preventDefault(); };
    target.addEventListener('x', listener); target.addEventListener('x', listener);
    target.addEventListener('x', { handleEvent: () => seen.push('object') }, { once: true });
    const first = target.dispatchEvent(new CustomEvent('x', { detail: 7, cancelable: true }));
    target.removeEventListener('x', listener);
    target.dispatchEvent(new Event('x'));
    const any = AbortSignal.any([new AbortController().signal, AbortSignal.abort('why')]);
    return [seen, first, any.aborted, any.reason];
  `);
  assert.deepEqual(value, [['x', 7, true, 'object'], false, true, 'why']);
});

test('Web Crypto', async () => {
  const { value } = await evaluate(`
    const hex = (buffer) => Buffer.from(buffer).toString('hex');
    const data = new TextEncoder().encode('data');
    const key = await crypto.subtle.importKey('raw', new TextEncoder().encode('key'), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']);
    const signature = await crypto.subtle.sign('HMAC', key, data);
    return [hex(await crypto.subtle.digest('SHA-256', data)), hex(signature), await crypto.subtle.verify('HMAC', key, signature, data),
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()),
      crypto.getRandomValues(new Uint8Array(8)).length, await crypto.subtle.encrypt({}, key, data).catch((error) => error.name)];
  `);
  assert.deepEqual(value, [
    '3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7',
    '5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0',
    true,
    true,
    8,
    'NotSupportedError',
  ]);
});

test('Parse.Cloud.httpRequest, as old code knows it', async () => {
  const { value, calls } = await evaluate(
    `
    const answer = await Parse.Cloud.httpRequest({ url: 'https://example.org/p', method: 'POST', params: { q: 'a b' }, body: { x: 1 } });
    const refused = await Parse.Cloud.httpRequest({ url: 'https://example.org/404' }).catch(({ status, text }) => [status, text]);
    return [answer.status, answer.data, answer.text, answer.headers['content-type'], answer.cookies.sid.value, refused];
  `,
    {
      answer: ({ url }) =>
        url.endsWith('404')
          ? page('gone', { status: 404 })()
          : page('{"ok":1}', {
              headers: [
                ['content-type', 'x/y'],
                ['set-cookie', 'sid=abc; Path=/'],
              ],
            })(),
    },
  );
  assert.deepEqual(value, [200, { ok: 1 }, '{"ok":1}', 'x/y', 'abc', [404, 'gone']]);
  assert.deepEqual(
    [calls[0].url, Buffer.from(calls[0].body, 'base64').toString(), calls[0].redirect],
    ['https://example.org/p?q=a+b', 'x=1', 'manual'],
  );
});
