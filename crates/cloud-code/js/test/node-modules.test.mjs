// Node's modules, as far as cloud code has them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Isolate } from './engine.mjs';

async function evaluate(body, options) {
  const isolate = new Isolate(options);
  isolate.load(`Parse.Cloud.define('f', async () => { ${body} });`);
  const outcome = isolate.call('f');
  await isolate.settle();
  isolate.fireTimers();
  const { threw, returned } = await outcome;
  if (threw) throw Object.assign(new Error(threw.message), threw);
  return returned;
}

test('every module can be required, with and without node:', async () => {
  assert.deepEqual(
    await evaluate(`
    const failed = [];
    for (const name of require('module').builtinModules) {
      try { if (require(name) !== require('node:' + name)) failed.push(name); } catch (error) { failed.push(name + ': ' + error.message); }
    }
    return failed;
  `),
    [],
  );
});

test('a module that is nowhere is named', () =>
  assert.rejects(
    evaluate(`require(['left', 'pad'].join('-'));`),
    /Cannot find module 'left-pad'.*bundled when you deploy/,
  ));

test('modules without a body say so when they are used, not when they are imported', async () => {
  assert.deepEqual(
    await evaluate(`
    const net = require('net'); const fs = require('fs');
    class Socket extends net.Socket {}
    const messages = [];
    for (const use of [() => net.connect(80), () => new Socket(), () => fs.writeFileSync('/a', 'b'), () => fs.readFileSync('/a'), () => require('zlib').gzipSync('')]) {
      try { use(); } catch (error) { messages.push(error.message.split('. ')[0]); }
    }
    messages.push(await fs.promises.readFile('/x').catch((error) => error.code), fs.existsSync('/'), net.isIP('::1'), net.isIP('1.2.3.4'), net.isIP('x'));
    return messages;
  `),
    [
      'net.connect is not available in cloud code',
      'net.Socket is not available in cloud code',
      'fs.writeFileSync is not available in cloud code',
      "ENOENT: no such file or directory, readFile '/a' (cloud code has no files)",
      'zlib.gzipSync is not available in cloud code',
      'ENOENT',
      false,
      6,
      4,
      0,
    ],
  );
});

test('buffer', async () => {
  assert.deepEqual(
    await evaluate(`
    const b = Buffer.from('héllo€');
    return [b.length, b.toString('hex'), b.toString('base64'), b.toString('base64url'), Buffer.from('aMOpbGxv4oKs', 'base64').toString(),
      Buffer.from('_-8', 'base64url').toString('hex'), Buffer.byteLength('€'), Buffer.concat([b, Buffer.alloc(2)]).length, b.slice(0, 3).toString(),
      Buffer.from([255, 254]).toString('latin1'), b.equals(Buffer.from(b)), Buffer.isBuffer(b), b.readUInt16BE(0), JSON.stringify(Buffer.from('a')),
      Buffer.from(new Uint8Array([1, 2]).buffer).length, b.indexOf('llo'), Buffer.isEncoding('base64url'), Buffer.from('ff0', 'hex').length, b.toString('utf8', 1, 3)];
  `),
    [
      9,
      '68c3a96c6c6fe282ac',
      'aMOpbGxv4oKs',
      'aMOpbGxv4oKs',
      'héllo€',
      'ffef',
      3,
      11,
      'hé',
      'ÿþ',
      true,
      true,
      26819,
      '{"type":"Buffer","data":[97]}',
      2,
      3,
      true,
      1,
      'é',
    ],
  );
});

test('crypto', async () => {
  assert.deepEqual(
    await evaluate(`
    const crypto = require('crypto');
    const async = await new Promise((resolve) => crypto.randomBytes(8, (error, bytes) => resolve(bytes.length)));
    let unsupported; try { crypto.createCipheriv('aes-256-gcm'); } catch (error) { unsupported = error.message; }
    return [
      crypto.createHash('md5').update('a').update(Buffer.from('b')).digest('hex'), crypto.createHash('SHA512').update('').digest('base64').length,
      crypto.createHmac('sha256', 'key').update('data').digest('hex'), crypto.randomBytes(16).length, async, crypto.randomInt(5) < 5, crypto.randomInt(3, 4),
      crypto.timingSafeEqual(Buffer.from('a'), Buffer.from('a')), crypto.pbkdf2Sync('password', 'salt', 2, 20, 'sha1').toString('hex'),
      Buffer.from(crypto.hkdfSync('sha256', Buffer.alloc(22, 11), Buffer.from('000102030405060708090a0b0c', 'hex'), Buffer.from('f0f1f2f3f4f5f6f7f8f9', 'hex'), 42)).toString('hex'),
      crypto.createSecretKey('k').export().toString(), unsupported.split('. ')[0],
    ];
  `),
    [
      '187ef4436122d1cc2f40dc2b92f0eba0',
      88,
      '5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0',
      16,
      8,
      true,
      3,
      true,
      'ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957',
      '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
      'k',
      'crypto.createCipheriv is not available in cloud code',
    ],
  );
});

