// node:process and the global `process`.

import { write } from '../console.js';
import { config, native } from '../native.js';
import EventEmitter from './events.js';

const NODE_VERSION = '22.0.0';

function refused(name) {
  return () => {
    throw new Error(`process.${name} is not available in cloud code.`);
  };
}

function hrtime(since) {
  const ns = BigInt(Math.round(native.now() * 1e6));
  const time = [Number(ns / 1_000_000_000n), Number(ns % 1_000_000_000n)];
  if (!since) return time;
  const [seconds, nanos] = [time[0] - since[0], time[1] - since[1]];
  return nanos < 0 ? [seconds - 1, nanos + 1e9] : [seconds, nanos];
}
hrtime.bigint = () => BigInt(Math.round(native.now() * 1e6));

/** process.stdout and stderr: whole lines for the log. */
function output(level, fd) {
  return Object.assign(new EventEmitter(), {
    fd,
    isTTY: false,
    writable: true,
    columns: 80,
    write(chunk) {
      const text = String(chunk).replace(/\n$/, '');
      if (text !== '') write(level, text);
      return true;
    },
    end() {},
  });
}

const process = Object.assign(new EventEmitter(), {
  title: 'tidegate',
  version: `v${NODE_VERSION}`,
  versions: { node: NODE_VERSION },
  release: { name: 'node' },
  platform: 'linux',
  arch: 'x64',
  pid: 1,
  ppid: 0,
  argv: ['node', '/cloud/main.js'],
  argv0: 'node',
  execArgv: [],
  execPath: '/node',
  exitCode: undefined,
  env: { ...config.env },
  features: {},
  config: { variables: {} },
  stdout: output('info', 1),
  stderr: output('error', 2),
  stdin: Object.assign(new EventEmitter(), { fd: 0, isTTY: false }),
  cwd: () => '/',
  umask: () => 0o22,
  uptime: () => native.now() / 1000,
  hrtime,
  memoryUsage: Object.assign(() => ({ rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 }), {
    rss: () => 0,
  }),
  cpuUsage: () => ({ user: 0, system: 0 }),
  nextTick: (callback, ...args) => queueMicrotask(() => callback(...args)),
  emitWarning: (warning) => write('warn', `(node) ${warning?.message ?? warning}`),
  binding: refused('binding'),
  chdir: refused('chdir'),
  exit: refused('exit'),
  abort: refused('abort'),
  kill: refused('kill'),
});

export default process;
