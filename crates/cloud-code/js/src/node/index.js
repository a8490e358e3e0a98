// Node's modules by name, each made when first asked for.

import * as small from './small.js';
import { unavailable } from './unavailable.js';

const makers = {
  assert: () => require('./assert.js').default,
  'assert/strict': () => require('./assert.js').strict,
  async_hooks: () => require('./async-hooks.js').default,
  buffer: () => require('./buffer.js').default,
  child_process: small.childProcess,
  cluster: small.cluster,
  console: () => globalThis.console,
  constants: () => ({}),
  crypto: () => require('./crypto.js').default,
  dgram: small.dgram,
  diagnostics_channel: small.diagnosticsChannel,
  dns: small.dns,
  'dns/promises': small.dns,
  domain: small.domain,
  events: () => require('./events.js').default,
  fs: () => require('./fs.js').default,
  'fs/promises': () => require('./fs.js').promises,
  http: () => require('./http.js').http,
  http2: small.http2,
  https: () => require('./http.js').https,
  inspector: small.inspector,
  module: () => require('./module.js').default,
  net: small.net,
  os: () => require('./os.js').default,
  path: () => require('./path.js').default,
  'path/posix': () => require('./path.js').default,
  'path/win32': () => require('./path.js').default,
  perf_hooks: small.perfHooks,
  process: () => require('./process.js').default,
  punycode: () => require('punycode/'),
  querystring: () => require('./querystring.js').default,
  readline: small.readline,
  'readline/promises': small.readline,
  repl: small.repl,
  stream: () => require('./stream.js').default,
  'stream/consumers': () => require('./stream-consumers.js').default,
  'stream/promises': () => require('./stream.js').promises,
  'stream/web': () => require('../web/streams.js').webStreams(),
  string_decoder: () => require('string_decoder/'),
  sys: () => require('./util.js').default,
  timers: () => require('./timers.js').default,
  'timers/promises': () => require('./timers.js').promises,
  tls: small.tls,
  undici: () => require('./undici.js').default,
  trace_events: small.traceEvents,
  tty: small.tty,
  url: () => require('./url.js').default,
  util: () => require('./util.js').default,
  'util/types': () => require('./util.js').default.types,
  v8: small.v8,
  vm: small.vm,
  wasi: small.wasi,
  worker_threads: small.workerThreads,
  zlib: small.zlib,
};

export const builtinModules = Object.keys(makers).filter((name) => name !== 'undici');

const made = new Map();

/**
 * `require` of cloud code: everything of the app's own is in the bundle already.
 * @throws {Error} naming a module that is neither there nor Node's
 */
export function requireBuiltin(specifier) {
  const name = String(specifier).replace(/^node:/, '');
  if (name === 'parse' || name === 'parse/node') return globalThis.Parse;
  if (!made.has(name)) made.set(name, make(name, specifier));
  return made.get(name);
}

function make(name, specifier) {
  if (Object.hasOwn(makers, name)) return makers[name]();
  // The bundler writes node: before every module of Node, this one's newest included.
  if (specifier.startsWith('node:')) return unavailable(name, 'It is not part of cloud code.');
  throw missing(specifier);
}

function missing(specifier) {
  const error = new Error(
    `Cannot find module '${specifier}'. Modules are bundled when you deploy: write its name as a plain string in ` +
      'require() or import, and have it installed then.',
  );
  return Object.assign(error, { code: 'MODULE_NOT_FOUND' });
}