test('events', async () => {
  assert.deepEqual(
    await evaluate(`
    const EventEmitter = require('events'); const { once, on } = EventEmitter;
    const emitter = new EventEmitter(); const seen = [];
    emitter.on('a', (x) => seen.push(x)); emitter.once('a', () => seen.push('once')); emitter.emit('a', 1); emitter.emit('a', 2);
    const later = once(emitter, 'b'); emitter.emit('b', 3);
    const ticks = []; const loop = (async () => { for await (const [n] of on(emitter, 'tick')) { ticks.push(n); if (n === 2) break; } })();
    await null; emitter.emit('tick', 1); emitter.emit('tick', 2); await loop;
    emitter.on(EventEmitter.errorMonitor, (error) => seen.push('monitor ' + error)); emitter.on('error', () => {}); emitter.emit('error', 'e');
    return [seen, await later, ticks, emitter instanceof require('node:events').EventEmitter];
  `),
    [[1, 'once', 2, 'monitor e'], [3], [1, 2], true],
  );
});

test('util', async () => {
  assert.deepEqual(
    await evaluate(`
    const util = require('util');
    const read = util.promisify((a, callback) => callback(null, a + 1));
    const failing = util.promisify((callback) => callback(new Error('failed')));
    const called = await new Promise((resolve) => util.callbackify(async (x) => x * 2)(4, (error, value) => resolve(value)));
    function Old() {} function Base() {} Base.prototype.hi = () => 'hi'; util.inherits(Old, Base);
    return [await read(1), await failing().catch((error) => error.message), called, new Old().hi(), util.format('%s=%j', 'a', { b: 1 }), util.inspect({ a: { b: {} } }, { depth: 0 }),
      util.isDeepStrictEqual({ a: [1, new Map([[1, { x: 1 }]])] }, { a: [1, new Map([[1, { x: 1 }]])] }), util.isDeepStrictEqual([1], ['1']),
      util.types.isAsyncFunction(async () => {}), util.types.isDate(new Date()), await util.promisify(setTimeout)(1, 'slept')];
  `),
    [2, 'failed', 8, 'hi', 'a={"b":1}', '{ a: [Object] }', true, false, true, true, 'slept'],
  );
});

test('streams', async () => {
  assert.deepEqual(
    await evaluate(`
    const { Readable, Transform, PassThrough, pipeline } = require('stream');
    const { pipeline: piped } = require('stream/promises');
    const upper = new Transform({ transform(chunk, encoding, done) { done(null, chunk.toString().toUpperCase()); } });
    const out = []; const sink = new PassThrough(); sink.on('data', (chunk) => out.push(chunk.toString()));
    await piped(Readable.from(['a', 'b']), upper, sink);
    const collected = []; for await (const item of Readable.from([1, 2, 3])) collected.push(item);
    return [out, collected, await require('stream/consumers').text(Readable.from(['x', 'y']))];
  `),
    [['A', 'B'], [1, 2, 3], 'xy'],
  );
});

test('path, url, querystring, os, string_decoder, timers/promises', async () => {
  assert.deepEqual(
    await evaluate(`
    const path = require('path'); const url = require('url'); const qs = require('querystring'); const { StringDecoder } = require('string_decoder');
    const decoder = new StringDecoder('utf8');
    const parsed = url.parse('http://user:pw@host:80/p/a?x=1&y=2#h', true);
    return [path.join('/a', '../b', 'c.txt'), path.extname('x.tar.gz'), path.resolve('x'), parsed.host, parsed.query.y, url.resolve('http://a/b/c', '../d'),
      url.format({ protocol: 'https', host: 'h', pathname: '/p', query: { a: '1' } }), url.fileURLToPath('file:///a%20b'), url.pathToFileURL('/a b').href,
      qs.parse('a=1&b=2&a=3&c=%E4%BD%A0'), qs.stringify({ a: [1, 2], b: 'x y', c: '' }), require('os').EOL, decoder.write(Buffer.from([0xe2, 0x82])) + decoder.write(Buffer.from([0xac])),
      await require('timers/promises').setTimeout(5, 'value')];
  `),
    [
      '/b/c.txt',
      '.gz',
      '/x',
      'host:80',
      '2',
      'http://a/d',
      'https://h/p?a=1',
      '/a b',
      'file:///a%20b',
      { a: ['1', '3'], b: '2', c: '你' },
      'a=1&a=2&b=x%20y&c=',
      '\n',
      '€',
      'value',
    ],
  );
});

