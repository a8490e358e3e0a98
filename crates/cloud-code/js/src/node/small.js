// Modules of a few lines each.

import { unavailable } from './unavailable.js';

const IPV4 = /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;
const IPV6 = /^(?=.*::|(?:[^:]*:){7}[^:]*$)[0-9a-f:]{2,39}$|^::ffff:\d+(\.\d+){3}$/i;

function isIP(text) {
  if (IPV4.test(text)) return 4;
  return IPV6.test(text) ? 6 : 0;
}

const NO_SOCKETS = 'Handlers have no sockets: use fetch().';
const NO_PROCESSES = 'Handlers cannot start processes or threads.';

export const net = () =>
  unavailable('net', NO_SOCKETS, {
    isIP,
    isIPv4: (text) => isIP(text) === 4,
    isIPv6: (text) => isIP(text) === 6,
  });
export const tls = () => unavailable('tls', NO_SOCKETS);
export const dns = () => unavailable('dns', NO_SOCKETS);
export const domain = () => unavailable('domain', 'Use async/await.', { active: undefined });
export const dgram = () => unavailable('dgram', NO_SOCKETS);
export const http2 = () => unavailable('http2', NO_SOCKETS, { constants: {} });
export const zlib = () =>
  unavailable('zlib', 'Compression is not available; fetch() unpacks what it gets.', { constants: {} });
export const childProcess = () => unavailable('child_process', NO_PROCESSES);
export const cluster = () =>
  unavailable('cluster', NO_PROCESSES, { isMaster: true, isPrimary: true, isWorker: false });
export const workerThreads = () =>
  unavailable('worker_threads', NO_PROCESSES, {
    isMainThread: true,
    parentPort: null,
    workerData: null,
    threadId: 0,
  });
export const readline = () => unavailable('readline', 'There is no terminal.');
export const repl = () => unavailable('repl', 'There is no terminal.');
export const vm = () => unavailable('vm', 'Code is bundled before it is deployed.');
export const v8 = () => unavailable('v8', 'Cloud code runs in QuickJS.');
export const inspector = () =>
  unavailable('inspector', 'Cloud code runs in QuickJS.', { url: () => undefined });
export const traceEvents = () => unavailable('trace_events', 'Cloud code runs in QuickJS.');
export const wasi = () => unavailable('wasi', 'Cloud code runs in QuickJS.');
export const tty = () => unavailable('tty', 'There is no terminal.', { isatty: () => false });

export const perfHooks = () =>
  unavailable('perf_hooks', 'There is performance.now().', {
    performance: globalThis.performance,
    constants: {},
  });

/** Channels that nobody listens to. */
export function diagnosticsChannel() {
  const channel = (name) => ({
    name,
    hasSubscribers: false,
    publish() {},
    subscribe() {},
    unsubscribe: () => false,
  });
  const pass = (_context, body, ...args) => body(...args);
  return {
    channel,
    hasSubscribers: () => false,
    subscribe() {},
    unsubscribe: () => false,
    tracingChannel: () => ({
      hasSubscribers: false,
      traceSync: (body, _context, receiver, ...args) => body.apply(receiver, args),
      tracePromise: (body, _context, receiver, ...args) => body.apply(receiver, args),
      runStores: pass,
    }),
  };
}