test('assert', async () => {
  assert.deepEqual(
    await evaluate(`
    const assert = require('assert'); const failed = [];
    const fails = (check) => { try { check(); failed.push('passed'); } catch (error) { failed.push(error.code + ' ' + error.message); } };
    assert(1); assert.equal(1, '1'); assert.deepEqual({ a: 1 }, { a: '1' }); assert.deepStrictEqual([1, { b: 2 }], [1, { b: 2 }]);
    assert.throws(() => { throw new TypeError('x y'); }, TypeError); assert.throws(() => { throw new Error('x y'); }, /x y/); assert.throws(() => { throw new Error('m'); }, { message: 'm' });
    await assert.rejects(async () => { throw new Error('r'); }, /r/);
    fails(() => assert.strictEqual(1, 2)); fails(() => assert(0, 'own')); fails(() => assert.deepStrictEqual([1], ['1'])); fails(() => assert.throws(() => {})); fails(() => assert.strict.equal(1, '1'));
    return failed;
  `),
    [
      'ERR_ASSERTION 1 strictEqual 2',
      'ERR_ASSERTION own',
      "ERR_ASSERTION [ 1 ] deepStrictEqual [ '1' ]",
      'ERR_ASSERTION Missing expected exception.',
      "ERR_ASSERTION 1 strictEqual '1'",
    ],
  );
});

test('http and https requests go through fetch', async () => {
  const calls = [];
  const answer = (request) => {
    calls.push(request);
    return {
      status: 201,
      statusText: 'Created',
      url: request.url,
      headers: [
        ['content-type', 'text/plain'],
        ['set-cookie', 'a=1'],
      ],
      body: Buffer.from('hello').toString('base64'),
    };
  };
  assert.deepEqual(
    await evaluate(
      `
    const https = require('https');
    const read = (response) => new Promise((resolve) => { let text = ''; response.setEncoding('utf8'); response.on('data', (chunk) => { text += chunk; }); response.on('end', () => resolve([response.statusCode, response.headers, text])); });
    const got = await new Promise((resolve, reject) => https.get('https://example.org/x?y=1', (response) => resolve(read(response))).on('error', reject));
    const posted = await new Promise((resolve, reject) => {
      const request = https.request({ hostname: 'example.org', port: 8443, path: '/post', method: 'POST', headers: { 'Content-Type': 'text/plain' } }, (response) => resolve(read(response)));
      request.on('error', reject); request.write('some '); request.end('body');
    });
    return [got, posted[2]];
  `,
      { answer },
    ),
    [[201, { 'content-type': 'text/plain', 'set-cookie': ['a=1'] }, 'hello'], 'hello'],
  );
  assert.deepEqual(
    calls.map(({ method, url, body }) => [method, url, body && Buffer.from(body, 'base64').toString()]),
    [
      ['GET', 'https://example.org/x?y=1', null],
      ['POST', 'https://example.org:8443/post', 'some body'],
    ],
  );
});

test('http errors are error events', async () => {
  const answer = () => {
    throw { message: 'refused', name: 'TypeError' };
  };
  assert.equal(
    await evaluate(
      `
    return new Promise((resolve) => require('http').get('http://example.org/', () => {}).on('error', (error) => resolve(error.message)));
  `,
      { answer },
    ),
    'refused',
  );
});

test('process', async () => {
  assert.deepEqual(
    await evaluate(`
    let exit; try { process.exit(1); } catch (error) { exit = error.message; }
    return [process.env, process.platform, process.cwd(), typeof process.versions.node, process.hrtime().length, exit, process === require('process'), global === globalThis];
  `),
    [{}, 'linux', '/', 'string', 2, 'process.exit is not available in cloud code.', true, true],
  );
});
